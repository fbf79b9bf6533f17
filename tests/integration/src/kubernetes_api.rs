//! Kubernetes' REST API by path, as `kubectl --raw` has it, for looking at a cluster and for changing it by hand.

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::http;

/// A client of one API server. Paths are such as `/apis/apps/v1/namespaces/default/deployments/web`.
#[derive(Debug, Clone)]
pub struct KubernetesApi {
    client: reqwest::Client,
    server: String,
    token: String,
}

impl KubernetesApi {
    /// `server` is `https://host:port`, `ca` the PEM of its authority.
    pub fn new(server: &str, ca: &[u8], token: &str) -> Result<Self> {
        Ok(Self { client: http::client_trusting(ca)?, server: server.into(), token: token.into() })
    }

    /// The same API server for another caller.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// The object, or `None` if there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        self.call(Method::GET, path, None).await
    }

    /// The items of a collection; none if its kind is not served.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.get(path).await?.unwrap_or_default();
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Creates an object in the collection `path`. That it exists already is an error.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let body = Some(("application/json", object));
        self.call(Method::POST, path, body).await?.with_context(|| format!("{path} is not served"))
    }

    /// Server-side apply by the field manager `test`, by force.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager=test&force=true");
        let body = Some(("application/apply-patch+yaml", object));
        self.call(Method::PATCH, &path, body).await?.with_context(|| format!("{path} is not served"))
    }

    /// JSON merge patch; `None` if there is no such object.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Option<Value>> {
        self.call(Method::PATCH, path, Some(("application/merge-patch+json", patch))).await
    }

    /// Deletes an object with its dependents; false if there is none. Finalizers may keep it for a while.
    pub async fn delete(&self, path: &str) -> Result<bool> {
        let options = json!({"propagationPolicy": "Background"});
        Ok(self.call(Method::DELETE, path, Some(("application/json", &options))).await?.is_some())
    }

    /// The text of `/readyz` and the like.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = self.client.get(format!("{}{path}", self.server)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Result<Option<Value>> {
        let what = format!("{method} {path}");
        let mut request =
            self.client.request(method, format!("{}{path}", self.server)).bearer_auth(&self.token);
        if let Some((content_type, body)) = body {
            request = request.header(header::CONTENT_TYPE, content_type).body(body.to_string());
        }
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| what.clone())?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            bail!("{what}: {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: the answer is not JSON")).map(Some)
    }
}
