//! Times and durations as text.

use jiff::Timestamp;
use prost_types::Duration;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A time in UTC with microseconds; what is finer is cut off.
pub(super) fn show(seconds: i64, nanos: i32) -> String {
    match Timestamp::new(seconds, nanos) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
        // Beyond the year 9999, which no message of ours should hold; the number is better than nothing.
        Err(_) => format!("{seconds}s"),
    }
}

/// Reads RFC 3339 with any offset: seconds and nanoseconds since 1970.
pub(super) fn read(text: &str) -> Option<(i64, i32)> {
    let time: Timestamp = text.parse().ok()?;
    let nanos = time.subsec_nanosecond();
    // jiff counts both parts away from zero, protobuf's nanoseconds always go forward.
    if nanos < 0 {
        Some((time.as_second() - 1, nanos + 1_000_000_000))
    } else {
        Some((time.as_second(), nanos))
    }
}

/// A duration in seconds: `30s`, `0.500s`.
pub(super) fn show_duration(seconds: i64, nanos: i32) -> String {
    // prost's own text overflows at the lowest number of seconds.
    let total = i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos);
    let (sign, total) = (if total < 0 { "-" } else { "" }, total.abs());
    let (seconds, nanos) = (total / NANOS_PER_SECOND, total % NANOS_PER_SECOND);
    match nanos {
        0 => format!("{sign}{seconds}s"),
        nanos if nanos % 1_000_000 == 0 => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        nanos => format!("{sign}{seconds}.{nanos:09}s"),
    }
}

/// Reads `30s`, `0.5s`.
pub(super) fn read_duration(text: &str) -> Option<(i64, i32)> {
    let duration: Duration = text.parse().ok()?;
    Some((duration.seconds, duration.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_microseconds() {
        assert_eq!(show(1_677_581_334, 123_456_789), "2023-02-28T10:48:54.123456+00:00");
        assert_eq!(show(0, 0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(show(-1, 500_000_000), "1969-12-31T23:59:59.500000+00:00");
    }

    #[test]
    fn any_offset_is_understood() {
        let time = Some((1_677_581_334, 123_456_000));
        assert_eq!(read("2023-02-28T10:48:54.123456+00:00"), time);
        assert_eq!(read("2023-02-28T10:48:54.123456Z"), time);
        assert_eq!(read("2023-02-28T12:18:54.123456+01:30"), time);
        assert_eq!(read("1969-12-31T23:59:59.5Z"), Some((-1, 500_000_000)));
        for wrong in ["", "2023-02-28", "2023-02-28T10:48:54", "2023-02-30T10:48:54Z", "now"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds() {
        for (text, value) in [("30s", (30, 0)), ("0.500s", (0, 500_000_000)), ("-1.000001s", (-1, -1_000))] {
            assert_eq!(read_duration(text), Some(value), "{text}");
            assert_eq!(show_duration(value.0, value.1), text);
        }
        assert_eq!(show_duration(i64::MIN, i32::MIN), "-9223372036854775810.147483648s");
        assert_eq!(show_duration(1, -500_000_000), "0.500s");
        for wrong in ["", "30", "s", "1m", "1.s.s", "ten"] {
            assert_eq!(read_duration(wrong), None, "{wrong}");
        }
    }
}
