//! What is being deleted, or was, gets no new dependents: the garbage collector has looked for them already.

use krake_client::{CreateOptions, DeleteOptions, ListOptions, Mask, ObjectKey};
use krake_proto::Resource;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::core::v1::{Role, Verb};
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};

use crate::support::memory;
use crate::support::server::{Server, application, as_owner, named, role};

/// An application that belongs to `owner`.
fn owned(name: &str, owner: &OwnerReference) -> Application {
    let mut owned = application(name);
    owned.metadata_mut().owners = vec![owner.clone()];
    owned
}

/// Creates a role, and returns a reference to it.
async fn owner(server: &Server, name: &str) -> OwnerReference {
    as_owner(&server.client.api::<Role>().create(&role("", name, &[Verb::Get])).await.unwrap())
}

#[tokio::test]
async fn what_is_being_deleted_or_was_gets_no_new_dependents() {
    let server = Server::start(memory()).await;
    let (api, roles) = (server.client.api::<Application>(), server.client.api::<Role>());
    let gone = owner(&server, "r").await;
    let mut present = api.create(&owned("before", &gone)).await.unwrap();
    let mut other = api.create(&application("other")).await.unwrap();
    other.metadata_mut().owners = vec![gone.clone()];
    let only_asked = CreateOptions { validate_only: true, ..Default::default() };
    let refused = async |why: &str| {
        for error in [
            api.create(&owned("a", &gone)).await.unwrap_err(),
            api.create_with(&owned("a", &gone), &only_asked).await.unwrap_err(),
            api.update(&other, Mask::fields(["metadata.owners"])).await.unwrap_err(),
        ] {
            assert_eq!(error.violations()[0].field, "metadata.owners", "{error}");
            assert!(error.violations()[0].description.contains(why), "{error}");
        }
    };
    roles.delete("", "r", &DeleteOptions::default()).await.unwrap();
    refused("is being deleted").await;
    let key = ObjectKey::from(&Role::KIND.reference(&named("", "r").unwrap()));
    server.client.remove_finalizer(&key, "", CASCADE_DELETION).await.unwrap();
    refused("was deleted").await;
    owner(&server, "r").await;
    refused("was deleted").await;

    // These promise nothing about that object, or are what the object had.
    present.metadata_mut().labels.insert("a".into(), "b".into());
    api.update(&present, Mask::All).await.unwrap();
    let by_name = OwnerReference { uid: String::new(), ..gone.clone() };
    api.create(&owned("by-name", &by_name)).await.unwrap();
    let released = OwnerReference { on_delete: OnDelete::Release.into(), ..gone.clone() };
    api.create(&owned("released", &released)).await.unwrap();
    let never = OwnerReference { uid: uuid::Uuid::new_v4().to_string(), name: "never".into(), ..gone };
    api.create(&owned("never", &never)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependent_that_is_made_beside_a_deletion_is_seen_or_refused() {
    let server = Server::start(memory()).await;
    let (api, roles) = (server.client.api::<Application>(), server.client.api::<Role>());
    for round in 0..50 {
        let name = format!("r{round}");
        let reference = owner(&server, &name).await;
        let child = owned(&name, &reference);
        let deletion = async {
            roles.delete("", &name, &DeleteOptions::default()).await.unwrap();
            let seen = api.list("demo", &ListOptions::default()).await.unwrap().items;
            seen.iter().any(|seen| seen.metadata.as_ref().unwrap().name == name)
        };
        let (created, seen) = tokio::join!(api.create(&child), deletion);
        assert_eq!(created.is_ok(), seen, "round {round}: {created:?}");
    }
}

#[tokio::test]
async fn one_write_adds_a_limited_number_of_owners() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let mut many = application("a");
    let owner = |number: usize| OwnerReference {
        api: "core".into(),
        kind: "Role".into(),
        name: format!("r{number}"),
        uid: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    many.metadata_mut().owners = (0..33).map(owner).collect();
    assert_eq!(api.create(&many).await.unwrap_err().violations()[0].field, "metadata.owners");
    many.metadata_mut().owners.pop();
    api.create(&many).await.unwrap();
}

#[tokio::test]
async fn a_repeated_create_is_answered_as_the_first_one_though_the_owner_goes() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let child = owned("a", &owner(&server, "r").await);
    let options = CreateOptions { request_id: "1".into(), ..Default::default() };
    let made = api.create_with(&child, &options).await.unwrap();
    server.client.api::<Role>().delete("", "r", &DeleteOptions::default()).await.unwrap();
    assert_eq!(api.create_with(&child, &options).await.unwrap(), made);
    assert!(api.create(&child).await.unwrap_err().is_already_exists());
}
