//! Conditions in writes: what a writer may report, and how it is merged with what is stored.

use std::time::SystemTime;

use bytes::Bytes;
use krake_proto::condition::{
    ConditionError, MAX_CONDITIONS, MAX_MESSAGE, check_reason, check_type, is_foreign,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};
use krake_proto::numbers::meta::v1::condition as field;

use super::Error;
use crate::kinds::OwnCondition;
use crate::object::conditions::{Encoded, read};
use crate::object::metadata::timestamp;

/// Adds `new` to the stored conditions, or puts them in place of those of the same type. `path` names them in errors;
/// `own` are the types of Krake's own that have their place there. Stored conditions that today's rules would refuse
/// stay. `last_transition_time` is kept while the status stays the same.
pub(crate) fn merge_conditions(
    path: &str,
    own: &[OwnCondition],
    stored: Vec<Bytes>,
    new: Vec<Bytes>,
    now: SystemTime,
) -> Result<Vec<Bytes>, Error> {
    if new.len() > MAX_CONDITIONS {
        return Err(too_many(path, new.len(), MAX_CONDITIONS));
    }
    let mut conditions = read(stored)?;
    let before = count_foreign(&conditions);
    for (index, bytes) in new.into_iter().enumerate() {
        let mut written = Encoded::read(bytes)?;
        check(&format!("{path}[{index}]"), own, &written.condition)?;
        let same = |stored: &Encoded| stored.condition.r#type == written.condition.r#type;
        let place = conditions.iter().position(same);
        written.condition.last_transition_time = match place.map(|place| &conditions[place].condition) {
            Some(old) if old.status == written.condition.status => old.last_transition_time,
            _ => Some(timestamp(now)),
        };
        // Everything else goes in as it came.
        written.write(&[field::LAST_TRANSITION_TIME])?;
        match place {
            Some(place) => conditions[place] = written,
            None => conditions.push(written),
        }
    }
    // Other programs cannot fill the places of Krake's own types.
    let after = count_foreign(&conditions);
    let places = MAX_CONDITIONS - own.len();
    if after > before && after > places {
        return Err(too_many(path, after + own.len(), MAX_CONDITIONS));
    }
    Ok(conditions.into_iter().map(|condition| condition.bytes).collect())
}

fn count_foreign(conditions: &[Encoded]) -> usize {
    conditions.iter().filter(|stored| is_foreign(&stored.condition.r#type)).count()
}

fn too_many(path: &str, count: usize, allowed: usize) -> Error {
    Error::invalid(
        path,
        format!("would be {count} entries, Krake's own included; at most {allowed} are allowed"),
    )
}

/// Checks what a writer reports in one condition.
fn check(path: &str, own: &[OwnCondition], condition: &Condition) -> Result<(), Error> {
    let invalid =
        |field: &str, error: ConditionError| Error::invalid(format!("{path}.{field}"), error.to_string());
    check_type(&condition.r#type).map_err(|error| invalid("type", error))?;
    check_reason(&condition.reason).map_err(|error| invalid("reason", error))?;
    if !is_foreign(&condition.r#type) && !own.iter().any(|own| own.r#type == condition.r#type) {
        let own: Vec<String> = own.iter().map(|own| format!("{} ({})", own.r#type, own.writer)).collect();
        let text = format!("{:?} has no place here; Krake's own are {}", condition.r#type, own.join(", "));
        return Err(Error::invalid(format!("{path}.type"), text));
    }
    // A status of a newer version is kept.
    if condition.status == i32::from(ConditionStatus::Unspecified) {
        return Err(Error::invalid(format!("{path}.status"), "is missing"));
    }
    if condition.message.len() > MAX_MESSAGE {
        let text = format!("is {} bytes; at most {MAX_MESSAGE} are allowed", condition.message.len());
        return Err(Error::invalid(format!("{path}.message"), text));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
