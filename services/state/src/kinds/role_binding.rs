//! Rules for role bindings.

use krake_proto::krake::core::v1::{RoleBinding, RoleBindingSpec};
use krake_proto::{Resource, name};

use super::{KindRules, typed};
use crate::admission::Findings;

/// Maximum users of a binding: far below the largest spec, and more than anybody lists by hand.
const MAX_USERS: usize = 1000;
/// Maximum roles of a binding: each is read when one of the users calls.
const MAX_ROLES: usize = 100;
/// Maximum length of a user's name, in bytes.
const MAX_USER: usize = 255;

/// The rules.
pub(super) static RULES: KindRules =
    KindRules::of(RoleBinding::KIND, |_, spec, _, findings| typed(spec, findings, validate));

fn validate(spec: &RoleBindingSpec, findings: &mut Findings) {
    for (field, length, max) in
        [("spec.users", spec.users.len(), MAX_USERS), ("spec.roles", spec.roles.len(), MAX_ROLES)]
    {
        if length == 0 {
            findings.add(field, "is empty; without any the binding gives nothing");
        } else if length > max {
            findings.add(field, format!("has {length} entries; at most {max} are allowed"));
        }
    }
    for (index, user) in spec.users.iter().take(MAX_USERS).enumerate() {
        if user.is_empty() || user.len() > MAX_USER || user.chars().any(char::is_control) {
            let text = format!("must have 1 to {MAX_USER} bytes, none of them a control character");
            findings.add(format!("spec.users[{index}]"), text);
        }
    }
    for (index, role) in spec.roles.iter().take(MAX_ROLES).enumerate() {
        findings.check(format!("spec.roles[{index}]"), name::resource_name(role));
    }
}
