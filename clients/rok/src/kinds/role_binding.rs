//! Role bindings: `rok core rolebinding`.

use clap::Args;
use krake_proto::krake::core::v1::{RoleBinding, RoleBindingSpec};
use krake_proto::krake::meta::v1::Metadata;

use super::Managed;
use crate::commands::Fields;
use crate::failure::Failure;
use crate::output::{Columns, text};
use crate::progress::Progress;

/// Who gets which roles.
#[derive(Debug, Args)]
pub(crate) struct NewBinding {
    /// User who gets the roles
    #[arg(short, long = "user", required = true, value_name = "USER")]
    users: Vec<String>,
    /// Role that the users get
    #[arg(short, long = "role", required = true, value_name = "ROLE")]
    roles: Vec<String>,
}

/// What changes about a binding.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct BindingChange {
    /// Further user who gets the roles
    #[arg(short, long = "user", value_name = "USER")]
    users: Vec<String>,
    /// Remove all users before any is added
    #[arg(long)]
    remove_existing_users: bool,
    /// Further role that the users get
    #[arg(short, long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Remove all roles before any is added
    #[arg(long)]
    remove_existing_roles: bool,
}

impl Managed for RoleBinding {
    const EXAMPLES: &'static str = "Examples:
  rok core rolebinding create -u alice -u bob -r reader readers
  rok core rolebinding update --remove-existing-users -u carol readers";
    type Create = NewBinding;
    type Change = BindingChange;

    fn create(metadata: Metadata, new: NewBinding) -> Result<Self, Failure> {
        let spec = RoleBindingSpec { users: new.users, roles: new.roles };
        Ok(RoleBinding { metadata: Some(metadata), spec: Some(spec) })
    }

    fn change(&mut self, change: &BindingChange) -> Result<Vec<&'static str>, Failure> {
        let mut fields = Fields::default();
        let spec = self.spec.get_or_insert_default();
        fields.add("spec.users", &mut spec.users, &change.users, change.remove_existing_users);
        fields.add("spec.roles", &mut spec.roles, &change.roles, change.remove_existing_roles);
        Ok(fields.paths())
    }
}

impl Progress for RoleBinding {}

impl Columns for RoleBinding {
    const LIST: &'static [&'static str] = &["users", "roles"];

    fn cells(&self) -> Vec<String> {
        let spec = self.spec.clone().unwrap_or_default();
        vec![text::lines(spec.users), text::lines(spec.roles)]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        Self::LIST.iter().copied().zip(self.cells()).collect()
    }
}
