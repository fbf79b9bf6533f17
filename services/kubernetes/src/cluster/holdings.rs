//! How much is kept of what one cluster shows, over all its watches: the sum of endless pages, or of endless events, is
//! bounded by this, as each answer is by [`super::bounded`].

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of objects of this installation on one cluster: ten thousand applications of ten objects.
const MAX_OBJECTS: usize = 100_000;
/// Maximum size of these objects as they are kept, in MiB. As much may arrive in lists that replace them.
const MAX_MIB: usize = 128;
/// Memory that an object takes beside its JSON and its name: keys, counters and the table.
const OVERHEAD: usize = 256;

/// More objects, or larger ones, than Krake keeps of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it shows more objects than Krake keeps of one cluster: {objects} objects or {mib} MiB")]
pub(crate) struct Overflow {
    objects: usize,
    mib: usize,
}

/// A number of objects, and their size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
}

impl Sum {
    /// One object of this size.
    pub(crate) fn of(bytes: usize) -> Self {
        Self { objects: 1, bytes: bytes.saturating_add(OVERHEAD) }
    }

    pub(crate) fn add(&mut self, other: Sum) {
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn subtract(&mut self, other: Sum) {
        self.objects = self.objects.saturating_sub(other.objects);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What the watches of one cluster hold together.
#[derive(Debug)]
pub(crate) struct Holdings {
    most: Sum,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    kept: Sum,
    arriving: Sum,
}

/// Which part of the holdings is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is believed to be there.
    Kept,
    /// Lists that are not complete, which will replace it.
    Arriving,
}

impl Default for Holdings {
    fn default() -> Self {
        Self::of_at_most(Sum { objects: MAX_OBJECTS, bytes: MAX_MIB << 20 })
    }
}

impl Holdings {
    /// Nothing held, and at most this much of each part.
    pub(crate) fn of_at_most(most: Sum) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// Takes something into a part, in the place of what was there before.
    ///
    /// # Errors
    /// When that would be too much; then nothing changes.
    pub(crate) fn replace(&self, part: Part, before: Sum, now: Sum) -> Result<(), Overflow> {
        let mut held = self.lock();
        let sum = held.part(part);
        let mut after = *sum;
        after.subtract(before);
        after.add(now);
        if after.objects > self.most.objects || after.bytes > self.most.bytes {
            return Err(self.overflow());
        }
        *sum = after;
        Ok(())
    }

    /// Lets go of a part.
    pub(crate) fn give_back(&self, part: Part, less: Sum) {
        self.lock().part(part).subtract(less);
    }

    /// Refuses a list of more objects than may be kept, whether they are or not.
    pub(crate) fn check_listed(&self, objects: usize) -> Result<(), Overflow> {
        if objects > self.most.objects { Err(self.overflow()) } else { Ok(()) }
    }

    fn overflow(&self) -> Overflow {
        Overflow { objects: self.most.objects, mib: self.most.bytes >> 20 }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn part(&mut self, part: Part) -> &mut Sum {
        match part {
            Part::Kept => &mut self.kept,
            Part::Arriving => &mut self.arriving,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_not_taken_and_what_goes_makes_room() {
        let holdings = Holdings::of_at_most(Sum { objects: 2, bytes: 1000 });
        let (nothing, object) = (Sum::default(), Sum::of(200));
        assert_eq!(object.bytes, 456);
        let add = |part, object| holdings.replace(part, nothing, object);
        add(Part::Kept, object).unwrap();
        add(Part::Kept, object).unwrap();
        assert!(add(Part::Kept, object).is_err(), "three objects");
        holdings.replace(Part::Kept, object, Sum::of(100)).unwrap();
        add(Part::Arriving, object).unwrap();
        holdings.give_back(Part::Kept, Sum::of(100));
        assert!(add(Part::Kept, Sum::of(500)).is_err(), "too many bytes");
        add(Part::Kept, object).unwrap();
        assert!(holdings.check_listed(2).is_ok() && holdings.check_listed(3).is_err());
    }
}
