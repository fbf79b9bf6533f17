//! The laws of the JSON form: nothing is lost, and what is wrong is told with its place.

use proptest::prelude::*;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use serde_json::{Value as Json, json};

use super::shape::{Field, Form, shape};
use super::*;
use crate::KINDS;
use crate::krake::core::v1::{Metric, MetricsProvider};
use crate::krake::kubernetes::v1::{Application, ApplicationState, Cluster, WatchApplicationsRequest};

/// A small generator: the same seed makes the same message.
pub(super) struct Seed(pub(super) u64);

impl Seed {
    fn next(&mut self, below: u64) -> u64 {
        // Constants of Knuth's MMIX; the upper bits are the random ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn text(&mut self) -> String {
        ["", "a", "DE", "<redacted>", "zone in (a, b)", "ä\n\"", "null"][self.next(7) as usize].to_owned()
    }

    fn scalar(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.next(2) == 1),
            Kind::Int32 => Value::I32([0, 1, -1, i32::MIN, i32::MAX][self.next(5) as usize]),
            Kind::Int64 => Value::I64([0, 7, i64::MIN, i64::MAX, (1 << 53) + 1][self.next(5) as usize]),
            Kind::Uint32 => Value::U32([0, 3, u32::MAX][self.next(3) as usize]),
            Kind::Uint64 => Value::U64([0, 3, u64::MAX][self.next(3) as usize]),
            Kind::Double => Value::F64([0.0, 1.0, -0.1, 1e300, f64::INFINITY][self.next(5) as usize]),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Enum(descriptor) => {
                let index = self.next(descriptor.values().len() as u64) as usize;
                Value::EnumNumber(descriptor.values().nth(index).unwrap().number())
            }
            Kind::Message(descriptor) => Value::Message(self.message(descriptor)),
            other => panic!("the API has a field of kind {other:?}: teach this generator"),
        }
    }

    /// Any message that has a JSON form without loss.
    pub(super) fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let shape = shape(descriptor);
        let mut message = DynamicMessage::new(descriptor.clone());
        match shape.form {
            Form::Timestamp | Form::Duration => {
                message.set_field_by_number(1, Value::I64(self.next(4_000_000_000) as i64));
                message.set_field_by_number(2, Value::I32(self.next(1_000_000) as i32 * 1_000));
                return message;
            }
            Form::Document => {
                let text = [r#"{"big":18446744073709551615,"x":[1,2.5]}"#, "\"text\"", "{}", "-7"];
                message.set_field_by_name("json", Value::String(text[self.next(4) as usize].to_owned()));
                return message;
            }
            Form::Fields => {}
        }
        for (index, field) in shape.fields.iter().enumerate() {
            let descriptor = &field.descriptor;
            if let Some(shown) = shape.shown_as {
                if shown == index {
                    message.set_field(descriptor, self.scalar(&descriptor.kind()));
                }
                continue;
            }
            let value = if shape.is_variant(field) {
                continue;
            } else if descriptor.is_map() {
                let Kind::Message(entry) = descriptor.kind() else { unreachable!() };
                let kind = entry.map_entry_value_field().kind();
                let count = self.next(3);
                Value::Map(
                    (0..count).map(|i| (MapKey::String(format!("k{i}")), self.scalar(&kind))).collect(),
                )
            } else if descriptor.is_list() {
                let count = self.next(3);
                Value::List((0..count).map(|_| self.scalar(&descriptor.kind())).collect())
            } else if descriptor.supports_presence()
                && !is_shown_empty(field)
                && !flat::spec(shape).is_some_and(|spec| std::ptr::eq(spec, field))
                && self.next(3) == 0
            {
                continue;
            } else {
                self.scalar(&descriptor.kind())
            };
            if !stands_for_absent(field, &value) {
                message.set_field(descriptor, value);
            }
        }
        if let Some(union) = &shape.union {
            let index = self.next(union.fields().len() as u64) as usize;
            let variant = union.fields().nth(index).unwrap();
            let value = self.scalar(&variant.kind());
            message.set_field(&variant, value);
        }
        message
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_resource_survives(seed in any::<u64>()) {
        for kind in KINDS {
            let descriptor = POOL.get_message_by_name(kind.message).unwrap();
            let message = Seed(seed).message(&descriptor);
            let form = shown(&message);
            // Through text, as it travels.
            let travelled: Json = serde_json::from_str(&form.to_string()).unwrap();
            for unknown in [Unknown::Refuse, Unknown::Ignore] {
                // Dynamic messages print with all of their descriptors, so never print one.
                let back = read(&descriptor, &travelled, unknown);
                let back = back.map_err(|wrong| TestCaseError::fail(format!("{wrong:?}")))?;
                prop_assert_eq!(&shown(&back), &form);
                prop_assert!(travelled_by_wire(&back) == travelled_by_wire(&message), "{}", form);
            }
            // As a request: white space and unknown members make no difference.
            let mut sent = travelled.clone();
            sent["unknown"] = json!({"deep": [[[{"x": form}]]]});
            let parsed = parse(&descriptor, serde_json::to_string_pretty(&sent).unwrap().as_bytes());
            let parsed = parsed.map_err(|wrong| TestCaseError::fail(wrong.to_string()))?;
            let back = read_parsed(&descriptor, &parsed, Unknown::Refuse);
            let back = back.map_err(|wrong| TestCaseError::fail(format!("{wrong:?}")))?;
            prop_assert!(travelled_by_wire(&back) == travelled_by_wire(&message), "{}", form);
        }
    }
}

