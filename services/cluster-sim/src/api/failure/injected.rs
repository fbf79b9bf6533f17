//! Refusals that were asked for as a fault, in the form in which an API server gives them.

use serde_json::{Value, json};

use crate::api::failure::Failure;
use crate::api::kinds::Kind;
use crate::api::path::Target;
use crate::faults::{Refusal, RuleVerb};

/// What explains an injected fault to a person who meets it.
const WHY: &str = "an injected fault";

/// The refusal of a request. `target` is `None` for discovery, `kind` where the target's is not served.
pub(crate) fn refusal(
    refusal: Refusal,
    verb: RuleVerb,
    target: Option<(&Target, Option<&Kind>)>,
    retry_after: u64,
) -> Failure {
    match refusal {
        Refusal::Unauthorized => Failure::unauthorized(),
        Refusal::TooManyRequests => Failure::too_many_requests(retry_after),
        Refusal::Unavailable => Failure::unavailable(),
        Refusal::Internal => Failure::new(500, "InternalError", format!("Internal error occurred: {WHY}"))
            .with(json!({"causes": [{"message": WHY}]})),
        Refusal::Forbidden => forbidden(verb, target.map(|(target, _)| target)),
        Refusal::NotFound => not_found(verb, target.map(|(target, _)| target)),
        Refusal::Conflict => conflict(verb, target.map(|(target, _)| target)),
        Refusal::Invalid => invalid(target),
    }
}

fn resource(target: &Target) -> String {
    match target.group.as_str() {
        "" => target.plural.clone(),
        group => format!("{}.{group}", target.plural),
    }
}

/// The beginning of messages about an object: of a collection without a name.
fn subject(target: &Target) -> String {
    match &target.name {
        Some(name) => format!("{} \"{name}\"", resource(target)),
        None => resource(target),
    }
}

fn details(target: &Target) -> Value {
    let mut details = json!({"kind": target.plural});
    if !target.group.is_empty() {
        details["group"] = json!(target.group);
    }
    if let Some(name) = &target.name {
        details["name"] = json!(name);
    }
    details
}

fn forbidden(verb: RuleVerb, target: Option<&Target>) -> Failure {
    let Some(target) = target else {
        let message = "forbidden: User \"simulated\" cannot get this path";
        return Failure::new(403, "Forbidden", message).with(json!({}));
    };
    let verb = match verb {
        RuleVerb::Get => "get",
        RuleVerb::List => "list",
        RuleVerb::Watch => "watch",
        RuleVerb::Create => "create",
        RuleVerb::Update => "update",
        RuleVerb::Patch | RuleVerb::Apply => "patch",
        RuleVerb::Delete => "delete",
    };
    let place = match &target.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let message = format!(
        "{} is forbidden: User \"simulated\" cannot {verb} resource \"{}\" in API group \"{}\" {place}",
        subject(target),
        target.plural,
        target.group
    );
    Failure::new(403, "Forbidden", message).with(details(target))
}

/// A create of a missing namespace; otherwise the object, or a kind that is not served.
fn not_found(verb: RuleVerb, target: Option<&Target>) -> Failure {
    match target {
        Some(target) if target.name.is_some() => {
            Failure::new(404, "NotFound", format!("{} not found", subject(target))).with(details(target))
        }
        Some(Target { namespace: Some(namespace), .. }) if verb == RuleVerb::Create => {
            Failure::new(404, "NotFound", format!("namespaces \"{namespace}\" not found"))
                .with(json!({"name": namespace, "kind": "namespaces"}))
        }
        _ => Failure::not_served(),
    }
}

/// The object was modified. A create conflicts with no object, but with the count of a quota.
fn conflict(verb: RuleVerb, target: Option<&Target>) -> Failure {
    let modified =
        "the object has been modified; please apply your changes to the latest version and try again";
    let (subject, details) = match target {
        Some(target) if verb != RuleVerb::Create => (subject(target), details(target)),
        _ => ("resourcequotas \"quota\"".to_owned(), json!({"name": "quota", "kind": "resourcequotas"})),
    };
    Failure::new(409, "Conflict", format!("Operation cannot be fulfilled on {subject}: {modified}"))
        .with(details)
}

