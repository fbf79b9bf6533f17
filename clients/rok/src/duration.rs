//! Durations as people type them.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads `30s`, `5m`, `1h30m`, or a number of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.parse::<SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    duration.ok_or_else(|| "expected a duration such as 30s, 5m or 1h30m".to_owned())
}

/// `90s` as `1m 30s`.
pub(crate) fn show(duration: Duration) -> String {
    match SignedDuration::try_from(duration) {
        Ok(duration) => format!("{duration:#}"),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("90", 90), ("0", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5s", "5 parsecs"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(show(Duration::from_secs(300)), "5m");
        assert_eq!(show(Duration::from_secs(90)), "1m 30s");
    }
}
