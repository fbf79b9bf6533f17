//! Laws of admission, by kind.

use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::*;
use krake_proto::krake::kubernetes::v1::*;
use krake_proto::krake::meta::v1::{Document, document::Content};
use krake_proto::{POOL, Resource};
use prost::Message;
use rstest::rstest;
use serde_json::json;

fn document(value: serde_json::Value) -> Option<Document> {
    Some(Document { content: Some(Content::Json(value.to_string())) })
}

fn admit<K: Resource>(spec: &impl Message) -> Result<Vec<u8>, Vec<String>> {
    let descriptor = POOL.get_message_by_name(&format!("{}Spec", K::KIND.message)).unwrap();
    super::spec(K::KIND, &descriptor, "ns", &spec.encode_to_vec())
        .map_err(|violations| violations.iter().map(ToString::to_string).collect())
}

fn time(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

fn pod(name: &str) -> Manifest {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    Manifest { document: document(object), ..Default::default() }
}

fn application() -> ApplicationSpec {
    ApplicationSpec { manifest: vec![pod("p")], ..Default::default() }
}

fn kubeconfig() -> serde_json::Value {
    json!({
        "clusters": [{"name": "c", "cluster": {"server": "https://h:6443"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    })
}

fn cluster(config: serde_json::Value) -> ClusterSpec {
    ClusterSpec { kubeconfig: document(config), ..Default::default() }
}

#[test]
fn defaults_and_outputs_are_filled_and_what_was_given_stays() {
    let spec = ApplicationSpec { backoff_delay: Some(7), ..application() };
    let admitted = ApplicationSpec::decode(admit::<Application>(&spec).unwrap().as_slice()).unwrap();
    assert_eq!(
        (admitted.backoff, admitted.backoff_delay, admitted.backoff_limit),
        (Some(1), Some(7), Some(-1))
    );
    assert_eq!(admitted.constraints.unwrap().migration, Some(true));
    let entry = &admitted.manifest[0];
    assert_eq!((entry.api_version.as_str(), entry.kind.as_str(), entry.name.as_str()), ("v1", "Pod", "p"));
}

#[test]
fn a_false_is_not_a_missing_value() {
    let constraints = Constraints { migration: Some(false), cluster: None };
    let spec = ApplicationSpec { constraints: Some(constraints), ..application() };
    let admitted = ApplicationSpec::decode(admit::<Application>(&spec).unwrap().as_slice()).unwrap();
    assert_eq!(admitted.constraints.unwrap().migration, Some(false));
}

#[test]
fn a_struct_becomes_json_and_integers_stay_integers() {
    let number = |value: f64| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(value)) };
    let object = prost_types::Struct {
        fields: [("n".to_owned(), number(80.0)), ("f".to_owned(), number(0.5))].into(),
    };
    let content = Document { content: Some(Content::Object(object)) };
    let spec = ApplicationSpec { observer_schema: vec![content], ..application() };
    let descriptor = POOL.get_message_by_name("krake.kubernetes.v1.ApplicationSpec").unwrap();
    let mut message =
        prost_reflect::DynamicMessage::decode(descriptor, spec.encode_to_vec().as_slice()).unwrap();
    super::Documents::default().normalise(&mut message, "spec", &mut super::Findings::default());
    let written: ApplicationSpec = message.transcode_to().unwrap();
    let Some(Content::Json(text)) = &written.observer_schema[0].content else { panic!("{written:?}") };
    assert_eq!(text, r#"{"f":0.5,"n":80}"#);
}

#[test]
fn fields_of_a_newer_peer_survive() {
    let mut bytes = application().encode_to_vec();
    let unknown = crate::object::wire::delimited(3000, b"new");
    bytes.extend(&unknown);
    let descriptor = POOL.get_message_by_name("krake.kubernetes.v1.ApplicationSpec").unwrap();
    let admitted = super::spec(Application::KIND, &descriptor, "ns", &bytes).unwrap();
    assert_eq!(krake_proto::wire::occurrences(&admitted, 3000).unwrap(), unknown);
}

/// A ConfigMap of this name in this namespace.
fn named(name: &str, namespace: &str) -> ApplicationSpec {
    let metadata = json!({"name": name, "namespace": namespace});
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    let manifest = vec![Manifest { document: document(config_map), ..Default::default() }];
    ApplicationSpec { manifest, ..Default::default() }
}

#[rstest]
#[case::nothing(ApplicationSpec::default(), "spec.manifest: is empty")]
#[case::no_kind(
    ApplicationSpec {
        manifest: vec![Manifest { document: document(json!({"apiVersion": "v1", "metadata": {"name": "p"}})), ..Default::default() }],
        ..Default::default()
    },
    "spec.manifest[0].kind: is missing"
)]
#[case::a_name_that_leads_elsewhere(
    named("..", "demo"),
    "spec.manifest[0].metadata.name: \"..\" cannot be part of a path"
)]
#[case::a_name_with_parts(
    named("a/status", "demo"),
    "spec.manifest[0].metadata.name: \"a/status\" cannot be part of a path"
)]
#[case::an_escaped_name(
    named("a%2fb", "demo"),
    "spec.manifest[0].metadata.name: \"a%2fb\" cannot be part of a path"
)]
#[case::a_namespace_with_parts(
    named("a", "default/secrets/z?"),
    "spec.manifest[0].metadata.namespace: \"default/secrets/z?\" cannot"
)]
#[case::a_long_name(named(&"a".repeat(254), "demo"), "spec.manifest[0].metadata.name: has 254 bytes; at most 253")]
#[case::no_document(ApplicationSpec { manifest: vec![Manifest::default()], ..Default::default() }, "spec.manifest[0]: is empty")]
#[case::in_two_versions(
    ApplicationSpec {
        manifest: ["autoscaling/v1", "autoscaling/v2"].map(|version| Manifest {
            document: document(json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}})),
            ..Default::default()
        }).to_vec(),
        ..Default::default()
    },
    "spec.manifest[1]: is the same object as spec.manifest[0]"
)]
#[case::twice(ApplicationSpec { manifest: vec![pod("p"), pod("p")], ..Default::default() }, "spec.manifest[1]: is the same object as spec.manifest[0]")]
#[case::negative(ApplicationSpec { backoff_delay: Some(-1), ..application() }, "spec.backoff_delay: must not be negative")]
#[case::far_off(ApplicationSpec { backoff_delay: Some(i32::MAX), ..application() }, "spec.backoff_delay: must be at most a year")]
#[case::no_factor(ApplicationSpec { backoff: Some(0), ..application() }, "spec.backoff: must be at least 1")]
#[case::large_factor(ApplicationSpec { backoff: Some(1_000_001), ..application() }, "spec.backoff: must be at least 1 and at most 1000000")]
#[case::limit(ApplicationSpec { backoff_limit: Some(-2), ..application() }, "spec.backoff_limit: must be -1 (no limit) or more")]
#[case::loss(ApplicationSpec { min_gain: Some(-0.1), ..application() }, "spec.min_gain: must be a finite number")]
#[case::no_number(ApplicationSpec { min_gain: Some(f64::NAN), ..application() }, "spec.min_gain: must be a finite number")]
#[case::endless(ApplicationSpec { min_gain: Some(f64::INFINITY), ..application() }, "spec.min_gain: must be a finite number")]
#[case::before(ApplicationSpec { min_residency: Some(time(-1, 0)), ..application() }, "spec.min_residency: must not be negative")]
#[case::just_before(ApplicationSpec { min_residency: Some(time(0, -1)), ..application() }, "spec.min_residency: must not be negative")]
#[case::for_ever(ApplicationSpec { min_residency: Some(time(i64::MAX, 0)), ..application() }, "spec.min_residency: must be at most")]
#[case::strategy(ApplicationSpec { migration_strategy: 9, ..application() }, "spec.migration_strategy: is unknown")]
#[case::runs_on(
    ApplicationSpec {
        migration_strategy: MigrationStrategy::DeleteFirst.into(),
        adopt_existing: true,
        ..application()
    },
    "spec.migration_strategy: DELETE_FIRST cannot hold with adopt_existing"
)]
#[case::no_object(
    ApplicationSpec { manifest: vec![Manifest { document: document(json!([1])), ..Default::default() }], ..Default::default() },
    "spec.manifest[0]: is not an object"
)]
#[case::no_json(
    ApplicationSpec {
        manifest: vec![Manifest { document: Some(Document { content: Some(Content::Json("{\n  \"kind\": }".into())) }), ..Default::default() }],
        ..Default::default()
    },
    "spec.manifest[0]: is not valid JSON: expected value at line 2 column 11"
)]
#[case::no_string(
    ApplicationSpec {
        manifest: vec![Manifest { document: document(json!({"apiVersion": "v1", "kind": 7, "metadata": {"name": "p"}})), ..Default::default() }],
        ..Default::default()
    },
    "spec.manifest[0].kind: is not a string"
)]
#[case::custom_resource(
    ApplicationSpec {
        constraints: Some(Constraints { cluster: Some(ClusterConstraints { custom_resources: vec!["a b".into()], ..Default::default() }), migration: None }),
        ..application()
    },
    "spec.constraints.cluster.custom_resources[0]: \"a b\" is not a name"
)]
#[case::tosca(ApplicationSpec { tosca: document(json!("https://h/x.yaml")), ..application() }, "spec.tosca: is not supported yet")]
#[case::archive(ApplicationSpec { csar: Some("https://h/x.csar".into()), ..application() }, "spec.csar: is not supported yet")]
#[case::not_built(ApplicationSpec { hooks: vec!["complete".into()], ..application() }, "spec.hooks: is not supported yet")]
#[case::many(
    ApplicationSpec { placement: Some(Placement { min_clusters: Some(2), ..Default::default() }), ..application() },
    "spec.placement.min_clusters: only exactly one"
)]
fn bad_applications(#[case] spec: ApplicationSpec, #[case] expected: &str) {
    let found = admit::<Application>(&spec).unwrap_err();
    assert!(found.iter().any(|text| text.starts_with(expected)), "{found:?}");
}

