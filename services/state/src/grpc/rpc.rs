//! The RPCs of the API by their paths, what each needs, and where its requests name their object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use krake_proto::POOL;
use krake_proto::wire::{self, Malformed};
use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};

use crate::access::{Access, Verb};

/// Number of `metadata` in every kind, and of name and namespace in it.
const METADATA: u32 = 1;
const METADATA_NAME: u32 = 1;
const METADATA_NAMESPACE: u32 = 2;

/// One RPC of the API.
#[derive(Debug)]
pub(super) struct Rpc {
    /// `/package.Service/Method`.
    pub(super) path: String,
    /// Full name of the service.
    pub(super) service: String,
    pub(super) verb: Verb,
    /// Every authenticated caller may call it.
    pub(super) open_to_all: bool,
    api: String,
    resource: String,
    fields: Fields,
}

/// Where a request names its object: field numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    namespace: Option<u32>,
    name: Option<u32>,
    /// A whole object, whose metadata may name it too.
    object: Option<u32>,
}

/// All RPCs of Krake's services. An RPC without a rule is left out, and so not served.
pub(super) static RPCS: LazyLock<HashMap<String, Rpc>> = LazyLock::new(|| {
    let services = POOL.services().filter(|service| service.full_name().starts_with("krake."));
    let rpcs =
        services.flat_map(|service| service.methods().filter_map(|rpc| Rpc::read(&rpc)).collect::<Vec<_>>());
    rpcs.map(|rpc| (rpc.path.clone(), rpc)).collect()
});

impl Rpc {
    fn read(rpc: &MethodDescriptor) -> Option<Self> {
        let rule = POOL.get_extension_by_name("krake.meta.v1.access")?;
        let options = rpc.options();
        let rule = options.get_extension(&rule);
        let rule = rule.as_message()?;
        let text = |field: &str| Some(rule.get_field_by_name(field)?.as_str()?.to_owned());
        let service = rpc.parent_service();
        Some(Rpc {
            path: format!("/{}/{}", service.full_name(), rpc.name()),
            service: service.full_name().to_owned(),
            verb: Verb::parse(&text("verb")?)?,
            open_to_all: rule.get_field_by_name("open_to_all")?.as_bool()?,
            // krake.GROUP.VERSION
            api: service.package_name().split('.').nth(1)?.to_owned(),
            resource: text("resource").filter(|resource| !resource.is_empty())?,
            fields: Fields::of(&rpc.input()),
        })
    }

    /// Name of the RPC within its service.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// What a request needs that is encoded as `request`. What cannot be read names nothing, and is refused when it is
    /// decoded.
    pub(super) fn access(&'static self, request: &[u8]) -> Access {
        let (namespace, name) = self.fields.read(request).unwrap_or_default();
        self.access_to(namespace, name)
    }

    /// What a request needs that names this object.
    pub(super) fn access_to(&'static self, namespace: String, name: String) -> Access {
        let (api, resource) = (Cow::from(self.api.as_str()), Cow::from(self.resource.as_str()));
        Access { verb: self.verb, api, resource, namespace, name }
    }
}

impl Fields {
    fn of(message: &MessageDescriptor) -> Self {
        let text = |name| {
            message
                .get_field_by_name(name)
                .filter(|field| field.kind() == Kind::String)
                .map(|field| field.number())
        };
        let mut fields = message.fields();
        let object = fields.find(|field| {
            field.kind().as_message().is_some_and(|message| {
                krake_proto::KINDS.iter().any(|kind| kind.message == message.full_name())
            })
        });
        Fields {
            namespace: text("namespace"),
            name: text("name"),
            object: object.map(|field| field.number()),
        }
    }

    /// Namespace and name. A field of the request wins over the object's; both must be equal, which is checked where the
    /// request is served. Of several occurrences the last one counts, as for every protobuf parser.
    fn read(&self, request: &[u8]) -> Result<(String, String), Malformed> {
        let (mut namespace, mut name) = ("", "");
        let (mut own_namespace, mut own_name) = ("", "");
        each(request, |number, content| {
            let field = Some(number);
            if field == self.namespace {
                namespace = text(content);
            } else if field == self.name {
                name = text(content);
            } else if field == self.object {
                each(content, |number, content| {
                    if number != METADATA {
                        return Ok(());
                    }
                    each(content, |number, content| {
                        match number {
                            METADATA_NAME => own_name = text(content),
                            METADATA_NAMESPACE => own_namespace = text(content),
                            _ => {}
                        }
                        Ok(())
                    })
                })?;
            }
            Ok(())
        })?;
        let either = |own: &str, of_object: &str| if own.is_empty() { of_object } else { own }.to_owned();
        Ok((either(namespace, own_namespace), either(name, own_name)))
    }
}

