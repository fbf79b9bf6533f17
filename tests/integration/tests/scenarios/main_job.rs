//! The main job: placed on the best cluster, deployed, observed, moved when another becomes better, and removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::wait::{HANG_GUARD, ROK_HANG_GUARD};
use serde_json::Value;
use tokio::time::Instant;

use crate::world::{DEPLOYMENT, SERVICE, World, available, bystander, deployments, ground};

/// Watches both clusters all the time: the application is available somewhere at every look.
struct Checker {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Checker {
    fn start(old: KubernetesApi, new: KubernetesApi) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut gaps = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                // The new place is looked at after the old one, so that a handover between the looks is no gap.
                let before = old.get(DEPLOYMENT).await.unwrap();
                let after = new.get(DEPLOYMENT).await.unwrap();
                let runs = |object: &Option<Value>| object.as_ref().is_some_and(available);
                if !runs(&before) && !runs(&after) {
                    gaps.push(format!("on the old cluster: {before:?}, on the new one: {after:?}"));
                }
                tokio::task::yield_now().await;
            }
            gaps
        });
        Checker { stop, task }
    }

    /// What was seen that should not be.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_follows_the_better_metric_and_leaves_nothing_behind() {
    let Some((ground, _turn)) = ground().await else { return };
    let (one, two) = (ground.one.api(), ground.two.api());
    let world = World::start(ground).await;
    let bystanders = [bystander(one, "bystander").await, bystander(two, "bystander").await];

    world.create_echo_demo().await;
    assert!(available(&one.get(DEPLOYMENT).await.unwrap().unwrap()), "RUNNING means available");
    assert!(one.get(SERVICE).await.unwrap().is_some());
    assert!(two.get(DEPLOYMENT).await.unwrap().is_none(), "it runs on the better cluster alone");
    let shown = world.runs_on("one").await;
    assert_eq!(shown["status"]["container_health"]["running_pods"], 2);
    assert!(shown["status"]["services"]["echo-demo"].is_string(), "{shown:#}");

    let checker = Checker::start(one.clone(), two.clone());
    let flipped = Instant::now();
    ground.set(0.1, 0.8);
    ground.two.wait_for(DEPLOYMENT, HANG_GUARD, available).await.unwrap();
    ground.one.wait_for_absence(DEPLOYMENT, HANG_GUARD).await.unwrap();
    ground.one.wait_for_absence(SERVICE, HANG_GUARD).await.unwrap();
    let took = flipped.elapsed();
    assert_eq!(checker.finish().await, Vec::<String>::new(), "available all the time");
    println!("moved within {took:.1?} of the change of the metric");
    let shown = world.runs_on("two").await;
    assert_eq!(shown["status"]["history"].as_array().unwrap().len(), 2, "{shown:#}");

    world
        .stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    for (api, uid) in [one, two].into_iter().zip(bystanders) {
        assert!(api.get(SERVICE).await.unwrap().is_none(), "the Service is left behind");
        assert_eq!(
            deployments(api).await,
            [("bystander".to_owned(), uid)],
            "only the bystander, and the same"
        );
        api.delete("/apis/apps/v1/namespaces/default/deployments/bystander").await.unwrap();
    }
    for name in ["one", "two"] {
        world
            .stack
            .rok_ok(&["kube", "cluster", "delete", name, "--wait", "--timeout", ROK_HANG_GUARD])
            .await
            .unwrap();
    }
}