#[test]
fn limits_themselves_are_fine() {
    let spec = ApplicationSpec {
        backoff: Some(1_000_000),
        backoff_delay: Some(31_536_000),
        backoff_limit: Some(0),
        min_gain: Some(0.0),
        min_residency: Some(time(90, 500_000_000)),
        migration_strategy: MigrationStrategy::DeleteFirst.into(),
        ..application()
    };
    let admitted = ApplicationSpec::decode(admit::<Application>(&spec).unwrap().as_slice()).unwrap();
    assert_eq!((admitted.min_gain, admitted.min_residency), (spec.min_gain, spec.min_residency));
}

#[test]
fn an_operator_that_is_none_is_named_with_its_position() {
    let metrics = vec!["load ~ 5".to_owned()];
    let cluster = Some(ClusterConstraints { metrics, ..Default::default() });
    let constraints = Some(Constraints { cluster, migration: None });
    let found = admit::<Application>(&ApplicationSpec { constraints, ..application() }).unwrap_err();
    let expected = "spec.constraints.cluster.metrics[0]: unexpected \"~\" at column 6: expected an operator";
    assert!(found[0].starts_with(expected), "{found:?}");
}

#[test]
fn a_constraint_that_does_not_parse_is_named_with_its_position() {
    let labels = vec!["location in (DE, FR)".to_owned(), "location in (DE".to_owned()];
    let constraints =
        Constraints { cluster: Some(ClusterConstraints { labels, ..Default::default() }), migration: None };
    let found = admit::<Application>(&ApplicationSpec { constraints: Some(constraints), ..application() });
    let found = found.unwrap_err().join("\n");
    assert!(found.starts_with("spec.constraints.cluster.labels[1]: "), "{found}");
    assert!(found.contains("column"), "{found}");
}

