//! The wire forms that the standard methods of all kinds share, with the resource as bytes.
//!
//! The requests and responses of every kind's `Create`, `Get`, `List`, `Watch`, `Update`, `UpdateStatus` and `Delete`
//! have the same fields under the same numbers; a test over the descriptors keeps it so. These structs are those
//! messages with the resource left encoded, so that one handler serves all kinds and stored bytes pass through as they
//! are.

use bytes::Bytes;
use prost_types::FieldMask;

use crate::krake::meta::v1::{Consistency, EventType, View};

/// `Create<Kind>Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateRequest {
    /// Namespace; empty for global objects.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name; may be left to the object's metadata.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The encoded resource.
    #[prost(bytes = "bytes", tag = "3")]
    pub object: Bytes,
    /// Check everything, store nothing.
    #[prost(bool, tag = "4")]
    pub validate_only: bool,
    /// Makes the call idempotent; empty: it is not.
    #[prost(string, tag = "5")]
    pub request_id: String,
}

/// `Get<Kind>Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetRequest {
    /// Namespace; empty for global objects.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How fresh the answer must be.
    #[prost(enumeration = "Consistency", tag = "3")]
    pub consistency: i32,
}

/// `List<Kind>sRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListRequest {
    /// Namespace; empty for global objects, `-` for all namespaces.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// At most this many; 0 = the server's choice.
    #[prost(int32, tag = "2")]
    pub page_size: i32,
    /// `next_page_token` of the page before.
    #[prost(string, tag = "3")]
    pub page_token: String,
    /// Kubernetes label selector.
    #[prost(string, tag = "4")]
    pub label_selector: String,
    /// How much of each.
    #[prost(enumeration = "View", tag = "5")]
    pub view: i32,
    /// How fresh the answer must be.
    #[prost(enumeration = "Consistency", tag = "6")]
    pub consistency: i32,
}

/// `List<Kind>sResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListResponse {
    /// The encoded resources.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub items: Vec<Bytes>,
    /// Empty on the last page.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
    /// Revision that all pages show.
    #[prost(int64, tag = "3")]
    pub resource_version: i64,
    /// Identity of the store's history.
    #[prost(string, tag = "4")]
    pub epoch: String,
}

/// `Watch<Kind>sRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    /// Namespace; empty for global objects, `-` for all namespaces.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Kubernetes label selector.
    #[prost(string, tag = "2")]
    pub label_selector: String,
    /// How much of each.
    #[prost(enumeration = "View", tag = "3")]
    pub view: i32,
    /// Where to begin; required.
    #[prost(oneof = "WatchStart", tags = "4, 5, 6")]
    pub start: Option<WatchStart>,
    /// epoch that `after` belongs to.
    #[prost(string, tag = "7")]
    pub epoch: String,
    /// Applications only: uid of a cluster that they are bound to or have a copy on.
    #[prost(string, tag = "8")]
    pub cluster: String,
    /// Only the resource with this name. Empty: all.
    #[prost(string, tag = "9")]
    pub name: String,
    /// Applications only: show state and reason as Get does, and repeat them when they change with a cluster.
    #[prost(bool, tag = "10")]
    pub live_state: bool,
}

/// Where a watch begins.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum WatchStart {
    /// With all objects.
    #[prost(bool, tag = "4")]
    InitialState(bool),
    /// With the next change.
    #[prost(bool, tag = "5")]
    Now(bool),
    /// With the first change after a revision.
    #[prost(int64, tag = "6")]
    After(i64),
}

/// `Watch<Kind>sResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchResponse {
    /// The changes.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
    /// Everything up to this revision was delivered.
    #[prost(int64, tag = "2")]
    pub resource_version: i64,
    /// Identity of the store's history.
    #[prost(string, tag = "3")]
    pub epoch: String,
    /// The initial state ends here.
    #[prost(bool, tag = "4")]
    pub synced: bool,
    /// More of the same revision, or of the initial state, follows.
    #[prost(bool, tag = "5")]
    pub partial: bool,
}

/// `<Kind>Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// What happened.
    #[prost(enumeration = "EventType", tag = "1")]
    pub r#type: i32,
    /// The encoded resource.
    #[prost(bytes = "bytes", tag = "2")]
    pub object: Bytes,
}

/// `Update<Kind>Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRequest {
    /// Namespace; may be left to the object's metadata.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name; may be left to the object's metadata.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The encoded resource; `metadata.resource_version` is the precondition.
    #[prost(bytes = "bytes", tag = "3")]
    pub object: Bytes,
    /// Which fields to write.
    #[prost(message, optional, tag = "4")]
    pub update_mask: Option<FieldMask>,
    /// Check everything, store nothing.
    #[prost(bool, tag = "5")]
    pub validate_only: bool,
    /// An update that changes nothing is an error.
    #[prost(bool, tag = "6")]
    pub reject_unchanged: bool,
}

