//! Every source file says what it is for in its first line, is short enough for that to be one thing, and is found by its
//! module's name. Every function is short.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

use std::fs;
use std::path::{Path, PathBuf};

/// The style asks for about 400; this is where it ends.
const MOST_LINES: usize = 450;
/// Maximum lines of a function, from its signature to its last brace: more do not fit on a screen.
const MOST_FUNCTION_LINES: usize = 70;
/// Neither written by us nor built from.
const IGNORED: [&str; 3] = ["target", "node_modules", ".git"];

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !IGNORED.contains(&name.as_str()) {
            source_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// What is wrong with a source file, if anything.
fn fault(text: &str) -> Option<String> {
    let lines = text.lines().count();
    let purpose = text.strip_prefix("//! ").and_then(|rest| rest.lines().next()).unwrap_or_default();
    match () {
        () if purpose.trim().is_empty() => Some("does not begin with its purpose (`//! …`)".into()),
        () if lines > MOST_LINES => Some(format!("has {lines} lines, more than {MOST_LINES}")),
        () => long_function(text),
    }
}

/// The first function that is too long. The text is formatted, so a function ends with the next brace that stands alone
/// and as far from the margin as its signature.
fn long_function(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().enumerate().find_map(|(begin, line)| {
        let name = function(line)?;
        let margin = line.len() - line.trim_start().len();
        // A declaration without a body ends with its list of arguments.
        let is_end = |line: &&str| {
            let rest = line.trim_start();
            line.len() - rest.len() == margin && (rest == "}" || rest.starts_with(')') && rest.ends_with(';'))
        };
        let length = lines[begin..].iter().position(is_end)? + 1;
        let is_whole = !line.ends_with(['}', ';']);
        let place = begin + 1;
        (is_whole && length > MOST_FUNCTION_LINES)
            .then(|| format!("line {place}: {name} has {length} lines, more than {MOST_FUNCTION_LINES}"))
    })
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let modifiers = before.split_whitespace().all(|word| {
        matches!(word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(")
    });
    let name = after.split(['(', '<']).next()?;
    (modifiers && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')).then_some(name)
}

/// The root of the repository, and its source files.
fn tree() -> (PathBuf, Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut files = Vec::new();
    source_files(&root, &mut files);
    (root, files)
}

#[test]
fn a_module_is_a_file_beside_its_folder() {
    let (root, files) = tree();
    let faults: Vec<String> = files
        .iter()
        .filter(|path| path.ends_with("mod.rs"))
        .filter_map(|path| {
            Some((path.strip_prefix(&root).ok()?.display(), path.parent()?.file_name()?.display()))
        })
        .map(|(path, folder)| format!("{path}: name it {folder}.rs, beside its folder"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_source_file_has_a_purpose_and_is_short() {
    let (root, files) = tree();
    assert!(
        files.contains(&root.join("tests/integration/tests/tree.rs")),
        "the walk does not find this very file"
    );
    let faults: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let fault = fault(&fs::read_to_string(path).unwrap())?;
            Some(format!("{} {fault}", path.strip_prefix(&root).unwrap().display()))
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_fault_is_found() {
    assert_eq!(fault("//! What it is for.\nfn main() {}\n"), None);
    assert!(fault("fn main() {}\n").is_some());
    assert!(fault("//!\nfn main() {}\n").is_some());
    assert!(fault("\n//! Too late.\n").is_some());
    assert!(fault("").is_some());
    assert!(fault(&format!("//! Long.\n{}", "\n".repeat(MOST_LINES - 1))).is_none());
    assert!(fault(&format!("//! Too long.\n{}", "\n".repeat(MOST_LINES))).is_some());
    for signature in ["fn a() {", "    pub(crate) async fn b<T>(", "    fn c(&self) -> u8 {"] {
        let margin = signature.len() - signature.trim_start().len();
        let body =
            |lines| format!("//! One.\n{signature}\n{}{:margin$}}}\n", "        x;\n".repeat(lines), "");
        assert_eq!(fault(&body(MOST_FUNCTION_LINES - 2)), None, "{signature}");
        let fault = fault(&body(MOST_FUNCTION_LINES - 1)).unwrap();
        assert!(fault.starts_with("line 2: ") && fault.contains("has 71 lines"), "{fault}");
    }
}
