//! The standard methods of a kind: get, list, create, update, delete, watch.

use std::marker::PhantomData;

use bytes::Bytes;
use http::uri::PathAndQuery;
use krake_proto::krake::meta::v1::{Consistency, Metadata};
use krake_proto::{Resource, envelope};
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::connect::MESSAGE_LIMIT;
use crate::error::Error;
use crate::options::{CreateOptions, DeleteOptions, ListOptions, Mask, WatchOptions};
use crate::transport::Transport;
use crate::watch::{KindSource, Watch};
use krake_proto::error::ErrorReason;

/// How often a list is begun again because its revision was compacted between two pages.
const LIST_ATTEMPTS: usize = 3;

/// The standard methods of one kind. Cheap to clone.
///
/// A namespace is empty for global objects; where many objects are asked for, `-` stands for all namespaces.
pub struct Api<K> {
    transport: Transport,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api { transport: self.transport.clone(), kind: PhantomData }
    }
}

impl<K: Resource> std::fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("kind", &K::KIND.kind).field("transport", &self.transport).finish()
    }
}

/// All objects that a list found.
#[derive(Debug, Clone)]
pub struct Listing<K> {
    /// The objects, ordered by namespace and name.
    pub items: Vec<K>,
    /// The revision that they show: watch from here.
    pub resource_version: i64,
    /// The history that the revision belongs to.
    pub epoch: String,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<K> {
    /// The page's objects, and the revision that all pages show.
    pub listing: Listing<K>,
    /// Token of the next page; none on the last.
    pub next: Option<String>,
}

impl<K: Resource> Api<K> {
    pub(crate) fn new(transport: Transport) -> Self {
        Api { transport, kind: PhantomData }
    }

