//! A narrow door for the fuzz targets in `tests/fuzz`: how `rok` reads files. No part of its interface.
//!
//! Always compiled, since a cargo feature would make a second build of the workspace, and code that plain checks skip.

use std::io;

use serde_json::Value;

use crate::{kubeconfig, manifest, yaml};

/// The objects of a manifest, or one TOSCA template.
///
/// # Errors
/// What is wrong, a line each.
pub fn manifest(text: &str) -> Result<Vec<Value>, Vec<String>> {
    manifest::read(text).map(|definition| match definition {
        manifest::Definition::Manifest(objects) => objects,
        manifest::Definition::Tosca(template) => vec![template],
    })
}

/// A value as YAML, ending with a line break.
///
/// # Errors
/// When YAML cannot hold it.
pub fn yaml(value: &Value) -> Result<String, String> {
    yaml::write(value)
}

/// The one context of a kubeconfig, with what it names inlined; every file that it names holds `content`.
///
/// # Errors
/// What is wrong; never a value of the file.
pub fn kubeconfig(text: &str, context: Option<&str>, content: &[u8]) -> Result<Value, String> {
    let read = |_: &std::path::Path| -> io::Result<Vec<u8>> { Ok(content.to_vec()) };
    kubeconfig::select(text, context, read).map(|selected| selected.document)
}
