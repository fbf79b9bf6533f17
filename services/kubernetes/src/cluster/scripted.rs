//! For unit tests: a cluster that answers each request by a function, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::body::Body as AnyBody;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::connection::{Connection, Deadlines};

/// A request: method, path with query, and body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// `GET /api/v1/…`
    pub(crate) line: String,
    /// Null if it has none.
    pub(crate) body: Value,
}

/// The cluster.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) connection: Connection,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// A cluster that answers by this function: HTTP code, and a document or, as a JSON string, plain text.
    pub(crate) fn new(answer: impl Fn(&Asked) -> (u16, Value) + Clone + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answer, kept) = (answer.clone(), kept.clone());
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await?.to_bytes();
                let asked = Asked { line, body: serde_json::from_slice(&body).unwrap_or_default() };
                let (code, answer) = answer(&asked);
                kept.lock().unwrap().push(asked);
                let text = match answer {
                    Value::String(text) => text,
                    document => document.to_string(),
                };
                Response::builder().status(code).body(AnyBody::from(text)).map_err(BoxError::from)
            }
        });
        let client = Client::new(service, "default");
        Self { connection: Connection::over(client, "", "fake", Deadlines::default()), asked }
    }

    /// The requests so far whose line begins with `begin`.
    pub(crate) fn asked(&self, begin: &str) -> Vec<Asked> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|asked| asked.line.starts_with(begin)).cloned().collect()
    }
}

/// A failure as Kubernetes tells it.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason,
        "message": message, "code": code});
    (code, status)
}

/// What a server says of a path that it does not serve.
pub(crate) fn not_served() -> (u16, Value) {
    (404, json!("404 page not found"))
}
