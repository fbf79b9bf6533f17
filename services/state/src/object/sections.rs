//! A resource as separate encoded sections: metadata, spec and status. A write re-encodes only the one that it changes.

use bytes::{BufMut, Bytes, BytesMut};
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;

use super::wire::{self, Malformed};

/// Field number of `metadata` in every kind.
pub(crate) const METADATA: u32 = 1;
/// Field number of `spec` in every kind.
pub(crate) const SPEC: u32 = 2;
/// Field number of `status` in every kind that has one.
pub(crate) const STATUS: u32 = 3;

/// The sections of an encoded resource; each holds the content of its field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    /// Content of `metadata`, without `resource_version`.
    pub metadata: Bytes,
    /// Content of `spec`; `None` if the field is absent.
    pub spec: Option<Bytes>,
    /// Content of `status`; `None` if the field is absent.
    pub status: Option<Bytes>,
    /// Fields of a newer peer, whole.
    pub rest: Bytes,
}

impl Sections {
    /// Splits an encoded resource. Sections that occur once are slices of `message`, not copies.
    pub(crate) fn parse(message: &Bytes) -> Result<Self, Malformed> {
        let mut found: [Option<Bytes>; 3] = [None, None, None];
        let mut rest = BytesMut::new();
        for field in wire::fields(message)? {
            let (METADATA..=STATUS, Some(content)) = (field.number, field.content) else {
                rest.put_slice(field.raw);
                continue;
            };
            let slot = &mut found[field.number as usize - 1];
            *slot = Some(match slot.take() {
                None => message.slice_ref(content),
                Some(before) => [before.as_ref(), content].concat().into(),
            });
        }
        let [metadata, spec, status] = found;
        Ok(Sections { metadata: metadata.unwrap_or_default(), spec, status, rest: rest.freeze() })
    }

    /// The whole message as it is stored.
    pub(crate) fn encode(&self) -> Bytes {
        self.encode_with(&[])
    }

    /// The whole message as clients see it: with the revision as a second occurrence of `metadata`, which every
    /// protobuf implementation merges into the first.
    pub(crate) fn encode_at(&self, resource_version: i64) -> Bytes {
        let version = Metadata { resource_version, ..Default::default() };
        self.encode_with(&wire::delimited(METADATA, &version.encode_to_vec()))
    }

    /// The decoded metadata.
    pub(crate) fn decode_metadata(&self) -> Result<Metadata, Malformed> {
        Ok(Metadata::decode(self.metadata.clone())?)
    }

    fn encode_with(&self, extra: &[u8]) -> Bytes {
        let sections =
            [(METADATA, Some(&self.metadata)), (SPEC, self.spec.as_ref()), (STATUS, self.status.as_ref())];
        let mut out = BytesMut::new();
        for (number, section) in sections {
            if let Some(section) = section {
                out.put_slice(&wire::delimited(number, section));
            }
            if number == METADATA {
                out.put_slice(extra);
            }
        }
        out.put_slice(&self.rest);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::core::v1::{Metric, MetricSpec};

    #[test]
    fn splitting_and_joining_keeps_everything_and_adds_the_version() {
        let metric = Metric {
            metadata: Some(Metadata { name: "m".into(), ..Default::default() }),
            spec: Some(MetricSpec { min: Some(0.0), ..Default::default() }),
        };
        let mut encoded = metric.encode_to_vec();
        encoded.extend(wire::delimited(900, b"new"));
        let sections = Sections::parse(&encoded.clone().into()).unwrap();
        assert_eq!(sections.encode(), encoded);
        let shown = Metric::decode(sections.encode_at(42)).unwrap();
        let metadata = shown.metadata.unwrap();
        assert_eq!((metadata.name.as_str(), metadata.resource_version), ("m", 42));
        assert_eq!(shown.spec, metric.spec);
        assert_eq!(sections.status, None);
    }
}
