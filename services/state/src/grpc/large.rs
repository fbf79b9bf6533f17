//! Room for large requests: those that may be larger than all others share a budget of the process, and wait for it before
//! they are read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use futures::stream;
use http::Request;
use krake_proto::error::{self, ErrorReason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::MAX_REQUEST;

/// Maximum size of a large request, in bytes: a set of documents of 4 MiB is well below it in every encoding.
pub(super) const MAX_LARGE_REQUEST: usize = 8 * 1024 * 1024;
/// Bytes of large requests that one process reads and handles at the same time.
const LARGE_REQUESTS_BYTES: usize = 64 * 1024 * 1024;
/// Longest wait for room: a request takes a moment once it is read.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);
/// The frame of a gRPC message before its bytes: a flag and the length.
const FRAME_BYTES: usize = 5;

/// The room of a process.
#[derive(Clone)]
pub(super) struct LargeRequests {
    room: Arc<Semaphore>,
}

impl Default for LargeRequests {
    fn default() -> Self {
        LargeRequests { room: Arc::new(Semaphore::new(LARGE_REQUESTS_BYTES)) }
    }
}

impl LargeRequests {
    /// The request, with the room that it takes until that is dropped, once there is some. No more of it is read before
    /// than what tells its size. One of ordinary size takes none.
    ///
    /// # Errors
    /// When there is no room in time.
    pub(super) async fn admit(
        &self,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Option<OwnedSemaphorePermit>), Status> {
        let (parts, body) = request.into_parts();
        let mut rest = body.into_data_stream();
        let (mut read, mut head) = (Vec::new(), Vec::new());
        while head.len() < FRAME_BYTES {
            let Some(piece) = rest.next().await else { break };
            if let Ok(bytes) = &piece {
                head.extend(bytes.iter().take(FRAME_BYTES - head.len()));
            }
            let failed = piece.is_err();
            read.push(piece);
            if failed {
                break;
            }
        }
        let size = message_size(&head);
        let room = match size {
            Some(size) if size > MAX_REQUEST && size <= MAX_LARGE_REQUEST => Some(self.reserve(size).await?),
            // What is too large is refused where it is read.
            _ => None,
        };
        let whole: stream::Chain<_, _> = stream::iter(read).chain(rest);
        Ok((Request::from_parts(parts, Body::from_stream(whole)), room))
    }

    async fn reserve(&self, size: usize) -> Result<OwnedSemaphorePermit, Status> {
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        match timeout(ROOM_TIMEOUT, self.room.clone().acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => {
                let text = "too many large requests are under way; try again later";
                Err(error::status(Code::ResourceExhausted, ErrorReason::TooManyCalls, text))
            }
        }
    }
}

/// The size of the message whose frame begins so; `None` if there is none.
fn message_size(head: &[u8]) -> Option<usize> {
    let [_, length @ ..]: [u8; FRAME_BYTES] = head.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(length)).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::FutureExt;

    use super::*;

    fn request(size: usize, cut: usize) -> Request<Body> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(size).unwrap().to_be_bytes());
        let pieces = [Bytes::copy_from_slice(&frame[..cut]), Bytes::copy_from_slice(&frame[cut..])];
        let pieces = pieces.into_iter().chain([Bytes::from(vec![7; 10])]);
        Request::new(Body::from_stream(stream::iter(pieces.map(Ok::<_, axum::Error>))))
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_share_the_room_and_others_need_none() {
        let large = LargeRequests::default();
        let mut held = Vec::new();
        for cut in 0..LARGE_REQUESTS_BYTES / MAX_LARGE_REQUEST {
            let (admitted, room) = large.admit(request(MAX_LARGE_REQUEST, cut % FRAME_BYTES)).await.unwrap();
            let body = axum::body::to_bytes(admitted.into_body(), 100).await.unwrap();
            assert_eq!((body.len(), &body[5..]), (15, [7; 10].as_slice()), "the request is whole");
            held.push(room.unwrap());
        }
        for other in [0, MAX_REQUEST, MAX_LARGE_REQUEST + 1] {
            assert!(large.admit(request(other, 1)).await.unwrap().1.is_none(), "{other}");
        }
        assert!(large.admit(Request::new(Body::empty())).await.unwrap().1.is_none());
        let refused = large.admit(request(MAX_REQUEST + 1, 2)).await.unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::TooManyCalls));
        let mut waiting = Box::pin(large.admit(request(MAX_LARGE_REQUEST, 2)));
        assert!((&mut waiting).now_or_never().is_none());
        held.pop();
        assert!(waiting.await.unwrap().1.is_some());
    }
}
