//! Moods of the FAKE API servers: what becomes of requests while one lasts.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use futures::StreamExt;
use tokio::sync::watch;

/// Declared length of a huge answer in bytes: more than the adapter takes of any.
const HUGE: u64 = 1 << 30;
/// Longest part of an answer that arrives before the connection breaks.
const BEFORE_CUT: usize = 200;
/// What arrives of a watch before the connection breaks: less than a line.
const LINE_BEFORE_CUT: &str = "{\"type\":\"ADDED\",\"object\":{";

/// What a mood does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whim {
    /// It is not carried out, and answered with this code.
    Refuse(u16),
    /// It waits for the end of the mood.
    Hang,
    /// It is carried out, and the connection breaks within the answer.
    Cut,
    /// It is carried out, and the answer is larger than the adapter may take. Watches are spared: their bound is that of a
    /// line, which would have to be sent.
    Huge,
}

/// All whims.
pub(crate) const WHIMS: [Whim; 10] = [
    Whim::Refuse(401),
    Whim::Refuse(403),
    Whim::Refuse(404),
    Whim::Refuse(409),
    Whim::Refuse(422),
    Whim::Refuse(429),
    Whim::Refuse(500),
    Whim::Hang,
    Whim::Cut,
    Whim::Huge,
];

/// Which requests a mood is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    All,
    Reads,
    Writes,
}

/// How an API server treats requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mood {
    pub(crate) whim: Whim,
    pub(crate) of: Of,
    /// Seconds that a refusal with 429 asks to wait for.
    pub(crate) retry_after: Option<u8>,
    /// Watches that are open end when it begins. Otherwise they go on.
    pub(crate) ends_watches: bool,
}

/// A request, as far as moods distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Read,
    Watch,
    Write,
}

/// How many requests met each whim.
pub(crate) type Met = BTreeMap<(Whim, Asked), usize>;

impl Mood {
    fn covers(&self, asked: Asked) -> bool {
        let is_meant = match self.of {
            Of::All => true,
            Of::Reads => asked != Asked::Write,
            Of::Writes => asked == Asked::Write,
        };
        is_meant && (self.whim, asked) != (Whim::Huge, Asked::Watch)
    }
}

/// The moods of one API server. The first of those that last counts.
#[derive(Default)]
pub(crate) struct Moods {
    present: watch::Sender<Vec<Mood>>,
    /// How often all watches had to end.
    watches_ended: watch::Sender<u64>,
    met: Mutex<Met>,
}

impl Moods {
    pub(crate) fn begin(&self, mood: Mood) {
        self.present.send_modify(|present| present.push(mood));
        if mood.ends_watches {
            self.watches_ended.send_modify(|times| *times += 1);
        }
    }

    pub(crate) fn end(&self, mood: Mood) {
        self.present.send_modify(|present| {
            let place = present.iter().position(|other| *other == mood);
            present.remove(place.unwrap());
        });
    }

    /// Changes when open watches have to end.
    pub(crate) fn end_of_watches(&self) -> watch::Receiver<u64> {
        self.watches_ended.subscribe()
    }

    /// The mood that a request meets, if it meets one. A request that hangs is judged anew when that mood is over.
    pub(crate) async fn meet(&self, asked: Asked) -> Option<Mood> {
        let mut present = self.present.subscribe();
        loop {
            let mood = present.borrow_and_update().iter().find(|mood| mood.covers(asked)).copied()?;
            *self.met.lock().unwrap().entry((mood.whim, asked)).or_default() += 1;
            if mood.whim != Whim::Hang {
                return Some(mood);
            }
            let is_over = |present: &Vec<Mood>| !present.contains(&mood);
            present.wait_for(is_over).await.ok()?;
        }
    }

    pub(crate) fn met(&self) -> Met {
        self.met.lock().unwrap().clone()
    }
}

/// The answer, whose connection breaks before it is complete.
pub(crate) async fn cut(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let begin = whole.slice(..BEFORE_CUT.min(whole.len() / 2));
    let mut answer = Response::from_parts(parts, broken(begin.into()));
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    answer
}

/// A watch that breaks within its first line.
pub(crate) fn cut_watch() -> Response {
    let body = broken(LINE_BEFORE_CUT.into());
    Response::builder().header(CONTENT_TYPE, "application/json").body(body).unwrap()
}

fn broken(begin: Vec<u8>) -> Body {
    let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    Body::from_stream(futures::stream::iter([Ok(begin), end]))
}

/// An answer that declares to be huge, and sends no more than its beginning.
pub(crate) fn huge() -> Response {
    let begin = futures::stream::iter([Ok::<_, io::Error>("{")]);
    let body = Body::from_stream(begin.chain(futures::stream::pending()));
    Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, HUGE)
        .body(body)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_mood_that_covers_a_request_counts_and_what_hangs_waits_for_its_end() {
    let mood = |whim, of| Mood { whim, of, retry_after: None, ends_watches: false };
    let (moods, hangs) = (Moods::default(), mood(Whim::Hang, Of::Writes));
    assert_eq!(moods.meet(Asked::Read).await, None);
    moods.begin(hangs);
    moods.begin(mood(Whim::Refuse(401), Of::All));
    assert_eq!(moods.meet(Asked::Read).await.map(|mood| mood.whim), Some(Whim::Refuse(401)));
    let waits = std::pin::pin!(moods.meet(Asked::Write));
    let begun = tokio::time::Instant::now();
    let ends = async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        moods.end(hangs);
    };
    let (met, ()) = tokio::join!(waits, ends);
    assert_eq!((met.map(|mood| mood.whim), begun.elapsed().as_secs()), (Some(Whim::Refuse(401)), 5));
    let expected = [
        ((Whim::Refuse(401), Asked::Read), 1),
        ((Whim::Refuse(401), Asked::Write), 1),
        ((Whim::Hang, Asked::Write), 1),
    ];
    assert_eq!(moods.met(), Met::from(expected));
}
