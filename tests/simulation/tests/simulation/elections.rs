//! Who leads, as the store has it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use krake_proto::krake::core::v1::CampaignRequest;
use krake_state::store::{Bid, Key, MemoryStore, Page, Store};
use prost::Message;

/// The election of the adapters.
pub(crate) const ADAPTER: &str = "kubernetes/0";
/// Where elections are kept.
const PREFIX: &str = "/krake/_elections/";

/// The elections of a world. Leaders are known by their address.
pub(crate) struct Elections {
    store: MemoryStore,
    /// How often it was asked whether somebody leads who acts.
    effects: AtomicUsize,
    /// How often each host was started.
    starts: Mutex<BTreeMap<&'static str, usize>>,
}

impl Elections {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Elections { store, effects: AtomicUsize::default(), starts: Mutex::default() }
    }

    /// The address of a process that begins on a host.
    pub(crate) fn process(&self, host: &'static str) -> String {
        let mut starts = self.starts.lock().unwrap();
        let start = starts.entry(host).or_default();
        *start += 1;
        format!("{host}/{start}")
    }

    /// The leader of each election.
    pub(crate) fn leaders(&self) -> BTreeMap<String, String> {
        let page = Page { after: None, limit: 100, at: None };
        let listing = self.store.list(&Key::from(PREFIX), page).now_or_never().unwrap().unwrap();
        let leader = |value: &[u8]| CampaignRequest::decode(value).unwrap().address;
        listing.entries.iter().map(|entry| (election(&entry.key), leader(&entry.value))).collect()
    }

    /// How many effects there were.
    pub(crate) fn effects(&self) -> usize {
        self.effects.load(Ordering::Relaxed)
    }

    /// A process is about to do something outside. The error tells who leads, if it is not that one.
    pub(crate) fn acts(&self, election: &str, process: &str) -> Result<(), Option<String>> {
        self.effects.fetch_add(1, Ordering::Relaxed);
        let leader = self.leaders().remove(election);
        if leader.as_deref() == Some(process) { Ok(()) } else { Err(leader) }
    }
}

fn election(key: &Key) -> String {
    key.to_string().trim_start_matches(PREFIX).to_owned()
}

#[tokio::test]
async fn whoever_acts_without_leading_is_found() {
    let store = MemoryStore::new();
    let elections = Elections::new(store.clone());
    let (first, again) = (elections.process("adapter-1"), elections.process("adapter-1"));
    assert_eq!(elections.acts(ADAPTER, &first), Err(None), "nobody was elected");
    let record = CampaignRequest { holder: "h".into(), address: first.clone(), ..Default::default() };
    let key = Key::from(format!("{PREFIX}{ADAPTER}"));
    let holder = record.encode_to_vec().into();
    store.campaign(Bid { key: key.clone(), holder, ttl: Duration::from_secs(60) }).await.unwrap();
    assert_eq!(elections.acts(ADAPTER, &first), Ok(()));
    assert_eq!(elections.acts(ADAPTER, &again), Err(Some(first)), "after a crash it is another process");
    assert_eq!(elections.effects(), 3);
}
