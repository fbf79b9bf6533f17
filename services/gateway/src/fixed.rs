//! The paths that belong to no kind: `/`, `/me`, `/release` and `/openapi.json`.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{StatusCode, header};
use krake_proto::POOL;
use krake_proto::error;
use krake_proto::krake::core::v1::{Caller as Identity, GetCallerRequest};
use krake_runtime::reachable::Contact;
use prost::Message;
use prost_reflect::MethodDescriptor;
use serde_json::json;
use tonic::Code;

use crate::answer;
use crate::call::{Caller, StateService};
use crate::problem::{Problem, Subject};

/// Upstream's answer to `/release`.
const RELEASE_ANSWER: &str = "\"You released the Krake.\"";

/// A path of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// `/`: the version.
    Root,
    /// `/me`: the caller.
    Me,
    /// `/release`: upstream's joke.
    Release,
    /// `/openapi.json`: the description of the API.
    OpenApi,
}

impl Fixed {
    pub(crate) fn find(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Fixed::Root),
            "/me" => Some(Fixed::Me),
            "/release" => Some(Fixed::Release),
            "/openapi.json" => Some(Fixed::OpenApi),
            _ => None,
        }
    }

    pub(crate) async fn answer(self, caller: &Caller) -> Result<Response, Problem> {
        match self {
            Fixed::OpenApi => Ok(answer::json(OPENAPI.as_slice())),
            Fixed::Root => {
                identity(caller).await?;
                Ok(answer::json(json!({"version": env!("CARGO_PKG_VERSION")}).to_string()))
            }
            Fixed::Me => {
                let Identity { user, roles } = identity(caller).await?;
                Ok(answer::json(json!({"user": user, "roles": roles}).to_string()))
            }
            Fixed::Release => {
                identity(caller).await?;
                Ok((
                    StatusCode::ACCEPTED,
                    [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
                    RELEASE_ANSWER,
                )
                    .into_response())
            }
        }
    }
}

/// Calls the state service to see whether it answers; a refusal is an answer too.
pub(crate) fn contact(state: StateService) -> impl Fn() -> BoxFuture<'static, Contact> {
    let caller = Caller::anonymous(state);
    move || {
        let caller = caller.clone();
        async move {
            match caller.unary(&get_caller(), &GetCallerRequest {}).await {
                Ok(_) => Contact::Answered,
                Err(status) if error::reason(&status).is_some() => Contact::Answered,
                Err(status) if status.code() == Code::DeadlineExceeded => Contact::Silent,
                Err(_) => Contact::Unreachable,
            }
        }
        .boxed()
    }
}

fn get_caller() -> MethodDescriptor {
    POOL.get_service_by_name("krake.core.v1.IdentityService")
        .and_then(|service| service.methods().find(|rpc| rpc.name() == "GetCaller"))
        .expect("part of the contract")
}

/// The caller as the state service knows them.
async fn identity(caller: &Caller) -> Result<Identity, Problem> {
    let refused = |status| Problem::of(&status, &Subject::default());
    let answer = caller.unary(&get_caller(), &GetCallerRequest {}).await.map_err(refused)?;
    Identity::decode(answer.message).map_err(answer::garbled)
}

/// The description of the API, written once.
static OPENAPI: LazyLock<Vec<u8>> =
    LazyLock::new(|| krake_proto::openapi::document().to_string().into_bytes());
