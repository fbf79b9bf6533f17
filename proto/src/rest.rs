//! The routes of the REST API, from the `google.api.http` options. The gateway serves them and OpenAPI describes them.
//!
//! Upstream's conventions, which the options do not express: list and watch share a path, so they are one route; a path
//! without a namespace is that of global objects if it bears their plural, else it lists all namespaces.

use std::sync::LazyLock;

use http::Method;
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MethodDescriptor};

use crate::google::api::HttpRule;
use crate::google::api::http_rule::Pattern;
use crate::{KINDS, Kind, POOL};

/// One method on one path.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, for example `/core/namespaces/{namespace}/metrics/{name}`; each parameter is a whole segment.
    pub template: String,
    /// The kind that it serves.
    pub kind: &'static Kind,
    /// The objects that it reaches.
    pub scope: Scope,
    /// The standard method, or a custom one.
    pub verb: Verb,
    /// The RPC behind it.
    pub rpc: MethodDescriptor,
    /// For [`Verb::List`]: the streaming RPC that takes over when `watch` is asked for.
    pub watch: Option<MethodDescriptor>,
    /// Content of the body.
    pub body: Body,
}

/// The objects that a route reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the namespace in the path.
    Namespaced,
    /// Those of all namespaces.
    All,
    /// Those without a namespace.
    Global,
}

impl Scope {
    /// The namespace that requests of the scope name, given that of the path.
    pub fn namespace(self, path: &str) -> &str {
        match self {
            Scope::Namespaced => path,
            Scope::All => "-",
            Scope::Global => "",
        }
    }
}

/// The standard method that a route calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `Create<Kind>`.
    Create,
    /// `Get<Kind>`.
    Get,
    /// `List<Kind>s` and `Watch<Kind>s`.
    List,
    /// `Update<Kind>`.
    Update,
    /// `Update<Kind>Status`.
    UpdateStatus,
    /// `Delete<Kind>`.
    Delete,
    /// Any other.
    Custom,
}

/// Content of a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// This field of the RPC's request: the resource.
    Field(FieldDescriptor),
    /// Every field of the RPC's request that is not in the path.
    Request,
}

/// Every route of every kind, ordered by path and then as people expect the methods: GET, POST, PUT, DELETE.
pub static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let mut routes: Vec<Route> = KINDS.iter().flat_map(|kind| of_kind(kind)).collect();
    routes.sort_by_key(|route| (route.template.clone(), method_order(&route.method)));
    routes
});

impl Route {
    /// The kind's name on this route: the global name for global objects.
    pub fn shown_kind(&self) -> &'static str {
        if self.scope == Scope::Global { self.kind.shown("") } else { self.kind.kind }
    }

    /// The plural of [`Route::shown_kind`], as RPC names have it: `GlobalMetrics`.
    pub fn shown_plural(&self) -> String {
        self.shown_kind().replacen(self.kind.kind, self.kind.plural_rpc, 1)
    }

    /// The names of the path's parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.template.split('/').filter_map(parameter)
    }

    /// The query parameters that it takes.
    pub fn query(&self) -> Vec<Query> {
        use Query::{Blocking, Cascade, Epoch, Force, Heartbeat, LabelSelector, ResourceVersion, Watch};
        let waits = if has_state(self.kind) { vec![Blocking] } else { Vec::new() };
        match self.verb {
            Verb::List => vec![Watch, Heartbeat, ResourceVersion, Epoch, LabelSelector],
            Verb::Create => waits,
            Verb::Delete => [waits, vec![Force, Cascade]].concat(),
            Verb::Get | Verb::Update | Verb::UpdateStatus | Verb::Custom => Vec::new(),
        }
    }
}

/// A query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Stream changes in place of a list; presence alone counts.
    Watch,
    /// Seconds between empty lines of a watch; default 10, 0 = none.
    Heartbeat,
    /// Resume a watch after this revision.
    ResourceVersion,
    /// History that the revision belongs to.
    Epoch,
    /// Only objects whose labels satisfy this Kubernetes label selector.
    LabelSelector,
    /// State that the answer waits for.
    Blocking,
    /// True: erase at once.
    Force,
    /// True: delete dependents even where their owner references say release.
    Cascade,
}

impl Query {
    /// Every one.
    pub const ALL: [Query; 8] = [
        Query::Watch,
        Query::Heartbeat,
        Query::ResourceVersion,
        Query::Epoch,
        Query::LabelSelector,
        Query::Blocking,
        Query::Force,
        Query::Cascade,
    ];

