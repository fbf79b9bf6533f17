//! REST requests: the message that the gateway makes of one passes the state service's check, is shown, and is read
//! again to the same; the mask of an update names fields that there are.
//!
//! An input is a line with method and path, and the body below it.

use http::Method;
use krake_gateway::fuzz::{Outcome, request};
use krake_proto::json::{self, Unknown};
use krake_proto::rest::{ROUTES, Verb};
use krake_proto::wire::check::check;
use prost::Message;
use prost_reflect::MessageDescriptor;
use rand::Rng;
use rand::rngs::StdRng;

use crate::{pick, shown, wire};

/// Words of requests and of JSON.
pub const WORDS: &[&str] = &[
    "GET ",
    "PUT ",
    "POST ",
    "/core/",
    "/kubernetes/",
    "/namespaces/",
    "?watch",
    "&heartbeat=",
    "%2F",
    "%zz",
    "%ff",
    "+",
    "\"metadata\":",
    "\"spec\":",
    "\"status\":",
    "\"name\":",
    "\"type\":",
    "\"manifest\":",
    "null",
    "true",
    "1e400",
    "18446744073709551616",
    "-0",
    "1.5",
    "[]",
    "{}",
    "\"\"",
    "\\ud800",
    "\\u0000",
    "\"30s\"",
    "\"2023-02-28T10:48:54.123456+00:00\"",
    "\"9999-12-31T23:59:60Z\"",
    ",",
    ":",
    "\"",
    "\n",
];

/// See the module.
pub fn target(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = data.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Some((method, target)) = line.split_once(' ') else { return };
    let (Ok(method), (path, query)) = (method.parse::<Method>(), split(target)) else { return };
    let Some(outcome) = request(&method, path, query, body, None) else { return };
    assert!(outcome.parameters.iter().all(|(_, value)| !value.is_empty()));
    reencoded(&method, &outcome);
    let Some(Ok((message, mask))) = &outcome.message else { return };
    let descriptor = &outcome.descriptor;
    assert_eq!(check(descriptor, message), Ok(()));
    let value = shown(descriptor, message);
    reread(descriptor, &value);
    for path in mask {
        let names: Vec<&str> = path.split('.').collect();
        krake_state::fuzz::copy(&[], message, descriptor, &names).unwrap();
    }
    if outcome.route.verb == Verb::Update {
        // As a list that is completed from what is stored.
        let stored = request(&method, path, query, body, Some(message.clone())).unwrap().message.unwrap();
        assert_eq!(check(descriptor, &stored.unwrap().0), Ok(()));
    }
}

fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// A path of the same parameters, all of them encoded, leads to the same route.
fn reencoded(method: &Method, outcome: &Outcome) {
    let mut path = outcome.route.template.clone();
    for (name, value) in &outcome.parameters {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        path = path.replace(&format!("{{{name}}}"), &encoded);
    }
    let again = request(method, &path, None, b"", None).unwrap();
    assert_eq!((&again.route.template, &again.parameters), (&outcome.route.template, &outcome.parameters));
}

/// What is shown is read, and then shown the same.
fn reread(descriptor: &MessageDescriptor, value: &serde_json::Value) {
    let parsed = json::parse(descriptor, value.to_string().as_bytes()).unwrap();
    let read = json::read_parsed(descriptor, &parsed, Unknown::Refuse).unwrap();
    assert_eq!(&shown(descriptor, &read.encode_to_vec()), value);
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let route = pick(random, &ROUTES);
    let mut path = route.template.clone();
    for name in ["namespace", "name"] {
        let value: &str = pick::<&str>(random, &["a", "ns", "m%2F1", "%C3%A4"]);
        path = path.replace(&format!("{{{name}}}"), value);
    }
    let query = *pick(
        random,
        &[
            "",
            "?watch",
            "?heartbeat=2&label_selector=a+in+(b%2Cc)",
            "?blocking=ready&force=True",
            "?resource_version=7",
        ],
    );
    let descriptor = match route.verb {
        Verb::Custom => route.rpc.input(),
        _ => krake_proto::POOL.get_message_by_name(route.kind.message).unwrap(),
    };
    let mut body = wire::json_case(&descriptor, random);
    if random.random_ratio(1, 2) {
        thin(&mut body, random);
    }
    format!("{} {path}{query}\n{body}", route.method).into_bytes()
}

/// Leaves out members, as clients do that know fewer fields.
fn thin(value: &mut serde_json::Value, random: &mut StdRng) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|_, _| !random.random_ratio(1, 4));
            members.values_mut().for_each(|value| thin(value, random));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| thin(item, random)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn most_cases_with_a_body_become_messages() {
        let mut random = StdRng::seed_from_u64(0);
        let (mut bodies, mut messages) = (0, 0);
        for _ in 0..400 {
            let case = String::from_utf8(case(&mut random)).unwrap();
            let (line, body) = case.split_once('\n').unwrap();
            let (method, target) = line.split_once(' ').unwrap();
            let (path, query) = split(target);
            let outcome = request(&method.parse().unwrap(), path, query, body.as_bytes(), None).unwrap();
            bodies += i32::from(outcome.message.is_some());
            messages += i32::from(matches!(outcome.message, Some(Ok(_))));
        }
        assert!(bodies > 100 && messages > bodies / 2, "{messages} messages of {bodies} bodies");
    }
}
