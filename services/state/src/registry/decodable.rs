//! What may be stored as a status: bytes that every reader can decode.

use krake_proto::Kind;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::{Error, section_descriptor};
use crate::derive;
use crate::object::sections::Sections;

/// Refuses a status that its readers could not decode.
///
/// # Errors
/// [`Error::Invalid`] for the field `status`.
pub(super) fn status(kind: &Kind, sections: &Sections) -> Result<(), Error> {
    // Where fields are derived from the status, it has been decoded for that.
    if !derive::fields(kind).is_empty() {
        return Ok(());
    }
    match (&sections.status, section_descriptor(kind, "status")) {
        // A status of a kind without one is an unknown field like others.
        (None, _) | (Some(_), None) => Ok(()),
        (Some(status), Some(descriptor)) => decodes(status, descriptor),
    }
}

fn decodes(status: &[u8], descriptor: MessageDescriptor) -> Result<(), Error> {
    match DynamicMessage::decode(descriptor, status) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::invalid("status", format!("cannot be decoded: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use krake_proto::envelope::UpdateStatusRequest;
    use krake_proto::{KINDS, POOL};

    use super::super::{Call, Registry};
    use super::*;
    use crate::cache::Cache;
    use crate::object::{key, value, wire};
    use crate::store::{MemoryStore, Store, Txn};

    /// The end of a message that never began, a field that is longer than its message, and a condition that is none.
    const BROKEN: [&[u8]; 3] = [&[0xff], &[0xfa, 0x01, 0x7f, 1], &[0x0c]];

    #[test]
    fn only_what_can_be_decoded_is_a_status() {
        let descriptor = || POOL.get_message_by_name("krake.kubernetes.v1.ClusterStatus").unwrap();
        for broken in BROKEN {
            let refused = decodes(broken, descriptor());
            assert!(matches!(refused, Err(Error::Invalid(found)) if found[0].field == "status"));
        }
        assert!(decodes(&wire::delimited(4000, b"of a newer peer"), descriptor()).is_ok());
    }

    #[tokio::test]
    async fn a_status_that_cannot_be_decoded_is_stored_for_no_kind() {
        let call = Call::by("alice");
        for kind in KINDS.iter().filter(|kind| kind.has_status) {
            let store = Arc::new(MemoryStore::new());
            let registry =
                Registry::new(store.clone(), Arc::new(Cache::default()), Arc::new(SystemTime::now));
            let key = key::resource(kind, "ns", "a");
            let value = value::encode(kind.message, &Sections::default().encode());
            store.commit(Txn::new().put(key.clone(), value)).await.unwrap().unwrap();
            for broken in BROKEN {
                let status = Sections { status: Some(broken.into()), ..Default::default() };
                // Named fields, since of those that are populated the unknown ones are left out.
                for field in ["conditions", "state"] {
                    let request = UpdateStatusRequest {
                        namespace: "ns".into(),
                        name: "a".into(),
                        object: status.encode(),
                        update_mask: Some(prost_types::FieldMask { paths: vec![format!("status.{field}")] }),
                    };
                    // Refused, or stored without what cannot be decoded.
                    let _ = registry.update_status(&call, kind, request).await;
                    let stored = store.get(&key).await.unwrap().unwrap().value;
                    let message = value::decode(kind.message, &stored).unwrap();
                    let descriptor = POOL.get_message_by_name(kind.message).unwrap();
                    assert!(DynamicMessage::decode(descriptor, message).is_ok(), "{}", kind.kind);
                }
            }
        }
    }
}
