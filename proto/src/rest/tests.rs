//! Routes follow from the descriptors, and every kind has those that its scope says.

use std::collections::BTreeSet;

use super::*;
use crate::krake::meta::v1::AccessOptions;

fn route(method: Method, template: &str) -> &'static Route {
    let found = ROUTES.iter().find(|route| route.method == method && route.template == template);
    found.unwrap_or_else(|| panic!("no route {method} {template}"))
}

#[test]
fn a_path_tells_whose_objects_it_reaches() {
    for (template, scope, shown) in [
        ("/core/namespaces/{namespace}/metrics", Scope::Namespaced, "Metric"),
        ("/core/metrics", Scope::All, "Metric"),
        ("/core/globalmetrics", Scope::Global, "GlobalMetric"),
        ("/core/roles", Scope::Global, "Role"),
        ("/kubernetes/applications", Scope::All, "Application"),
    ] {
        let route = route(Method::GET, template);
        assert_eq!((route.scope, route.verb, route.shown_kind()), (scope, Verb::List, shown), "{template}");
        assert!(route.watch.is_some(), "{template} can be watched");
    }
    assert_eq!(Scope::All.namespace("ignored"), "-");
}

#[test]
fn bodies_and_verbs_are_those_of_the_rpc() {
    let create = route(Method::POST, "/core/globalmetrics");
    assert!(matches!(&create.body, Body::Field(field) if field.name() == "metric"));
    assert_eq!((create.verb, create.scope), (Verb::Create, Scope::Global));
    let binding = route(Method::PUT, "/kubernetes/namespaces/{namespace}/applications/{name}/binding");
    assert_eq!((binding.verb, &binding.body), (Verb::Custom, &Body::Request));
    assert_eq!(binding.parameters().collect::<Vec<_>>(), ["namespace", "name"]);
    let status = route(Method::PUT, "/kubernetes/namespaces/{namespace}/clusters/{name}/status");
    assert_eq!(status.verb, Verb::UpdateStatus);
}

#[test]
fn no_method_stands_twice_on_a_path_and_parameters_are_fields_of_the_request() {
    for pair in ROUTES.windows(2) {
        assert_ne!(
            (&pair[0].method, &pair[0].template),
            (&pair[1].method, &pair[1].template),
            "ordered, so equal ones would be neighbours"
        );
    }
    for route in ROUTES.iter() {
        for name in route.parameters() {
            assert!(route.rpc.input().get_field_by_name(name).is_some(), "{}: {name}", route.template);
        }
    }
}

#[test]
fn only_kinds_with_a_state_can_be_waited_for() {
    assert!(
        route(Method::POST, "/kubernetes/namespaces/{namespace}/clusters").query().contains(&Query::Blocking)
    );
    assert!(route(Method::POST, "/core/globalmetrics").query().is_empty());
}

/// The standard routes that a kind of this scope has.
fn standard(kind: &Kind) -> BTreeSet<(String, String, &'static str)> {
    let Kind { api, plural, global_plural, .. } = kind;
    let mut routes = BTreeSet::new();
    let mut add = |method: Method, path: &str, verb| {
        routes.insert((method.to_string(), format!("/{api}/{path}"), verb));
    };
    let mut collections = Vec::new();
    if kind.can_be_namespaced() {
        add(Method::GET, plural, "list");
        collections.push(format!("namespaces/{{namespace}}/{plural}"));
    }
    if kind.can_be_global() {
        collections.push((*global_plural).to_owned());
    }
    for collection in &collections {
        let object = format!("{collection}/{{name}}");
        add(Method::GET, collection, "list");
        add(Method::POST, collection, "create");
        add(Method::GET, &object, "get");
        add(Method::PUT, &object, "update");
        add(Method::DELETE, &object, "delete");
    }
    routes
}

/// The resource and verb that a caller of the RPC must be allowed.
fn access(rpc: &MethodDescriptor) -> AccessOptions {
    let option = POOL.get_extension_by_name("krake.meta.v1.access").unwrap();
    let options = rpc.options();
    options.get_extension(&option).as_message().unwrap().transcode_to().unwrap()
}

#[test]
fn every_kind_has_the_routes_of_its_scope_and_the_permissions_of_its_plural() {
    for kind in KINDS {
        let mut found = BTreeSet::new();
        let routes = ROUTES.iter().filter(|route| route.kind == *kind);
        for route in routes.filter(|route| !matches!(route.verb, Verb::Custom | Verb::UpdateStatus)) {
            let verb = match route.verb {
                Verb::Create => "create",
                Verb::Get => "get",
                Verb::List => "list",
                Verb::Update => "update",
                _ => "delete",
            };
            found.insert((route.method.to_string(), route.template.clone(), verb));
            for rpc in [Some(&route.rpc), route.watch.as_ref()].into_iter().flatten() {
                let access = access(rpc);
                let granted = (access.resource.as_str(), access.verb.as_str());
                assert_eq!(granted, (kind.plural, verb), "{}", rpc.full_name());
            }
            assert_eq!(route.watch.is_some(), route.verb == Verb::List, "{}", route.template);
        }
        assert_eq!(found, standard(kind), "{}", kind.message);
    }
}
