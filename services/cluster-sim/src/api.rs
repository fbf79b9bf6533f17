//! What a Kubernetes API server decides: kinds, names, defaults, rules, answers. No network and no clock in it.

pub(crate) mod allocate;
pub(crate) mod conform;
pub(crate) mod decode;
pub(crate) mod definition;
pub(crate) mod discovery;
pub(crate) mod failure;
pub(crate) mod kinds;
pub(crate) mod path;
pub(crate) mod schema;
pub(crate) mod selector;
pub(crate) mod typed;
pub(crate) mod types;
pub(crate) mod validate;
pub(crate) mod workload;