    /// Reads one object.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none, and whatever any call may fail with.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<K, Error> {
        let request = envelope::GetRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            consistency: Consistency::Unspecified.into(),
        };
        self.unary(rpc_path(K::KIND.service, "Get", K::KIND.kind), request).await
    }

    /// Reads one object, if it is there.
    ///
    /// # Errors
    /// As any call may fail.
    pub async fn get_opt(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a namespace, page by page, all of one revision.
    ///
    /// # Errors
    /// As any call may fail; a list whose revision was compacted on the way is begun again a few times.
    pub async fn list(&self, namespace: &str, options: &ListOptions) -> Result<Listing<K>, Error> {
        let mut attempt = 1;
        loop {
            match self.list_once(namespace, options).await {
                Err(error)
                    if error.reason() == Some(ErrorReason::RevisionCompacted) && attempt < LIST_ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn list_once(&self, namespace: &str, options: &ListOptions) -> Result<Listing<K>, Error> {
        let Page { mut listing, mut next } = self.list_page(namespace, options, None).await?;
        while let Some(token) = next {
            let page = self.list_page(namespace, options, Some(token)).await?;
            listing.items.extend(page.listing.items);
            next = page.next;
        }
        Ok(listing)
    }

    /// Reads one page: the first, or that of the token.
    ///
    /// # Errors
    /// As any call may fail.
    pub async fn list_page(
        &self,
        namespace: &str,
        options: &ListOptions,
        token: Option<String>,
    ) -> Result<Page<K>, Error> {
        let request = envelope::ListRequest {
            namespace: namespace.to_owned(),
            page_size: options.page_size,
            page_token: token.unwrap_or_default(),
            label_selector: options.label_selector.clone(),
            view: options.view.into(),
            consistency: options.consistency.into(),
        };
        let response: envelope::ListResponse =
            self.unary(rpc_path(K::KIND.service, "List", K::KIND.plural_rpc), request).await?;
        let items = response.items.into_iter().map(decode).collect::<Result<_, _>>()?;
        let listing = Listing { items, resource_version: response.resource_version, epoch: response.epoch };
        Ok(Page { listing, next: Some(response.next_page_token).filter(|token| !token.is_empty()) })
    }

    /// Creates an object under the namespace and name of its metadata. Returns it as stored.
    ///
    /// # Errors
    /// [`Error::is_already_exists`], [`Error::violations`], and whatever any call may fail with.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        self.create_with(object, &CreateOptions::default()).await
    }

    /// [`Api::create`] with options. With a `request_id` the call may be repeated after a lost answer.
    ///
    /// # Errors
    /// As [`Api::create`].
    pub async fn create_with(&self, object: &K, options: &CreateOptions) -> Result<K, Error> {
        let (namespace, name) = address(object);
        let request = envelope::CreateRequest {
            namespace,
            name,
            object: encode(object),
            validate_only: options.validate_only,
            request_id: options.request_id.clone(),
        };
        self.unary(rpc_path(K::KIND.service, "Create", K::KIND.kind), request).await
    }

    /// Writes metadata and spec of an object. Returns it as stored.
    ///
    /// `metadata.resource_version` is the precondition; 0 = last write wins.
    ///
    /// # Errors
    /// [`Error::is_conflict`], [`Error::is_not_found`], [`Error::violations`], and whatever any call may fail with.
    pub async fn update(&self, object: &K, mask: Mask) -> Result<K, Error> {
        let (namespace, name) = address(object);
        let request = envelope::UpdateRequest {
            namespace,
            name,
            object: encode(object),
            update_mask: mask.into_wire(),
            validate_only: false,
            reject_unchanged: false,
        };
        self.unary(rpc_path(K::KIND.service, "Update", K::KIND.kind), request).await
    }

    /// Writes the status of an object; conditions are added or replaced by type. Returns it as stored.
    ///
    /// `metadata.resource_version` is the precondition; 0 = last write wins.
    ///
    /// # Errors
    /// As [`Api::update`].
    pub async fn update_status(&self, object: &K, mask: Mask) -> Result<K, Error> {
        let (namespace, name) = address(object);
        let request = envelope::UpdateStatusRequest {
            namespace,
            name,
            object: encode(object),
            update_mask: mask.into_wire(),
        };
        self.unary(rpc_path(K::KIND.service, "Update", &format!("{}Status", K::KIND.kind)), request).await
    }

    /// Asks for an object's deletion. Returns it as it is then: it goes when its last finalizer is removed.
    ///
    /// # Errors
    /// [`Error::is_not_found`], [`Error::is_conflict`], and whatever any call may fail with.
    pub async fn delete(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<K, Error> {
        let request = envelope::DeleteRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            resource_version: options.resource_version,
            cascade: options.cascade,
            force: options.force,
            uid: options.uid.clone(),
        };
        self.unary(rpc_path(K::KIND.service, "Delete", K::KIND.kind), request).await
    }

    /// Follows objects through lost connections and restarts of the server; see [`Watch`].
    pub fn watch(&self, options: WatchOptions) -> Watch<K> {
        let start = options.start.clone();
        Watch::new(KindSource::<K>::new(self.transport.clone(), options), start)
    }

    async fn unary<Q, A>(&self, path: PathAndQuery, request: Q) -> Result<A, Error>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = grpc(&self.transport);
        grpc.ready().await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }
}

pub(crate) fn grpc(transport: &Transport) -> Grpc<Transport> {
    Grpc::new(transport.clone())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

/// The path of a kind's RPC.
pub(crate) fn rpc_path(service: &str, verb: &str, noun: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/{service}/{verb}{noun}"))
        .expect("names in descriptors are path segments")
}

pub(crate) fn decode<K: Resource>(bytes: Bytes) -> Result<K, Error> {
    let what = || format!("{}.{}", K::PACKAGE, K::NAME);
    K::decode(bytes).map_err(|source| Error::Malformed { what: what(), source })
}

fn encode<K: Resource>(object: &K) -> Bytes {
    object.encode_to_vec().into()
}

fn address<K: Resource>(object: &K) -> (String, String) {
    let empty = Metadata::default();
    let metadata = object.metadata().unwrap_or(&empty);
    (metadata.namespace.clone(), metadata.name.clone())
}
