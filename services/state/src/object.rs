//! Resources as the store and the cache hold them: keys, stored values, encoded sections.

pub(crate) mod conditions;
pub(crate) mod key;
pub(crate) mod keyring;
pub(crate) mod mask;
pub(crate) mod metadata;
pub(crate) mod projection;
pub(crate) mod sections;
pub(crate) mod value;
pub(crate) mod wire;
