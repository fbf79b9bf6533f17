//! Lists: all pages of one revision. The next page is fetched while one is written, if the caller's address has room for
//! both; a caller who does not read holds no more than these.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use krake_proto::envelope::{ListRequest, ListResponse};
use krake_runtime::serve::{AnswerBudget, AnswerMemory, LargeAnswer};
use prost::Message;
use prost_reflect::MessageDescriptor;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::answer;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;

/// Room for a page and its JSON form, in bytes: pages are cut at 2 MiB, and most take less than twice as much as JSON.
const PAGE_ROOM: usize = 8 << 20;

/// A page, and the memory that it holds.
type Page = (ListResponse, AnswerMemory);

/// The page after one that was written.
enum Next {
    /// There is none.
    None,
    /// It is being fetched.
    Fetched(AbortOnDropHandle<Result<Page, Problem>>),
    /// There was no room for it.
    Later(ListRequest),
}

/// A list that is being answered.
struct Answer {
    target: Arc<Target>,
    descriptor: MessageDescriptor,
    budget: AnswerBudget,
    /// The request of the first page.
    request: ListRequest,
    /// No item was written yet.
    is_first: bool,
}

/// `GET` of many objects. Whatever fails before the first page is a problem; later failures cut the answer off.
pub(crate) async fn list(
    target: Arc<Target>,
    parameters: &Parameters,
    budget: AnswerBudget,
) -> Result<Response, Problem> {
    let request = ListRequest {
        namespace: target.namespace.clone(),
        label_selector: parameters.get("label_selector").unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let memory = budget.reserve(PAGE_ROOM).await.map_err(|no_room| Problem::no_room(&no_room))?;
    let first = fetch(&target, &request, memory).await?;
    let head = head(&target, &first.0);
    let descriptor = target.descriptor();
    let mut answer = Answer { target, descriptor, budget, request, is_first: true };
    let memory = first.1.clone();
    let (text, next) = answer.write(head, first);
    if matches!(next, Next::None) {
        let mut response = answer::json(text);
        response.extensions_mut().insert(memory);
        return Ok(response);
    }
    let state = Some((Some(text), next, answer));
    let chunks = stream::try_unfold(state, |state| async {
        let Some((text, next, mut answer)) = state else { return Ok::<_, io::Error>(None) };
        // Sent before the next page is waited for: a list that waits for room holds nothing.
        if let Some(text) = text {
            return Ok(Some((text, Some((None, next, answer)))));
        }
        let Some(page) = answer.page(next).await? else { return Ok(None) };
        let (text, next) = answer.write(Vec::new(), page);
        Ok(Some((text, Some((None, next, answer)))))
    });
    let mut response = answer::json(Body::from_stream(chunks));
    response.extensions_mut().insert(LargeAnswer);
    Ok(response)
}

impl Answer {
    /// Appends a page to `text`, and begins to fetch the next one if there is room.
    fn write(&mut self, mut text: Vec<u8>, (page, memory): Page) -> (Bytes, Next) {
        items(&self.descriptor, &page, &mut self.is_first, &mut text);
        if page.next_page_token.is_empty() {
            text.extend_from_slice(b"]}");
        }
        let request = ListRequest { page_token: page.next_page_token.clone(), ..self.request.clone() };
        drop(page);
        memory.resize(text.capacity());
        let text = memory.carry(Bytes::from(text));
        if request.page_token.is_empty() {
            return (text, Next::None);
        }
        let Some(memory) = self.budget.try_reserve(PAGE_ROOM) else { return (text, Next::Later(request)) };
        let target = self.target.clone();
        let fetch = tokio::spawn(async move { fetch(&target, &request, memory).await });
        (text, Next::Fetched(AbortOnDropHandle::new(fetch)))
    }

    /// The next page, if there is one.
    async fn page(&self, next: Next) -> io::Result<Option<Page>> {
        match next {
            Next::None => Ok(None),
            Next::Fetched(page) => Ok(Some(page.await.map_err(io::Error::other)?.map_err(cut_off)?)),
            Next::Later(request) => {
                let memory = self.budget.reserve(PAGE_ROOM).await;
                let memory = memory.map_err(|no_room| cut_off(Problem::no_room(&no_room)))?;
                Ok(Some(fetch(&self.target, &request, memory).await.map_err(cut_off)?))
            }
        }
    }
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

/// Fetches a page, which counts for its own size from then on.
async fn fetch(target: &Target, request: &ListRequest, memory: AnswerMemory) -> Result<Page, Problem> {
    let message = target.call(request).await?.message;
    memory.resize(message.len());
    Ok((ListResponse::decode(message).map_err(answer::garbled)?, memory))
}

fn cut_off(problem: Problem) -> io::Error {
    tracing::warn!(detail = problem.detail, "a list was cut off");
    io::Error::other(problem.detail)
}

#[cfg(test)]
mod tests;
