//! Errors are bounded, and an invalid request costs its own caller and nobody else.

use serde_json::{Value, json};

use crate::behaviour::{application, metric};
use crate::watch::{Lines, told};
use crate::world::World;

const APPLICATIONS: &str = "/kubernetes/namespaces/demo/applications";
const METRICS: &str = "/core/namespaces/demo/metrics";
/// Maximum number of violations that an error lists, and one that counts the rest.
const LISTED: usize = 20 + 1;

/// An application with so many wrong label constraints.
fn constrained(count: usize) -> Value {
    let mut body = application("wrong");
    let constraints: Vec<String> = (0..count).map(|n| format!("location ~ DE-{n}")).collect();
    body["spec"]["constraints"]["cluster"]["labels"] = json!(constraints);
    body
}

fn labelled(key: &str) -> Value {
    let mut body = application("wrong");
    body["metadata"]["labels"] = json!({ key: "value" });
    body
}

#[tokio::test]
async fn long_errors_are_cut_and_watches_of_others_go_on() {
    let mut world = World::start().await;
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=0"), &[]).await;
    let bodies = [constrained(30), constrained(35), constrained(10_000), labelled(&"k".repeat(6000))];
    for (index, body) in bodies.iter().enumerate() {
        let answer = world.post(APPLICATIONS, body).await;
        let problem = answer.problem(422);
        let violations = problem["violations"].as_array().unwrap();
        assert!((1..=LISTED).contains(&violations.len()), "{problem}");
        assert!(answer.text.len() < 32 << 10, "{} bytes", answer.text.len());
        if index < 3 {
            let rest = violations.last().unwrap()["description"].as_str().unwrap();
            let counted = rest.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more"));
            assert!(counted.is_some_and(|count| count.parse::<usize>().is_ok()), "{problem}");
        }
        let name = format!("m{index}");
        world.post(METRICS, &metric(&name, 1.0)).await.ok();
        assert_eq!(told(&lines.event().await), ("ADDED", name.as_str()));
    }
    world.unharmed().await;
}

#[tokio::test]
async fn invalid_requests_never_affect_other_callers() {
    let mut world = World::start().await;
    let wrong = [constrained(35), constrained(10_000), labelled(&"k".repeat(6000)), json!({})];
    let posts = (0..24).map(|n| {
        let (world, body) = (&world, &wrong[n % wrong.len()]);
        async move { drop(world.post(APPLICATIONS, body).await.problem(422)) }
    });
    let writes = (0..24).map(|n| {
        let world = &world;
        async move {
            let name = format!("m{n}");
            world.post(METRICS, &metric(&name, 1.0)).await.ok();
            world.get(METRICS).await.ok();
            world.delete(&format!("{METRICS}/{name}?force=True")).await.ok();
        }
    });
    tokio::join!(futures::future::join_all(posts), futures::future::join_all(writes));
    assert_eq!(world.stored().await, 0);
    world.unharmed().await;
}