#[test]
fn deep_and_large_documents_are_refused() {
    let mut deep = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    deep["x"] = nested;
    let entry = Manifest { document: document(deep), ..Default::default() };
    let found =
        admit::<Application>(&ApplicationSpec { manifest: vec![entry], ..Default::default() }).unwrap_err();
    assert!(found[0].starts_with("spec.manifest[0]: is nested 101 deep"), "{found:?}");

    let mut large = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    large["x"] = "x".repeat(super::MAX_SPEC).into();
    let entry = Manifest { document: document(large), ..Default::default() };
    let found =
        admit::<Application>(&ApplicationSpec { manifest: vec![entry], ..Default::default() }).unwrap_err();
    assert!(found[0].starts_with("spec: is 262"), "{found:?}");
}

#[test]
fn a_kubeconfig_with_two_contexts_is_refused_by_field() {
    let mut config = kubeconfig();
    let second = json!({"name": "y", "context": {"cluster": "c", "user": "u"}});
    config["contexts"].as_array_mut().unwrap().push(second);
    let found = admit::<Cluster>(&cluster(config)).unwrap_err();
    assert_eq!(found, ["spec.kubeconfig.contexts: must hold exactly one context, has 2 (x, y): keep one"]);
    assert!(admit::<Cluster>(&cluster(kubeconfig())).is_ok());
}

