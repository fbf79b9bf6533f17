//! A resource as separate encoded sections: metadata, spec and status. A write re-encodes only the one that it changes.

use bytes::{BufMut, Bytes, BytesMut};
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::metadata;
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
        let mut found: [Vec<&[u8]>; 3] = Default::default();
        let mut rest = BytesMut::new();
        for field in wire::fields(message) {
            let field = field?;
            match (field.number, field.content()) {
                (number @ METADATA..=STATUS, Some(content)) => found[number as usize - 1].push(content),
                // Were it kept among the unknown fields, nobody could decode the stored resource.
                (number @ METADATA..=STATUS, None) => {
                    return Err(Malformed::new(format!("field {number} is not a message")));
                }
                _ => rest.put_slice(field.raw),
            }
        }
        let [metadata, spec, status] = found.map(|occurrences| match occurrences.as_slice() {
            [] => None,
            [content] => Some(message.slice_ref(content)),
            several => Some(Bytes::from(several.concat())),
        });
        Ok(Sections { metadata: metadata.unwrap_or_default(), spec, status, rest: rest.freeze() })
    }

    /// The same sections, each in memory of its own or in that of an equal one of `others`: a slice keeps the whole
    /// message that it is cut from.
    pub(crate) fn shared_with(self, others: Option<&Sections>) -> Self {
        let shared = |mine: Bytes, other: Option<&Bytes>| match other {
            Some(other) if *other == mine => other.clone(),
            _ => Bytes::copy_from_slice(&mine),
        };
        let Sections { metadata, spec, status, rest } = self;
        Sections {
            metadata: shared(metadata, others.map(|others| &others.metadata)),
            spec: spec.map(|spec| shared(spec, others.and_then(|others| others.spec.as_ref()))),
            status: status.map(|status| shared(status, others.and_then(|others| others.status.as_ref()))),
            rest,
        }
    }

    /// The whole message as it is stored.
    pub(crate) fn encode(&self) -> Bytes {
        self.encode_with(&[])
    }

    /// The whole message as clients see it: with the revision as a second occurrence of `metadata`, which every
    /// protobuf implementation merges into the first, and without what is only stored.
    pub(crate) fn encode_at(&self, resource_version: i64) -> Bytes {
        let version = Metadata { resource_version, ..Default::default() };
        let shown = Sections { metadata: metadata::shown(&self.metadata), ..self.clone() };
        shown.encode_with(&wire::delimited(METADATA, &version.encode_to_vec()))
    }

    /// The decoded metadata.
    pub(crate) fn decode_metadata(&self) -> Result<Metadata, Malformed> {
        Ok(Metadata::decode(self.metadata.clone())?)
    }

    /// The length of [`Self::encode`], in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let section = |(number, section): (u32, Option<&Bytes>)| {
            section.map_or(0, |section| {
                key_len(number) + encoded_len_varint(section.len() as u64) + section.len()
            })
        };
        self.numbered().into_iter().map(section).sum::<usize>() + self.rest.len()
    }

    fn numbered(&self) -> [(u32, Option<&Bytes>); 3] {
        [(METADATA, Some(&self.metadata)), (SPEC, self.spec.as_ref()), (STATUS, self.status.as_ref())]
    }

    fn encode_with(&self, extra: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len() + extra.len());
        for (number, section) in self.numbered() {
            if let Some(section) = section {
                encode_key(number, WireType::LengthDelimited, &mut out);
                encode_varint(section.len() as u64, &mut out);
                out.put_slice(section);
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
        assert_eq!(sections.encoded_len(), encoded.len());
        let shown = Metric::decode(sections.encode_at(42)).unwrap();
        let metadata = shown.metadata.unwrap();
        assert_eq!((metadata.name.as_str(), metadata.resource_version), ("m", 42));
        assert_eq!(shown.spec, metric.spec);
        assert_eq!(sections.status, None);
    }

    #[test]
    fn sections_that_occur_several_times_are_joined() {
        let part = |metadata: Metadata| wire::delimited(METADATA, &metadata.encode_to_vec());
        let mut encoded = part(Metadata { name: "m".into(), ..Default::default() });
        encoded.extend(part(Metadata { namespace: "n".into(), ..Default::default() }));
        let metadata = Sections::parse(&encoded.into()).unwrap().decode_metadata().unwrap();
        assert_eq!((metadata.name.as_str(), metadata.namespace.as_str()), ("m", "n"));
    }

    #[test]
    fn a_section_that_is_no_message_is_refused() {
        for number in METADATA..=STATUS {
            let mut encoded = Vec::new();
            encode_key(number, WireType::Varint, &mut encoded);
            encode_varint(7, &mut encoded);
            assert!(Sections::parse(&encoded.into()).is_err(), "{number}");
        }
    }
}
