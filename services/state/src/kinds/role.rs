//! Rules for roles.

use krake_proto::Resource;
use krake_proto::krake::core::v1::{Role, RoleRule, RoleSpec, Verb};
use krake_proto::name;

use super::{KindRules, typed};
use crate::admission::Findings;

/// Maximum rules of a role, and maximum entries of each list of a rule: a request is compared with all of them.
const MAX_ENTRIES: usize = 100;
/// Maximum length of an API group or resource, in bytes: that of a resource's name.
const MAX_TEXT: usize = 255;

/// The rules.
pub(super) static RULES: KindRules =
    KindRules::of(Role::KIND, |_, spec, _, findings| typed(spec, findings, validate));

fn validate(spec: &RoleSpec, findings: &mut Findings) {
    if spec.rules.is_empty() {
        findings.add("spec.rules", "is empty; a role has at least one rule");
    }
    count("spec.rules", spec.rules.len(), findings);
    for (index, rule) in spec.rules.iter().take(MAX_ENTRIES).enumerate() {
        validate_rule(&format!("spec.rules[{index}]"), rule, findings);
    }
}

fn validate_rule(field: &str, rule: &RoleRule, findings: &mut Findings) {
    text(&format!("{field}.api"), &rule.api, findings);
    for (list, length) in [("resources", rule.resources.len()), ("verbs", rule.verbs.len())] {
        if length == 0 {
            findings.add(format!("{field}.{list}"), "is empty; without any the rule allows nothing");
        }
    }
    count(&format!("{field}.resources"), rule.resources.len(), findings);
    count(&format!("{field}.namespaces"), rule.namespaces.len(), findings);
    count(&format!("{field}.verbs"), rule.verbs.len(), findings);
    for (index, resource) in rule.resources.iter().take(MAX_ENTRIES).enumerate() {
        text(&format!("{field}.resources[{index}]"), resource, findings);
    }
    for (index, namespace) in rule.namespaces.iter().take(MAX_ENTRIES).enumerate() {
        // Empty stands for every namespace.
        if !namespace.is_empty() {
            findings.check(format!("{field}.namespaces[{index}]"), name::resource_name(namespace));
        }
    }
    for (index, verb) in rule.verbs.iter().take(MAX_ENTRIES).enumerate() {
        if !matches!(Verb::try_from(*verb), Ok(verb) if verb != Verb::Unspecified) {
            let known = "create, list, list_all, get, update or delete";
            findings.add(format!("{field}.verbs[{index}]"), format!("is unknown; use {known}"));
        }
    }
}

fn count(field: &str, length: usize, findings: &mut Findings) {
    if length > MAX_ENTRIES {
        findings.add(field, format!("has {length} entries; at most {MAX_ENTRIES} are allowed"));
    }
}

/// Checks the name of an API group or resource. Kinds of other versions may be named, so any name is allowed.
fn text(field: &str, text: &str, findings: &mut Findings) {
    if text.len() > MAX_TEXT {
        findings.add(field, format!("has {} bytes; at most {MAX_TEXT} are allowed", text.len()));
    } else if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        findings.add(field, "holds white space or control characters; give a name, or \"\" for all");
    }
}
