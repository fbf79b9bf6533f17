//! Messages of watches as they are sent. Watches of the same objects share the bytes, which are made once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use krake_proto::envelope::{Event, WatchResponse};
use krake_proto::krake::meta::v1::{EventType, View};
use prost::Message as _;
use prost_reflect::MessageDescriptor;

use crate::cache::Stored;
use crate::registry::Message;
use crate::store::Revision;

/// Maximum number of messages that are kept. Watchers that follow want the newest one, in one of two views, and each of
/// those that lag behind wants another.
const MAX_KEPT_MESSAGES: usize = 8;

/// Encodes the messages of one kind.
pub(super) struct Encoding {
    epoch: Arc<str>,
    descriptor: Option<MessageDescriptor>,
    /// The last messages that others may want too, newest first.
    recent: Mutex<VecDeque<(Content, Bytes)>>,
}

/// What a message with a single event depends on.
struct Content {
    r#type: EventType,
    object: Arc<Stored>,
    revision: Revision,
    view: View,
}

impl Content {
    /// Of a message that others may want too: those of initial states differ from watch to watch, and those with
    /// several events, which are rare, would have to be compared at length.
    fn of(message: &Message, view: View) -> Option<Self> {
        match message.events.as_slice() {
            [(r#type, object)] if !message.synced && !message.partial => {
                Some(Content { r#type: *r#type, object: object.clone(), revision: message.revision, view })
            }
            _ => None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.object, &other.object)
            && (self.r#type, self.revision, self.view) == (other.r#type, other.revision, other.view)
    }
}

impl Encoding {
    /// Of the kind with this message.
    pub(super) fn new(epoch: Arc<str>, descriptor: Option<MessageDescriptor>) -> Self {
        Encoding { epoch, descriptor, recent: Mutex::default() }
    }

    /// The encoded message as `view` shows it. An object that the view cannot show is left out.
    pub(super) fn message(&self, message: Message, view: View) -> Bytes {
        let Some(content) = Content::of(&message, view) else { return self.encode(message, view) };
        let known = |(kept, bytes): &(Content, Bytes)| kept.is(&content).then(|| bytes.clone());
        if let Some(bytes) = self.recent().iter().find_map(known) {
            return bytes;
        }
        let bytes = self.encode(message, view);
        let mut recent = self.recent();
        recent.truncate(MAX_KEPT_MESSAGES - 1);
        recent.push_front((content, bytes.clone()));
        bytes
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<(Content, Bytes)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode(&self, message: Message, view: View) -> Bytes {
        let event = |(r#type, object): (EventType, Arc<Stored>)| {
            let object = self.shown(r#type, &object, view)?;
            Some(Event { r#type: r#type.into(), object })
        };
        let events = message.events.into_iter().filter_map(event).collect();
        let response = WatchResponse {
            events,
            resource_version: message.revision.0,
            epoch: self.epoch.to_string(),
            synced: message.synced,
            partial: message.partial,
        };
        response.encode_to_vec().into()
    }

    /// An object as `view` shows it; `None` if it cannot be shown.
    fn shown(&self, r#type: EventType, object: &Stored, view: View) -> Option<Bytes> {
        let Some(descriptor) = &self.descriptor else { return Some(object.encode()) };
        match r#type {
            // The receiver may know an earlier state, and what it must forget it finds by the metadata.
            EventType::Deleted | EventType::LeftFilter => {
                Some(object.view(descriptor, view).unwrap_or_else(|| object.encode_metadata()))
            }
            _ => object.view(descriptor, view),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::sections::Sections;
    use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Manifest};
    use krake_proto::krake::meta::v1::{Document, Metadata, document::Content as Json};
    use krake_proto::{POOL, Resource};

    fn stored(name: &str, revision: i64) -> Arc<Stored> {
        let document = Document { content: Some(Json::Json("{}".into())) };
        let manifest = vec![Manifest { document: Some(document), ..Default::default() }];
        let metadata = Metadata { name: name.into(), ..Default::default() };
        let spec = ApplicationSpec { manifest, ..Default::default() };
        let sections = Sections {
            metadata: metadata.encode_to_vec().into(),
            spec: Some(spec.encode_to_vec().into()),
            ..Default::default()
        };
        Arc::new(Stored::new(Application::KIND, sections, metadata, Revision(revision)))
    }

    fn message(r#type: EventType, object: &Arc<Stored>, revision: i64) -> Message {
        let events = vec![(r#type, object.clone())];
        Message { events, revision: Revision(revision), ..Default::default() }
    }

    #[test]
    fn everybody_is_sent_what_would_be_encoded_for_him_alone() {
        let encoding = || Encoding::new("e".into(), POOL.get_message_by_name(Application::KIND.message));
        let shared = encoding();
        let (a, b) = (stored("a", 3), stored("b", 3));
        for _ in 0..2 {
            for view in [View::Full, View::Basic] {
                for object in [&a, &b] {
                    for r#type in [EventType::Added, EventType::Modified, EventType::LeftFilter] {
                        for (revision, partial, synced) in
                            [(3, false, false), (4, false, false), (3, true, false), (3, false, true)]
                        {
                            let make = || Message { partial, synced, ..message(r#type, object, revision) };
                            let alone = encoding().message(make(), view);
                            assert_eq!(shared.message(make(), view), alone);
                        }
                    }
                }
            }
        }
        assert!(shared.recent().len() <= MAX_KEPT_MESSAGES);
    }

    #[test]
    fn watchers_of_the_same_share_the_bytes() {
        let encoding = Encoding::new("e".into(), None);
        let object = stored("a", 3);
        let first = encoding.message(message(EventType::Added, &object, 3), View::Full);
        let second = encoding.message(message(EventType::Added, &object, 3), View::Full);
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
