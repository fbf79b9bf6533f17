//! A request to one cluster, understood as far as it can be without the cluster.

use std::collections::HashMap;

use crate::api::decode::FieldValidation;
use crate::api::failure::Failure;
use crate::api::path::Target;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch(PatchType),
    Delete,
    DeleteCollection,
}

/// How a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Merge,
    Strategic,
    Apply,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) target: Target,
    pub(crate) query: Query,
    /// Who writes, where the query does not say it: the program in `User-Agent`.
    pub(crate) program: String,
    /// Whether only metadata is wanted.
    pub(crate) metadata_only: bool,
    pub(crate) body: Vec<u8>,
    /// As in objects.
    pub(crate) now: String,
}

/// What a query says, as far as anything is made of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) watch: bool,
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    pub(crate) continue_: String,
    pub(crate) resource_version: String,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) field_manager: Option<String>,
    pub(crate) force: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) bookmarks: bool,
    pub(crate) propagation_policy: Option<String>,
}

impl Query {
    /// Whether it asks for a watch.
    pub(crate) fn is_watch(query: &HashMap<String, String>) -> bool {
        query.get("watch").is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""))
    }

    pub(crate) fn of(query: &HashMap<String, String>) -> Result<Self, Failure> {
        let text = |name: &str| query.get(name).cloned().unwrap_or_default();
        let some = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
        let flag =
            |name: &str| query.get(name).is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""));
        let number = |name: &str| match some(name) {
            None => Ok(None),
            Some(value) => value.parse::<u64>().map(Some).map_err(|_| {
                Failure::bad_request(format!("query parameter {name}: \"{value}\" is not a number"))
            }),
        };
        let dry_run = match query.get("dryRun").map(String::as_str) {
            None | Some("") => false,
            Some("All") => true,
            Some(_) => return Err(Failure::wrong_dry_run()),
        };
        if text("resourceVersionMatch") == "Exact" && text("resourceVersion") != "0" {
            return Err(Failure::not_simulated("lists of an earlier state (resourceVersionMatch=Exact)"));
        }
        Ok(Self {
            watch: Self::is_watch(query),
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
            continue_: text("continue"),
            resource_version: text("resourceVersion"),
            dry_run,
            field_validation: match query.get("fieldValidation").map(String::as_str) {
                None | Some("" | "Warn") => FieldValidation::Warn,
                Some("Strict") => FieldValidation::Strict,
                Some("Ignore") => FieldValidation::Ignore,
                Some(other) => return Err(Failure::wrong_field_validation(other)),
            },
            field_manager: some("fieldManager"),
            force: flag("force"),
            timeout_seconds: number("timeoutSeconds")?,
            bookmarks: flag("allowWatchBookmarks"),
            propagation_policy: some("propagationPolicy"),
        })
    }
}

impl Request {
    /// The field manager that writes.
    pub(crate) fn manager(&self) -> &str {
        self.query.field_manager.as_deref().unwrap_or(&self.program)
    }
}
