//! The keys by which stored values are encrypted. Every value of an object is written and read through a keyring, so that
//! encryption at rest is a matter of configuration and needs no other code and no migration.

use bytes::Bytes;

use super::value::{self, ValueError};
use crate::store::Key;

/// Keys for stored values. So far there is only one without keys, which stores values as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyring(());

impl Keyring {
    /// The stored form of `message`, of type `name`, under `key`. The storage key is authenticated with the value, so
    /// that a value that was moved to another key cannot be read there.
    pub(crate) fn seal(&self, _key: &Key, name: &str, message: &[u8]) -> Bytes {
        value::encode(name, message)
    }

    /// The message in a value that is stored under `key`, which must be of type `name`.
    ///
    /// # Errors
    /// When the value is not of this type, or is encrypted with a key that is not on the ring.
    pub(crate) fn open(&self, _key: &Key, name: &str, value: &Bytes) -> Result<Bytes, ValueError> {
        value::decode(name, value)
    }
}
