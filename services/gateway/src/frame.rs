//! Messages of a watch as lines: newline-delimited JSON as upstream has it, or server-sent events.

use http::HeaderMap;
use http::header::ACCEPT;
use krake_proto::envelope::WatchResponse;
use krake_proto::krake::meta::v1::EventType;
use prost_reflect::MessageDescriptor;
use serde_json::json;

use crate::answer;
use crate::problem::Problem;
use crate::version::Version;

/// Format of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One event per line.
    Lines,
    /// `text/event-stream`.
    Events,
}

impl Form {
    /// The format that a request accepts: events if it names them, else lines.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let events = accepts.flat_map(|value| value.split(',')).any(|range| {
            let media = range.split(';').next().unwrap_or_default();
            media.trim().eq_ignore_ascii_case("text/event-stream")
        });
        if events { Form::Events } else { Form::Lines }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Form::Lines => "application/x-ndjson",
            Form::Events => "text/event-stream",
        }
    }

    /// A sign of life, which readers skip.
    pub(crate) fn heartbeat(self) -> &'static [u8] {
        match self {
            Form::Lines => b"\n",
            Form::Events => b":\n\n",
        }
    }

    /// Writes a message's events. The last event of whole revisions names the revision: to resume from any other could
    /// skip events that share its revision. An object that this version cannot show is left out and logged.
    pub(crate) fn message(self, descriptor: &MessageDescriptor, message: &WatchResponse) -> Vec<u8> {
        let shown = message.events.iter().filter_map(|event| {
            let mut object = Vec::new();
            answer::write(descriptor, &event.object, &mut object).ok()?;
            Some((type_name(event.r#type), object))
        });
        let shown: Vec<_> = shown.collect();
        let mut out = Vec::new();
        let revision = (!message.partial).then_some(message.resource_version);
        let id = Version { revision: message.resource_version, epoch: message.epoch.clone() };
        for (index, (r#type, object)) in shown.iter().enumerate() {
            let revision = revision.filter(|_| index + 1 == shown.len());
            if self == Form::Events {
                out.extend_from_slice(format!("event: {type}\n").as_bytes());
                if revision.is_some() {
                    out.extend_from_slice(format!("id: {id}\n").as_bytes());
                }
                out.extend_from_slice(b"data: ");
            }
            out.extend_from_slice(format!(r#"{{"type":"{type}","object":"#).as_bytes());
            out.extend_from_slice(object);
            if let Some(revision) = revision {
                out.extend_from_slice(format!(r#","resource_version":{revision}"#).as_bytes());
            }
            out.extend_from_slice(if self == Form::Events { b"}\n\n" } else { b"}\n" });
        }
        if self == Form::Events && shown.is_empty() && revision.is_some() {
            // Readers note the id of an event without data and show nothing.
            out.extend_from_slice(format!("id: {id}\n\n").as_bytes());
        }
        out
    }

    /// Writes why the watch ends: the problem, as an event of the type ERROR. `place` is where another watch can
    /// resume: a quiet watch has named no revision since it began.
    pub(crate) fn end(self, problem: &Problem, documentation: &str, place: Option<&Version>) -> Vec<u8> {
        let body = problem.body(documentation);
        match self {
            Form::Lines => {
                let mut line = json!({"type": "ERROR", "object": body});
                if let Some(Version { revision, epoch }) = place {
                    line["resource_version"] = (*revision).into();
                    line["epoch"] = epoch.as_str().into();
                }
                format!("{line}\n").into_bytes()
            }
            // Readers have noted the id of each bookmark.
            Form::Events => format!("event: error\ndata: {body}\n\n").into_bytes(),
        }
    }
}

fn type_name(number: i32) -> &'static str {
    let name = match EventType::try_from(number).unwrap_or_default() {
        // To a client of upstream's API an object that is shown otherwise has changed.
        EventType::Repeated => EventType::Modified.as_str_name(),
        other => other.as_str_name(),
    };
    name.strip_prefix("EVENT_TYPE_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use krake_proto::POOL;
    use krake_proto::envelope::Event;
    use krake_proto::krake::core::v1::Metric;
    use krake_proto::krake::meta::v1::Metadata;
    use prost::Message;
    use serde_json::Value;

    use super::*;

    fn message(names: &[&str], partial: bool) -> WatchResponse {
        let event = |name: &&str| {
            let metadata = Some(Metadata { name: (*name).to_owned(), ..Default::default() });
            let object = Metric { metadata, spec: None }.encode_to_vec().into();
            Event { r#type: EventType::Modified.into(), object }
        };
        WatchResponse {
            events: names.iter().map(event).collect(),
            resource_version: 7,
            epoch: "e".to_owned(),
            synced: false,
            partial,
        }
    }

    fn text(form: Form, message: &WatchResponse) -> String {
        let descriptor = POOL.get_message_by_name("krake.core.v1.Metric").unwrap();
        String::from_utf8(form.message(&descriptor, message)).unwrap()
    }

    #[test]
    fn a_line_is_an_event_and_the_last_of_a_revision_names_it() {
        let text = text(Form::Lines, &message(&["a\n", "b"], false));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "a line break in a value breaks no line");
        assert_eq!(lines[0]["object"]["metadata"]["name"], "a\n");
        assert_eq!((&lines[0]["type"], lines[0].get("resource_version")), (&"MODIFIED".into(), None));
        assert_eq!(lines[1]["resource_version"], 7);
    }

    #[test]
    fn an_object_that_is_repeated_has_changed_for_clients_of_upstream() {
        let mut repeated = message(&["a"], false);
        repeated.events[0].r#type = EventType::Repeated.into();
        assert_eq!(text(Form::Lines, &repeated), text(Form::Lines, &message(&["a"], false)));
    }

    #[test]
    fn no_watch_resumes_in_the_middle_of_a_revision() {
        assert!(!text(Form::Lines, &message(&["a"], true)).contains("\"resource_version\":7"));
        assert!(!text(Form::Events, &message(&["a"], true)).contains("id:"));
        assert_eq!(text(Form::Lines, &message(&[], false)), "", "upstream's readers know no bookmarks");
        assert_eq!(text(Form::Events, &message(&[], false)), "id: 7/e\n\n");
        assert_eq!(text(Form::Events, &message(&[], true)), "");
    }

    #[test]
    fn events_for_browsers_have_a_type_an_id_and_one_line_of_data() {
        let text = text(Form::Events, &message(&["a"], false));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["event: MODIFIED", "id: 7/e"]);
        let data: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["object"]["kind"], "GlobalMetric");
        assert_eq!((lines.len(), text.ends_with("\n\n")), (4, true));
        let problem = Problem::new(StatusCode::GONE, "start over");
        assert!(Form::Events.end(&problem, "", None).starts_with(b"event: error\ndata: {"));
        let line = |place| serde_json::from_slice::<Value>(&Form::Lines.end(&problem, "", place)).unwrap();
        let gone = line(None);
        assert_eq!((&gone["type"], &gone["object"]["status"]), (&"ERROR".into(), &410.into()));
        assert!(gone.get("resource_version").is_none());
        let quiet = line(Some(&Version { revision: 7, epoch: "e".to_owned() }));
        assert_eq!((&quiet["resource_version"], &quiet["epoch"]), (&7.into(), &"e".into()));
    }

    #[test]
    fn events_are_sent_to_those_who_ask_for_them() {
        let form = |accept: &str| {
            Form::accepted(&[(ACCEPT, accept.parse().unwrap())].into_iter().collect::<HeaderMap>())
        };
        assert_eq!(Form::accepted(&HeaderMap::new()), Form::Lines);
        assert_eq!((form("*/*"), form("application/json")), (Form::Lines, Form::Lines));
        assert_eq!(form("application/json, Text/Event-Stream;q=0.9"), Form::Events);
    }
}
