//! How many objects the first list of a watch gets at a time. Pure.

use kube::runtime::watcher;

use crate::cluster::bounded::AnswerError;

/// Objects per page: at a common size of 10 KiB an eighth of what an answer may take.
const PAGE: u32 = 200;
/// A page that was too large is asked for again with this part of it.
const SHRINK: u32 = 10;

/// The size of the pages of a list, which shrinks while pages are too large. A page of one object always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageSize(u32);

impl Default for PageSize {
    fn default() -> Self {
        PageSize(PAGE)
    }
}

impl PageSize {
    /// Objects per page.
    pub(crate) fn objects(self) -> u32 {
        self.0
    }

    /// Shrinks if the error says that a page was too large; returns whether it did.
    pub(crate) fn shrink_after(&mut self, error: &watcher::Error) -> bool {
        let watcher::Error::InitialListFailed(error) = error else { return false };
        let shrinks = self.0 > 1 && AnswerError::behind(error).is_some_and(AnswerError::is_size);
        if shrinks {
            self.0 = (self.0 / SHRINK).max(1);
        }
        shrinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: AnswerError) -> watcher::Error {
        watcher::Error::InitialListFailed(kube::Error::Service(error.into()))
    }

    #[test]
    fn pages_shrink_to_one_object_while_they_are_too_large() {
        let mut page = PageSize::default();
        let mut sizes = vec![page.objects()];
        while page.shrink_after(&failed(AnswerError::TooLarge { limit: 16 })) {
            sizes.push(page.objects());
        }
        assert_eq!(sizes, [200, 20, 2, 1]);
    }

    #[test]
    fn other_trouble_shrinks_nothing() {
        let mut page = PageSize::default();
        assert!(!page.shrink_after(&failed(AnswerError::Stalled { seconds: 10 })));
        assert!(!page.shrink_after(&watcher::Error::NoResourceVersion));
    }
}
