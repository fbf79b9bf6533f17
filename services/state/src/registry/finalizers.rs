//! Finalizers: a stack of those that callers and the garbage collector set, and entries that the state service manages,
//! which stand anywhere. `Update` and `RemoveFinalizer` pop by the same rule: only what has no entry of the stack above it.

use krake_proto::finalizer::CASCADE_DELETION;

use crate::cache::Stored;
use crate::kinds::{Need, rules};

use super::Error;

/// Whether the state service itself sets and removes this finalizer on objects of the kind of `stored`.
fn is_managed(stored: &Stored, finalizer: &str) -> bool {
    rules(stored.kind).is_some_and(|rules| rules.managed(finalizer).is_some())
}

/// Whether an update leaves this finalizer as it is. The garbage collector removes its own by another RPC: otherwise a
/// body that was read before the deletion would skip its work.
fn is_out_of_reach(stored: &Stored, finalizer: &str) -> bool {
    finalizer == CASCADE_DELETION || is_managed(stored, finalizer)
}

/// The stack after an update that wants `wanted`: pushed to while the object lives, popped from while it is being
/// deleted. Entries out of reach stay as they are, whether the update has them or not: callers read them, send them
/// back, and may have missed the last one.
///
/// # Errors
/// [`Error::FinalizersInUse`] for every other change.
pub(super) fn updated(stored: &Stored, wanted: &[String]) -> Result<Vec<String>, Error> {
    let in_reach = |finalizer: &&String| !is_out_of_reach(stored, finalizer);
    let present: Vec<&String> = stored.metadata.finalizers.iter().filter(in_reach).collect();
    let wanted: Vec<&String> = wanted.iter().filter(in_reach).collect();
    let is_deleted = stored.metadata.deleted.is_some();
    let common = present.iter().zip(&wanted).take_while(|(one, other)| one == other).count();
    let text = match (present.get(common), wanted.get(common)) {
        (None, None) => return Ok(stored.metadata.finalizers.clone()),
        (None, Some(_)) if !is_deleted => {
            let pushed = wanted[common..].iter().map(|finalizer| (*finalizer).clone());
            return Ok(stored.metadata.finalizers.iter().cloned().chain(pushed).collect());
        }
        (Some(lowest), None) if is_deleted => match cascade_above(stored, common) {
            None => return Ok(popped(stored, present.len() - common)),
            Some(cascade) => is_below(lowest, cascade),
        },
        (None, Some(added)) => format!("{added:?} cannot be added while a deletion is in progress"),
        (Some(missing), None) => {
            format!("{missing:?} can only be removed while a deletion is in progress")
        }
        (Some(present), Some(wanted)) if is_deleted => {
            format!("{wanted:?} stands where {present:?} was; finalizers are removed from the end only")
        }
        (Some(present), Some(wanted)) => {
            format!("{wanted:?} stands where {present:?} was; finalizers are added at the end only")
        }
    };
    Err(Error::FinalizersInUse(format!("metadata.finalizers: {text}")))
}

/// The garbage collector's entry, if it stands above the entry in reach of this number: nothing below it is popped while
/// the object still has dependents.
fn cascade_above(stored: &Stored, number: usize) -> Option<&String> {
    let mut entries = stored.metadata.finalizers.iter();
    let in_reach = entries.by_ref().filter(|finalizer| !is_out_of_reach(stored, finalizer));
    in_reach.take(number + 1).last();
    entries.find(|finalizer| *finalizer == CASCADE_DELETION)
}

fn is_below(finalizer: &str, above: &str) -> String {
    format!("{finalizer:?} can only be removed after {above:?}, which was set later")
}

/// The stack without the last `count` entries that are in reach.
fn popped(stored: &Stored, count: usize) -> Vec<String> {
    let mut left = count;
    let mut kept: Vec<String> = Vec::new();
    for finalizer in stored.metadata.finalizers.iter().rev() {
        if left > 0 && !is_out_of_reach(stored, finalizer) {
            left -= 1;
        } else {
            kept.push(finalizer.clone());
        }
    }
    kept.reverse();
    kept
}

/// The stack without `finalizer`, which must be its last entry or a managed one; `None` if it has none of that name.
/// That a managed one is no longer needed is for the caller to check.
pub(super) fn without(stored: &Stored, finalizer: &str) -> Result<Option<Vec<String>>, Error> {
    let mut finalizers = stored.metadata.finalizers.clone();
    let Some(place) = finalizers.iter().rposition(|entry| entry == finalizer) else { return Ok(None) };
    let above = finalizers[place + 1..].iter().find(|entry| !is_managed(stored, entry));
    if let Some(above) = above.filter(|_| !is_managed(stored, finalizer)) {
        return Err(Error::FinalizersInUse(is_below(finalizer, above)));
    }
    finalizers.remove(place);
    Ok(Some(finalizers))
}

/// The stack at the beginning of a deletion: without managed entries that the object itself does not need. Left over,
/// or given by a caller, they would never be removed.
pub(super) fn needed(stored: &Stored) -> Result<Vec<String>, Error> {
    let mut needed = Vec::new();
    for finalizer in &stored.metadata.finalizers {
        let managed = rules(stored.kind).and_then(|rules| rules.managed(finalizer));
        let keep = match managed.map(|managed| &managed.needed) {
            Some(Need::Status(needs)) => needs(stored.sections.status.as_deref().unwrap_or_default())?,
            Some(Need::Others(_)) | None => true,
        };
        if keep {
            needed.push(finalizer.clone());
        }
    }
    Ok(needed)
}
