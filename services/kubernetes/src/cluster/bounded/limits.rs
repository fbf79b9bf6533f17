//! Which bounds a call has, and the count of what its answer takes. Pure.

use std::time::Duration;

use http::Uri;

use super::AnswerError;
use crate::cluster::connection::Deadlines;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Maximum size of an object or of a page of a list. With one large answer at a time a cluster that answers without
/// end costs this much, beside a few answers of [`LARGE`] bytes.
const OBJECTS: usize = 16 * MIB;
/// Maximum size of an answer about the kinds that a cluster serves; a group with 1,000 kinds takes 0.5 MiB.
const DISCOVERY: usize = 8 * MIB;
/// Maximum size of one event of a watch. etcd, and so Kubernetes, keeps objects up to 1.5 MiB.
const LINE: usize = 4 * MIB;
/// Maximum size of an error's body.
const ERROR: usize = 64 * KIB;
/// An answer, or a line of a watch, is large from this size on.
pub(super) const LARGE: usize = MIB;
/// Memory that an element of a parsed answer takes, at least: `{}` is 2 bytes of JSON, and hundreds once it is
/// parsed.
const ELEMENT: usize = 512;
/// Maximum memory of the elements of one answer. A full page of Pods, which have many elements, takes half of it.
const ELEMENTS: usize = 128 * MIB;
/// Maximum time of an answer without a byte.
const STALL: Duration = Duration::from_secs(10);
/// Maximum time of an answer in all, as a multiple of the time that its first byte may take.
const WHOLE: u32 = 4;

/// A call, as far as its bounds depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A watch: a stream of lines, as long as it lasts.
    Watch,
    /// Which groups and kinds there are, and the version.
    Discovery,
    /// An object or a list.
    Objects,
    /// Any call that was answered with an error.
    Error,
}

impl Call {
    /// The call that a request is, by its path and query.
    pub(super) fn of(uri: &Uri) -> Self {
        let watches = |query: &str| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        if uri.query().is_some_and(watches) {
            return Call::Watch;
        }
        let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        match path.as_slice() {
            ["version"] | ["api"] | ["api", _] | ["apis"] | ["apis", _] | ["apis", _, _] => Call::Discovery,
            _ => Call::Objects,
        }
    }
}

/// The bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of the whole answer, or of each line of it.
    bytes: usize,
    /// Whether the answer is made of lines, each with these bounds.
    lines: bool,
    /// Time until the answer begins; `None`: as long as the connection lasts.
    pub(super) begin: Option<Duration>,
    /// Time without a byte; `None`: as long as the connection lasts.
    pub(super) stall: Option<Duration>,
    /// Time from the beginning of the answer to its end; `None`: as long as the connection lasts.
    pub(super) whole: Option<Duration>,
}

impl Limits {
    pub(super) fn of(call: Call, deadlines: &Deadlines) -> Self {
        let bytes = match call {
            Call::Watch => LINE,
            Call::Discovery => DISCOVERY,
            Call::Objects => OBJECTS,
            Call::Error => ERROR,
        };
        // A watch is silent while nothing changes; the silence that its connection may have bounds it.
        let timed = call != Call::Watch;
        Limits {
            bytes,
            lines: call == Call::Watch,
            begin: timed.then_some(deadlines.request),
            stall: timed.then_some(STALL.min(deadlines.request)),
            whole: timed.then_some(deadlines.request * WHOLE),
        }
    }

    /// None, for bodies that this process made.
    pub(super) fn own() -> Self {
        Limits { bytes: usize::MAX, lines: false, begin: None, stall: None, whole: None }
    }

    /// Refuses an answer that declares too many bytes.
    pub(super) fn check_declared(&self, declared: u64) -> Result<(), AnswerError> {
        let most = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        if !self.lines && declared > most { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> AnswerError {
        let limit = self.bytes.div_ceil(MIB);
        if self.lines { AnswerError::LineTooLong { limit } } else { AnswerError::TooLarge { limit } }
    }
}

/// What has arrived of an answer, or of the present line of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    limits: Limits,
    bytes: usize,
    elements: usize,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Meter { limits, bytes: 0, elements: 0 }
    }

