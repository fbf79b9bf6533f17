//! What `rok` knows of each kind that options alone describe, one file a kind: its options, its table, and how options
//! make and change an object. Its commands are the same as those of all such kinds.

mod metric;
mod provider;
mod role;
mod role_binding;

use std::fmt::Debug;

use clap::Args;
use krake_proto::krake::meta::v1::Metadata;

use crate::failure::Failure;
use crate::output::Columns;
use crate::progress::Progress;

/// A kind with the commands create, update, get, list and delete.
pub(crate) trait Managed: Columns + Progress {
    /// What the help of create ends with.
    const EXAMPLES: &'static str;
    /// What the help of update ends with.
    const UPDATE: &'static str = "What is not given stays as it is.";
    /// Options of create.
    type Create: Args + Debug;
    /// Options of update; the default changes nothing.
    type Change: Args + Debug + Default + PartialEq;

    /// A new object.
    ///
    /// # Errors
    /// [`Failure::Usage`] if options do not go together.
    fn create(metadata: Metadata, options: Self::Create) -> Result<Self, Failure>;

    /// Changes an object. Returns the paths of the fields that were written, for an update mask.
    ///
    /// # Errors
    /// [`Failure::Usage`] if options do not go with the object.
    fn change(&mut self, options: &Self::Change) -> Result<Vec<&'static str>, Failure>;
}
