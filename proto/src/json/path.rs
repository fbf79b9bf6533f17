//! Where in a JSON value a field is, as people write it.

use std::fmt;

/// A path from the root, as a chain through the callers' frames: it costs nothing until it is printed.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
    Key(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Told only of what is wrong with the whole.
            Path::Root(name) => f.write_str(name),
            Path::Field(Path::Root(_), name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Key(parent, key) if is_plain(key) => write!(f, "{parent}.{key}"),
            Path::Key(parent, key) => write!(f, "{parent}[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let root = Path::Root("Application");
        let metadata = root.field("metadata");
        let labels = metadata.field("labels");
        assert_eq!(root.to_string(), "Application");
        assert_eq!(labels.to_string(), "metadata.labels");
        assert_eq!(Path::Key(&labels, "tier").to_string(), "metadata.labels.tier");
        assert_eq!(Path::Key(&labels, "a.b/c").to_string(), "metadata.labels[\"a.b/c\"]");
        let owners = metadata.field("owners");
        assert_eq!(Path::Index(&owners, 2).field("name").to_string(), "metadata.owners[2].name");
    }
}
