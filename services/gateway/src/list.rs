//! Lists: all pages of one revision, each fetched while the one before is written.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use krake_proto::envelope::{ListRequest, ListResponse};
use prost::Message;
use prost_reflect::MessageDescriptor;
use serde_json::json;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

use crate::answer;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;

/// A page that is being fetched.
type Page = AbortOnDropHandle<Result<ListResponse, Problem>>;

/// `GET` of many objects. Whatever fails before the first page is a problem; later failures cut the answer off.
pub(crate) async fn list(target: Arc<Target>, parameters: &Parameters) -> Result<Response, Problem> {
    let request = ListRequest {
        namespace: target.namespace.clone(),
        label_selector: parameters.get("label_selector").unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let first = page(&target, &request).await?;
    let descriptor = target.descriptor();
    let mut text = head(&target, &first);
    let next = ask_next(&target, &request, &first);
    let mut is_first = true;
    items(&descriptor, &first, &mut is_first, &mut text);
    if next.is_none() {
        text.extend_from_slice(b"]}");
        return Ok(answer::json(text));
    }
    let state = Some((text, next, is_first));
    let chunks = stream::try_unfold(state, move |state| {
        let (target, request, descriptor) = (target.clone(), request.clone(), descriptor.clone());
        async move {
            let Some((text, next, mut is_first)) = state else { return Ok::<_, io::Error>(None) };
            let Some(next) = next else { return Ok(Some((Bytes::from(text), None))) };
            let page = next.await.map_err(io::Error::other)?.map_err(cut_off)?;
            let next = ask_next(&target, &request, &page);
            let mut more = Vec::new();
            items(&descriptor, &page, &mut is_first, &mut more);
            if next.is_none() {
                more.extend_from_slice(b"]}");
            }
            Ok(Some((Bytes::from(text), Some((more, next, is_first)))))
        }
    });
    Ok(answer::json(Body::from_stream(chunks)))
}

/// The beginning of a list, up to its items.
fn head(target: &Target, first: &ListResponse) -> Vec<u8> {
    let (api, kind) = (target.route.kind.api, target.route.shown_kind());
    let metadata = json!({"resource_version": first.resource_version, "epoch": first.epoch});
    format!(r#"{{"api":"{api}","kind":"{kind}List","metadata":{metadata},"items":["#).into_bytes()
}

/// Appends the items of a page. An object that this version cannot show is left out and logged, so that it does not
/// hide others. `is_first`: no item was written yet.
fn items(descriptor: &MessageDescriptor, page: &ListResponse, is_first: &mut bool, out: &mut Vec<u8>) {
    for item in &page.items {
        let end = out.len();
        if !*is_first {
            out.push(b',');
        }
        match answer::write(descriptor, item, out) {
            Ok(()) => *is_first = false,
            // Logged where it failed.
            Err(_) => out.truncate(end),
        }
    }
}

async fn page(target: &Target, request: &ListRequest) -> Result<ListResponse, Problem> {
    ListResponse::decode(target.call(request).await?.message).map_err(answer::garbled)
}

/// Requests the page after `page`; `None` after the last.
fn ask_next(target: &Arc<Target>, request: &ListRequest, page: &ListResponse) -> Option<Page> {
    if page.next_page_token.is_empty() {
        return None;
    }
    let request = ListRequest { page_token: page.next_page_token.clone(), ..request.clone() };
    let target = target.clone();
    Some(AbortOnDropHandle::new(tokio::spawn(async move { self::page(&target, &request).await })))
}

fn cut_off(problem: Problem) -> io::Error {
    tracing::warn!(detail = problem.detail, "a list was cut off");
    io::Error::other(problem.detail)
}
