//! Roles: `rok core role`.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use clap::Args;
use krake_proto::krake::core::v1::{Role, RoleRule, RoleSpec, Verb};
use krake_proto::krake::meta::v1::Metadata;

use super::Managed;
use crate::commands::Fields;
use crate::failure::Failure;
use crate::output::{Columns, text};
use crate::progress::Progress;

/// Stands for all API groups, resources or namespaces; the API has the empty string in its place.
const ALL: &str = "*";

/// What a new role allows.
#[derive(Debug, Args)]
pub(crate) struct NewRole {
    /// What the role allows, for example 'api=kubernetes resources=applications namespaces=demo verbs=get,list'
    #[arg(short, long = "rule", required = true, value_name = "RULE")]
    rules: Vec<Rule>,
}

/// What changes about a role.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct RoleChange {
    /// What the role allows beside what it has
    #[arg(short, long = "rule", value_name = "RULE")]
    rules: Vec<Rule>,
    /// Remove all rules before any is added
    #[arg(long)]
    remove_existing_rules: bool,
}

impl Managed for Role {
    const EXAMPLES: &'static str = "Examples:
  rok core role create -r 'api=kubernetes resources=applications namespaces=demo verbs=get,list' reader
  rok core role create -r 'api=* resources=* namespaces=* verbs=create,list,get,update,delete' admin

Verbs are create, list, list_all, get, update and delete; * stands for all API groups, resources or namespaces.";
    type Create = NewRole;
    type Change = RoleChange;

    fn create(metadata: Metadata, new: NewRole) -> Result<Self, Failure> {
        let rules = new.rules.into_iter().map(|rule| rule.0).collect();
        Ok(Role { metadata: Some(metadata), spec: Some(RoleSpec { rules }) })
    }

    fn change(&mut self, change: &RoleChange) -> Result<Vec<&'static str>, Failure> {
        let mut fields = Fields::default();
        let added: Vec<RoleRule> = change.rules.iter().map(|rule| rule.0.clone()).collect();
        let rules = &mut self.spec.get_or_insert_default().rules;
        fields.add("spec.rules", rules, &added, change.remove_existing_rules);
        Ok(fields.paths())
    }
}

impl Progress for Role {}

impl Columns for Role {
    const LIST: &'static [&'static str] = &["rules"];

    fn cells(&self) -> Vec<String> {
        let rules = self.spec.iter().flat_map(|spec| &spec.rules);
        vec![text::lines(rules.map(|rule| Rule(rule.clone())))]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        Self::LIST.iter().copied().zip(self.cells()).collect()
    }
}

/// A rule as people write it: `api=… resources=… namespaces=… verbs=…`.
#[derive(Debug, Clone, PartialEq)]
struct Rule(RoleRule);

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = RoleRule::default();
        let mut missing = vec!["api", "resources", "namespaces", "verbs"];
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(format!("{word:?} is no KEY=VALUE"))?;
            let place = missing.iter().position(|name| *name == key);
            let place = place.ok_or(format!("{key:?} is unknown or given twice"))?;
            missing.remove(place);
            match key {
                "api" => rule.api = stored(value),
                "resources" => rule.resources = list(value),
                "namespaces" => rule.namespaces = list(value),
                _ => rule.verbs = value.split(',').map(verb).collect::<Result<_, _>>()?,
            }
        }
        if missing.is_empty() {
            Ok(Rule(rule))
        } else {
            Err(format!("{}=… is missing", missing.join("=…, ")))
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let RoleRule { api, resources, namespaces, .. } = &self.0;
        let join = |items: &[String]| items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(",");
        let verbs: Vec<String> = self.0.verbs.iter().map(|verb| verb_name(*verb)).collect();
        let (resources, namespaces) = (join(resources), join(namespaces));
        write!(
            f,
            "api={} resources={resources} namespaces={namespaces} verbs={}",
            shown(api),
            verbs.join(",")
        )
    }
}

fn stored(text: &str) -> String {
    if text == ALL { String::new() } else { text.to_owned() }
}

fn shown(text: &str) -> &str {
    if text.is_empty() { ALL } else { text }
}

fn list(text: &str) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { text.split(',').map(stored).collect() }
}

fn verb(name: &str) -> Result<i32, String> {
    let known = Verb::from_str_name(&format!("VERB_{}", name.to_ascii_uppercase()));
    let known = known.filter(|verb| *verb != Verb::Unspecified).map(i32::from);
    known.ok_or_else(|| {
        format!("{name:?} is no verb; known are create, list, list_all, get, update and delete")
    })
}

/// A verb of a newer server has no name here and is shown as its number.
fn verb_name(verb: i32) -> String {
    let known = Verb::try_from(verb).map(|verb| text::name(verb.as_str_name(), "VERB_").to_ascii_lowercase());
    known.unwrap_or_else(|_| verb.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str =
        "api=kubernetes resources=applications,clusters/status namespaces=demo,* verbs=get,list_all";

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_shown_as_they_are_written() {
        let namespaceless = "api=* resources=* namespaces= verbs=delete";
        for text in [RULE, namespaceless] {
            assert_eq!(rule(text).to_string(), text);
        }
        let Rule(read) = rule(namespaceless);
        assert_eq!((read.api.as_str(), read.resources, read.namespaces.len()), ("", vec![String::new()], 0));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_named() {
        let wrong = |text: &str| text.parse::<Rule>().unwrap_err();
        assert_eq!(wrong("api=* verbs=get"), "resources=…, namespaces=… is missing");
        assert_eq!(wrong("api"), "\"api\" is no KEY=VALUE");
        assert_eq!(wrong("api=a api=b"), "\"api\" is unknown or given twice");
        assert!(wrong("verbs=get,").contains("\"\" is no verb"));
        assert!(wrong("verbs=unspecified").contains("known are create, list"));
    }

    #[test]
    fn an_update_adds_rules_unless_they_are_removed_first() {
        let made = |rules: &[&str]| {
            let new = NewRole { rules: rules.iter().map(|text| rule(text)).collect() };
            Role::create(Metadata::default(), new).unwrap()
        };
        let other = "api=core resources=metrics namespaces=* verbs=get";
        let mut role = made(&[RULE]);
        let mut change = RoleChange { rules: vec![rule(other), rule(RULE)], ..RoleChange::default() };
        assert_eq!(role.change(&change).unwrap(), ["spec.rules"]);
        assert_eq!(role, made(&[RULE, other]));
        change.remove_existing_rules = true;
        role.change(&change).unwrap();
        assert_eq!(role, made(&[other, RULE]));
    }
}
