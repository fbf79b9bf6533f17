//! The query string: its known parameters, and their values as upstream reads them.

use std::time::Duration;

use krake_proto::rest::Query;

use crate::matcher::decode;
use crate::problem::Problem;

/// Seconds between the empty lines of a watch that does not ask for another pause: upstream's.
const DEFAULT_HEARTBEAT_SECONDS: u64 = 10;
/// Longer pauses are shortened to a day: no timer has to count further.
const MAX_HEARTBEAT_SECONDS: u64 = 24 * 60 * 60;

/// The known parameters of a request, decoded, in its order.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string. Unknown parameters are ignored, as upstream does.
    ///
    /// # Errors
    /// When the value of a known parameter cannot be decoded, or is given twice and differs.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut parameters = Parameters::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(&name.replace('+', " ")) else { continue };
            if !Query::ALL.iter().any(|query| query.name() == name) {
                continue;
            }
            let value = decode(&value.replace('+', " "))
                .ok_or_else(|| Problem::query(&name, "Not percent-encoded UTF-8."))?;
            match parameters.get(&name) {
                Some(first) if first != value && name != Query::Watch.name() => {
                    return Err(Problem::query(&name, "Given more than once, with different values."));
                }
                _ => parameters.0.push((name, value)),
            }
        }
        Ok(parameters)
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the request is a watch: as upstream, by the name alone, whatever the value.
    pub(crate) fn is_watch(&self) -> bool {
        self.get("watch").is_some()
    }

    /// Whether a switch is on. Upstream knows `True` alone; other spellings of booleans are read too.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1") => Ok(true),
            None | Some("false" | "0") => Ok(false),
            Some(_) => Err(Problem::query(name, "Not a valid boolean: must be true or false.")),
        }
    }

    /// Pause between the empty lines of a watch; `None` turns them off.
    pub(crate) fn heartbeat(&self) -> Result<Option<Duration>, Problem> {
        let wrong = |text| Problem::query("heartbeat", text);
        let seconds = match self.get("heartbeat").map(str::trim) {
            None => DEFAULT_HEARTBEAT_SECONDS,
            Some(text) => match text.parse::<i128>() {
                Ok(seconds) if seconds < 0 => return Err(wrong("Must be greater than or equal to 0.")),
                Ok(seconds) => u64::try_from(seconds).unwrap_or(u64::MAX).min(MAX_HEARTBEAT_SECONDS),
                Err(_) => return Err(wrong("Not a valid integer.")),
            },
        };
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// A revision to resume after.
    pub(crate) fn revision(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.get(name)
            .map(|text| revision(text).ok_or_else(|| Problem::query(name, "Not a valid integer.")))
            .transpose()
    }
}

/// A revision as clients write it.
pub(crate) fn revision(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|revision| *revision >= 0)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn heartbeat(query: &str) -> Result<Option<u64>, StatusCode> {
        let parameters = Parameters::read(Some(query)).unwrap();
        parameters.heartbeat().map(|pause| pause.map(|pause| pause.as_secs())).map_err(|wrong| wrong.status)
    }

    #[test]
    fn heartbeats_are_upstreams() {
        assert_eq!(heartbeat("watch"), Ok(Some(10)));
        assert_eq!(heartbeat("watch&heartbeat=2"), Ok(Some(2)));
        assert_eq!(heartbeat("heartbeat=0"), Ok(None));
        assert_eq!(heartbeat("heartbeat=99999999999999999999"), Ok(Some(86_400)));
        for wrong in ["heartbeat=-1", "heartbeat=x", "heartbeat=", "heartbeat=1.5"] {
            assert_eq!(heartbeat(wrong), Err(StatusCode::UNPROCESSABLE_ENTITY), "{wrong}");
        }
    }

    #[test]
    fn the_name_alone_asks_for_a_watch_and_switches_need_a_value() {
        for query in ["watch", "watch=", "watch=false", "a=b&watch=0"] {
            assert!(Parameters::read(Some(query)).unwrap().is_watch(), "{query}");
        }
        assert!(!Parameters::read(Some("watched&nowatch=1")).unwrap().is_watch());
        assert!(!Parameters::read(None).unwrap().is_watch());
        let is_on = |query| Parameters::read(Some(query)).unwrap().is_on("force");
        for (query, on) in [
            ("", false),
            ("force=True", true),
            ("force=true", true),
            ("force=1", true),
            ("force=False", false),
            ("force=0", false),
        ] {
            assert_eq!(is_on(query), Ok(on), "{query}");
        }
        for wrong in ["force", "force=", "force=maybe", "force=yes", "force=2"] {
            assert_eq!(is_on(wrong).unwrap_err().status, 422, "{wrong}");
        }
    }

    #[test]
    fn values_are_decoded() {
        let parameters = Parameters::read(Some("label_selector=zone+in+(a%2Cb)&bad=%zz&epoch==1")).unwrap();
        assert_eq!(parameters.get("label_selector"), Some("zone in (a,b)"));
        assert_eq!((parameters.get("bad"), parameters.get("epoch")), (None, Some("=1")));
        let revision = |query| Parameters::read(Some(query)).unwrap().revision("resource_version");
        assert_eq!(revision("resource_version=7").unwrap(), Some(7));
        assert!(revision("resource_version=-7").is_err());
    }

    #[test]
    fn no_value_is_dropped_in_silence() {
        let read = |query| Parameters::read(Some(query)).map_err(|problem| problem.status.as_u16());
        for wrong in ["label_selector=%zz", "label_selector=%ff", "force=true&force=false", "epoch=a&epoch"] {
            assert_eq!(read(wrong).unwrap_err(), 422, "{wrong}");
        }
        assert!(read("force=true&force=true").is_ok() && read("watch&watch=1").is_ok());
        assert!(read("other=a&other=b&%zz=1").is_ok(), "unknown parameters are ignored");
    }
}
