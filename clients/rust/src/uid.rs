//! uids of the kinds that others refer to most, each a type of its own, so that none is taken for another.

use std::fmt;
use std::sync::Arc;

/// Makes a uid what every text is for those who compare, look up and show it. Cheap to clone.
macro_rules! uid {
    ($name:ident) => {
        impl $name {
            /// The uid as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(uid: &str) -> Self {
                Self(uid.into())
            }
        }

        impl From<String> for $name {
            fn from(uid: String) -> Self {
                Self(uid.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// uid of a cluster in Krake. Empty where the API names none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterUid(Arc<str>);

/// uid of an application in Krake. Empty where the API names none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationUid(Arc<str>);

uid!(ClusterUid);
uid!(ApplicationUid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_shown_and_ordered_as_their_text() {
        let (one, other) = (ClusterUid::from("a"), ClusterUid::from("b".to_owned()));
        assert!(one < other && one != other);
        assert_eq!((one.as_str(), other.to_string().as_str()), ("a", "b"));
        assert_eq!(ApplicationUid::from(format!("{}-1", "app")).as_str(), "app-1");
    }
}
