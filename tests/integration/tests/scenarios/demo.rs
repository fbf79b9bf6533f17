//! The demo tells its story to the end, however often it was killed before.

use std::path::Path;
use std::time::Duration;

use krake_integration::process::{Process, Program};
use krake_integration::wait::{self, HANG_GUARD};
use krake_integration::{folder, http, krake};

/// Several steps of the story may each come near the guard of one.
const STORY: Duration = HANG_GUARD.saturating_mul(4);
const OVER: &str = "that is Krake's main job";

fn demo(folder: &Path, args: &[&str]) -> Process {
    let free = ["--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let program = Program::new("demo", &krake::executable("krake").unwrap(), folder);
    program.args(["demo", "--data-dir", "data"]).args(free).args(args).start().unwrap()
}

/// What was told since a place in the log.
fn told(demo: &Process, since: usize) -> String {
    demo.log().get(since..).unwrap_or_default().to_owned()
}

/// The texts stand in the log one after the other.
fn assert_order(log: &str, texts: &[&str]) {
    let mut rest = log;
    for text in texts {
        let found =
            rest.find(text).unwrap_or_else(|| panic!("{text:?} is missing, or comes too early, in {log}"));
        rest = &rest[found + text.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_is_told_to_the_end() {
    let folder = folder::create("demo").unwrap();
    let mut demo = demo(folder.path(), &["--exit"]);
    let ended = demo.ended(STORY).await.unwrap();
    let log = demo.log();
    assert_eq!(ended.code(), Some(0), "{log}");
    assert_order(
        &log,
        &[
            "Krake is ready",
            "registered three simulated clusters",
            "is ONLINE: Kubernetes",
            "they are ranked by wind power",
            "creating echo-demo (examples/echo-demo.yaml)",
            "placed on hamburg",
            "next best: brest",
            "the application is RUNNING",
            "the wind turns: DE from 72 to 18 %",
            "to be moved to brest",
            "brest has taken over, and hamburg was there until now",
            "hamburg: nothing is left of the copy",
            OVER,
        ],
    );
    // A cluster that does not answer for a moment, on a busy machine, is counted apart in one of the two decisions.
    let constraint = "not considered: 1 by label constraint \"location in (DE, FR)\"";
    assert!(log.contains(constraint), "{log}");
    assert!(!log.contains(" ERROR "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_and_started_again_it_finishes() {
    let folder = folder::create("demo").unwrap();
    let mut demo = demo(folder.path(), &["--exit"]);
    let mut since = 0;
    for moment in ["registered three", "placed on ", "to be moved to"] {
        let come = async || told(&demo, since).contains(moment);
        let what = format!("{moment:?} to be told");
        let come = wait::until(&what, STORY, async || come().await.then_some(())).await;
        come.unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
        since = demo.log().len();
        demo.restart().unwrap();
    }
    let ended = demo.ended(STORY).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", demo.log());
    let last = told(&demo, since);
    assert_order(&last, &["echo-demo is there already", "the wind turns", "has taken over", OVER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_up_and_the_wind_can_be_turned() {
    let folder = folder::create("demo").unwrap();
    let mut demo = demo(folder.path(), &[]);
    let until = async |demo: &Process, text: &str| {
        let come = wait::until(text, STORY, async || demo.log().contains(text).then_some(())).await;
        come.unwrap_or_else(|error| panic!("{error}: {}", demo.log()));
    };
    until(&demo, "To start over").await;
    let log = demo.log();
    let wind = log.lines().find_map(|line| line.trim().strip_prefix("wind ")).unwrap();
    let wind = wind.split_whitespace().next().unwrap();
    let client = http::client().unwrap();
    let answer = client.post(format!("{wind}/wind/DE/1")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    until(&demo, "to be moved to hamburg").await;

    demo.interrupt().unwrap();
    assert_eq!(demo.ended(HANG_GUARD).await.unwrap().code(), Some(0), "{}", demo.log());
}