fn invalid(target: Option<(&Target, Option<&Kind>)>) -> Failure {
    let cause = ("spec".to_owned(), "FieldValueForbidden", format!("Forbidden: {WHY}"));
    match target {
        Some((target, Some(kind))) => {
            Failure::invalid(kind, target.name.as_deref().unwrap_or_default(), &[cause])
        }
        _ => {
            Failure::new(422, "Invalid", format!("\"\" is invalid: {}: {}", cause.0, cause.2)).with(json!({}))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::kinds;
    use crate::api::path::{self, Path};

    #[rstest]
    #[case(403, RuleVerb::Create, "/api/v1/namespaces/shop/configmaps", "Forbidden",
        "configmaps is forbidden: User \"simulated\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"shop\"",
        json!({"kind": "configmaps"}))]
    #[case(403, RuleVerb::Apply, "/apis/apps/v1/namespaces/shop/deployments/web", "Forbidden",
        "deployments.apps \"web\" is forbidden: User \"simulated\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"",
        json!({"kind": "deployments", "group": "apps", "name": "web"}))]
    #[case(403, RuleVerb::List, "/api/v1/nodes", "Forbidden",
        "nodes is forbidden: User \"simulated\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        json!({"kind": "nodes"}))]
    #[case(404, RuleVerb::Get, "/apis/apps/v1/namespaces/shop/deployments/web", "NotFound",
        "deployments.apps \"web\" not found", json!({"kind": "deployments", "group": "apps", "name": "web"}))]
    #[case(404, RuleVerb::Create, "/api/v1/namespaces/shop/configmaps", "NotFound", "namespaces \"shop\" not found",
        json!({"name": "shop", "kind": "namespaces"}))]
    #[case(422, RuleVerb::Update, "/apis/apps/v1/namespaces/shop/deployments/web", "Invalid",
        "Deployment.apps \"web\" is invalid: spec: Forbidden: an injected fault",
        json!({"kind": "Deployment", "group": "apps", "name": "web",
            "causes": [{"reason": "FieldValueForbidden", "message": "Forbidden: an injected fault", "field": "spec"}]}))]
    #[case(500, RuleVerb::Get, "/api/v1/nodes", "InternalError", "Internal error occurred: an injected fault",
        json!({"causes": [{"message": "an injected fault"}]}))]
    #[case(401, RuleVerb::Get, "/api/v1/nodes", "Unauthorized", "Unauthorized", Value::Null)]
    fn refusals_look_as_those_of_an_api_server(
        #[case] code: u16,
        #[case] verb: RuleVerb,
        #[case] path: &str,
        #[case] reason: &str,
        #[case] message: &str,
        #[case] details: Value,
    ) {
        let Some(Path::Objects(target)) = path::parse(path) else { panic!("{path}") };
        let kind = kinds::built_in().iter().find(|kind| kind.plural == target.plural);
        let target = Some((&target, kind.map(|kind| &**kind)));
        let status = refusal(code.try_into().unwrap(), verb, target, 7).status();
        assert_eq!((&status["code"], &status["reason"]), (&json!(code), &json!(reason)));
        assert_eq!((&status["message"], &status["details"]), (&json!(message), &details));
    }

    #[test]
    fn a_create_conflicts_with_a_quota_and_discovery_with_nothing() {
        let Some(Path::Objects(target)) = path::parse("/api/v1/namespaces/shop/configmaps") else { panic!() };
        let status = refusal(Refusal::Conflict, RuleVerb::Create, Some((&target, None)), 0).status();
        assert!(status["message"].as_str().unwrap().contains("resourcequotas"), "{status}");
        for code in [401, 403, 404, 409, 422, 429, 500, 503] {
            let failure = refusal(code.try_into().unwrap(), RuleVerb::Get, None, 7);
            assert_eq!((failure.code, failure.status()["code"].as_u64()), (code, Some(code.into())));
        }
    }
}
