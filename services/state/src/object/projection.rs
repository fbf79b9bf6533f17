//! Views: encoded resources without their documents.

use bytes::Bytes;
use krake_proto::krake::meta::v1::View;
use prost_reflect::{Kind, MessageDescriptor};

use super::wire::{self, Malformed};

const DOCUMENT: &str = "krake.meta.v1.Document";

/// `message` as `view` shows it.
pub(crate) fn project(
    message: Bytes,
    descriptor: &MessageDescriptor,
    view: View,
) -> Result<Bytes, Malformed> {
    match view {
        View::Basic => Ok(without_documents(&message, descriptor)?.into()),
        View::Full | View::Unspecified => Ok(message),
    }
}

fn without_documents(message: &[u8], descriptor: &MessageDescriptor) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len());
    for field in wire::fields(message)? {
        let known = descriptor.get_field(field.number).filter(|known| !known.is_map());
        match (known.map(|known| known.kind()), field.content) {
            (Some(Kind::Message(child)), Some(_)) if child.full_name() == DOCUMENT => {}
            (Some(Kind::Message(child)), Some(content)) if child.package_name().starts_with("krake.") => {
                out.extend(wire::delimited(field.number, &without_documents(content, &child)?));
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Manifest};
    use krake_proto::krake::meta::v1::{Document, document::Content};
    use krake_proto::{POOL, Resource};
    use prost::Message;

    #[test]
    fn the_basic_view_keeps_everything_but_documents() {
        let document = Document { content: Some(Content::Json("{}".into())) };
        let manifest =
            Manifest { document: Some(document.clone()), name: "web".into(), ..Default::default() };
        let spec = ApplicationSpec { manifest: vec![manifest], backoff: Some(2), ..Default::default() };
        let full = Application { spec: Some(spec), ..Default::default() };
        let descriptor = POOL.get_message_by_name(Application::KIND.message).unwrap();
        let encoded = Bytes::from(full.encode_to_vec());
        let basic = project(encoded.clone(), &descriptor, View::Basic).unwrap();
        let spec = Application::decode(basic).unwrap().spec.unwrap();
        assert_eq!(spec.manifest, [Manifest { name: "web".into(), ..Default::default() }]);
        assert_eq!(spec.backoff, Some(2));
        assert_eq!(project(encoded.clone(), &descriptor, View::Full).unwrap(), encoded);
    }
}
