//! Roles, which stand for the kinds whose objects have no namespace.

use krake_client::{DeleteOptions, ListOptions, Mask};
use krake_proto::Resource;
use krake_proto::krake::core::v1::{Role, Verb};
use krake_state::backup::{self, Source};
use tempfile::TempDir;

use crate::support::memory;
use crate::support::server::{Server, application, as_owner, role};

#[tokio::test]
async fn a_role_is_created_read_listed_changed_and_erased() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Role>();
    let made = api.create(&role("", "reader", &[Verb::Get])).await.unwrap();
    assert_eq!(made.spec, role("", "reader", &[Verb::Get]).spec);
    assert_eq!(api.get("", "reader").await.unwrap(), made);
    assert_eq!(api.list("", &ListOptions::default()).await.unwrap().items, std::slice::from_ref(&made));
    let mut wider = made.clone();
    wider.spec = role("", "reader", &[Verb::Get, Verb::ListAll]).spec;
    let changed = api.update(&wider, Mask::fields(["spec.rules"])).await.unwrap();
    assert_eq!((&changed.spec, changed.metadata.clone().unwrap().generation), (&wider.spec, 2));
    api.delete("", "reader", &DeleteOptions { force: true, ..Default::default() }).await.unwrap();
    assert!(api.list("", &ListOptions::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_kind_without_namespaces_refuses_every_namespace_and_stores_nothing() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Role>();
    let made = api.create(&role("", "r", &[Verb::Get])).await.unwrap();
    let mut moved = made.clone();
    moved.metadata_mut().namespace = "demo".into();
    let options = DeleteOptions::default();
    let refusals = [
        api.create(&role("demo", "r", &[Verb::Get])).await.unwrap_err(),
        api.create(&role("-", "r", &[Verb::Get])).await.unwrap_err(),
        api.get("demo", "r").await.unwrap_err(),
        api.update(&moved, Mask::fields(["spec.rules"])).await.unwrap_err(),
        api.delete("demo", "r", &options).await.unwrap_err(),
        api.list("demo", &ListOptions::default()).await.unwrap_err(),
        api.list("-", &ListOptions::default()).await.unwrap_err(),
    ];
    for error in refusals {
        let violations = error.violations();
        assert!(violations[0].field.ends_with("namespace"), "{error}");
        assert!(violations[0].description.contains("a Role has no namespace"), "{error}");
    }
    assert_eq!(api.list("", &ListOptions::default()).await.unwrap().items, [made]);
}

#[tokio::test]
async fn a_role_can_own_objects_of_every_namespace() {
    let server = Server::start(memory()).await;
    let made = server.client.api::<Role>().create(&role("", "r", &[Verb::Get])).await.unwrap();
    let mut owned = application("a");
    owned.metadata_mut().owners = vec![as_owner(&made)];
    server.client.api().create(&owned).await.unwrap();
}

#[tokio::test]
async fn a_back_up_holds_roles() {
    let (from, to) = (memory(), memory());
    let made = {
        let server = Server::start(from.clone()).await;
        server.client.api::<Role>().create(&role("", "r", &[Verb::Delete])).await.unwrap()
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    backup::back_up(Source::Store(from.as_ref()), &file).await.unwrap();
    backup::restore(to.as_ref(), &backup::verify(&file).unwrap(), false).await.unwrap();
    let restored = Server::start(to).await.client.api::<Role>().get("", "r").await.unwrap();
    assert_eq!(restored.spec, made.spec);
}
