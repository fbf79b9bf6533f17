//! Answers of API servers of Kubernetes 1.20 to 1.37, and what they mean.

use rstest::rstest;

use super::*;
use crate::cluster::bounded::status::parse;
use crate::cluster::recorded::releases;
use crate::object::ObjectKey;
use crate::object::ownership::Occupied;

/// An answer as it arrives, through the type that every answer goes through.
fn answer(code: u16, reason: &str, causes: &[&str], message: &str) -> ClusterError {
    let causes: Vec<_> = causes
        .iter()
        .map(|reason| serde_json::json!({"reason": reason, "message": "", "field": ""}))
        .collect();
    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {"causes": causes}});
    let status: kube::core::Status = serde_json::from_value(status).unwrap();
    kube::Error::Api(status.boxed()).into()
}

const PASSING: Failure = Failure::PASSING;
const LATER: Failure = Failure::OF_CLUSTER_UNLESS_IT_CHANGES;
const CLUSTER: Failure = Failure::OF_CLUSTER;
const SPEC: Failure = Failure::OF_SPEC;

#[rstest]
// Rights and quotas.
#[case(403, "Forbidden", &[], r#"deployments.apps is forbidden: User "system:serviceaccount:krake:adapter" cannot create resource "deployments" in API group "apps" in the namespace "shop""#, LATER)]
#[case(403, "Forbidden", &[], r#"clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "adapter" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held: {APIGroups:[""], Resources:["nodes"], Verbs:["get"]}"#, LATER)]
#[case(401, "Unauthorized", &[], "Unauthorized", LATER)]
#[case(403, "Forbidden", &[], r#"pods "web" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=10, limited: pods=10"#, LATER)]
#[case(403, "Forbidden", &[], r#"pods "web" is forbidden: failed quota: compute: must specify limits.cpu for: app; limits.memory for: app"#, LATER)]
#[case(403, "Forbidden", &[], r#"pods "web" is forbidden: status unknown for quota: compute, resources: pods"#, PASSING)]
#[case(409, "Conflict", &[], r#"Operation cannot be fulfilled on resourcequotas "compute": the object has been modified; please apply your changes to the latest version and try again"#, PASSING)]
#[case(403, "Forbidden", &["NamespaceTerminating"], r#"deployments.apps "web" is forbidden: unable to create new content in namespace shop because it is being terminated"#, PASSING)]
// 1.20 has the cause too; servers behind a proxy that drops details have the words only.
#[case(403, "Forbidden", &[], r#"secrets "s" is forbidden: unable to create new content in namespace shop because it is being terminated"#, PASSING)]
// Policies.
#[case(403, "Forbidden", &[], r#"pods "web" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "app" must set securityContext.allowPrivilegeEscalation=false)"#, CLUSTER)]
#[case(403, "Forbidden", &[], r#"admission webhook "validate.policy.example" denied the request: images must come from registry.example"#, CLUSTER)]
#[case(400, "", &[], r#"admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: host "a.example" and path "/" is already defined in ingress shop/web"#, CLUSTER)]
#[case(500, "InternalError", &[], r#"admission webhook "validate.policy.example" denied the request: rules cannot be read"#, CLUSTER)]
#[case(403, "Forbidden", &[], r#"admission webhook "deny.example" denied the request without explanation"#, CLUSTER)]
#[case(422, "Invalid", &[""], r#"deployments.apps "web" is forbidden: ValidatingAdmissionPolicy 'replicas.example' with binding 'all' denied request: failed expression: object.spec.replicas <= 5"#, CLUSTER)]
#[case(403, "Forbidden", &[], r#"configmaps "c" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#, CLUSTER)]
#[case(500, "InternalError", &[], r#"Internal error occurred: failed calling webhook "validate.policy.example": failed to call webhook: Post "https://policy.policy.svc:443/validate?timeout=10s": dial tcp 10.96.3.4:443: connect: connection refused"#, PASSING)]
// 1.20.
#[case(500, "InternalError", &[], r#"Internal error occurred: failed calling webhook "mutate.istio.io": Post "https://istiod.istio-system.svc:443/inject?timeout=30s": context deadline exceeded"#, PASSING)]
#[case(500, "InternalError", &[], r#"Internal error occurred: failed calling webhook "validate.nginx.ingress.kubernetes.io": failed to call webhook: Post "https://x.svc:443/": no endpoints available for service "x""#, PASSING)]
// Kinds and fields that a version does not know.
#[case(400, "BadRequest", &[], r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replcias""#, CLUSTER)]
#[case(400, "BadRequest", &[], r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: duplicate field "spec.replicas""#, SPEC)]
#[case(400, "BadRequest", &[], r#"no kind "CronTab" is registered for version "example.org/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#, CLUSTER)]
#[case(404, "NotFound", &[], r#"no matches for kind "CronTab" in version "example.org/v1""#, CLUSTER)]
#[case(404, "NotFound", &[], "the server could not find the requested resource", LATER)]
#[case(404, "NotFound", &[], r#"namespaces "shop" not found"#, LATER)]
#[case(405, "MethodNotAllowed", &[], "the server does not allow this method on the requested resource", CLUSTER)]
#[case(415, "UnsupportedMediaType", &[], "the body of the request was in an unknown format - accepted media types include: application/json-patch+json", CLUSTER)]
// Objects that are wrong.
#[case(400, "BadRequest", &[], r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#, SPEC)]
#[case(400, "BadRequest", &[], r#"Deployment in version "v1" cannot be handled as a Deployment: v1.Deployment.Spec: v1.DeploymentSpec.Replicas: readUint32: unexpected character"#, SPEC)]
#[case(422, "Invalid", &["FieldValueInvalid"], r#"Job.batch "j" is invalid: spec.template: Invalid value: core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{}}: field is immutable"#, SPEC)]
#[case(422, "Invalid", &["FieldValueInvalid"], r#"Service "s" is invalid: spec.clusterIPs[0]: Invalid value: "10.0.0.1": may not change once set"#, SPEC)]
#[case(422, "Invalid", &["FieldValueForbidden"], r#"StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden"#, SPEC)]
#[case(422, "Invalid", &["FieldValueRequired"], r#"Deployment.apps "web" is invalid: spec.selector: Required value"#, SPEC)]
#[case(500, "", &[], r#"failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.replcias: field not declared in schema"#, CLUSTER)]
// 1.20.
#[case(500, "InternalError", &[], r#"Internal error occurred: failed to create typed patch object: .spec.template.spec.containers[name="app"].env: duplicate entries for key [name="A"]"#, SPEC)]
#[case(500, "InternalError", &[], r#"Internal error occurred: failed to convert unstructured object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 4"#, SPEC)]
#[case(400, "BadRequest", &[], r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 400.0 into Go struct field SecretVolumeSource"#, SPEC)]
#[case(413, "RequestEntityTooLarge", &[], "Request entity too large: limit is 3145728", SPEC)]
// Trouble that passes.
#[case(429, "TooManyRequests", &[], "the server has received too many requests and has asked us to try again later", PASSING)]
#[case(503, "ServiceUnavailable", &[], "the server is currently unable to handle the request", PASSING)]
#[case(500, "InternalError", &[], "Internal error occurred: etcdserver: leader changed", PASSING)]
#[case(504, "Timeout", &[], "Timeout: request did not complete within the allotted timeout", PASSING)]
#[case(409, "AlreadyExists", &[], r#"configmaps "c" already exists"#, PASSING)]
#[case(409, "Conflict", &[], r#"Apply failed with 1 conflict: conflict with "kubectl": .data.a"#, PASSING)]
// Not of a Kubernetes API server.
#[case(400, "Failed to parse error data", &[], "<html>400 Bad Request</html>", PASSING)]
#[case(422, "SomethingNew", &[], "who knows", PASSING)]
fn answers_of_servers(
    #[case] code: u16,
    #[case] reason: &str,
    #[case] causes: &[&str],
    #[case] message: &str,
    #[case] expected: Failure,
) {
    for stage in [Stage::Placement, Stage::Update] {
        assert_eq!(of_answer(&answer(code, reason, causes, message), stage), expected, "{stage:?}");
    }
}