    /// Counts what arrived.
    ///
    /// # Errors
    /// When it, or a line of it, is beyond the bounds.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), AnswerError> {
        if !self.limits.lines {
            return self.count(data);
        }
        let mut lines = data.split(|byte| *byte == b'\n');
        self.count(lines.next().unwrap_or_default())?;
        for line in lines {
            (self.bytes, self.elements) = (0, 0);
            self.count(line)?;
        }
        Ok(())
    }

    /// Whether what was counted is large, so that one such answer at a time may go on.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > LARGE
    }

    fn count(&mut self, data: &[u8]) -> Result<(), AnswerError> {
        self.bytes += data.len();
        // Braces within texts are counted too, which errs to the safe side.
        self.elements += data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
        if self.bytes > self.limits.bytes {
            return Err(self.limits.too_large());
        }
        if self.elements.saturating_mul(ELEMENT) > ELEMENTS {
            return Err(AnswerError::TooManyElements);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/version", Call::Discovery)]
    #[case("/api/v1", Call::Discovery)]
    #[case("/apis", Call::Discovery)]
    #[case("/apis/apps/v1", Call::Discovery)]
    #[case("/api/v1/nodes?limit=1", Call::Objects)]
    #[case("/apis/apps/v1/deployments", Call::Objects)]
    #[case("/apis/apps/v1/namespaces/demo/deployments/d", Call::Objects)]
    #[case("/api/v1/nodes?&watch=true&resourceVersion=1", Call::Watch)]
    #[case("/api/v1/namespaces/watch=true/configmaps", Call::Objects)]
    fn calls_are_known_by_path_and_query(#[case] uri: &str, #[case] expected: Call) {
        assert_eq!(Call::of(&uri.parse().unwrap()), expected);
    }

    fn meter(call: Call) -> Meter {
        Meter::new(Limits::of(call, &Deadlines::default()))
    }

    #[test]
    fn a_line_is_counted_from_the_end_of_the_one_before() {
        let mut meter = meter(Call::Watch);
        let half = vec![b'x'; LINE / 2];
        for _ in 0..9 {
            meter.take(&half).unwrap();
            meter.take(b"\n").unwrap();
        }
        meter.take(&half).unwrap();
        assert!(meter.is_large());
        meter.take(&half).unwrap();
        assert_eq!(meter.take(b"x"), Err(AnswerError::LineTooLong { limit: 4 }));
    }

    #[test]
    fn a_frame_with_the_end_of_a_line_counts_what_follows() {
        let mut meter = meter(Call::Watch);
        let mut frame = vec![b'x'; LARGE + 1];
        frame.push(b'\n');
        meter.take(&frame).unwrap();
        assert!(!meter.is_large());
    }

    #[test]
    fn every_call_has_its_size() {
        for (call, size) in [(Call::Objects, OBJECTS), (Call::Discovery, DISCOVERY), (Call::Error, ERROR)] {
            let mut meter = meter(call);
            meter.take(&vec![b'x'; size]).unwrap();
            assert!(meter.take(b"x").is_err(), "{call:?}");
        }
    }

    #[test]
    fn elements_count_by_the_memory_that_they_take() {
        let mut meter = meter(Call::Objects);
        let empty = b"{},".repeat(100_000);
        meter.take(&empty).unwrap();
        meter.take(&empty).unwrap();
        assert_eq!(meter.take(&empty), Err(AnswerError::TooManyElements));
    }

    #[test]
    fn what_is_declared_too_large_is_not_read() {
        let limits = Limits::of(Call::Objects, &Deadlines::default());
        assert_eq!(limits.check_declared(1_500_000_000), Err(AnswerError::TooLarge { limit: 16 }));
        assert_eq!(limits.check_declared(1_000), Ok(()));
    }
}
