//! Room for answers: how much of the memory of its peer's answers each call may take, and when it waits for it.

use bytes::Bytes;
use krake_proto::error::{self, ErrorReason};
use krake_runtime::serve::{AnswerBudget, AnswerMemory, NoRoom, SMALL_ANSWER_BYTES};
use tonic::{Code, Response, Status};

/// Maximum size of a page of a list in bytes: clients accept no larger message.
const PAGE_ROOM: usize = 4 << 20;
/// How many times its encoding a decoded page takes in memory: its labels and owners are short strings.
const DECODED_FACTOR: usize = 4;

/// A page that `build` encodes. Nothing is built before there is room for the largest page.
pub(super) async fn page(
    budget: &AnswerBudget,
    build: impl Future<Output = Result<Bytes, Status>>,
) -> Result<Response<Bytes>, Status> {
    let memory = budget.reserve(PAGE_ROOM).await.map_err(refused)?;
    let page = build.await?;
    let size = page.len();
    Ok(with(page, size, memory))
}

/// The same for a page that is encoded when it is sent; `size` is its encoded size.
pub(super) async fn decoded_page<T>(
    budget: &AnswerBudget,
    build: impl Future<Output = Result<T, Status>>,
    size: impl FnOnce(&T) -> usize,
) -> Result<Response<T>, Status> {
    let memory = budget.reserve(PAGE_ROOM * DECODED_FACTOR).await.map_err(refused)?;
    let page = build.await?;
    let size = size(&page) * DECODED_FACTOR;
    Ok(with(page, size, memory))
}

/// The object that `read` returns. Most are small, so room is sought for the size that it has: where there is none, the
/// object is dropped, and read again when there is.
pub(super) async fn object<F>(budget: &AnswerBudget, read: impl Fn() -> F) -> Result<Response<Bytes>, Status>
where
    F: Future<Output = Result<Bytes, Status>>,
{
    let mut reserved: Option<(AnswerMemory, usize)> = None;
    loop {
        let object = read().await?;
        let size = object.len();
        if size < SMALL_ANSWER_BYTES {
            return Ok(Response::new(object));
        }
        let room = reserved.take().filter(|(_, room)| *room >= size).map(|(memory, _)| memory);
        if let Some(memory) = room.or_else(|| budget.try_reserve(size)) {
            return Ok(with(object, size, memory));
        }
        drop(object);
        reserved = Some((budget.reserve(size).await.map_err(refused)?, size));
    }
}

/// The answer to a write that has taken effect.
pub(super) fn written(budget: &AnswerBudget, answer: Bytes) -> Result<Response<Bytes>, Status> {
    let size = answer.len();
    if size < SMALL_ANSWER_BYTES {
        return Ok(Response::new(answer));
    }
    let memory = budget.hold_written(size).map_err(|no_room| {
        let text = format!("the write has taken effect, but there is no room for its answer: {no_room}");
        error::status(Code::ResourceExhausted, ErrorReason::TooManyCalls, text)
    })?;
    Ok(with(answer, size, memory))
}

fn with<T>(answer: T, size: usize, memory: AnswerMemory) -> Response<T> {
    memory.resize(size);
    let mut response = Response::new(answer);
    if size >= SMALL_ANSWER_BYTES {
        response.extensions_mut().insert(memory);
    }
    response
}

fn refused(no_room: NoRoom) -> Status {
    error::status(Code::ResourceExhausted, ErrorReason::TooManyCalls, no_room.to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    const LARGE: usize = SMALL_ANSWER_BYTES;

    fn budget(answers: usize) -> AnswerBudget {
        AnswerBudget::new(answers * LARGE, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_without_room_is_read_again_when_there_is_some() {
        let budget = budget(1);
        let (first, reads) = (budget.try_reserve(LARGE).unwrap(), Cell::new(0));
        let read = || async {
            reads.set(reads.get() + 1);
            Ok(Bytes::from(vec![0; LARGE]))
        };
        let mut second = std::pin::pin!(object(&budget, read));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((reads.get(), budget.held()), (2, LARGE));
        let refused = object(&budget, read).await.unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::TooManyCalls));
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_grew_meanwhile_waits_again() {
        let budget = budget(2);
        let first = budget.try_reserve(2 * LARGE).unwrap();
        let size = Cell::new(LARGE);
        let mut second =
            std::pin::pin!(object(&budget, || async { Ok(Bytes::from(vec![0; size.replace(2 * LARGE)])) }));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((second.get_ref().len(), budget.held()), (2 * LARGE, 2 * LARGE));
    }

    #[tokio::test(start_paused = true)]
    async fn no_page_is_built_before_there_is_room() {
        let budget = AnswerBudget::new(PAGE_ROOM, Duration::from_secs(10));
        let unread = page(&budget, async { Ok(Bytes::from(vec![0; LARGE])) }).await.unwrap();
        assert_eq!(budget.held(), LARGE, "the rest is free again");
        let never = async { panic!("it is built") };
        let refused = page(&budget, never).await.unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::TooManyCalls));
        drop(unread);
        page(&budget, async { Ok(Bytes::new()) }).await.unwrap();
        assert_eq!(budget.held(), 0, "a small page does not count");
    }

    #[test]
    fn a_write_that_finds_no_room_says_that_it_took_effect() {
        let budget = budget(1);
        let answer = || Bytes::from(vec![0; LARGE]);
        let _held = [written(&budget, answer()).unwrap(), written(&budget, answer()).unwrap()];
        let refused = written(&budget, answer()).unwrap_err();
        assert!(refused.message().contains("has taken effect"), "{refused}");
        assert_eq!(written(&budget, Bytes::new()).unwrap().into_inner().len(), 0);
    }
}
