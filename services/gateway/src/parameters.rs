//! The query string: which parameters a request gives, and what upstream makes of their values.

use std::time::Duration;

use crate::matcher::decode;
use crate::problem::Problem;

/// Seconds between the empty lines of a watch that says nothing about them.
const HEARTBEAT: u64 = 10;
/// Longer pauses than this mean the same.
const LONGEST_HEARTBEAT: u64 = 24 * 60 * 60;

/// The parameters of a request, decoded, in its order.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string; what cannot be decoded is left out.
    pub(crate) fn read(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        Parameters(decoded.collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a watch is asked for: as upstream has it, the name alone counts, whatever its value.
    pub(crate) fn is_watch(&self) -> bool {
        self.get("watch").is_some()
    }

    /// Whether a switch is on. Upstream knows `True` alone; what others write for it is understood too.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("True" | "true" | "1"))
    }

    /// How often a watch sends an empty line; never if `None`.
    pub(crate) fn heartbeat(&self) -> Result<Option<Duration>, Problem> {
        let wrong = |text| Problem::query("heartbeat", text);
        let seconds = match self.get("heartbeat").map(str::trim) {
            None => HEARTBEAT,
            Some(text) => match text.parse::<i128>() {
                Ok(seconds) if seconds < 0 => return Err(wrong("Must be greater than or equal to 0.")),
                Ok(seconds) => u64::try_from(seconds).unwrap_or(u64::MAX).min(LONGEST_HEARTBEAT),
                Err(_) => return Err(wrong("Not a valid integer.")),
            },
        };
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// A revision to go on from.
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
        let parameters = Parameters::read(Some(query));
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
            assert!(Parameters::read(Some(query)).is_watch(), "{query}");
        }
        assert!(!Parameters::read(Some("watched&nowatch=1")).is_watch());
        assert!(!Parameters::read(None).is_watch());
        for (query, on) in
            [("force=True", true), ("force=true", true), ("force", false), ("force=False", false)]
        {
            assert_eq!(Parameters::read(Some(query)).is_on("force"), on, "{query}");
        }
    }

    #[test]
    fn values_are_decoded() {
        let parameters = Parameters::read(Some("label_selector=zone+in+(a%2Cb)&bad=%zz&x==1"));
        assert_eq!(parameters.get("label_selector"), Some("zone in (a,b)"));
        assert_eq!((parameters.get("bad"), parameters.get("x")), (None, Some("=1")));
        assert_eq!(
            Parameters::read(Some("resource_version=7")).revision("resource_version").unwrap(),
            Some(7)
        );
        assert!(Parameters::read(Some("resource_version=-7")).revision("resource_version").is_err());
    }
}
