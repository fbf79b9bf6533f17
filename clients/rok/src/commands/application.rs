//! `rok kube app create`, `update` and `retry`.

use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1::{
    Application, FieldValidation, Manifest, MigrationStrategy, RetryApplicationRequest,
};
use krake_proto::krake::meta::v1::Metadata;
use serde_json::Value;

use super::modify::{Fields, modify, something};
use super::{Session, file};
use crate::args::{
    ApplicationRemovals, Backoff, Constraints, CreateApplication, Deployment, Label, MigrationOrder, Target,
    UnknownFields, UpdateApplication,
};
use crate::failure::Failure;
use crate::manifest::{self, Definition};
use crate::output;
use crate::progress::Goal;
use crate::{wait, yaml};

pub(super) async fn create(session: &Session, args: CreateApplication) -> Result<String, Failure> {
    let change = Change {
        definition: Some(define(&args.file)?),
        observer_schema: schema(&args.deployment)?,
        constraints: args.constraints,
        deployment: args.deployment,
        labels: args.labels,
        backoff: args.backoff,
        removals: ApplicationRemovals::default(),
    };
    let namespace = session.namespace(&args.object.namespace);
    let metadata = Metadata { namespace, name: args.object.target.name, ..Metadata::default() };
    let mut application = Application { metadata: Some(metadata), ..Application::default() };
    change.apply(&mut application);
    let api = session.api::<Application>();
    let mut application = api.create(&application).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, application.clone(), Goal::from(state), args.timeout.timeout).await?;
        application = reached.unwrap_or(application);
    }
    output::object(&application, args.object.target.output)
}

pub(super) async fn update(session: &Session, args: UpdateApplication) -> Result<String, Failure> {
    let change = Change {
        definition: args.file.as_deref().map(define).transpose()?,
        observer_schema: schema(&args.deployment)?,
        constraints: args.constraints,
        deployment: args.deployment,
        labels: args.labels,
        backoff: args.backoff,
        removals: args.removals,
    };
    something(change.apply(&mut Application::default()))?;
    let api = session.api::<Application>();
    let namespace = session.namespace(&args.object.namespace);
    let write = |application: &mut Application| Ok(change.apply(application));
    let mut application = modify(&api, &namespace, &args.object.target.name, write).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, application.clone(), Goal::from(state), args.timeout.timeout).await?;
        application = reached.unwrap_or(application);
    }
    output::object(&application, args.object.target.output)
}

pub(super) async fn retry(session: &Session, args: Target) -> Result<String, Failure> {
    let request = RetryApplicationRequest {
        namespace: session.namespace(&args.namespace),
        name: args.target.name,
        uid: String::new(),
    };
    let answer = session.client.applications().retry_application(request).await;
    let application = answer.map_err(krake_client::Error::from)?.into_inner();
    output::object(&application, args.target.output)
}

fn define(path: &str) -> Result<Definition, Failure> {
    let source = file::read(path)?;
    manifest::read(&source.text).map_err(|problems| source.failure(&problems))
}

/// The documents that `--observer-schema` names, if it is given.
fn schema(deployment: &Deployment) -> Result<Option<Vec<Value>>, Failure> {
    let Some(path) = &deployment.observer_schema else { return Ok(None) };
    let source = file::read(path)?;
    let documents = yaml::documents(&source.text).map_err(|error| source.failure(&[error.to_string()]))?;
    Ok(Some(documents.into_iter().map(|document| document.value).collect()))
}

/// What the options say about an application.
struct Change {
    definition: Option<Definition>,
    observer_schema: Option<Vec<Value>>,
    constraints: Constraints,
    deployment: Deployment,
    labels: Vec<Label>,
    backoff: Backoff,
    removals: ApplicationRemovals,
}

impl Change {
    /// Changes an application; which fields were written.
    fn apply(&self, application: &mut Application) -> Vec<&'static str> {
        let mut fields = Fields::default();
        let labels = self.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
        let metadata = application.metadata.get_or_insert_default();
        fields.put("metadata.labels", &mut metadata.labels, labels, self.removals.labels);
        let spec = application.spec.get_or_insert_default();
        if let Some(definition) = &self.definition {
            // Whichever it is, the other one ends: a manifest would go before a template.
            (spec.manifest, spec.tosca) = match definition {
                Definition::Manifest(objects) => (objects.iter().map(entry).collect(), None),
                Definition::Tosca(template) => (Vec::new(), Some(document(template))),
            };
            fields.note("spec.manifest", true);
            fields.note("spec.tosca", true);
        }
        let schema = self.observer_schema.as_ref();
        let schema = schema.map(|schema| schema.iter().map(document).collect::<Vec<_>>());
        fields.set("spec.observer_schema", &mut spec.observer_schema, schema);
        let order = self.deployment.migration_strategy.map(|order| match order {
            MigrationOrder::CreateFirst => MigrationStrategy::CreateFirst,
            MigrationOrder::DeleteFirst => MigrationStrategy::DeleteFirst,
        });
        fields.set("spec.migration_strategy", &mut spec.migration_strategy, order);
        fields.set("spec.adopt_existing", &mut spec.adopt_existing, self.deployment.adopt_existing);
        let validation = self.deployment.field_validation.map(|mode| match mode {
            UnknownFields::Strict => FieldValidation::Strict,
            UnknownFields::Warn => FieldValidation::Warn,
        });
        fields.set("spec.field_validation", &mut spec.field_validation, validation);
        backoff(
            &mut fields,
            &self.backoff,
            [&mut spec.backoff, &mut spec.backoff_delay, &mut spec.backoff_limit],
        );
        // Upstream's clients always send both; what is absent would mean the same.
        let constraints = spec.constraints.get_or_insert_default();
        fields.set("spec.constraints.migration", &mut constraints.migration, self.constraints.migration());
        let cluster = constraints.cluster.get_or_insert_default();
        let (given, removals) = (&self.constraints, &self.removals);
        let lists = [
            (
                "spec.constraints.cluster.labels",
                &mut cluster.labels,
                &given.labels,
                removals.label_constraints,
            ),
            (
                "spec.constraints.cluster.custom_resources",
                &mut cluster.custom_resources,
                &given.custom_resources,
                removals.resource_constraints,
            ),
            (
                "spec.constraints.cluster.metrics",
                &mut cluster.metrics,
                &given.metrics,
                removals.metric_constraints,
            ),
        ];
        for (path, list, given, clear) in lists {
            fields.add(path, list, given, clear);
        }
        fields.paths()
    }
}