#[rstest]
#[case("/users/0/user", json!({"exec": {"command": "sh"}}), "spec.kubeconfig.users[0].user.exec: ")]
#[case("/users/0/user", json!({"token": 7}), "spec.kubeconfig.users[0].user.token: ")]
#[case("/users/0/user", json!({"as-groups": ["g", 1]}), "spec.kubeconfig.users[0].user.as-groups: ")]
#[case("/clusters/0/cluster", json!({"proxy-url": "http://p"}), "spec.kubeconfig.clusters[0].cluster.proxy-url: ")]
#[case("/clusters/0/cluster", json!({"insecure-skip-tls-verify": "true"}), "spec.kubeconfig.clusters[0].cluster.insecure-skip-tls-verify: is neither")]
#[case("/contexts/0/context", json!({"namespace": 1}), "spec.kubeconfig.contexts[0].context.namespace: ")]
#[case("/current-context", json!(1), "spec.kubeconfig.current-context: is not a string")]
#[case("/users/0/user", json!({"client-key": "/etc/key"}), "spec.kubeconfig.users[0].user.client-key: ")]
#[case("/clusters/0/cluster/server", json!("h:6443"), "spec.kubeconfig.clusters[0].cluster.server: ")]
#[case("/contexts/0/context/user", json!("other"), "spec.kubeconfig.contexts[0].context.user: ")]
#[case("/clusters", json!([]), "spec.kubeconfig.clusters: ")]
#[case("/users/0/user", json!({"client-key-data": "not base64"}), "spec.kubeconfig.users[0].user.client-key-data: is not base64")]
#[case("/clusters/0/cluster", json!({"server": "https://h", "certificate-authority-data": 7}), "spec.kubeconfig.clusters[0].cluster.certificate-authority-data: ")]
#[case("/current-context", json!("other"), "spec.kubeconfig.current-context: is not \"x\"")]
#[case("/users/0/user", json!({"token": "two words"}), "spec.kubeconfig.users[0].user.token: holds white space")]
#[case("/clusters/0/cluster", json!({"server": "https://h", "insecure-skip-tls-verify": true, "certificate-authority-data": "AAAA"}), "spec.kubeconfig.clusters[0].cluster.insecure-skip-tls-verify: cannot be used together")]
#[case("/clusters/0/cluster/server", json!("https://0.0.0.0:6443"), "spec.kubeconfig.clusters[0].cluster.server: is no address")]
#[case("/contexts/0/name", json!(""), "spec.kubeconfig.contexts[0].name: is missing")]
fn bad_kubeconfigs(#[case] place: &str, #[case] value: serde_json::Value, #[case] expected: &str) {
    let mut config = kubeconfig();
    *config.pointer_mut(place).unwrap() = value;
    let found = admit::<Cluster>(&cluster(config)).unwrap_err();
    assert!(found.iter().any(|text| text.starts_with(expected)), "{found:?}");
}

#[test]
fn what_kubectl_reads_is_accepted() {
    let mut config = kubeconfig();
    *config.pointer_mut("/users/0/user").unwrap() = json!({"token": "t0ken\n", "client-key-data": "\n"});
    assert!(admit::<Cluster>(&cluster(config)).is_ok());
}

