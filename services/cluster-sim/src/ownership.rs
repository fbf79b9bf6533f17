//! Field ownership as Kubernetes' server-side apply has it: who set which field, who may change it, and what goes when
//! its last owner lets go. Pure: JSON in, JSON out.

mod apply;
mod books;
mod compare;
mod fields;
mod merge;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use apply::{Applied, Ask, apply, update};
pub(crate) use fields::{Malformed, item_path};
pub(crate) use merge::{merge_patch, strategic_merge};
pub(crate) use schema::{Key, List, Schema};
