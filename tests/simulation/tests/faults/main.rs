//! The fault matrix: whatever an API server does to one verb, applications end up as they should without help.
//!
//! Real: the state service over its memory store, the scheduler, the garbage collector and the adapter, in one process, over
//! HTTP. Simulated: the clusters, by `krake-cluster-sim`, whose faults are per verb and kind. Each case has a namespace,
//! an application and two clusters of its own, so that many run at once.
//!
//! A case is a verb (get, list, watch, create, patch, delete) × a fault (401, 403, 404, 409, 422, 429, 500, hang, cut,
//! huge) × a situation (first placement, drift of what runs, handover, removal) × a migration strategy: 480 in all.
//! Laws of each case:
//!
//! * after the fault ended the application runs on exactly one cluster with every object as its manifest says, or is gone
//!   without a trace, and stays so;
//! * it never has objects on more clusters than its strategy allows ([`laws::Allowed`]);
//! * in a handover that creates first, one cluster always has the whole application, with all its replicas available;
//! * objects of others in the same namespace are not touched.
//!
//! A tenth of the cases runs by default, spread over all verbs, faults, situations and strategies. `KRAKE_FAULT_CASES=all`
//! runs all (`make matrix`), `KRAKE_FAULT_CASES=get/403/drift/create-first,…` those that are named, with their logs. The
//! table of the verdicts is printed, and kept as `fault-matrix.md` in the target folder's `tmp`.
//!
//! Faults of the product that are known and not mended yet are listed in [`known`]: such a case must still fail, so that the
//! list shrinks when it is mended.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod case;
mod drive;
mod known;
mod laws;
mod shop;
mod table;
mod world;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use case::Case;
use drive::Verdict;
use world::World;

/// Cases that run at the same time, for each core: a busy machine has to answer all of them within their deadlines.
const CONCURRENT: usize = 8;

fn chosen() -> Vec<Case> {
    match std::env::var("KRAKE_FAULT_CASES").ok().as_deref() {
        None | Some("") => Case::all().filter(Case::is_in_sample).collect(),
        Some("all") => Case::all().collect(),
        Some(names) => {
            tracing_subscriber::fmt().with_env_filter("krake=debug,info").with_test_writer().init();
            let named = |name: &str| Case::all().find(|case| case.to_string() == name);
            names.split(',').map(|name| named(name).unwrap_or_else(|| panic!("no case {name}"))).collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_api_server_does_to_a_verb_applications_end_up_as_they_should() {
    let cases = chosen();
    let begun = Instant::now();
    let world = Arc::new(World::start().await);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let places = Arc::new(Semaphore::new(CONCURRENT * cores));
    let mut running = JoinSet::new();
    for case in cases {
        let (world, place) = (world.clone(), places.clone().acquire_owned().await.unwrap());
        running.spawn(async move {
            let verdict = drive::run(&world, case).await;
            drop(place);
            if !verdict.wrong.is_empty() {
                println!("{case}: {}", verdict.wrong.join("; "));
            }
            (case, verdict)
        });
    }
    let mut verdicts: Vec<(Case, Verdict)> = running.join_all().await;
    verdicts.sort_by_key(|(case, _)| *case);
    Arc::into_inner(world).unwrap().stop().await;
    println!("{}", table::write(&verdicts, begun.elapsed()));
    let wrong = known::surprises(&verdicts);
    assert!(wrong.is_empty(), "{} surprises:\n{}", wrong.len(), wrong.join("\n"));
}
