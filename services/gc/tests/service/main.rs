//! The whole service over a real socket, against a fake `ObjectService`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use clap::Parser;
use fake::Fake;
use krake_gc::Args;
use krake_proto::error::ErrorReason;
use krake_proto::krake::meta::v1::OnDelete;
use krake_runtime::shutdown::Shutdown;

/// Runs the service beside `story`, and ends it after it.
async fn with_gc(server: &Fake, story: impl Future<Output = ()>) {
    let url = server.url.clone();
    // The fake holds no elections.
    let args =
        ["krake-gc", "--api-url", url.as_str(), "--admin-listen", "127.0.0.1:0", "--election", "false"];
    // What no change wakes is looked at again soon.
    let args = args.into_iter().chain(["--resync-seconds", "1"]);
    let config = Args::try_parse_from(args).unwrap().resolve().unwrap();
    let shutdown = Shutdown::new();
    let service = tokio::spawn(krake_gc::run(config, shutdown.clone()));
    story.await;
    shutdown.request();
    service.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_belongs_to_a_deleted_object_goes_first_and_nothing_else() {
    let server = Fake::start().await;
    server.create("owner", &[], &[]);
    for side in ["left", "right"] {
        server.create(side, &[("owner", OnDelete::Delete)], &[]);
    }
    server.create("bottom", &[("left", OnDelete::Delete), ("right", OnDelete::Unspecified)], &[]);
    server.create("released", &[("owner", OnDelete::Release)], &[]);
    server.create("bystander", &[], &[]);
    server.create("orphan", &[("nobody", OnDelete::Delete)], &[]);
    let story = async {
        server.delete("owner");
        server.until(|names| !names.contains(&"owner".to_owned())).await;
    };
    with_gc(&server, story).await;
    assert_eq!(server.names(), ["bystander", "orphan", "released"]);
    let erased = server.erased();
    assert_eq!((erased[0].as_str(), erased[3].as_str()), ("bottom", "owner"), "{erased:?}");
}

#[tokio::test]
async fn an_owner_waits_while_others_work_on_its_dependents() {
    let server = Fake::start().await;
    server.create("owner", &[], &[]);
    server.create("dependent", &[("owner", OnDelete::Delete)], &["kubernetes_resources_deletion"]);
    let story = async {
        server.delete("owner");
        let others_turn = |last: Option<String>| last.as_deref() == Some("kubernetes_resources_deletion");
        server
            .until(|_| server.is_deleted("dependent") && others_turn(server.last_finalizer("dependent")))
            .await;
        assert_eq!(server.last_finalizer("owner").as_deref(), Some("cascade_deletion"));
        server.release("dependent", "kubernetes_resources_deletion");
        server.until(<[String]>::is_empty).await;
    };
    with_gc(&server, story).await;
    assert_eq!(server.erased(), ["dependent", "owner"]);
}

#[tokio::test]
async fn a_ring_does_not_wait_for_itself_for_ever() {
    let server = Fake::start().await;
    server.create("a", &[("c", OnDelete::Delete)], &[]);
    server.create("b", &[("a", OnDelete::Delete)], &[]);
    server.create("c", &[("b", OnDelete::Delete)], &[]);
    let story = async {
        server.delete("b");
        server.until(<[String]>::is_empty).await;
    };
    with_gc(&server, story).await;
    assert_eq!(server.erased().len(), 3);
}

#[tokio::test]
async fn deletions_asked_for_while_nobody_collected_are_caught_up_with() {
    let server = Fake::start().await;
    server.create("owner", &[], &[]);
    server.create("dependent", &[("owner", OnDelete::Delete)], &[]);
    server.delete("owner");
    with_gc(&server, server.until(<[String]>::is_empty)).await;
    assert_eq!(server.erased(), ["dependent", "owner"]);
}

#[tokio::test]
async fn a_cascade_reaches_all_levels_and_force_goes_with_it() {
    for force in [false, true] {
        let server = Fake::start().await;
        server.create("cloud", &[], &[]);
        server.create("cluster", &[("cloud", OnDelete::Release)], &[]);
        // Without force it would hold the others up until its owner has done its work.
        let held: &[&str] = if force { &["kubernetes_resources_deletion"] } else { &[] };
        server.create("application", &[("cluster", OnDelete::Release)], held);
        server.create("below", &[("application", OnDelete::Delete)], held);
        server.create("bystander", &[], held);
        let story = async {
            server.delete_with_all_that_belongs_to_it("cloud", force);
            server.until(|names| names == ["bystander"]).await;
        };
        with_gc(&server, story).await;
        assert_eq!(server.erased(), ["below", "application", "cluster", "cloud"], "force: {force}");
    }
}

#[tokio::test]
async fn a_refused_write_after_which_nothing_has_changed_is_tried_again() {
    let server = Fake::start().await;
    server.create("owner", &[], &[]);
    server.create("dependent", &[("owner", OnDelete::Delete)], &[]);
    server.refuse_writes(1);
    let story = async {
        server.delete("owner");
        server.until(<[String]>::is_empty).await;
    };
    with_gc(&server, story).await;
    assert_eq!(server.erased(), ["dependent", "owner"]);
}

#[tokio::test]
async fn what_waits_for_an_object_that_cannot_be_read_says_so_and_goes_on_by_itself() {
    let server = Fake::start().await;
    server.create("lone", &[], &[]);
    server.create("owner", &[], &[]);
    server.create("dependent", &[("owner", OnDelete::Delete)], &[]);
    server.hold("lone", ErrorReason::FinalizersInUse, "this version cannot read m");
    server.hold("dependent", ErrorReason::Internal, "cannot read dependent");
    let story = async {
        server.delete("lone");
        server.delete("owner");
        let says = |name: &str, text: &str| server.waits_for(name).is_some_and(|found| found.contains(text));
        let both = || says("lone", "cannot read m") && says("owner", "cannot read dependent");
        server.until(|_| both()).await;
        assert_eq!(server.names().len(), 3, "nothing went");
        server.hold_no_more();
        server.until(<[String]>::is_empty).await;
    };
    with_gc(&server, story).await;
}