fn entry(object: &Value) -> Manifest {
    Manifest { document: Some(document(object)), ..Manifest::default() }
}

/// Only what was given: an update never resets the others.
pub(super) fn backoff(fields: &mut Fields, given: &Backoff, [factor, delay, limit]: [&mut Option<i32>; 3]) {
    fields.set("spec.backoff", factor, given.backoff.map(Some));
    fields.set("spec.backoff_delay", delay, given.delay.map(Some));
    fields.set("spec.backoff_limit", limit, given.limit.map(Some));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Change {
        Change {
            definition: None,
            observer_schema: None,
            constraints: Constraints::default(),
            deployment: Deployment::default(),
            labels: Vec::new(),
            backoff: Backoff::default(),
            removals: ApplicationRemovals::default(),
        }
    }

    fn label(key: &str, value: &str) -> Label {
        Label { key: key.into(), value: value.into() }
    }

    #[test]
    fn an_update_writes_what_was_given_and_nothing_else() {
        let mut application = Application::default();
        assert!(nothing().apply(&mut application).is_empty());
        let change = Change {
            constraints: Constraints {
                labels: vec!["location is DE".into()],
                disable_migration: true,
                ..Constraints::default()
            },
            backoff: Backoff { delay: Some(7), ..Backoff::default() },
            labels: vec![label("k", "v")],
            ..nothing()
        };
        assert_eq!(
            change.apply(&mut application),
            [
                "metadata.labels",
                "spec.backoff_delay",
                "spec.constraints.migration",
                "spec.constraints.cluster.labels",
            ]
        );
        let spec = application.spec.unwrap();
        assert_eq!((spec.backoff, spec.backoff_delay), (None, Some(7)));
        assert_eq!(spec.constraints.unwrap().migration, Some(false));
    }

    #[test]
    fn labels_and_constraints_are_added_unless_the_old_ones_are_removed() {
        let mut application = Application::default();
        let first = Change {
            labels: vec![label("a", "1"), label("b", "2")],
            constraints: Constraints { labels: vec!["x".into()], ..Constraints::default() },
            ..nothing()
        };
        first.apply(&mut application);
        let more = || Change {
            labels: vec![label("b", "3")],
            constraints: Constraints { labels: vec!["y".into()], ..Constraints::default() },
            ..nothing()
        };
        more().apply(&mut application);
        let shown = |application: &Application| {
            let labels = application.metadata.clone().unwrap().labels;
            let constraints = application.spec.clone().unwrap().constraints.unwrap().cluster.unwrap().labels;
            (labels.into_iter().map(|(key, value)| key + &value).collect::<Vec<_>>().join(" "), constraints)
        };
        assert_eq!(shown(&application), ("a1 b3".to_owned(), vec!["x".to_owned(), "y".to_owned()]));
        let removals =
            ApplicationRemovals { labels: true, label_constraints: true, ..ApplicationRemovals::default() };
        Change { removals, ..more() }.apply(&mut application);
        assert_eq!(shown(&application), ("b3".to_owned(), vec!["y".to_owned()]));
    }

    #[test]
    fn every_path_of_a_mask_is_a_field() {
        let change = Change {
            definition: Some(Definition::Tosca(serde_json::json!({}))),
            observer_schema: Some(Vec::new()),
            constraints: Constraints { enable_migration: true, ..Constraints::default() },
            deployment: Deployment {
                observer_schema: None,
                migration_strategy: Some(MigrationOrder::DeleteFirst),
                adopt_existing: Some(true),
                field_validation: Some(UnknownFields::Warn),
            },
            labels: Vec::new(),
            backoff: Backoff { backoff: Some(1), delay: Some(1), limit: Some(1) },
            removals: ApplicationRemovals {
                labels: true,
                label_constraints: true,
                resource_constraints: true,
                metric_constraints: true,
            },
        };
        let paths = change.apply(&mut Application::default());
        assert_eq!(paths.len(), 14);
        for path in paths {
            let mut message = krake_proto::POOL.get_message_by_name("krake.kubernetes.v1.Application");
            for name in path.split('.') {
                let field = message.as_ref().and_then(|message| message.get_field_by_name(name));
                let kind = field.unwrap_or_else(|| panic!("{path}: no field {name}")).kind();
                message = kind.as_message().cloned();
            }
        }
    }
}
