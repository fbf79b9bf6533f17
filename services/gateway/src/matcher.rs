//! Finds the routes of a path and decodes its parameters.

use http::Method;
use krake_proto::rest::{ROUTES, Route};

/// The routes of one path.
#[derive(Debug)]
pub(crate) struct Matched {
    /// One per method.
    pub(crate) routes: Vec<&'static Route>,
    /// The decoded parameters, by name.
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Matched {
    /// The route of a method.
    pub(crate) fn route(&self, method: &Method) -> Option<&'static Route> {
        self.routes.iter().copied().find(|route| route.method == *method)
    }

    /// The methods that the path knows, as the header `Allow` lists them.
    pub(crate) fn allow(&self) -> String {
        let methods: Vec<&str> = self.routes.iter().map(|route| route.method.as_str()).collect();
        methods.join(",")
    }

    /// A parameter; empty if the path has none of that name.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Finds the routes of a path; `None` if it has none.
pub(crate) fn find(path: &str) -> Option<Matched> {
    let mut found: Option<Matched> = None;
    for route in ROUTES.iter() {
        let Some(parameters) = parameters(&route.template, path) else { continue };
        found.get_or_insert_with(|| Matched { routes: Vec::new(), parameters }).routes.push(route);
    }
    found
}

/// The parameters of a path that fits the template.
fn parameters(template: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let (mut expected, mut given) = (template.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(expected), Some(given)) => {
                match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(_) if given.is_empty() => return None,
                    Some(name) => parameters.push((name, decode(given)?)),
                    None if expected == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

/// Decodes percent-encoding; `None` if it is malformed or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        bytes.push(u8::try_from(value).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use krake_proto::rest::{Scope, Verb};

    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        let list = find("/kubernetes/namespaces/ns/applications").unwrap();
        assert_eq!(list.parameter("namespace"), "ns");
        assert_eq!(list.allow(), "GET,POST");
        assert_eq!(list.route(&Method::POST).unwrap().verb, Verb::Create);
        assert!(list.route(&Method::PUT).is_none());
        let one = find("/core/globalmetrics/m%20%2F1").unwrap();
        assert_eq!((one.parameter("name"), one.parameter("namespace")), ("m /1", ""));
        assert_eq!(one.route(&Method::GET).unwrap().scope, Scope::Global);
        assert_eq!(find("/core/metrics").unwrap().route(&Method::GET).unwrap().scope, Scope::All);
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "",
            "/",
            "/kubernetes",
            "/kubernetes/namespaces//applications",
            "/kubernetes/namespaces/ns/applications/",
            "/kubernetes/namespaces/ns/applications/a/b/c",
            "/kubernetes/namespaces/n%zz/applications",
            "/kubernetes/namespaces/%ff/applications",
            "/kubernetes/namespaces/n%2/applications",
            "/KUBERNETES/applications",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
