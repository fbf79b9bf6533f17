//! What is kept of an object that applications use and that is not their own: whose it is and how it does, in some hundred
//! bytes. The object itself may have any size. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::error::shortened;
use crate::object::health::{self, Health, Verdict};
use crate::object::ownership::{Holder, Others, holder};
use crate::object::prepare::Prepared;
use crate::object::{APPLICATION_LABEL, INSTALLATION_LABEL, Identity, used};

/// Maximum length of a mark or uid that is kept: Krake's own are shorter.
const MAX_MARK: usize = 256;

/// A Namespace or definition as it was read last.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedObject {
    /// The uid and Krake's marks alone.
    marks: ObjectMeta,
    /// Any application that wants what was compared with it may use it.
    is_usable: bool,
    health: Health,
}

impl SharedObject {
    /// Of a live object, beside the one that an application wants.
    pub(crate) fn of(wanted: &Prepared, live: &DynamicObject) -> Self {
        let text = |text: &String| (text.len() <= MAX_MARK).then(|| text.clone());
        let label = |name: &str| Some((name.to_owned(), text(live.metadata.labels.as_ref()?.get(name)?)?));
        let labels: BTreeMap<_, _> =
            [INSTALLATION_LABEL, APPLICATION_LABEL].into_iter().filter_map(label).collect();
        let uid = live.metadata.uid.as_ref().and_then(text);
        Self {
            marks: ObjectMeta { uid, labels: Some(labels), ..ObjectMeta::default() },
            is_usable: used::usable(wanted, live).is_some(),
            health: health(wanted, live),
        }
    }

    /// Whether it is used by an application, and not its own. `recorded`: the uid of the application's own object of this name,
    /// to which a repair gives its marks back unless another application has it by now.
    pub(crate) fn is_used_by(&self, identity: &Identity, recorded: Option<&str>) -> bool {
        let holder = holder(Some(&self.marks), identity, recorded, Others::UNKNOWN);
        self.is_usable && !matches!(holder, Holder::Ours(_))
    }

    /// How it does.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }
}

/// How a live object does, by its status alone.
fn health(wanted: &Prepared, live: &DynamicObject) -> Health {
    let (key, metadata) = (&wanted.key, &live.metadata);
    let metadata =
        json!({"generation": metadata.generation, "deletionTimestamp": metadata.deletion_timestamp});
    let status = live.data.get("status").cloned().unwrap_or(Value::Null);
    let object =
        json!({"apiVersion": key.api_version, "kind": key.kind, "metadata": metadata, "status": status});
    let Health { containers, verdict } = health::of_object(&object);
    let verdict = match verdict {
        Verdict::Available => Verdict::Available,
        Verdict::Progressing(why) => Verdict::Progressing(shortened(&why)),
        Verdict::Failed(why) => Verdict::Failed(shortened(&why)),
    };
    Health { containers, verdict }
}

#[cfg(test)]
mod tests;
