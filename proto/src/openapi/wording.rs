//! Texts of operations. The comments of RPCs are written for gRPC, so the methods that all kinds share have texts here.

use crate::comments::{comment, summary};
use crate::rest::{Query, Route, Scope, Verb};

/// Summary and description of a route's operation.
pub(super) fn of(route: &Route) -> (String, String) {
    let name = words(route.shown_kind());
    let one = format!("{} {name}", if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" });
    let about = comment(&route.rpc.parent_file(), route.rpc.path());
    let (summary, mut more) = match route.verb {
        Verb::Create => (
            format!("Creates {one}"),
            "The answer is the stored resource. `status` and read-only fields are ignored. The namespace is that of the path, \
             whatever `metadata.namespace` holds, so that a resource read in one namespace can be created in another.",
        ),
        Verb::Get => (format!("Reads {one}"), "With its status."),
        Verb::List => (
            format!("Lists or watches {}{}", words(&route.shown_plural()), extent(route.scope)),
            "The list is ordered by namespace and name. With `watch` the answer is a stream of changes from now on, or after \
             `resource_version`; every change comes at least once and in order. 410: that revision is too old, or the store was \
             restored. `-` is not a namespace (422): all namespaces have a path of their own.",
        ),
        Verb::Update => (
            format!("Replaces metadata and spec of {one}"),
            "Fields that are left out keep their value; lists and maps are replaced as a whole. `status` and read-only \
             fields are ignored. If `metadata.resource_version` is given and not 0, the resource must have it; `If-Match` \
             holds over a restore of the store too. 400: nothing would change, or name or namespace differ from the path.",
        ),
        Verb::UpdateStatus => (
            format!("Writes the status of {one}"),
            "The body is the whole resource, of which `status` alone counts. For controllers.",
        ),
        Verb::Delete => (
            format!("Deletes {one}"),
            "Marks it as deleted; it is erased when its last finalizer is removed. The answer is the resource as it is then.",
        ),
        Verb::Custom => (summary(about).to_owned(), about),
    };
    let waits;
    if route.query().contains(&Query::Blocking) {
        waits = format!("{more} With `blocking` the answer waits for a state.");
        more = &waits;
    }
    (summary, more.to_owned())
}

fn extent(scope: Scope) -> &'static str {
    match scope {
        Scope::Namespaced => " of a namespace",
        Scope::All => " of all namespaces",
        Scope::Global => "",
    }
}

/// `GlobalMetricsProvider` as "global metrics provider".
fn words(kind: &str) -> String {
    let mut words = String::new();
    for (index, letter) in kind.char_indices() {
        if letter.is_uppercase() && index > 0 {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
