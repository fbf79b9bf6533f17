//! `--watch`: shows objects, and a line for each change, until Ctrl-C is pressed or the object is gone.

use futures::StreamExt;
use krake_client::{Api, ListOptions, Start, Watch, WatchOptions};

use crate::args::Format;
use crate::failure::Failure;
use crate::follow::{Follow, Happening};
use crate::interruption::Interruption;
use crate::output::{Columns, Lines};
use crate::terminal;

/// Shows the objects of a namespace, and what happens to them.
pub(super) async fn list<K: Columns>(
    api: &Api<K>,
    namespace: &str,
    options: &ListOptions,
    format: Format,
) -> Result<(), Failure> {
    let listing = api.list(namespace, options).await?;
    let start = Start::After { resource_version: listing.resource_version, epoch: listing.epoch };
    let view = options.view;
    let events =
        api.watch(WatchOptions { start, view, live_state: true, ..WatchOptions::namespace(namespace) });
    let lines = Lines::new(format, namespace.is_empty());
    follow(events, Follow::all(&listing.items), listing.items, lines).await
}

/// Shows one object, and what happens to it.
pub(super) async fn object<K: Columns>(api: &Api<K>, object: K, format: Format) -> Result<(), Failure> {
    let metadata = object.metadata().cloned().unwrap_or_default();
    let start = Start::After { resource_version: metadata.resource_version, epoch: String::new() };
    let lines = Lines::new(format, metadata.namespace.is_empty());
    let one = WatchOptions::object(metadata.namespace, metadata.name);
    let events = api.watch(WatchOptions { start, live_state: true, ..one });
    follow(events, Follow::one(&object), vec![object], lines).await
}

async fn follow<K: Columns>(
    mut events: Watch<K>,
    mut follow: Follow<K>,
    objects: Vec<K>,
    mut lines: Lines,
) -> Result<(), Failure> {
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let first: Vec<_> = objects.into_iter().map(|object| (Happening::Added, object)).collect();
    let mut open = terminal::lines(&lines.text(&first)?)?;
    let mut interruption = Interruption::of(&events);
    while open && !follow.is_over() {
        let event = tokio::select! {
            biased;
            // Also if it cannot be listened for: then the default is to end.
            _ = &mut interrupt => return Ok(()),
            () = interruption.changed() => continue,
            event = events.next() => event,
        };
        interruption.report_change();
        let event = event.ok_or_else(|| Failure::Hopeless("the server ended the watch".to_owned()))??;
        let happenings = follow.event(event);
        if !happenings.is_empty() {
            open = terminal::lines(&lines.text(&happenings)?)?;
        }
    }
    Ok(())
}
