//! `rok kube app create` and `update`.

use krake_client::Mask;
use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, ClusterConstraints, Constraints, Manifest,
};
use krake_proto::krake::meta::v1::Metadata;

use super::{Session, file};
use crate::args::{self, Backoff, CreateApplication, Label, UpdateApplication};
use crate::failure::Failure;
use crate::manifest::{self, Definition};
use crate::output;
use crate::progress::Goal;
use crate::wait;

pub(super) async fn create(session: &Session, args: CreateApplication) -> Result<String, Failure> {
    let definition = define(&args.file)?;
    let mut change = Change::new(session.namespace(&args.object.namespace), args.object.name);
    change.definition(definition);
    change.constraints(args.constraints);
    change.labels(args.labels);
    change.backoff(&args.backoff);
    // Upstream's clients always send both; what is absent would mean the same.
    let spec = change.application.spec.get_or_insert_default();
    spec.constraints.get_or_insert_default().cluster.get_or_insert_default();
    let api = session.api::<Application>();
    let mut application = api.create(&change.application).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, application.clone(), Goal::from(state), args.timeout.timeout).await?;
        application = reached.unwrap_or(application);
    }
    output::object(&application, args.object.output)
}

pub(super) async fn update(session: &Session, args: UpdateApplication) -> Result<String, Failure> {
    let mut change = Change::new(session.namespace(&args.object.namespace), args.object.name);
    if let Some(path) = &args.file {
        change.definition(define(path)?);
    }
    change.constraints(args.constraints);
    change.labels(args.labels);
    change.backoff(&args.backoff);
    if change.mask.is_empty() {
        return Err(Failure::Usage("nothing to update: say what is to change".to_owned()));
    }
    let api = session.api::<Application>();
    let mut application = api.update(&change.application, Mask::fields(change.mask)).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, application.clone(), Goal::from(state), args.timeout.timeout).await?;
        application = reached.unwrap_or(application);
    }
    output::object(&application, args.object.output)
}

fn define(path: &str) -> Result<Definition, Failure> {
    let source = file::read(path)?;
    manifest::read(&source.text).map_err(|problems| source.failure(&problems))
}

/// An application with nothing but what the options say, and the paths of that: an update writes them and nothing else,
/// so it needs no read before and loses nothing that others write.
struct Change {
    application: Application,
    mask: Vec<&'static str>,
}

impl Change {
    fn new(namespace: String, name: String) -> Self {
        let metadata = Metadata { namespace, name, ..Metadata::default() };
        let spec = Some(ApplicationSpec::default());
        Change { application: Application { metadata: Some(metadata), spec, status: None }, mask: Vec::new() }
    }

    fn spec(&mut self) -> &mut ApplicationSpec {
        self.application.spec.get_or_insert_default()
    }

    fn definition(&mut self, definition: Definition) {
        match definition {
            Definition::Manifest(objects) => {
                let manifest = |object| Manifest { document: Some(document(&object)), ..Manifest::default() };
                self.spec().manifest = objects.into_iter().map(manifest).collect();
            }
            Definition::Tosca(template) => self.spec().tosca = Some(document(&template)),
        }
        // Whichever it is, the other one ends: a manifest would go before a template.
        self.mask.extend(["spec.manifest", "spec.tosca"]);
    }

    fn constraints(&mut self, given: args::Constraints) {
        let migration = given.migration();
        let constraints = [
            ("spec.constraints.cluster.labels", given.labels.is_empty()),
            ("spec.constraints.cluster.custom_resources", given.custom_resources.is_empty()),
            ("spec.constraints.cluster.metrics", given.metrics.is_empty()),
            ("spec.constraints.migration", migration.is_none()),
        ];
        self.mask.extend(constraints.into_iter().filter(|(_, absent)| !absent).map(|(path, _)| path));
        let cluster = ClusterConstraints {
            labels: given.labels,
            custom_resources: given.custom_resources,
            metrics: given.metrics,
        };
        self.spec().constraints = Some(Constraints { cluster: Some(cluster), migration });
    }

    fn labels(&mut self, labels: Vec<Label>) {
        if !labels.is_empty() {
            self.mask.push("metadata.labels");
        }
        let labels = labels.into_iter().map(|label| (label.key, label.value)).collect();
        self.application.metadata.get_or_insert_default().labels = labels;
    }

    fn backoff(&mut self, given: &Backoff) {
        let spec = self.spec();
        (spec.backoff, spec.backoff_delay, spec.backoff_limit) = (given.backoff, given.delay, given.limit);
        self.mask.extend(backoff_mask(given));
    }
}

/// Only what was given: an update never resets the others.
pub(super) fn backoff_mask(given: &Backoff) -> impl Iterator<Item = &'static str> {
    let fields = [
        ("spec.backoff", given.backoff),
        ("spec.backoff_delay", given.delay),
        ("spec.backoff_limit", given.limit),
    ];
    fields.into_iter().filter(|(_, value)| value.is_some()).map(|(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_writes_what_was_given_and_nothing_else() {
        let mut change = Change::new("n".into(), "a".into());
        change.constraints(args::Constraints::default());
        change.labels(Vec::new());
        change.backoff(&Backoff::default());
        assert!(change.mask.is_empty());
        change.constraints(args::Constraints {
            labels: vec!["location is DE".into()],
            disable_migration: true,
            ..Default::default()
        });
        change.backoff(&Backoff { delay: Some(7), ..Backoff::default() });
        change.labels(vec![Label { key: "k".into(), value: "v".into() }]);
        assert_eq!(
            change.mask,
            [
                "spec.constraints.cluster.labels",
                "spec.constraints.migration",
                "spec.backoff_delay",
                "metadata.labels"
            ]
        );
        let spec = change.application.spec.unwrap();
        let constraints = spec.constraints.unwrap();
        assert_eq!(constraints.migration, Some(false));
        assert_eq!(constraints.cluster.unwrap().labels, ["location is DE"]);
        assert_eq!((spec.backoff, spec.backoff_delay), (None, Some(7)));
        assert_eq!(change.application.metadata.unwrap().labels["k"], "v");
    }

    #[test]
    fn every_path_of_a_mask_is_a_field() {
        let mut change = Change::new("n".into(), "a".into());
        change.definition(Definition::Tosca(serde_json::json!({})));
        change.constraints(args::Constraints {
            labels: vec!["x".into()],
            custom_resources: vec!["x".into()],
            metrics: vec!["x".into()],
            enable_migration: true,
            disable_migration: false,
        });
        change.labels(vec![Label { key: "k".into(), value: "v".into() }]);
        change.backoff(&Backoff { backoff: Some(1), delay: Some(1), limit: Some(1) });
        assert_eq!(change.mask.len(), 10);
        for path in change.mask {
            let mut message = krake_proto::POOL.get_message_by_name("krake.kubernetes.v1.Application");
            for name in path.split('.') {
                let field = message.as_ref().and_then(|message| message.get_field_by_name(name));
                let kind = field.unwrap_or_else(|| panic!("{path}: no field {name}")).kind();
                message = kind.as_message().cloned();
            }
        }
    }
}
