//! The memory that a request takes: at most eight times its size, beyond a constant, whatever it holds. One test, since
//! the whole process is measured.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use krake_proto::POOL;
use krake_proto::envelope::CreateRequest;
use krake_proto::json::{self, Unknown};
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::wire::{check::check, delimited};
use peak_alloc::PeakAlloc;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};

/// A request of about so many bytes.
type Request = fn(usize) -> Vec<u8>;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What any request may take, in bytes.
const CONSTANT: usize = 8 << 20;
/// What a request may take for each byte that it is long.
const FACTOR: usize = 8;

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("krake.kubernetes.v1.{name}")).unwrap()
}

/// Runs `work` on a request of `size` bytes and fails if it takes too much memory.
fn bounded<T>(what: &str, size: usize, work: impl FnOnce() -> T) -> T {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let done = work();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    eprintln!("{what}: a request of {size} bytes took {taken}");
    assert!(taken <= FACTOR * size + CONSTANT, "{what}: a request of {size} bytes took {taken}");
    done
}

/// What the gateway does with a body.
fn by_json(text: &str) -> bool {
    let application = descriptor("Application");
    let Ok(parsed) = json::parse(&application, text.as_bytes()) else { return false };
    json::read_parsed(&application, &parsed, Unknown::Ignore)
        .is_ok_and(|read| !read.encode_to_vec().is_empty())
}

/// What the state service does with a request, as far as memory goes: decodes all of it, by descriptor and by type.
fn by_wire(request: Vec<u8>) -> bool {
    let descriptor = descriptor("CreateApplicationRequest");
    if check(&descriptor, &request).is_err() {
        return false;
    }
    let request = bytes::Bytes::from(request);
    let envelope = CreateRequest::decode(request).unwrap();
    let dynamic = DynamicMessage::decode(self::descriptor("Application"), envelope.object.clone()).unwrap();
    let typed = Application::decode(envelope.object).unwrap();
    drop((dynamic, typed));
    true
}

fn create(application: &[u8]) -> Vec<u8> {
    delimited(3, application)
}

#[test]
fn a_request_takes_eight_times_its_size_at_most() {
    // Tables that are made once.
    by_json("{}");
    by_wire(create(&[]));
    const SIZE: usize = 4_000_000;
    let repeat = |unit: &str| unit.repeat(SIZE / unit.len());
    let list = |unit: &str| format!("[{}{unit}]", repeat(&format!("{unit},")));
    let object = (0..SIZE / 12).map(|index| format!("\"{index}\":1,")).collect::<String>();
    let texts = [
        ("owners", format!(r#"{{"metadata":{{"owners":{}}}}}"#, list("{}"))),
        ("owners with a field", format!(r#"{{"metadata":{{"owners":{}}}}}"#, list(r#"{"name":"a"}"#))),
        ("finalizers", format!(r#"{{"metadata":{{"finalizers":{}}}}}"#, list("\"\""))),
        ("wrong labels", format!(r#"{{"metadata":{{"labels":{}}}}}"#, list("1"))),
        ("labels", format!(r#"{{"metadata":{{"labels":{{{object}"x":"1"}}}}}}"#)),
        ("many documents", format!(r#"{{"spec":{{"manifest":{}}}}}"#, list("{}"))),
        ("a document of objects", format!(r#"{{"spec":{{"manifest":[{{"x":{}}}]}}}}"#, list(r#"{"a":1}"#))),
        ("a document of one object", format!(r#"{{"spec":{{"manifest":[{{{object}"x":1}}]}}}}"#)),
        ("a document of numbers", format!(r#"{{"spec":{{"manifest":[{}]}}}}"#, list("1"))),
        ("what nobody knows", format!(r#"{{"x":{}}}"#, list(r#"{"a":[]}"#))),
        ("a list in place of a number", format!(r#"{{"spec":{{"backoff":{}}}}}"#, list("[]"))),
        ("a list in place of a body", list("{}")),
        ("an unusual name", format!(r#"{{"metadata":{{"labels":{{"{}":1}}}}}}"#, repeat("\\u0001"))),
    ];
    for (what, text) in &texts {
        bounded(what, text.len(), || by_json(text));
    }
    assert!(by_json(&texts[6].1), "documents may be as large as a body");
    // The largest of each that is admitted, too: then it is decoded.
    let units: [(&str, Request); 9] = [
        ("owners by gRPC", |size| create(&delimited(1, &[0x3a, 0].repeat(size / 2)))),
        ("owners with a field by gRPC", |size| {
            create(&delimited(1, &[0x3a, 3, 0x0a, 1, 0x61].repeat(size / 5)))
        }),
        ("finalizers by gRPC", |size| create(&delimited(1, &[0x32, 0].repeat(size / 2)))),
        ("labels by gRPC", |size| create(&delimited(1, &[0x22, 0].repeat(size / 2)))),
        ("manifests by gRPC", |size| {
            create(&delimited(2, &[0x1a, 6, 0x0a, 4, 0x0a, 2, 0x7b, 0x7d].repeat(size / 8)))
        }),
        ("unknown fields by gRPC", |size| create(&delimited(2, &[0xa0, 0x06, 0].repeat(size / 3)))),
        ("specs by gRPC", |size| create(&[0x12, 0].repeat(size / 2))),
        ("unknown groups by gRPC", |size| create(&[0xa3, 0x06, 0xa4, 0x06].repeat(size / 4))),
        ("null values by gRPC", |size| {
            // spec.tosca.object.fields["x"].list_value.values
            let list = delimited(6, &[0x0a, 0].repeat(size / 2));
            let entry = [delimited(1, b"x"), delimited(2, &list)].concat();
            create(&delimited(2, &delimited(2, &delimited(2, &delimited(1, &entry)))))
        }),
    ];
    for (what, request) in units {
        let mut size = SIZE;
        while !bounded(what, size, || by_wire(request(size))) {
            assert!(size > 1_000, "{what}: none is admitted");
            size = size * 3 / 4;
        }
        assert!(size < SIZE, "{what}");
    }
}
