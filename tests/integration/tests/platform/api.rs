//! A client of one API server that keeps a transcript of what it was answered, for comparison with another server's.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use krake_integration::http;
use krake_integration::wait::{self, HANG_GUARD};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::normal::normalise;

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Null where it is no JSON.
    pub(crate) body: Value,
    /// Its headers `Warning`.
    pub(crate) warnings: Vec<String>,
}

impl Reply {
    /// The text at a JSON pointer of the body; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    /// An error unless the code is this.
    pub(crate) fn expect(self, code: u16) -> Result<Self> {
        ensure!(self.code == code, "{} in place of {code}: {}", self.code, self.body);
        Ok(self)
    }

    /// An error unless it is refused with this code and reason.
    pub(crate) fn refused(self, code: u16, reason: &str) -> Result<Self> {
        ensure!(self.text("/reason") == reason, "not {reason}: {} {}", self.code, self.body);
        self.expect(code)
    }
}

/// The client of one case: its requests go to a namespace of its own.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    server: String,
    token: String,
    /// The namespace of the case; its name is the same on every server.
    pub(crate) namespace: String,
    transcript: Arc<Mutex<Vec<Value>>>,
}

impl Api {
    /// From a kubeconfig, and the case's namespace.
    pub(crate) fn new(kubeconfig: &Value, namespace: &str) -> Result<Self> {
        use base64::Engine as _;
        let text = |pointer: &str| kubeconfig.pointer(pointer).and_then(Value::as_str);
        let authority = text("/clusters/0/cluster/certificate-authority-data");
        let client = match authority {
            Some(data) => http::client_trusting(&base64::engine::general_purpose::STANDARD.decode(data)?)?,
            None => http::client()?,
        };
        let server = text("/clusters/0/cluster/server").context("a kubeconfig names a server")?.to_owned();
        let token = text("/users/0/user/token").context("a kubeconfig has a token")?.to_owned();
        Ok(Self { client, server, token, namespace: namespace.to_owned(), transcript: Arc::default() })
    }

    /// The same with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// What was answered so far, made comparable.
    pub(crate) fn transcript(&self) -> Vec<Value> {
        self.transcript.lock().unwrap().clone()
    }

    /// The same, with a transcript that nobody reads.
    pub(crate) fn unrecorded(&self) -> Self {
        Self { transcript: Arc::default(), ..self.clone() }
    }

    /// Adds something to compare.
    pub(crate) fn note(&self, what: &str, value: Value) {
        self.transcript.lock().unwrap().push(json!({"what": what, "is": value}));
    }

    /// The path of a collection of core kinds, or of an object, in the case's namespace.
    pub(crate) fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The same of group `apps`.
    pub(crate) fn apps(&self, rest: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{rest}", self.namespace)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Reply> {
        self.recorded(Method::GET, path, JSON, None).await
    }

    /// Asks for metadata alone, in this form.
    pub(crate) async fn get_as(&self, path: &str, form: &str) -> Result<Reply> {
        let accept = format!("application/json;as={form};g=meta.k8s.io;v=v1");
        let answer =
            self.request(Method::GET, path, JSON, None).header(header::ACCEPT, accept).send().await?;
        let code = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await?)?;
        let mut comparable = body.clone();
        normalise(&mut comparable);
        self.note(&format!("GET {path} as {form}"), comparable);
        Ok(Reply { code, body, warnings: Vec::new() })
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Result<Reply> {
        self.recorded(Method::POST, &by("krake", path), JSON, Some(object.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Result<Reply> {
        self.recorded(Method::PUT, &by("krake", path), JSON, Some(object.to_string())).await
    }

    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Reply> {
        self.recorded(Method::PATCH, &by("krake", path), MERGE, Some(patch.to_string())).await
    }

    /// Server-side apply as `manager`; `path` may have a query.
    pub(crate) async fn apply(&self, manager: &str, path: &str, object: &Value) -> Result<Reply> {
        self.recorded(Method::PATCH, &by(manager, path), APPLY, Some(object.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Reply> {
        self.recorded(Method::DELETE, path, JSON, Some(options.to_string())).await
    }

    /// Any request.
    pub(crate) async fn send(&self, method: Method, path: &str, content: &str, body: &str) -> Result<Reply> {
        self.recorded(method, path, content, Some(body.to_owned())).await
    }

    async fn recorded(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<String>,
    ) -> Result<Reply> {
        let what = format!("{method} {path} ({content})");
        let reply = self.call(method, path, content, body).await?;
        let mut comparable = reply.body.clone();
        normalise(&mut comparable);
        self.transcript.lock().unwrap().push(json!({"what": what, "code": reply.code, "body": comparable}));
        Ok(reply)
    }

    /// A request that is not compared.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<String>,
    ) -> Result<Reply> {
        let answer =
            self.request(method, path, content, body).send().await.with_context(|| path.to_owned())?;
        let code = answer.status().as_u16();
        let warnings = answer.headers().get_all(header::WARNING).iter();
        let warnings = warnings.filter_map(|text| text.to_str().ok().map(str::to_owned)).collect();
        let text = answer.text().await?;
        Ok(Reply { code, body: serde_json::from_str(&text).unwrap_or_default(), warnings })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<String>,
    ) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.server)).bearer_auth(&self.token);
        match body {
            Some(body) => request.header(header::CONTENT_TYPE, content).body(body),
            None => request,
        }
    }

    /// Waits until the object at `path` is as wanted; not compared.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Reply) -> bool) -> Result<Reply> {
        let look = async || self.call(Method::GET, path, JSON, None).await.ok().filter(|reply| wanted(reply));
        wait::until(&format!("{path} to be as wanted"), HANG_GUARD, look).await
    }

    /// The events of a watch, until there are as many or the server ends it; compared.
    pub(crate) async fn watch(&self, path: &str, events: usize) -> Result<Vec<Value>> {
        let mut stream = self.open(path).await?;
        let end = Instant::now() + HANG_GUARD;
        let mut found = Vec::new();
        while found.len() < events {
            match timeout_at(end, stream.next()).await.context("a watch tells nothing")?? {
                Some(event) => found.push(event),
                None => break,
            }
        }
        let mut comparable = found.clone();
        comparable.iter_mut().for_each(|event| normalise(&mut event["object"]));
        self.note(&format!("watch {path}"), json!(comparable));
        Ok(found)
    }

    async fn open(&self, path: &str) -> Result<Events> {
        let answer = self.request(Method::GET, path, JSON, None).send().await?;
        if !answer.status().is_success() {
            bail!("{path}: {}: {}", answer.status(), answer.text().await?);
        }
        Ok(Events { answer, buffer: Vec::new() })
    }
}

fn by(manager: &str, path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}fieldManager={manager}")
}

struct Events {
    answer: reqwest::Response,
    buffer: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