#[test]
fn what_is_not_found_when_something_is_repaired_is_about_to_come_back() {
    let gone = answer(404, "NotFound", &[], r#"namespaces "shop" not found"#);
    assert_eq!(of_answer(&gone, Stage::Repair), PASSING);
}

#[test]
fn what_did_not_pass_until_the_deadline_is_the_clusters() {
    assert_eq!(PASSING.class_at_deadline(), Class::OfCluster);
    assert_eq!(LATER.class_at_deadline(), Class::OfCluster);
    assert_eq!(SPEC.class_at_deadline(), Class::OfSpec);
}

#[test]
fn what_krake_itself_finds() {
    let key = ObjectKey { api_version: "v1".into(), kind: "Pod".into(), namespace: None, name: "p".into() };
    let occupied = Occupied { key: key.clone(), holder: "another".into() };
    let silent = ClusterError::Unreachable("no answer within 15 s".into());
    let cases = [
        (ApplyError::Refused(Refusal::OwnedByOther(vec![occupied])), CLUSTER),
        (ApplyError::Refused(Refusal::Terminating(vec![key.clone()])), PASSING),
        (ApplyError::Cluster(silent.clone()), PASSING),
        (ApplyError::Object { key: key.clone(), error: silent }, PASSING),
        (ApplyError::Object { key, error: ClusterError::Rejected("no object".into()) }, SPEC),
    ];
    for (error, expected) in cases {
        assert_eq!(of_apply(&error, Stage::Placement), expected, "{error}");
    }
}

/// What each recorded answer means at the placement of an application.
const RECORDED: [(&str, Failure); 29] = [
    ("a namespace that is not there", LATER),
    ("an object that is not there", LATER),
    ("an API version that is not served", LATER),
    ("an object that exists", PASSING),
    ("a replace of an older version", PASSING),
    ("a delete with another uid", PASSING),
    ("credentials that are not known", LATER),
    ("a list without rights", LATER),
    ("a create without rights", LATER),
    ("a field that is not known", CLUSTER),
    ("a field that is there twice", SPEC),
    ("a field of another type", SPEC),
    ("a field that lacks", SPEC),
    ("an immutable field", SPEC),
    ("an apply with a field that is not known", CLUSTER),
    ("an apply with a name twice", SPEC),
    ("an apply of what another manager owns", PASSING),
    ("a Secret that is no base64", SPEC),
    ("another address of a Service", SPEC),
    ("another template of a Job", SPEC),
    ("an object that is too large", SPEC),
    ("a request that is too large", SPEC),
    ("a webhook without a server", PASSING),
    ("a policy", CLUSTER),
    ("a standard for pods", CLUSTER),
    ("a quota", LATER),
    ("a namespace that is being deleted", PASSING),
    ("a method that is not allowed", CLUSTER),
    ("a media type that is not known", CLUSTER),
];

#[test]
fn recorded_answers_of_all_releases() {
    let mut met = std::collections::BTreeSet::new();
    for release in releases() {
        for refusal in &release.errors {
            let what = format!("{}: {}", release.version, refusal.to);
            let code = http::StatusCode::from_u16(refusal.code).unwrap();
            let error = ClusterError::from(kube::Error::Api(parse(code, &refusal.body()).boxed()));
            let status = error.status().unwrap();
            assert_eq!(status.code, refusal.code, "{what}");
            let (known, expected) = RECORDED.iter().find(|(known, _)| *known == refusal.to).expect(&what);
            assert_eq!(of_answer(&error, Stage::Placement), *expected, "{what}: {error}");
            assert_eq!(is_of_silent_webhook(status), refusal.to == "a webhook without a server", "{what}");
            // No server's own text is passed on that is not in the form of Kubernetes.
            let is_foreign = status.message.contains("without a Kubernetes Status");
            assert_eq!(is_foreign, refusal.to == "an API version that is not served", "{what}: {error}");
            met.insert(*known);
        }
    }
    assert_eq!(met.len(), RECORDED.len(), "{met:?}");
}
