//! `?blocking=<state>`: the answer waits until the object has the state.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use krake_proto::envelope::{WatchRequest, WatchStart};
use krake_proto::json;
use krake_proto::krake::meta::v1::EventType;
use prost_reflect::{Kind, MessageDescriptor};
use tokio::time::{Instant, timeout_at};

use crate::answer;
use crate::call::Reply;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;
use crate::upstream::Upstream;

/// Maximum wait for the state, if the caller does not limit the request: upstream's.
const DEFAULT_BLOCKING_WAIT: Duration = Duration::from_secs(60);
/// Stands for the end of an object among the states.
const DELETED: &str = "DELETED";

/// The state that a request waits for; `None` if it does not wait.
pub(crate) fn wanted(
    descriptor: &MessageDescriptor,
    parameters: &Parameters,
) -> Result<Option<String>, Problem> {
    let Some(text) = parameters.get("blocking").filter(|text| !text.eq_ignore_ascii_case("false")) else {
        return Ok(None);
    };
    let wanted = text.to_uppercase();
    let mut known = states(descriptor);
    // Objects of every kind can be deleted, also those without a state.
    if !known.iter().any(|state| state == DELETED) {
        known.push(DELETED.to_owned());
    }
    if known.contains(&wanted) {
        return Ok(Some(wanted));
    }
    Err(Problem::query("blocking", &format!("Must be one of: {}.", known.join(", "))))
}

/// The states that objects of a kind can have.
fn states(descriptor: &MessageDescriptor) -> Vec<String> {
    let field = |message: &MessageDescriptor, name| message.get_field_by_name(name).map(|field| field.kind());
    let Some(Kind::Message(status)) = field(descriptor, "status") else { return Vec::new() };
    let Some(Kind::Enum(state)) = field(&status, "state") else { return Vec::new() };
    let first = state.default_value();
    let prefix = first.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    let names = state.values().filter(|value| value.number() != 0);
    names.map(|value| value.name().strip_prefix(prefix).unwrap_or(value.name()).to_owned()).collect()
}

/// Runs `act` and waits until the object that it returns has the state. The watch starts before, so that no change is
/// missed; other objects do not count.
pub(crate) async fn until(
    target: &Arc<Target>,
    wanted: &str,
    act: impl Future<Output = Result<Reply, Problem>>,
) -> Result<Reply, Problem> {
    let name = format!("Watch{}", target.route.kind.plural_rpc);
    let rpc = target.route.rpc.parent_service().methods().find(|rpc| rpc.name() == name);
    let rpc = rpc.ok_or_else(|| Problem::plain(StatusCode::NOT_IMPLEMENTED))?;
    let request = WatchRequest {
        namespace: target.namespace.clone(),
        start: Some(WatchStart::Now(true)),
        live_state: true,
        ..Default::default()
    };
    let mut watch = Upstream::open(target.clone(), rpc, request).await?;
    let object = act.await?;
    let descriptor = target.descriptor();
    let uid = answer::metadata(&object.message)?.uid;
    if current(&descriptor, &object.message).as_deref() == Some(wanted) {
        return Ok(object);
    }
    let reached = async {
        loop {
            let message = watch.next().await?;
            for event in message.events {
                if answer::metadata(&event.object)?.uid != uid {
                    continue;
                }
                let is_deleted = event.r#type == i32::from(EventType::Deleted);
                let is_reached = match wanted {
                    DELETED => is_deleted,
                    state => current(&descriptor, &event.object).as_deref() == Some(state),
                };
                if is_reached {
                    return Ok(Reply { message: event.object, epoch: message.epoch });
                }
                if is_deleted {
                    let text = format!("The object was deleted before its state was {wanted}.");
                    return Err(Problem::new(StatusCode::CONFLICT, text));
                }
            }
        }
    };
    let (deadline, length) = match target.caller.limit() {
        Some(limit) => (limit.deadline, limit.length),
        None => (Instant::now() + DEFAULT_BLOCKING_WAIT, DEFAULT_BLOCKING_WAIT),
    };
    match timeout_at(deadline, reached).await {
        Ok(reached) => reached,
        Err(_) => {
            let text = format!("The object's state was not {wanted} within {} s.", length.as_secs_f64());
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, text))
        }
    }
}

/// The state of an object; `None` if it has none or cannot be shown.
fn current(descriptor: &MessageDescriptor, object: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    answer::write(descriptor, object, &mut text).ok()?;
    let shown = json::parse_written(descriptor, &text).ok()?;
    Some(shown.get("status")?.get("state")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use krake_proto::POOL;

    use super::*;

    #[test]
    fn only_states_that_the_kind_has_can_be_waited_for() {
        let cluster = POOL.get_message_by_name("krake.kubernetes.v1.Cluster").unwrap();
        let read = |query: &str| {
            wanted(&cluster, &Parameters::read(Some(query)).unwrap())
                .map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(read("blocking=online"), Ok(Some("ONLINE".to_owned())));
        assert_eq!(read("blocking=deleted"), Ok(Some("DELETED".to_owned())));
        assert_eq!((read(""), read("blocking=False")), (Ok(None), Ok(None)));
        for wrong in ["blocking=RUNNING", "blocking=UNSPECIFIED", "blocking=", "blocking"] {
            assert_eq!(read(wrong), Err(422), "{wrong}");
        }
    }
}
