//! The paths that belong to no kind: `/`, `/me`, `/release` and `/openapi.json`.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use krake_client::Transport;
use krake_proto::POOL;
use krake_proto::error;
use krake_proto::krake::core::v1::{Caller as Identity, GetCallerRequest};
use prost::Message;
use prost_reflect::MethodDescriptor;
use serde_json::json;

use crate::answer;
use crate::call::Caller;
use crate::problem::{Problem, Subject};

/// Upstream's answer to whoever asks for it.
const RELEASED: &str = "\"You released the Krake.\"";

/// A path of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// Which version answers.
    Root,
    /// Who calls.
    Me,
    /// Upstream's joke.
    Release,
    /// What can be called.
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
                    RELEASED,
                )
                    .into_response())
            }
        }
    }
}

/// Asks the state service who calls, and tells whether it answers at all: a refusal is an answer of Krake's too.
pub(crate) fn answers(transport: Transport) -> impl Fn() -> BoxFuture<'static, bool> {
    let caller = Caller::new(transport, &HeaderMap::new());
    move || {
        let caller = caller.clone();
        async move {
            let answer = caller.unary(&get_caller(), &GetCallerRequest {}).await;
            answer.map_or_else(|status| error::reason(&status).is_some(), |_| true)
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
    Identity::decode(answer).map_err(answer::garbled)
}

/// The description of the API, written once.
static OPENAPI: LazyLock<Vec<u8>> =
    LazyLock::new(|| krake_proto::openapi::document().to_string().into_bytes());