/// `Update<Kind>StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateStatusRequest {
    /// Namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The encoded resource; only its status counts.
    #[prost(bytes = "bytes", tag = "3")]
    pub object: Bytes,
    /// Which fields to write.
    #[prost(message, optional, tag = "4")]
    pub update_mask: Option<FieldMask>,
}

/// `Delete<Kind>Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRequest {
    /// Namespace; empty for global objects.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Precondition; 0 = whatever it has.
    #[prost(int64, tag = "3")]
    pub resource_version: i64,
    /// Delete dependents even where their owner references say release.
    #[prost(bool, tag = "4")]
    pub cascade: bool,
    /// Erase at once.
    #[prost(bool, tag = "5")]
    pub force: bool,
    /// Precondition; empty = whatever has the name.
    #[prost(string, tag = "6")]
    pub uid: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KINDS, POOL};

    /// The fields that each shared form reads: number and name, with the resource's own field as `object` or `items`.
    fn shapes() -> Vec<(&'static str, Vec<(u32, &'static str)>)> {
        vec![
            (
                "Create{}Request",
                vec![(1, "namespace"), (2, "name"), (3, "object"), (4, "validate_only"), (5, "request_id")],
            ),
            ("Get{}Request", vec![(1, "namespace"), (2, "name"), (3, "consistency")]),
            (
                "List{plural}Request",
                vec![
                    (1, "namespace"),
                    (2, "page_size"),
                    (3, "page_token"),
                    (4, "label_selector"),
                    (5, "view"),
                    (6, "consistency"),
                ],
            ),
            (
                "List{plural}Response",
                vec![(1, "items"), (2, "next_page_token"), (3, "resource_version"), (4, "epoch")],
            ),
            (
                "Watch{plural}Request",
                vec![
                    (1, "namespace"),
                    (2, "label_selector"),
                    (3, "view"),
                    (4, "initial_state"),
                    (5, "now"),
                    (6, "after"),
                    (7, "epoch"),
                    (9, "name"),
                ],
            ),
            (
                "Watch{plural}Response",
                vec![(1, "events"), (2, "resource_version"), (3, "epoch"), (4, "synced"), (5, "partial")],
            ),
            ("{}Event", vec![(1, "type"), (2, "object")]),
            (
                "Update{}Request",
                vec![
                    (1, "namespace"),
                    (2, "name"),
                    (3, "object"),
                    (4, "update_mask"),
                    (5, "validate_only"),
                    (6, "reject_unchanged"),
                ],
            ),
            ("Update{}StatusRequest", vec![(1, "namespace"), (2, "name"), (3, "object"), (4, "update_mask")]),
            (
                "Delete{}Request",
                vec![
                    (1, "namespace"),
                    (2, "name"),
                    (3, "resource_version"),
                    (4, "cascade"),
                    (5, "force"),
                    (6, "uid"),
                ],
            ),
        ]
    }

    #[test]
    fn every_kind_has_the_shared_forms() {
        for kind in KINDS {
            let package = kind.message.rsplit_once('.').unwrap().0;
            for (pattern, fields) in shapes() {
                if pattern.contains("Status") && !kind.has_status {
                    continue;
                }
                let name = pattern.replace("{}", kind.kind).replace("{plural}", kind.plural_rpc);
                let name = format!("{package}.{name}");
                let message = POOL.get_message_by_name(&name).unwrap_or_else(|| panic!("{name} is missing"));
                for (number, field) in fields {
                    let found =
                        message.get_field(number).unwrap_or_else(|| panic!("{name} has no field {number}"));
                    if matches!(field, "object" | "items") {
                        let prost_reflect::Kind::Message(resource) = found.kind() else {
                            panic!("{name}.{} is no message", found.name())
                        };
                        assert_eq!(resource.full_name(), kind.message, "{name}");
                    } else {
                        assert_eq!(found.name(), field, "{name}, field {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_typed_request_reads_as_the_shared_form() {
        use crate::krake::kubernetes::v1::{Application, CreateApplicationRequest};
        use crate::krake::meta::v1::Metadata;
        use prost::Message;
        let application = Application {
            metadata: Some(Metadata { name: "a".into(), ..Default::default() }),
            ..Default::default()
        };
        let typed = CreateApplicationRequest {
            namespace: "n".into(),
            name: "a".into(),
            application: Some(application.clone()),
            validate_only: true,
            ..Default::default()
        };
        let shared = CreateRequest::decode(typed.encode_to_vec().as_slice()).unwrap();
        assert_eq!((shared.namespace.as_str(), shared.validate_only), ("n", true));
        assert_eq!(Application::decode(shared.object).unwrap(), application);
    }
}