/// Whether the absent field looks as an empty message does.
fn is_shown_empty(field: &Field) -> bool {
    let Kind::Message(descriptor) = &field.kind else { return false };
    field.if_absent.is_some() && shape(descriptor).form == Form::Fields
}

/// Whether the value looks as the absent field does.
fn stands_for_absent(field: &Field, value: &Value) -> bool {
    let text = match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::Message(document) => document
            .get_field_by_name("json")
            .and_then(|text| text.as_str().map(str::to_owned))
            .unwrap_or_default(),
        _ => return false,
    };
    field.if_absent.as_ref().is_some_and(|absent| absent.text == text)
}

/// The form of a message of the API.
fn shown(message: &DynamicMessage) -> Json {
    let mut text = Vec::new();
    write(&message.descriptor(), &message.encode_to_vec(), Options::default(), &mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Without the difference between a field that is absent and one that was set to its default.
fn travelled_by_wire(message: &DynamicMessage) -> DynamicMessage {
    DynamicMessage::decode(message.descriptor(), message.encode_to_vec().as_slice()).unwrap()
}

/// Minimal bodies as upstream's clients send them.
fn examples() -> Vec<(&'static str, Json)> {
    vec![
        (
            "krake.kubernetes.v1.Application",
            json!({"metadata": {"name": "app"}, "spec": {
                "manifest": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}],
                "constraints": {"cluster": {}}}}),
        ),
        (
            "krake.kubernetes.v1.Application",
            json!({"metadata": {"name": "app2"}, "spec": {
                "manifest": [], "tosca": "https://host/t.yaml",
                "constraints": {
                    "cluster": {"labels": ["location is DE"], "metrics": ["load <= 3"],
                        "custom_resources": ["crontabs.stable.example.com"]},
                    "migration": false},
                "hooks": ["complete", "shutdown"], "shutdown_grace_time": 60,
                "backoff": 1, "backoff_delay": 5, "backoff_limit": 3}}),
        ),
        (
            "krake.kubernetes.v1.Cluster",
            json!({"metadata": {"name": "c1", "labels": {"location": "DE"}}, "spec": {
                "kubeconfig": {"apiVersion": "v1", "kind": "Config", "current-context": "x",
                    "clusters": [{"name": "c", "cluster": {"server": "https://h:6443"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]},
                "constraints": {"cloud": {}},
                "metrics": [{"name": "heat_demand_zone_1", "weight": 0.45, "namespaced": false}]}}),
        ),
        (
            "krake.core.v1.Metric",
            json!({"metadata": {"name": "m"}, "spec": {
                "min": 0.0, "max": 5.0, "provider": {"name": "prom", "metric": "heat_demand_zone_1"}}}),
        ),
        (
            "krake.core.v1.Role",
            json!({"metadata": {"name": "r"}, "rules": [{"api": "kubernetes", "resources": ["applications"],
                "namespaces": ["ns"], "verbs": ["create", "list", "get", "update", "delete"]}]}),
        ),
        (
            "krake.core.v1.MetricsProvider",
            json!({"metadata": {"name": "prom"}, "spec": {
                "type": "prometheus", "prometheus": {"url": "http://localhost:9090"}}}),
        ),
        (
            "krake.core.v1.MetricsProvider",
            json!({"metadata": {"name": "kafka"}, "spec": {"type": "kafka", "kafka": {
                "url": "http://localhost:8088", "table": "t", "comparison_column": "c", "value_column": "v"}}}),
        ),
        (
            "krake.core.v1.MetricsProvider",
            json!({"metadata": {"name": "static_provider"}, "spec": {
                "type": "static", "static": {"metrics": {"electricity_cost_1": 0.9}}}}),
        ),
    ]
}

/// Whether `whole` says everything that `part` says.
fn contains(whole: &Json, part: &Json) -> bool {
    match (whole, part) {
        (Json::Object(whole), Json::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value)))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn bodies_of_clients_are_understood_and_shown_again() {
    for (name, body) in examples() {
        let descriptor = POOL.get_message_by_name(name).unwrap();
        let message = read(&descriptor, &body, Unknown::Refuse).unwrap();
        let form = shown(&message);
        assert!(contains(&form, &body), "{body}\n{form}");
    }
}

#[test]
fn the_form_follows_its_rules() {
    let mut metric = Metric::default();
    metric.metadata.get_or_insert_default().name = "m".into();
    let shown = to_value(&metric, Options::default());
    let head: Vec<&str> = shown.as_object().unwrap().keys().take(2).map(String::as_str).collect();
    assert_eq!(head, ["api", "kind"]);
    assert_eq!(shown["kind"], "GlobalMetric");
    assert_eq!(shown["spec"], Json::Null, "absent messages are null");
    assert_eq!(shown["metadata"]["namespace"], Json::Null, "an empty namespace is null");
    assert_eq!(shown["metadata"]["generation"], 0, "defaults are shown");
    assert_eq!(shown["metadata"]["labels"], json!({}));
    metric.metadata.get_or_insert_default().namespace = "n".into();
    metric.spec.get_or_insert_default();
    let shown = to_value(&metric, Options::default());
    assert_eq!(shown["kind"], "Metric");
    assert_eq!(shown["spec"]["min"], Json::Null, "absent optional scalars are null");

    let mut app = Application::default();
    let status = app.status.get_or_insert_default();
    status.set_state(ApplicationState::Running);
    status.scheduled = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    app.spec.get_or_insert_default().min_residency = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let shown = to_value(&app, Options::default());
    assert_eq!(shown["status"]["state"], "RUNNING");
    assert_eq!(shown["status"]["scheduled"], "1970-01-01T00:00:01.000000+00:00");
    assert_eq!(shown["spec"]["min_residency"], "30s");
}

#[test]
fn secrets_are_redacted_on_demand() {
    let body = json!({"metadata": {"name": "c"}, "spec": {"kubeconfig": {"users": ["secret"]}}});
    let cluster: Cluster = from_value(&body, Unknown::Refuse).unwrap();
    assert_eq!(to_value(&cluster, Options::default())["spec"]["kubeconfig"], json!({"users": ["secret"]}));
    let redacted = to_value(&cluster, Options { redact: true });
    assert_eq!(redacted["spec"]["kubeconfig"], REDACTED);
    assert_eq!(redacted["spec"]["tosca"], json!({}), "what is not set stays absent");
    assert!(!redacted.to_string().contains("secret"));
}

fn refused<M: Message + Name + Default + std::fmt::Debug>(body: Json) -> Vec<String> {
    from_value::<M>(&body, Unknown::Refuse).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_violation_is_told_with_its_place() {
    let wrong = refused::<Application>(json!({
        "api": "core", "kind": "App",
        "metadata": {"name": 3, "labels": {"a/b": 1}, "created": "yesterday"},
        "spec": {
            "manifest": {},
            "constrains": {},
            "constraints": {"cluster": {"labels": [3, "ok", null]}, "migration": "yes"},
            "backoff": 99_999_999_999_u64,
            "migration_strategy": "MIGRATION_STRATEGY_CREATE_FIRST",
            "min_residency": 5,
        },
        "statue": null,
    }));
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    metadata.created: expected a time such as "2023-02-28T10:48:54.123456+00:00", found "yesterday"
    metadata.labels["a/b"]: expected a string, found 1
    metadata.name: expected a string, found 3
    spec.backoff: expected an integer from -2147483648 to 2147483647, found 99999999999
    spec.constrains: unknown field, did you mean "constraints"?
    spec.constraints.cluster.labels[0]: expected a string, found 3
    spec.constraints.cluster.labels[2]: expected a string, found null
    spec.constraints.migration: expected true or false, found "yes"
    spec.manifest: expected a list, found an object
    spec.migration_strategy: expected one of CREATE_FIRST, DELETE_FIRST, found "MIGRATION_STRATEGY_CREATE_FIRST"
    spec.min_residency: expected a duration such as "30s", found 5
    statue: unknown field, did you mean "status"?
    api: expected "kubernetes", found "core"
    kind: expected "Application", found "App"
    "#);
    assert_eq!(refused::<Metric>(json!([])), ["Metric: expected an object, found a list"]);
}

#[test]
fn types_of_providers_are_checked() {
    let spec = |spec: Json| refused::<MetricsProvider>(json!({"metadata": {"name": "p"}, "spec": spec}));
    let known = "prometheus, kafka, static, influx";
    assert_eq!(spec(json!({})), [format!("spec.type: is required: one of {known}")]);
    assert_eq!(
        spec(json!({"type": "graphite"})),
        [format!("spec.type: unknown type \"graphite\", known are {known}")]
    );
    assert_eq!(spec(json!({"type": "static"})), ["spec.static: is required with type \"static\""]);
    let both = json!({"type": "static", "static": {}, "kafka": {}});
    assert_eq!(spec(both.clone()), ["spec.kafka: does not go with type \"static\""]);
    let body = json!({"metadata": {"name": "p"}, "spec": both});
    // Not an unknown field: one of the two would be lost.
    let ignoring = from_value::<MetricsProvider>(&body, Unknown::Ignore).unwrap_err();
    assert_eq!(ignoring[0].to_string(), "spec.kafka: does not go with type \"static\"");
    let secret = spec(json!({"type": "influx", "influx": {"token": 12345}}));
    assert_eq!(secret, ["spec.influx.token: expected a string, found a number"]);
}

#[test]
fn kinds_are_checked_when_given() {
    let read = |kind: &str, namespace: &str| {
        let body = json!({"api": "core", "kind": kind, "metadata": {"name": "m", "namespace": namespace}});
        from_value::<Metric>(&body, Unknown::Refuse).map_err(|violations| violations[0].to_string())
    };
    assert!(read("Metric", "n").is_ok());
    assert!(read("Metric", "").is_ok());
    assert!(read("GlobalMetric", "").is_ok());
    assert_eq!(read("GlobalMetric", "n"), Err("kind: a GlobalMetric has no namespace, found \"n\"".into()));
    assert_eq!(
        read("Cluster", ""),
        Err("kind: expected \"Metric\" or \"GlobalMetric\", found \"Cluster\"".into())
    );
}

#[test]
fn unknown_fields_can_be_ignored() {
    let body =
        json!({"metadata": {"name": "m", "colour": "red"}, "spec": {"min": "7", "max": 9.0}, "extra": 1});
    let metric: Metric = from_value(&body, Unknown::Ignore).unwrap();
    let spec = metric.spec.unwrap();
    assert_eq!((spec.min, spec.max), (Some(7.0), Some(9.0)), "numbers may come as strings");
    assert_eq!(refused::<Metric>(body), ["extra: unknown field", "metadata.colour: unknown field"]);
}

#[test]
fn deep_documents_and_rival_fields_are_refused() {
    let deep = (0..65).fold(json!(1), |inner, _| json!([inner]));
    let wrong = refused::<Application>(json!({"spec": {"manifest": [{"kind": deep}]}}));
    assert_eq!(wrong, ["spec.manifest[0]: is nested more than 64 levels"]);
    let wrong = refused::<WatchApplicationsRequest>(json!({"after": 3, "now": true}));
    assert_eq!(wrong, ["now: cannot be given together with after"]);
}
