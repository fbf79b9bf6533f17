//! What was applied, what is observed of it and what was seen, in upstream's shape.

use krake_proto::Resource;
use krake_proto::json::{CANONICAL_VERSION, canonical, document};
use krake_proto::krake::kubernetes::v1::{
    BindApplicationRequest, Binding, Cluster, ClusterSpec, Copy, Observation, ObservedObject, Phase,
    PutDocumentsRequest, ReportCopyRequest, ReportObservationRequest, Work,
};
use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
use serde_json::{Value, json};

use crate::world::World;

const APPLICATIONS: &str = "/kubernetes/namespaces/demo/applications";

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "demo"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

async fn bound(world: &World) -> (String, ResourceRef) {
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]});
    let cluster = Cluster {
        metadata: Some(Metadata { namespace: "demo".into(), name: "one".into(), ..Default::default() }),
        spec: Some(ClusterSpec { kubeconfig: Some(document(&kubeconfig)), ..Default::default() }),
        status: None,
    };
    let cluster = world.grpc.api().create(&cluster).await.unwrap();
    let cluster = Cluster::KIND.reference(&cluster.metadata.unwrap());
    let request =
        json!({"metadata": {"name": "a"}, "spec": {"manifest": [pod()], "constraints": {"cluster": {}}}});
    let made = world.post(APPLICATIONS, &request).await.ok();
    let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
    let bind = BindApplicationRequest {
        namespace: "demo".into(),
        name: "a".into(),
        bindings: vec![Binding { cluster: Some(cluster.clone()), ..Default::default() }],
        ..Default::default()
    };
    world.grpc.applications().bind_application(bind).await.unwrap();
    (uid, cluster)
}

/// Records that the cluster accepted the Pod; the hash of its documents.
async fn apply(world: &World, uid: &str, cluster: &ResourceRef) -> Vec<u8> {
    let documents = PutDocumentsRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: uid.into(),
        documents: canonical(&[pod()]).into(),
    };
    let set = world.grpc.applications().put_documents(documents).await.unwrap().into_inner();
    let work = Work {
        sha256: set.sha256.clone(),
        hash_version: CANONICAL_VERSION,
        generation: 1,
        pieces: set.pieces,
        size: set.size,
    };
    let copy = Copy {
        cluster: Some(cluster.clone()),
        phase: Phase::Intended.into(),
        applied_work: Some(work.clone()),
        intended_work: Some(work),
        ..Default::default()
    };
    let report = ReportCopyRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: uid.into(),
        copy: Some(copy),
        expected_version: 0,
        forget: false,
    };
    world.grpc.applications().report_copy(report).await.unwrap();
    set.sha256.to_vec()
}

#[tokio::test]
async fn the_observed_fields_have_upstreams_shape() {
    let world = World::start().await;
    let (uid, cluster) = bound(&world).await;
    let status = async || world.get(&format!("{APPLICATIONS}/a")).await.ok()["status"].clone();
    let empty = status().await;
    for field in ["last_applied_manifest", "last_observed_manifest", "mangled_observer_schema"] {
        assert_eq!(empty[field], json!([]), "{field}");
    }
    let sha256 = apply(&world, &uid, &cluster).await;
    let observe = async |fields: Option<Value>| {
        let objects = fields.map(|fields| ObservedObject { index: 0, fields: Some(fields.to_string()) });
        let observation = Observation {
            cluster_uid: cluster.uid.clone(),
            sha256: sha256.clone().into(),
            objects: objects.into_iter().collect(),
        };
        let request = ReportObservationRequest {
            namespace: "demo".into(),
            name: "a".into(),
            uid: uid.clone(),
            observation: Some(observation),
        };
        world.grpc.applications().report_observation(request).await.unwrap();
    };
    observe(None).await;
    let shown = status().await;
    assert_eq!(shown["last_applied_manifest"], json!([pod()]));
    let length = |number: usize| json!({"observer_schema_list_current_length": number});
    let mut seen = pod();
    seen["spec"]["containers"].as_array_mut().unwrap().push(length(1));
    assert_eq!(shown["last_observed_manifest"], json!([seen]));
    let lengths = json!({"observer_schema_list_min_length": 1, "observer_schema_list_max_length": 1});
    assert_eq!(
        shown["mangled_observer_schema"],
        json!([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": null},
            "spec": {"containers": [{"name": null, "image": null}, lengths]}}])
    );
    seen["spec"]["containers"] = json!([{"name": "c", "image": "other"}, length(2)]);
    observe(Some(seen.clone())).await;
    assert_eq!(status().await["last_observed_manifest"], json!([seen]));
    // What was read can be written back, and is not stored by that.
    let read = world.get(&format!("{APPLICATIONS}/a")).await.ok();
    world.put(&format!("{APPLICATIONS}/a"), &read).await;
    world.put(&format!("{APPLICATIONS}/a/status"), &read).await;
    assert_eq!(status().await["last_observed_manifest"], json!([seen]));
    let listed = world.get(APPLICATIONS).await.ok();
    assert_eq!(listed["items"][0]["status"]["last_observed_manifest"], json!([]), "lists are short");
}