#[test]
fn metrics_need_a_range_and_a_source() {
    let source = MetricSource { name: "prom".into(), metric: "heat".into() };
    let metric = |min, max| MetricSpec { min, max, provider: Some(source.clone()), ..Default::default() };
    assert!(admit::<Metric>(&metric(Some(0.0), Some(1.0))).is_ok());
    for (min, max) in
        [(Some(1.0), Some(1.0)), (Some(2.0), Some(1.0)), (None, Some(1.0)), (Some(f64::NAN), Some(1.0))]
    {
        let found = admit::<Metric>(&metric(min, max)).unwrap_err();
        assert!(found[0].starts_with("spec.min: "), "{found:?}");
    }
    let found =
        admit::<Metric>(&MetricSpec { min: Some(0.0), max: Some(1.0), ..Default::default() }).unwrap_err();
    assert_eq!(found, ["spec.provider: is missing"]);
}

#[test]
fn providers_need_a_known_type_and_a_url() {
    let provider = |r#type| MetricsProviderSpec { r#type };
    assert!(admit::<MetricsProvider>(&provider(None)).unwrap_err()[0].starts_with("spec.type: "));
    let prometheus = |url: &str| provider(Some(Type::Prometheus(PrometheusProvider { url: url.into() })));
    assert!(admit::<MetricsProvider>(&prometheus("http://127.0.0.1:9090")).is_ok());
    assert!(
        admit::<MetricsProvider>(&prometheus("localhost")).unwrap_err()[0]
            .starts_with("spec.prometheus.url: ")
    );
    let influx = provider(Some(Type::Influx(InfluxProvider::default())));
    assert!(
        admit::<MetricsProvider>(&influx).unwrap_err()[0]
            .starts_with("spec.influx: this type of provider is not supported yet")
    );
}

#[test]
fn clusters_are_checked_beyond_their_kubeconfig() {
    let found = |spec: ClusterSpec| admit::<Cluster>(&spec).unwrap_err().join("; ");
    let metric = |name: &str, weight| MetricRef { name: name.into(), weight, namespaced: false };
    let spec = || cluster(kubeconfig());
    let weights = found(ClusterSpec { metrics: vec![metric("a", f64::NAN), metric("b c", 1.0)], ..spec() });
    assert!(weights.contains("spec.metrics[0].weight: must be a finite number"), "{weights}");
    assert!(weights.contains("spec.metrics[1].name: "), "{weights}");
    let twice = found(ClusterSpec { metrics: vec![metric("a", 1.0), metric("a", 2.0)], ..spec() });
    assert_eq!(twice, "spec.metrics[1]: \"a\" is listed twice");
    let namespaces = found(ClusterSpec { allowed_namespaces: vec!["*".into(), "a b".into()], ..spec() });
    assert!(namespaces.starts_with("spec.allowed_namespaces[1]: "), "{namespaces}");
    assert!(found(ClusterSpec { backoff: Some(-1), ..spec() }).starts_with("spec.backoff: "));
    assert!(found(ClusterSpec::default()).starts_with("spec.kubeconfig: is empty"));
    let named = found(ClusterSpec { custom_resources: vec!["plain".into()], ..spec() });
    assert!(named.starts_with("spec.custom_resources[0]: "), "{named}");
}

