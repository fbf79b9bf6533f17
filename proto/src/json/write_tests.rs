//! The laws of writing from the wire: what every protobuf library would show, and nothing that breaks a line.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::tests::Seed;
use super::*;
use crate::KINDS;
use crate::krake::core::v1::{Metric, MetricSpec};
use crate::krake::kubernetes::v1::Application;
use crate::krake::meta::v1::Metadata;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_one_line_of_json_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64), seed in any::<u64>()) {
        for kind in KINDS {
            let descriptor = POOL.get_message_by_name(kind.message).unwrap();
            // Also what is nearly right: a message with something in its middle.
            let mut broken = Seed(seed).message(&descriptor).encode_to_vec();
            let place = (seed as usize) % (broken.len() + 1);
            broken.splice(place..place, bytes.iter().copied());
            for bytes in [&bytes, &broken] {
                let mut text = Vec::new();
                if write(&descriptor, bytes, Options::default(), &mut text).is_ok() {
                    let read = serde_json::from_slice::<Json>(&text);
                    prop_assert!(read.is_ok(), "{}", String::from_utf8_lossy(&text));
                    prop_assert!(!text.contains(&b'\n'));
                }
            }
        }
    }
}

#[test]
fn of_a_document_in_several_forms_the_last_is_shown() {
    use crate::wire::delimited;
    let document = POOL.get_message_by_name("krake.meta.v1.Document").unwrap();
    let shown = |parts: &[&[u8]]| {
        let mut text = Vec::new();
        write(&document, &parts.concat(), Options::default(), &mut text).unwrap();
        serde_json::from_slice::<Json>(&text).unwrap()
    };
    let (text, odd, object) = (delimited(1, b"[1.0]"), delimited(1, b"no JSON"), delimited(2, &[]));
    assert_eq!(shown(&[&odd, &text]), json!([1.0]));
    assert_eq!(shown(&[&text, &odd]), json!("no JSON"), "as if it stood alone");
    assert_eq!(shown(&[&odd, &object]), json!({}));
    assert_eq!(shown(&[&object, &text]), json!([1.0]));
}

#[test]
fn parts_of_a_message_are_merged_as_every_protobuf_library_does() {
    let name = Metric { metadata: Some(Metadata { name: "m".into(), ..Default::default() }), spec: None };
    let version =
        Metric { metadata: Some(Metadata { resource_version: 7, ..Default::default() }), spec: None };
    let mut text = Vec::new();
    let both = [name.encode_to_vec(), version.encode_to_vec()].concat();
    let metric = POOL.get_message_by_name("krake.core.v1.Metric").unwrap();
    write(&metric, &both, Options::default(), &mut text).unwrap();
    let shown: Json = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&shown["metadata"]["name"], &shown["metadata"]["resource_version"]),
        (&json!("m"), &json!(7))
    );

    let value = |seconds| MetricSpec { allowed_values: vec![seconds, -1], ..Default::default() };
    let packed = value(5).encode_to_vec();
    let specs = [packed.clone(), vec![0x20, 0x09], packed].concat();
    let spec = POOL.get_message_by_name("krake.core.v1.MetricSpec").unwrap();
    let mut text = Vec::new();
    write(&spec, &specs, Options::default(), &mut text).unwrap();
    let shown: Json = serde_json::from_slice(&text).unwrap();
    assert_eq!(shown["allowed_values"], json!([5, -1, 9, 5, -1]), "packed or not, all elements count");
}

#[test]
fn of_a_oneof_the_last_written_member_counts_and_what_is_not_known_is_left_out() {
    use crate::krake::core::v1::metrics_provider_spec::Type;
    use crate::krake::core::v1::{MetricsProviderSpec, PrometheusProvider, StaticProvider};
    let spec = |variant| MetricsProviderSpec { r#type: Some(variant) }.encode_to_vec();
    let prometheus = spec(Type::Prometheus(PrometheusProvider { url: "http://p".into() }));
    let fixed = spec(Type::Static(StaticProvider { metrics: [("m".to_owned(), 1.0)].into() }));
    let descriptor = POOL.get_message_by_name("krake.core.v1.MetricsProviderSpec").unwrap();
    let mut text = Vec::new();
    // Field 900, of a newer peer.
    let unknown = [0xa2, 0x38, 0x01, 0x00];
    write(&descriptor, &[fixed, unknown.to_vec(), prometheus].concat(), Options::default(), &mut text)
        .unwrap();
    let shown: Json = serde_json::from_slice(&text).unwrap();
    assert_eq!(shown, json!({"type": "prometheus", "prometheus": {"url": "http://p"}}));
    for broken in [&[0x0a, 0x05, 0x01][..], &[0x0a][..], &[0x0b][..], &[0xff; 11][..]] {
        assert!(write(&descriptor, broken, Options::default(), &mut text).is_err(), "{broken:?}");
    }
}

#[test]
fn what_upstreams_clients_refuse_as_null_is_shown_and_taken_as_they_have_it() {
    let shown =
        to_value(&Application { spec: Some(Default::default()), ..Default::default() }, Options::default());
    assert_eq!((&shown["spec"]["tosca"], &shown["spec"]["shutdown_grace_time"]), (&json!({}), &json!(30)));
    assert_eq!(shown["spec"]["constraints"]["cluster"]["labels"], json!([]));
    assert_eq!(shown["spec"]["constraints"]["migration"], json!(true));
    let body = json!({"spec": {"tosca": {}, "shutdown_grace_time": 30, "constraints": {}}});
    let read: Application = from_value(&body, Unknown::Refuse).unwrap();
    let spec = read.spec.unwrap();
    assert_eq!((spec.tosca, spec.shutdown_grace_time, spec.constraints), (None, None, None));
}
