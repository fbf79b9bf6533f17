//! `docs/reference` says what the descriptors say. To bring it up to date:
//! `UPDATE_REFERENCE=1 cargo test -p krake-proto --test reference`.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod grpc;
mod rest;

use std::path::Path;

/// Compares a file of `docs/reference` with what it has to be, or writes it.
fn keep(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(file);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = present.lines().zip(text.lines()).position(|(present, wanted)| present != wanted);
    assert!(
        present == text,
        "docs/reference/{file} is not what the .proto files say, from line {} on. To update it:\n\
         UPDATE_REFERENCE=1 cargo test -p krake-proto --test reference",
        differs.unwrap_or_else(|| present.lines().count().min(text.lines().count())) + 1
    );
}

#[test]
fn openapi_document() {
    keep("openapi.json", &krake_proto::openapi::text());
}

#[test]
fn grpc_reference() {
    keep("grpc.md", &grpc::text());
}

#[test]
fn rest_reference() {
    keep("rest.md", &rest::text());
}