    /// The name in the query string.
    pub fn name(self) -> &'static str {
        match self {
            Query::Watch => "watch",
            Query::Heartbeat => "heartbeat",
            Query::ResourceVersion => "resource_version",
            Query::Epoch => "epoch",
            Query::LabelSelector => "label_selector",
            Query::Blocking => "blocking",
            Query::Force => "force",
            Query::Cascade => "cascade",
        }
    }
}

/// The name of a parameter's segment.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Whether objects of the kind have a state that a caller can wait for.
fn has_state(kind: &Kind) -> bool {
    let message = POOL.get_message_by_name(kind.message);
    let status = message.and_then(|message| message.get_field_by_name("status"));
    matches!(status.map(|field| field.kind()), Some(FieldKind::Message(status)) if status.get_field_by_name("state").is_some())
}

fn of_kind(kind: &'static Kind) -> Vec<Route> {
    let service = POOL.get_service_by_name(kind.service).expect("every kind has a service");
    let mut routes = Vec::new();
    let mut watches = Vec::new();
    for rpc in service.methods() {
        if rpc.name() == format!("Watch{}", kind.plural_rpc) {
            watches.extend(rules(&rpc).into_iter().map(|(_, template, _)| (template, rpc.clone())));
            continue;
        }
        routes.extend(rules(&rpc).into_iter().map(|(method, template, body)| Route {
            scope: scope(kind, &template),
            verb: verb(kind, rpc.name()),
            body: body_of(&rpc, &body),
            kind,
            method,
            template,
            rpc: rpc.clone(),
            watch: None,
        }));
    }
    for (template, rpc) in watches {
        let list = routes.iter_mut().find(|route| route.verb == Verb::List && route.template == template);
        list.expect("what can be watched can be listed").watch = Some(rpc);
    }
    routes
}

/// Method, path and body selector of each of an RPC's bindings.
fn rules(rpc: &MethodDescriptor) -> Vec<(Method, String, String)> {
    let option = POOL.get_extension_by_name("google.api.http").expect("the option is part of the API");
    let options = rpc.options();
    if !options.has_extension(&option) {
        return Vec::new();
    }
    let value = options.get_extension(&option);
    let rule: HttpRule = value
        .as_message()
        .and_then(|message| message.transcode_to().ok())
        .expect("the descriptor is the rule's");
    let more = rule.additional_bindings.clone();
    std::iter::once(rule).chain(more).filter_map(binding).collect()
}

fn binding(rule: HttpRule) -> Option<(Method, String, String)> {
    let (method, template) = match rule.pattern? {
        Pattern::Get(template) => (Method::GET, template),
        Pattern::Put(template) => (Method::PUT, template),
        Pattern::Post(template) => (Method::POST, template),
        Pattern::Delete(template) => (Method::DELETE, template),
        Pattern::Patch(template) => (Method::PATCH, template),
        Pattern::Custom(_) => return None,
    };
    Some((method, template, rule.body))
}

fn body_of(rpc: &MethodDescriptor, selector: &str) -> Body {
    match selector {
        "" => Body::None,
        "*" => Body::Request,
        field => {
            Body::Field(rpc.input().get_field_by_name(field).expect("the body is a field of the request"))
        }
    }
}

fn scope(kind: &Kind, template: &str) -> Scope {
    if template.split('/').any(|segment| parameter(segment) == Some("namespace")) {
        Scope::Namespaced
    } else if kind.can_be_global() && template.split('/').nth(2) == Some(kind.global_plural) {
        Scope::Global
    } else {
        Scope::All
    }
}

fn verb(kind: &Kind, rpc: &str) -> Verb {
    let Kind { kind: name, plural_rpc, .. } = kind;
    [
        (Verb::Create, format!("Create{name}")),
        (Verb::Get, format!("Get{name}")),
        (Verb::List, format!("List{plural_rpc}")),
        (Verb::Update, format!("Update{name}")),
        (Verb::UpdateStatus, format!("Update{name}Status")),
        (Verb::Delete, format!("Delete{name}")),
    ]
    .into_iter()
    .find_map(|(verb, method)| (method == rpc).then_some(verb))
    .unwrap_or(Verb::Custom)
}

fn method_order(method: &Method) -> usize {
    let order = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    order.iter().position(|known| known == method).unwrap_or(order.len())
}

#[cfg(test)]
mod tests;
