//! A script: a program that sees every request to a cluster, and may answer in the server's place. For tests that need an
//! exact answer at an exact moment, where [`crate::Faults`] give only the usual ones.

use std::collections::HashMap;

use serde_json::json;

use crate::request::Query;

/// A request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path of the Kubernetes API (`/apis/apps/v1/deployments`), without what comes before it in the cluster's address.
    pub path: &'a str,
    /// Parameters of the query, decoded.
    pub query: &'a HashMap<String, String>,
    /// The body; empty where there is none.
    pub body: &'a [u8],
}

impl Call<'_> {
    /// Whether a watch is asked for.
    pub fn is_watch(&self) -> bool {
        self.method == "GET" && Query::is_watch(self.query)
    }

    /// Whether the query asks for a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.query.get("dryRun").is_some_and(|value| value == "All")
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is carried out.
    CarryOut {
        /// Takes the place of the request's body, as after an admission webhook that changes objects.
        body: Option<Vec<u8>>,
        /// Warnings of the answer, besides the server's own.
        warnings: Vec<String>,
    },
    /// It is not carried out, and answered with this.
    Answer {
        /// Code of HTTP.
        code: u16,
        /// JSON.
        body: String,
    },
}

impl Default for Reply {
    /// It is carried out as it came.
    fn default() -> Self {
        Self::CarryOut { body: None, warnings: Vec::new() }
    }
}

impl Reply {
    /// The answer of an API server that refuses: a `Status` of Kubernetes.
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code});
        Self::Answer { code, body: status.to_string() }
    }
}

/// A script of one cluster. It is called for each request in turn, and may use the [`crate::Cluster`] itself: what it does
/// there in [`Script::decide`] is done just before the request is carried out, as by somebody who was faster.
pub trait Script: Send + Sync {
    /// A request arrived. Faults come after this: it may hang, or be refused.
    fn arrived(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// The faults let the request through. Credentials are checked after this, where it is carried out.
    fn decide(&self, call: &Call<'_>) -> Reply {
        let _ = call;
        Reply::default()
    }
}
