//! The laws of the wire: bytes come back as they were, and what is broken is an error.

use super::*;
use crate::krake::meta::v1::Metadata;
use prost::Message;

fn metadata() -> Metadata {
    Metadata {
        name: "a".into(),
        generation: 3,
        finalizers: vec!["x".into(), "y".into()],
        labels: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    }
}

#[test]
fn overwriting_changes_only_the_named_fields_and_keeps_unknown_ones() {
    let mut encoded = metadata().encode_to_vec();
    let unknown = delimited(4000, b"from a newer peer");
    encoded.extend_from_slice(&unknown);
    let with = Metadata { generation: 4, finalizers: vec!["z".into()], ..Default::default() }.encode_to_vec();
    let written = overwrite(&encoded, &[6, 11], &with).unwrap();
    let expected = Metadata { generation: 4, finalizers: vec!["z".into()], ..metadata() };
    assert_eq!(Metadata::decode(written.as_slice()).unwrap(), expected);
    assert_eq!(occurrences(&written, 4000).unwrap(), unknown);
}

#[test]
fn several_occurrences_of_a_message_merge() {
    let mut twice = delimited(1, &Metadata { name: "a".into(), ..Default::default() }.encode_to_vec());
    twice.extend(delimited(1, &Metadata { generation: 2, ..Default::default() }.encode_to_vec()));
    let merged = singular(&twice, 1).unwrap().unwrap();
    let decoded = Metadata::decode(merged.as_slice()).unwrap();
    assert_eq!((decoded.name.as_str(), decoded.generation), ("a", 2));
    assert_eq!(singular(&twice, 2).unwrap(), None);
}

#[test]
fn broken_bytes_are_an_error() {
    let all = |bytes: &[u8]| fields(bytes).collect::<Result<Vec<_>, _>>().map(|found| found.len());
    assert!(all(&[0x0a, 0x7f, 1]).is_err());
    assert!(all(&[0xff]).is_err());
    assert!(all(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    assert!(all(&[0x02, 0x01]).is_err(), "there is no field 0");
}

#[test]
fn groups_are_skipped_whole() {
    fn all(bytes: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
        fields(bytes).collect()
    }
    // Group 100 with a varint and another group in it, then field 1.
    let bytes = [0xa3, 0x06, 0x08, 0x07, 0x1b, 0x1c, 0xa4, 0x06, 0x08, 0x01];
    let found = all(&bytes).unwrap();
    assert_eq!((found[0].number, found[0].value, found[0].raw), (100, Raw::Group, &bytes[..8]));
    assert_eq!((found[1].number, found[1].value), (1, Raw::Varint(1)));
    for broken in [&[0xa3, 0x06][..], &[0xa4, 0x06][..], &[0x1b, 0x24][..], &[0x1b, 0x0a, 0x05, 0x1c][..]] {
        assert!(all(broken).is_err(), "{broken:?}");
    }
    let nested = |depth: usize| [vec![0x1b; depth], vec![0x1c; depth]].concat();
    assert!(all(&nested(MAX_GROUPS)).is_ok());
    assert!(all(&nested(MAX_GROUPS + 1)).is_err());
    assert!(all(&nested(1_000_000)).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_fields_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Ok(found) = fields(&bytes).collect::<Result<Vec<_>, _>>() {
            let joined: Vec<u8> = found.iter().flat_map(|field| field.raw.iter().copied()).collect();
            proptest::prop_assert_eq!(joined, bytes);
        }
    }
}

#[test]
fn a_large_application_passes_the_check() {
    use crate::krake::kubernetes::v1::{Application, ApplicationSpec, CreateApplicationRequest, Manifest};
    use crate::krake::meta::v1::{Document, document::Content};
    let pod = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"b"}}"#;
    let document = Document { content: Some(Content::Json(pod.to_owned())) };
    let manifest = vec![Manifest { document: Some(document), ..Default::default() }; 2_500];
    let spec = ApplicationSpec { manifest, ..Default::default() };
    let application = Some(Application { spec: Some(spec), ..Default::default() });
    let request = CreateApplicationRequest { application, ..Default::default() };
    let descriptor = crate::POOL.get_message_by_name("krake.kubernetes.v1.CreateApplicationRequest").unwrap();
    assert_eq!(check::check(&descriptor, &request.encode_to_vec()), Ok(()));
}

#[test]
fn what_cannot_be_shown_is_refused_with_its_place() {
    let descriptor = crate::POOL.get_message_by_name("krake.core.v1.CreateMetricRequest").unwrap();
    let refused = |metric: &[u8]| {
        let violation = check::check(&descriptor, &delimited(3, metric)).unwrap_err();
        (violation.field, violation.description)
    };
    let (field, text) = refused(&delimited(1, &delimited(1, b"\xff")));
    assert_eq!((field.as_str(), text.as_str()), ("metadata.name", "is not UTF-8"));
    let (field, text) = refused(&delimited(1, &[0x08, 0x01]));
    assert_eq!(field, "metadata.name");
    assert!(text.ends_with("krake.meta.v1.Metadata.name has another type"), "{text}");
    assert_eq!(refused(&delimited(1, &delimited(4, &delimited(1, b"\xff")))).0, "metadata.labels.key");
    assert_eq!(refused(&delimited(2, &[0x0a, 0x05])).0, "spec");
    assert_eq!(refused(&[0x08, 0x01]).0, "metadata");
    assert_eq!(check::check(&descriptor, &delimited(3, &[0xa3, 0x06, 0xa4, 0x06])), Ok(()));
}

#[test]
fn deep_nesting_is_refused() {
    let descriptor = crate::POOL.get_message_by_name("krake.meta.v1.Document").unwrap();
    // google.protobuf.Value: a list (6) of values (1).
    let nested = |levels: usize| {
        let value = (0..levels).fold(Vec::new(), |inner, _| delimited(6, &delimited(1, &inner)));
        delimited(2, &delimited(1, &[delimited(1, b"x"), delimited(2, &value)].concat()))
    };
    assert_eq!(check::check(&descriptor, &nested(35)), Ok(()));
    assert!(check::check(&descriptor, &nested(45)).unwrap_err().description.contains("nested"));
    assert!(check::check(&descriptor, &nested(10_000)).is_err());
}
