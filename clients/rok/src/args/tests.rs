//! The command line, as it is typed.

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("rok").chain(line.split_whitespace());
    Rok::try_parse_from(words).map(|rok| rok.command).map_err(|error| error.to_string())
}

#[test]
fn the_definition_is_sound() {
    Rok::command().debug_assert();
}

#[test]
fn long_and_short_names_mean_the_same() {
    for line in [
        "kube app list",
        "kubernetes application list -a",
        "kube cluster get c -o yaml",
        "core gm list",
        "core globalmetric get m",
        "core gmp list -o json",
        "core globalmetricsprovider delete p",
        "core metric delete m --wait",
        "core mp get -n demo p",
        "core metricsprovider list --all --api-url http://h:1",
        "core mp update --url http://h:1 p",
        "core gm update --max 2 m",
        "core role update --remove-existing-rules reader",
        "core role list",
        "core rolebinding create -u alice -r reader readers",
        "core rb update --remove-existing-users -u bob readers",
        "kube app list -aw -o json",
        "kube app get -w echo",
        "kube app delete --cascade echo",
        "completion fish",
        "version",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn options_of_applications_arrive() {
    let line = "kube app create -f a.yaml -L x -L y -R r.g -M m --disable-migration -l a=b --backoff_limit -1 \
                --adopt-existing --migration-strategy delete-first --field-validation warn -O schema.yaml \
                --wait running --timeout 2m -n demo echo";
    let Ok(Command::Remote(Remote::Kube(Kube::Application(ApplicationCommand::Create(create))))) =
        parse(line)
    else {
        panic!()
    };
    assert_eq!(create.constraints.labels, ["x", "y"]);
    assert_eq!(create.constraints.migration(), Some(false));
    assert_eq!(create.backoff.limit, Some(-1));
    assert_eq!(create.backoff.backoff, None, "what is not given is not sent");
    assert_eq!(create.deployment.adopt_existing, Some(true));
    assert_eq!(create.deployment.migration_strategy, Some(MigrationOrder::DeleteFirst));
    assert_eq!(create.deployment.field_validation, Some(UnknownFields::Warn));
    assert_eq!(create.deployment.observer_schema.as_deref(), Some("schema.yaml"));
    assert_eq!(create.wait, Some(CreateWait::Running));
    assert_eq!(create.timeout.timeout.as_secs(), 120);
    assert_eq!(
        (create.object.target.name.as_str(), create.object.namespace.namespace.as_deref()),
        ("echo", Some("demo"))
    );

    let Ok(Command::Remote(Remote::Kube(Kube::Application(ApplicationCommand::Update(update))))) =
        parse("kube app update echo --adopt-existing=false --remove-existing-labels --wait")
    else {
        panic!()
    };
    assert_eq!((update.wait, update.constraints.migration()), (Some(UpdateWait::Running), None));
    assert_eq!(update.deployment.adopt_existing, Some(false));
    assert!(update.removals.labels && !update.removals.label_constraints);
    assert_eq!(update.timeout.timeout.as_secs(), 300);
}

#[test]
fn metrics_of_clusters_are_pairs() {
    let line =
        "kube cluster register -k k.yaml -c ctx --metric heat -0.5 --global-metric green 1 --metric b 2";
    let Ok(Command::Remote(Remote::Kube(Kube::Cluster(ClusterCommand::Register(register))))) = parse(line)
    else {
        panic!()
    };
    let metrics = register.cluster.metrics().unwrap();
    let metrics: Vec<_> = metrics.iter().map(|m| (m.name.as_str(), m.weight, m.namespaced)).collect();
    assert_eq!(metrics, [("heat", -0.5, true), ("b", 2.0, true), ("green", 1.0, false)]);
    assert_eq!(register.name, None);
}

#[test]
fn wrong_usage_says_what_is_possible() {
    let unknown_type = parse("core mp create --type graphite --url http://x p").unwrap_err();
    insta::assert_snapshot!(unknown_type, @r"
    error: invalid value 'graphite' for '--type <TYPE>'
      [possible values: prometheus, static, kafka, influx]

    For more information, try '--help'.
    ");
    let both = parse("kube app update --enable-migration --disable-migration a").unwrap_err();
    assert!(both.contains("cannot be used with '--disable-migration'"), "{both}");
    let state = parse("kube app create -f x --wait echo").unwrap_err();
    assert!(state.contains("pending, creating, running"), "{state}");
    let label = parse("kube app create -f x -l location echo").unwrap_err();
    assert!(label.contains("expected KEY=VALUE"), "{label}");
    assert!(parse("core gm get -n demo m").is_err(), "global objects have no namespace");
    assert!(parse("core role get -n demo r").is_err(), "roles have no namespace");
    assert!(parse("core role create reader").unwrap_err().contains("--rule"));
    let rule = parse("core role create -r verbs=get reader").unwrap_err();
    assert!(rule.contains("api=…, resources=…, namespaces=… is missing"), "{rule}");
    assert!(parse("kube cluster update -c ctx name").unwrap_err().contains("--kubeconfig"));
}
