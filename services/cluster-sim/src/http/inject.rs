//! Faults in answers: broken, slow, huge and garbled bodies.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::api::failure::{Failure, injected};
use crate::api::path::{Path, Target};
use crate::cluster::Cluster;
use crate::faults::{Asked, Down, Fault, Faults, RuleVerb, Verdict};

/// Time for the first half of an answer to leave before its connection breaks.
const BREAK_AFTER: Duration = Duration::from_millis(20);
/// Largest piece of a huge body.
const PIECE: usize = 64 * 1024;
static FILLING: [u8; PIECE] = [b'x'; PIECE];

/// What a request asks for, as far as faults depend on it.
pub(super) fn asked<'a>(
    method: &Method,
    watch: bool,
    headers: &HeaderMap,
    path: Option<&'a Path>,
) -> Asked<'a> {
    let target = path.and_then(Path::target);
    let named = target.is_some_and(|target| target.name.is_some());
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let apply = content_type.is_some_and(|value| value.starts_with("application/apply-patch"));
    let verb = match *method {
        Method::POST => RuleVerb::Create,
        Method::PUT => RuleVerb::Update,
        Method::PATCH if apply => RuleVerb::Apply,
        Method::PATCH => RuleVerb::Patch,
        Method::DELETE => RuleVerb::Delete,
        _ if watch => RuleVerb::Watch,
        _ if named || target.is_none() => RuleVerb::Get,
        _ => RuleVerb::List,
    };
    Asked { verb, kind: target.map(|target| (target.group.as_str(), target.plural.as_str())) }
}

/// Waits, cuts or refuses as the cluster's faults say. The request is to be carried out if it is not refused; its answer
/// gets the fault that is returned.
pub(super) async fn suffer(
    cluster: &Cluster,
    asked: Asked<'_>,
    target: Option<&Target>,
    connection: &CancellationToken,
) -> Result<Option<Fault>, Failure> {
    let mut faults = cluster.watch_faults();
    let delay = faults.borrow().delay();
    tokio::time::sleep(delay).await;
    loop {
        let down = faults.borrow_and_update().down;
        match down {
            Some(Down::Refuse) => {
                connection.cancel();
                std::future::pending::<()>().await;
            }
            Some(Down::Hang | Down::Lost) => {
                let silent = |faults: &Faults| matches!(faults.down, Some(Down::Hang | Down::Lost));
                drop(faults.wait_for(|faults| !silent(faults)).await);
            }
            Some(Down::Unavailable) => return Err(Failure::unavailable()),
            None => {}
        }
        let (verdict, retry_after) = cluster.judge(&asked);
        return match verdict {
            Verdict::Pass => Ok(None),
            Verdict::Conflict => Err(Failure::injected_conflict()),
            Verdict::TooManyRequests => Err(Failure::too_many_requests(retry_after)),
            Verdict::Ruled(Fault::Code(code)) => {
                let kind = target.and_then(|target| cluster.store().kind(target).ok());
                let target = target.map(|target| (target, kind.as_deref()));
                Err(injected::refusal(code, asked.verb, target, retry_after))
            }
            Verdict::Ruled(Fault::Hang) => match faults.changed().await {
                Ok(()) => continue,
                Err(_) => std::future::pending().await,
            },
            Verdict::Ruled(fault) => Ok(Some(fault)),
        };
    }
}

/// The answer with its fault. An answer of a watch is a stream of lines.
pub(super) fn alter(answer: Response, fault: Fault, watch: bool) -> Response {
    let (mut head, body) = answer.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let body = match fault {
        Fault::Code(_) | Fault::Hang => body,
        Fault::Cut => Body::from_stream(broken(body)),
        Fault::Slow { bytes_per_second } => Body::from_stream(slow(body, bytes_per_second.get())),
        Fault::Huge { bytes } => Body::from_stream(huge(bytes, watch)),
        Fault::BadJson if watch => Body::from("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\n"),
        Fault::BadJson => Body::from("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"),
    };
    Response::from_parts(head, body)
}

fn broken(body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let first = body.into_data_stream().take(1).map(|piece| {
        let piece = piece.unwrap_or_default();
        Ok(piece.slice(..piece.len() / 2))
    });
    let end = stream::once(async {
        tokio::time::sleep(BREAK_AFTER).await;
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an injected fault breaks this answer"))
    });
    first.chain(end)
}

fn slow(body: Body, bytes_per_second: u32) -> impl Stream<Item = io::Result<Bytes>> + Send {
    // Ten pieces a second; of less than a byte each, fewer.
    let size = bytes_per_second.div_ceil(10);
    let pause = Duration::from_secs(1) * size / bytes_per_second;
    let size = usize::try_from(size).unwrap_or(PIECE);
    // An error is passed on and not swallowed: a watch that is cut goes on to tell of it for as long as it is asked.
    let pieces = body.into_data_stream().map_err(io::Error::other).map_ok(move |rest| {
        stream::unfold(rest, move |mut rest| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(pause).await;
            let piece = rest.split_to(size.min(rest.len()));
            Some((Ok(piece), rest))
        })
    });
    pieces.try_flatten()
}

/// A JSON object, or a line of a watch with one, of so many bytes; of its frame at least.
fn huge(bytes: u64, watch: bool) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (begin, end) = match watch {
        true => ("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"annotations\":{\"filling\":\"", "\"}}}}\n"),
        false => ("{\"metadata\":{\"annotations\":{\"filling\":\"", "\"}}}"),
    };
    let frame = (begin.len() + end.len()) as u64;
    let filling = stream::unfold(bytes.saturating_sub(frame), |left| async move {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        (size > 0).then(|| (Ok(Bytes::from_static(&FILLING[..size])), left - size as u64))
    });
    let text = |text: &'static str| stream::once(async move { Ok(Bytes::from_static(text.as_bytes())) });
    text(begin).chain(filling).chain(text(end))
}
