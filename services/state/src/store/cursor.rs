//! The place that a watch has reached, and the stream that is made of it.

use futures::stream::{self, BoxStream, StreamExt};

use super::{Batch, WatchError};

/// A watch that knows what comes next.
pub(super) trait Cursor: Sized + Send + 'static {
    /// Waits for the next batch, and moves past it.
    fn next(&mut self) -> impl Future<Output = Result<Batch, WatchError>> + Send;

    /// All batches, up to the first error.
    fn into_stream(self) -> BoxStream<'static, Result<Batch, WatchError>> {
        stream::unfold(Some(self), |cursor| async {
            let mut cursor = cursor?;
            let item = cursor.next().await;
            let rest = item.is_ok().then_some(cursor);
            Some((item, rest))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Revision;
    use super::*;

    /// Gives the batches before a revision.
    struct Counter(i64);

    impl Cursor for Counter {
        async fn next(&mut self) -> Result<Batch, WatchError> {
            self.0 += 1;
            match self.0 {
                3 => Err(WatchError::Compacted { oldest: Revision(3) }),
                revision => Ok(Batch { revision: Revision(revision), changes: Vec::new() }),
            }
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_first_error() {
        let items: Vec<_> =
            Counter(0).into_stream().map(|item| item.map(|batch| batch.revision.0)).collect().await;
        assert_eq!(items, [Ok(1), Ok(2), Err(WatchError::Compacted { oldest: Revision(3) })]);
    }
}
