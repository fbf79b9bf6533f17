//! Laws of the rules of all kinds.

use std::fs;
use std::path::{Path, PathBuf};

use krake_proto::KINDS;
use prost_reflect::Kind as FieldKind;

use super::*;

#[test]
fn every_kind_of_the_contract_has_rules() {
    for kind in KINDS {
        assert!(rules(kind).is_some(), "{}", kind.message);
    }
}

#[test]
fn derived_and_reserved_fields_are_those_of_the_status() {
    for rules in all() {
        let message = krake_proto::POOL.get_message_by_name(rules.kind.message).unwrap();
        let status = message.get_field_by_name("status").map(|field| field.kind());
        for number in rules.derived.iter().chain(rules.reserved) {
            let Some(FieldKind::Message(status)) = &status else {
                panic!("{} has no status", rules.kind.kind)
            };
            assert!(status.get_field(*number).is_some(), "{} has no field {number}", status.full_name());
        }
    }
}

#[test]
fn every_custom_method_is_an_rpc_of_the_kind() {
    for rules in all() {
        let service = krake_proto::POOL.get_service_by_name(rules.kind.service).unwrap();
        for custom in rules.custom_methods {
            assert!(service.methods().any(|method| method.name() == custom.name), "{}", custom.name);
        }
    }
}

/// The source files below a folder, without those that hold only tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests") {
            found.push(path);
        }
    }
}

#[test]
fn generic_code_names_no_kind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let generic =
        files.iter().filter(|file| !file.starts_with(root.join("kinds")) && **file != root.join("kinds.rs"));
    let mut looked_at = 0;
    for file in generic {
        looked_at += 1;
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (index, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let words = code.split(|letter: char| !letter.is_alphanumeric());
            for word in words {
                let named = KINDS.iter().find(|kind| kind.kind == word);
                assert!(named.is_none(), "{}:{}: names {word}: {line}", file.display(), index + 1);
            }
        }
    }
    assert!(looked_at > 40, "{looked_at} files");
}
