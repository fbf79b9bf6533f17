//! The comments of the `.proto` files, as descriptions for OpenAPI and for the reference.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::FileDescriptor;

use crate::POOL;

/// What stands above a declaration: plain text, where an empty line separates paragraphs; empty without a comment.
///
/// `file` and `path` are the descriptor's `parent_file()` and `path()`.
pub fn comment(file: &FileDescriptor, path: &[i32]) -> &'static str {
    COMMENTS.get(file.name()).and_then(|comments| comments.get(path)).map_or("", String::as_str)
}

/// The first sentence of a comment, without its full stop.
pub fn summary(comment: &str) -> &str {
    let end = comment.char_indices().find(|&(at, character)| {
        let rest = &comment[at + character.len_utf8()..];
        matches!(character, '.' | ';') && (rest.is_empty() || rest.starts_with(char::is_whitespace))
    });
    end.map_or(comment, |(at, _)| &comment[..at])
}

type Path = Vec<i32>;

static COMMENTS: LazyLock<HashMap<String, HashMap<Path, String>>> =
    LazyLock::new(|| POOL.files().map(|file| (file.name().to_owned(), of_file(&file))).collect());

fn of_file(file: &FileDescriptor) -> HashMap<Path, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.into_iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| Some((location.path.clone(), joined(location.leading_comments.as_deref()?))))
        .collect()
}

/// Lines of a paragraph are joined; where they broke means nothing.
fn joined(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        match (line.is_empty(), text.is_empty() || text.ends_with('\n')) {
            (true, true) => {}
            (true, false) => text.push_str("\n\n"),
            (false, true) => text.push_str(line),
            (false, false) => {
                text.push(' ');
                text.push_str(line);
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declaration_of_the_api_has_a_comment() {
        let mut without = Vec::new();
        let mut look = |file: &FileDescriptor, path: &[i32], name: &str| {
            if comment(file, path).is_empty() {
                without.push(name.to_owned());
            }
        };
        let ours = |name: &str| name.starts_with("krake.");
        for message in POOL.all_messages().filter(|message| ours(message.full_name())) {
            if message.is_map_entry() {
                continue;
            }
            look(&message.parent_file(), message.path(), message.full_name());
            for field in message.fields() {
                look(&message.parent_file(), field.path(), field.full_name());
            }
        }
        for descriptor in POOL.all_enums().filter(|descriptor| ours(descriptor.full_name())) {
            look(&descriptor.parent_file(), descriptor.path(), descriptor.full_name());
            for value in descriptor.values() {
                look(&value.parent_file(), value.path(), value.full_name());
            }
        }
        for service in POOL.services().filter(|service| ours(service.full_name())) {
            look(&service.parent_file(), service.path(), service.full_name());
            for rpc in service.methods() {
                look(&rpc.parent_file(), rpc.path(), rpc.full_name());
            }
        }
        assert!(without.is_empty(), "{without:#?}");
    }

    #[test]
    fn lines_are_joined_and_paragraphs_kept() {
        assert_eq!(joined(" One\n two.\n\n Three.\n"), "One two.\n\nThree.");
    }

    #[test]
    fn a_summary_ends_with_the_sentence() {
        assert_eq!(summary("Version v1.0; with more."), "Version v1.0");
        assert_eq!(summary("Reads a metric. NOT_FOUND if none."), "Reads a metric");
        assert_eq!(summary("No stop"), "No stop");
    }
}