#[test]
fn errors_about_kubeconfigs_repeat_no_secrets() {
    let mut config = kubeconfig();
    config["clusters"][0]["cluster"]["server"] = json!("user:hunter2@h");
    config["users"][0]["user"] = json!({"client-key-data": "hunter2!", "tokenFile": "hunter2"});
    let found = admit::<Cluster>(&cluster(config)).unwrap_err().join("; ");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn static_values_are_finite() {
    let metrics = [("a".to_owned(), 1.0), ("b".to_owned(), f64::NAN)].into();
    let provider = MetricsProviderSpec { r#type: Some(Type::Static(StaticProvider { metrics })) };
    let found = admit::<MetricsProvider>(&provider).unwrap_err();
    assert_eq!(found, ["spec.static.metrics[\"b\"]: must be a finite number"]);
}

#[rstest]
#[case::beyond_the_parser(200)]
#[case::absurd(100_000)]
fn no_depth_hurts(#[case] depth: usize) {
    let text = format!(r#"{{"apiVersion": {}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let document = Some(Document { content: Some(Content::Json(text)) });
    let entry = Manifest { document, ..Default::default() };
    let spec = ApplicationSpec { manifest: vec![entry], ..Default::default() };
    let found = admit::<Application>(&spec).unwrap_err();
    assert!(found[0].starts_with("spec.manifest[0]: is nested deeper than 64"), "{found:?}");
}

fn rule(change: impl FnOnce(&mut RoleRule)) -> RoleSpec {
    let mut rule = RoleRule {
        api: "kubernetes".into(),
        resources: vec!["applications/binding".into()],
        namespaces: vec![String::new()],
        verbs: vec![Verb::Update.into()],
    };
    change(&mut rule);
    RoleSpec { rules: vec![rule] }
}

#[rstest]
#[case::no_rule(RoleSpec::default(), "spec.rules: is empty")]
#[case::many(RoleSpec { rules: vec![RoleRule::default(); 101] }, "spec.rules: has 101 entries")]
#[case::no_resource(rule(|rule| rule.resources.clear()), "spec.rules[0].resources: is empty")]
#[case::no_verb(rule(|rule| rule.verbs.clear()), "spec.rules[0].verbs: is empty")]
#[case::unspecified(rule(|rule| rule.verbs.push(0)), "spec.rules[0].verbs[1]: is unknown")]
#[case::newer_verb(rule(|rule| rule.verbs.push(77)), "spec.rules[0].verbs[1]: is unknown")]
#[case::namespace(rule(|rule| rule.namespaces.push("a b".into())), "spec.rules[0].namespaces[1]: ")]
#[case::control(rule(|rule| rule.resources[0].push('\n')), "spec.rules[0].resources[0]: holds white space")]
#[case::long(rule(|rule| rule.api = "x".repeat(256)), "spec.rules[0].api: has 256 bytes")]
#[case::many_verbs(rule(|rule| rule.verbs = vec![1; 101]), "spec.rules[0].verbs: has 101 entries")]
fn bad_roles(#[case] spec: RoleSpec, #[case] expected: &str) {
    let found = admit::<Role>(&spec).unwrap_err();
    assert!(found.iter().any(|text| text.starts_with(expected)), "{found:?}");
}

#[test]
fn roles_may_name_what_this_version_does_not_know() {
    assert!(admit::<Role>(&rule(|_| ())).is_ok());
    let spec = rule(|rule| {
        rule.api = String::new();
        rule.resources = vec![String::new(), "magnumclusters/binding".into()];
        // Requests without a namespace need none.
        rule.namespaces.clear();
        rule.verbs = (1..=6).collect();
    });
    assert!(admit::<Role>(&spec).is_ok());
}

fn binding(change: impl FnOnce(&mut RoleBindingSpec)) -> RoleBindingSpec {
    let mut binding = RoleBindingSpec { users: vec!["alice".into()], roles: vec!["system:reader".into()] };
    change(&mut binding);
    binding
}

#[rstest]
#[case::nobody(binding(|binding| binding.users.clear()), "spec.users: is empty")]
#[case::nothing(binding(|binding| binding.roles.clear()), "spec.roles: is empty")]
#[case::many(binding(|binding| binding.users = vec!["a".into(); 1001]), "spec.users: has 1001 entries")]
#[case::no_user(binding(|binding| binding.users.push(String::new())), "spec.users[1]: must have 1 to 255 bytes")]
#[case::control(binding(|binding| binding.users.push("a\n".into())), "spec.users[1]: must have 1 to 255 bytes")]
#[case::no_role(binding(|binding| binding.roles.push("a b".into())), "spec.roles[1]: ")]
fn bad_role_bindings(#[case] spec: RoleBindingSpec, #[case] expected: &str) {
    let found = admit::<RoleBinding>(&spec).unwrap_err();
    assert!(found.iter().any(|text| text.starts_with(expected)), "{found:?}");
    assert!(admit::<RoleBinding>(&binding(|binding| binding.users.push("Ann O'Hara".into()))).is_ok());
}