/// A field's text; what is not UTF-8 is refused when the request is decoded.
fn text(content: &[u8]) -> &str {
    std::str::from_utf8(content).unwrap_or_default()
}

/// Visits the length-delimited fields of an encoded message in order.
fn each<'a>(
    message: &'a [u8],
    mut visit: impl FnMut(u32, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for field in wire::fields(message) {
        let field = field?;
        if let Some(content) = field.content() {
            visit(field.number, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::kubernetes::v1::{
        Application, CreateApplicationRequest, GetApplicationRequest, UpdateApplicationRequest,
    };
    use krake_proto::krake::meta::v1::Metadata;
    use prost::Message;

    use super::*;

    fn access(rpc: &str, request: &impl Message) -> String {
        let path = format!("/krake.kubernetes.v1.ApplicationService/{rpc}");
        RPCS[&path].access(&request.encode_to_vec()).to_string()
    }

    fn application(namespace: &str, name: &str) -> Option<Application> {
        let metadata = Metadata { namespace: namespace.into(), name: name.into(), ..Default::default() };
        Some(Application { metadata: Some(metadata), ..Default::default() })
    }

    #[test]
    fn every_rpc_has_a_rule() {
        for service in POOL.services().filter(|service| service.full_name().starts_with("krake.")) {
            for rpc in service.methods() {
                let path = format!("/{}/{}", service.full_name(), rpc.name());
                let found = RPCS.get(&path).unwrap_or_else(|| panic!("{path} has no option `access`"));
                let reads = ["Get", "List", "Watch", "Check"].iter().any(|verb| rpc.name().starts_with(verb));
                assert_eq!(found.verb.writes(), !reads, "{path}");
                let about_object =
                    ["DeleteObject", "RemoveFinalizer", "ReportDeletion"].contains(&rpc.name());
                let about_kind = krake_proto::KINDS.iter().any(|kind| kind.service == service.full_name());
                assert_eq!(found.fields.namespace.is_some(), about_kind || about_object, "{path}");
            }
        }
        let open: Vec<_> = RPCS.values().filter(|rpc| rpc.open_to_all).map(|rpc| rpc.path.as_str()).collect();
        assert_eq!(open, ["/krake.core.v1.IdentityService/GetCaller"]);
    }

    #[test]
    fn requests_name_their_object_in_either_place() {
        let named =
            GetApplicationRequest { namespace: "demo".into(), name: "a".into(), ..Default::default() };
        let expected = r#"get kubernetes/applications "a" in namespace "demo""#;
        assert_eq!(access("GetApplication", &named), expected);
        let own = UpdateApplicationRequest { application: application("demo", "a"), ..Default::default() };
        assert_eq!(access("UpdateApplication", &own), expected.replace("get", "update"));
        let both = CreateApplicationRequest {
            namespace: "demo".into(),
            application: application("other", "a"),
            ..Default::default()
        };
        assert_eq!(access("CreateApplication", &both), expected.replace("get", "create"));
    }

    #[test]
    fn the_last_occurrence_counts_as_for_every_parser() {
        let first = GetApplicationRequest { namespace: "x".into(), name: "y".into(), ..Default::default() };
        let mut encoded = first.encode_to_vec();
        encoded.extend(GetApplicationRequest { name: "a".into(), ..Default::default() }.encode_to_vec());
        let decoded = GetApplicationRequest::decode(encoded.as_slice()).unwrap();
        let access = RPCS["/krake.kubernetes.v1.ApplicationService/GetApplication"].access(&encoded);
        assert_eq!((access.namespace, access.name), (decoded.namespace, decoded.name));
    }

    proptest::proptest! {
        #[test]
        fn what_is_authorized_is_what_is_decoded(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
            chunks in proptest::collection::vec((0..4_usize, "[a-c]{0,2}", "[a-c]{0,2}"), 0..5),
        ) {
            let mut encoded = Vec::new();
            for (which, namespace, name) in chunks {
                let request = match which {
                    0 => UpdateApplicationRequest { namespace, ..Default::default() },
                    1 => UpdateApplicationRequest { name, ..Default::default() },
                    _ => UpdateApplicationRequest { application: application(&namespace, &name), ..Default::default() },
                };
                encoded.extend(request.encode_to_vec());
            }
            encoded.extend(bytes);
            if let Ok(decoded) = UpdateApplicationRequest::decode(encoded.as_slice()) {
                let access = RPCS["/krake.kubernetes.v1.ApplicationService/UpdateApplication"].access(&encoded);
                let own = decoded.application.and_then(|application| application.metadata).unwrap_or_default();
                let either = |own: String, of_object: String| if own.is_empty() { of_object } else { own };
                proptest::prop_assert_eq!(access.namespace, either(decoded.namespace, own.namespace));
                proptest::prop_assert_eq!(access.name, either(decoded.name, own.name));
            }
        }
    }
}
