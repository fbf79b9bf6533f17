//! A fixed-size set of small numbers: which clusters, by rank, pass a test.

/// A set of numbers below the size that it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BitSet {
    words: Box<[u64]>,
}

impl BitSet {
    /// The numbers below `size` that satisfy `test`.
    pub(crate) fn of(size: usize, test: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0; size.div_ceil(64)].into_boxed_slice();
        for index in (0..size).filter(|index| test(*index)) {
            words[index / 64] |= 1 << (index % 64);
        }
        Self { words }
    }

    /// How many numbers the set holds.
    pub(crate) fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Removes what is not in `other`; how many that were. Both sets must be of one size.
    pub(crate) fn retain(&mut self, other: &Self) -> u32 {
        let mut removed = 0;
        for (word, kept) in self.words.iter_mut().zip(&other.words) {
            removed += (*word & !kept).count_ones();
            *word &= kept;
        }
        removed
    }

    /// The numbers, smallest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            std::iter::successors(Some(*word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(a in prop::collection::vec(any::<bool>(), 0..200), seed in any::<u64>()) {
            let size = a.len();
            let b: Vec<bool> = (0..size).map(|index| (seed >> (index % 61)) & 1 == 1).collect();
            let mut set = BitSet::of(size, |index| a[index]);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), (0..size).filter(|i| a[*i]).collect::<Vec<_>>());
            let removed = set.retain(&BitSet::of(size, |index| b[index]));
            let both: Vec<_> = (0..size).filter(|i| a[*i] && b[*i]).collect();
            prop_assert_eq!(removed as usize, a.iter().filter(|bit| **bit).count() - both.len());
            prop_assert_eq!(set.len() as usize, both.len());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), both);
        }
    }
}
