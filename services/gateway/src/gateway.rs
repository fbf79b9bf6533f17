//! From a request to its answer: origin, path, method and body are checked here, the rest by the state service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use krake_client::Client;
use krake_proto::rest::{Body as Form, Verb};
use krake_runtime::serve::AnswerBudget;
use krake_runtime::serve::http::HttpOptions;
use krake_runtime::shutdown::Shutdown;
use tokio::time::timeout_at;

use crate::call::{Caller, StateService};
use crate::cors::Origins;
use crate::fixed::Fixed;
use crate::matcher::{self, Matched};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;
use crate::{answer, blocking, body, list, object, watch};

/// Where upstream explains the types of its problems.
const UPSTREAM_DOCUMENTATION: &str =
    "https://rak-n-rok.readthedocs.io/projects/krake/en/latest/user/problem.html";

/// Options of the gateway.
#[derive(Debug, Clone)]
pub struct Options {
    /// Origins whose web pages may call. Default: none.
    pub origins: Origins,
    /// URL of the page that explains the types of problems; their types are places on it. Empty: `about:blank`.
    /// Default: upstream's page.
    pub documentation: String,
    /// Limits, certificates and metrics of the listener.
    pub http: HttpOptions,
    /// Maximum silence of a watch on the state service, which sends a bookmark every 25 s; then its connection counts
    /// as dead and the watch resumes over another one. Default 90 s: three missed bookmarks and time for a slow
    /// machine.
    pub watch_silence: Duration,
    /// Maximum number of watches at a time; further ones are refused. All share one connection to the state service, which
    /// serves 4096 streams on it. Default 2048: a watch that resumes finds a place while its former stream still ends.
    /// Unread watches take up to 256 KiB each.
    pub max_watches: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            origins: Origins::default(),
            documentation: UPSTREAM_DOCUMENTATION.to_owned(),
            http: HttpOptions::default(),
            watch_silence: Duration::from_secs(90),
            max_watches: 2048,
        }
    }
}

/// State that all requests share.
pub(crate) struct Gateway {
    state: StateService,
    options: Options,
    shutdown: Shutdown,
}

/// The target of a path.
enum Place {
    Fixed(Fixed),
    Routes(Matched),
}

impl Gateway {
    pub(crate) fn router(client: &Client, options: Options, shutdown: Shutdown) -> Router {
        let state = StateService::new(client, &options);
        let gateway = Gateway { state, options, shutdown };
        Router::new().fallback(handle).with_state(Arc::new(gateway))
    }

    async fn answer(&self, request: Parts, body: Body) -> Result<Response, Problem> {
        let path = request.uri.path();
        let fixed = Fixed::find(path).map(Place::Fixed);
        let place = fixed.or_else(|| matcher::find(path).map(Place::Routes));
        let place = place.ok_or_else(|| Problem::plain(StatusCode::NOT_FOUND))?;
        if request.method == Method::OPTIONS {
            let methods: Vec<Method> = match &place {
                Place::Fixed(_) => vec![Method::GET],
                Place::Routes(matched) => matched.routes.iter().map(|route| route.method.clone()).collect(),
            };
            let headers = self.options.origins.preflight(&request.headers, &methods)?;
            return Ok((StatusCode::OK, axum::response::AppendHeaders(headers)).into_response());
        }
        // The server leaves out the body of what answers HEAD.
        let method = if request.method == Method::HEAD { Method::GET } else { request.method.clone() };
        let caller = Caller::new(self.state.clone(), &request.headers)?;
        let limit = caller.limit();
        let answer = async {
            match place {
                Place::Fixed(fixed) if method == Method::GET => fixed.answer(&caller).await,
                Place::Fixed(_) => Err(not_allowed("GET".to_owned())),
                Place::Routes(matched) => {
                    let route = matched.route(&method).ok_or_else(|| not_allowed(matched.allow()))?;
                    self.serve(Target::new(route, &matched, caller)?, request, body).await
                }
            }
        };
        match limit {
            None => answer.await,
            Some(limit) => {
                let late = || Problem::late(limit.length);
                timeout_at(limit.deadline, answer).await.unwrap_or_else(|_| Err(late()))
            }
        }
    }

    async fn serve(&self, target: Target, request: Parts, body: Body) -> Result<Response, Problem> {
        let target = Arc::new(target);
        let parameters = Parameters::read(request.uri.query())?;
        let headers = &request.headers;
        let body = match target.route.body {
            Form::None => None,
            Form::Field(_) | Form::Request => {
                Some(body::json(headers, body, object::body_message(target.route)).await?)
            }
        };
        let descriptor = target.descriptor();
        match (target.route.verb, body) {
            (Verb::List, _) => {
                parameters.heartbeat()?;
                parameters.revision("resource_version")?;
                match &target.route.watch {
                    Some(rpc) if parameters.is_watch() => {
                        let documentation = &self.options.documentation;
                        let rpc = rpc.clone();
                        watch::watch(target, rpc, headers, &parameters, documentation, self.shutdown.clone())
                            .await
                    }
                    _ => list::list(target, &parameters, AnswerBudget::of(&request.extensions)).await,
                }
            }
            (Verb::Get, _) => object::get(&target).await,
            (Verb::Create, Some(body)) => {
                let created = match blocking::wanted(&descriptor, &parameters)? {
                    Some(state) => blocking::until(&target, &state, object::create(&target, body)).await?,
                    None => object::create(&target, body).await?,
                };
                answer::resource(&descriptor, &created)
            }
            (Verb::Delete, _) => {
                let delete = object::delete(&target, headers, &parameters);
                let deleted = match blocking::wanted(&descriptor, &parameters)? {
                    Some(state) => blocking::until(&target, &state, delete).await?,
                    None => delete.await?,
                };
                answer::deleted(&descriptor, &deleted)
            }
            (Verb::Update, Some(body)) => object::update(&target, headers, body).await,
            (Verb::UpdateStatus, Some(body)) => object::update_status(&target, headers, body).await,
            (_, body) => object::custom(&target, body).await,
        }
    }
}

fn not_allowed(allow: String) -> Problem {
    Problem { allow: Some(allow), ..Problem::plain(StatusCode::METHOD_NOT_ALLOWED) }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let shared = if parts.method == Method::OPTIONS {
        // The answer to a preflight has these headers already.
        Vec::new()
    } else {
        gateway.options.origins.answer(&parts.headers)
    };
    let writes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let budget = AnswerBudget::of(&parts.extensions);
    let answer = Box::pin(gateway.answer(parts, body)).await;
    let answer = answer.and_then(|answer| answer::within(&budget, answer, writes));
    let documentation = &gateway.options.documentation;
    let mut response = answer.unwrap_or_else(|problem| problem.of_request(writes).response(documentation));
    response.headers_mut().extend(shared);
    response
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
