//! What is wrong with some requests to the FAKE API server, on demand, and what was asked of it.

use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;

use crate::fake_api_server::FakeApiServer;
use crate::fake_objects::failure;

/// The faults that are set, and the requests so far.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    warnings: Vec<(Method, String, String)>,
    asked: Vec<String>,
    /// Pages after the first of lists at such paths are gone, so many times.
    expiring: Option<(String, usize)>,
}

/// Requests that fail, and how.
struct Fault {
    method: Method,
    /// A part of their path, or with a `$` its end.
    path: String,
    code: StatusCode,
    reason: String,
    message: String,
    /// Only requests that change nothing fail, or only the next one.
    only: Option<Only>,
}

#[derive(Clone, Copy, PartialEq)]
enum Only {
    DryRuns,
    Once,
}

impl Faults {
    /// Notes a request with its query.
    pub(crate) fn note(&mut self, method: &Method, uri: &Uri) {
        self.asked.push(format!("{method} {uri}"));
    }
}

impl FakeApiServer {
    /// From now on such requests fail: by their method, watches and lists being GET, and a part of their path, which is its
    /// end if it ends with `$`.
    pub(crate) fn fail(&self, method: Method, path: &str, code: u16, reason: &str, message: &str) {
        self.add_fault(method, path, code, reason, message, None);
    }

    /// From now on applies to such paths that change nothing fail.
    pub(crate) fn fail_dry_runs(&self, path: &str, code: u16, reason: &str, message: &str) {
        self.add_fault(Method::PATCH, path, code, reason, message, Some(Only::DryRuns));
    }

    /// The next such request fails that is not a dry run.
    pub(crate) fn fail_once(&self, method: Method, path: &str, code: u16, reason: &str, message: &str) {
        self.add_fault(method, path, code, reason, message, Some(Only::Once));
    }

    fn add_fault(
        &self,
        method: Method,
        path: &str,
        code: u16,
        reason: &str,
        message: &str,
        only: Option<Only>,
    ) {
        let code = StatusCode::from_u16(code).unwrap();
        let (path, reason, message) = (path.to_owned(), reason.to_owned(), message.to_owned());
        self.faults.lock().unwrap().faults.push(Fault { method, path, code, reason, message, only });
    }

    /// From now on answers to such requests bear this warning.
    pub(crate) fn warn(&self, method: Method, path: &str, text: &str) {
        self.faults.lock().unwrap().warnings.push((method, path.to_owned(), text.to_owned()));
    }

    /// The next pages after the first of lists at such paths are gone, so many times.
    pub(crate) fn expire_pages(&self, path: &str, times: usize) {
        self.faults.lock().unwrap().expiring = Some((path.to_owned(), times));
    }

    /// The answer to a request for a page that is gone.
    pub(crate) fn expired(&self, path: &str, is_later_page: bool) -> Option<Response> {
        let mut faults = self.faults.lock().unwrap();
        let (of, times) = faults.expiring.as_mut()?;
        if !is_later_page || !path.contains(of.as_str()) {
            return None;
        }
        *times = times.checked_sub(1)?;
        Some(failure(StatusCode::GONE, "Expired", "the provided continue parameter is too old"))
    }

    /// Requests do not fail any more and are not warned of, and watches that failed are taken up again.
    pub(crate) fn heal(&self) {
        let mut faults = self.faults.lock().unwrap();
        faults.faults.clear();
        faults.warnings.clear();
        drop(faults);
        self.tell();
    }

    /// Requests so far with their queries, as `METHOD /path?query`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.faults.lock().unwrap().asked.clone()
    }

    /// The answer to a request that fails.
    pub(crate) fn fault(&self, method: &Method, path: &str, dry_run: bool) -> Option<Response> {
        let mut faults = self.faults.lock().unwrap();
        let fits = |fault: &Fault| {
            let is_meant = match fault.only {
                None => true,
                Some(Only::DryRuns) => dry_run,
                Some(Only::Once) => !dry_run,
            };
            let is_there = match fault.path.strip_suffix('$') {
                Some(end) => path.ends_with(end),
                None => path.contains(&fault.path),
            };
            is_meant && fault.method == *method && is_there
        };
        let place = faults.faults.iter().position(fits)?;
        let fault = &faults.faults[place];
        let answer = failure(fault.code, &fault.reason, &fault.message);
        if fault.only == Some(Only::Once) {
            faults.faults.remove(place);
        }
        Some(answer)
    }

    /// The answer with the warnings that such requests get.
    pub(crate) fn warned(&self, method: &Method, path: &str, mut answer: Response) -> Response {
        for (of, part, text) in &self.faults.lock().unwrap().warnings {
            if of == method && path.contains(part) {
                let header = format!("299 - \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                answer.headers_mut().append("warning", HeaderValue::from_str(&header).unwrap());
            }
        }
        answer
    }
}
