//! A list of credentials as one document: whole, or streamed in parts.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header;
use portcullis::toolkit::InlineReadGate;
use portcullis::{Engine, Error, ErrorKind, Id, NameResolver, OnBehalfOf};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::extract::caller::Caller;
use crate::json;

/// How many credentials are read and written at a time without `limit`. With the one more that
/// shows whether there is a next page, it is two of the parts that stores read at once.
pub(super) const CHUNK: NonZeroUsize =
    NonZeroUsize::MIN.saturating_add(2 * InlineReadGate::SHORT - 2);

/// The capacity for the JSON of a chunk, which suffices for most.
const CHUNK_BYTES: usize = 256 * 1_024;

/// A page of a list, ascending by id.
pub(super) struct ListPage<T> {
    pub(super) items: Vec<T>,
    /// The id after which the next page begins; `None` on the last page.
    pub(super) next: Option<Id>,
}

/// A filtered list of authorizations or API tokens.
#[async_trait]
pub(super) trait CredentialList: Send + Sync + 'static {
    type Item: Send + Sync + 'static;

    /// The path of the list, for the link to itself.
    const PATH: &'static str;

    /// Reads exactly `limit` credentials, or fewer at the end.
    async fn page(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<ListPage<Self::Item>, Error>;

    /// Reads up to `limit` credentials, fewer if they take much memory.
    async fn part(
        &self,
        on_behalf: &OnBehalfOf<'_>,
        after: Option<Id>,
        limit: NonZeroUsize,
        names: &mut NameResolver,
    ) -> Result<ListPage<Self::Item>, Error>;

    /// Writes a credential as JSON, `level` levels deep in the document.
    fn write(out: &mut Vec<u8>, level: usize, item: &Self::Item);
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn respond(body: Body) -> Response {
    ([(header::CONTENT_TYPE, json::CONTENT_TYPE)], body).into_response()
}

/// Responds with the whole document.
pub(super) fn whole<L: CredentialList>(next: Option<String>, items: &[L::Item]) -> Response {
    let mut out = begin::<L>(next);
    write_items::<L>(&mut out, items, true);
    end(&mut out, items.is_empty());
    respond(Body::from(out))
}

/// Responds with the document as a stream of parts. Each is written when the one before has been sent, so
/// that memory stays flat however long the list is. A failure breaks the connection off, so that
/// what was sent is not taken for the whole list.
pub(super) fn parts<L: CredentialList>(
    list: L,
    first: ListPage<L::Item>,
    engine: Engine,
    caller: Caller,
    shows_last_use: bool,
    names: NameResolver,
) -> Response {
    let mut out = begin::<L>(None);
    write_items::<L>(&mut out, &first.items, true);
    let is_empty = first.items.is_empty();
    let rest = RemainingPages { after: first.next, engine, caller, shows_last_use, list, names };
    let rest = rest.read_ahead();
    let rest = rest.map(|ahead| Rest { ahead, is_empty });
    let first = stream::once(async { Ok(out) });
    // Fused: the compression polls the stream once more after its end.
    respond(Body::from_stream(first.chain(stream::unfold(rest, next_part::<L>)).fuse()))
}

/// The pages of a list that are not read yet.
struct RemainingPages<L> {
    after: Option<Id>,
    engine: Engine,
    caller: Caller,
    shows_last_use: bool,
    list: L,
    names: NameResolver,
}

type PageResult<T> = Result<ListPage<T>, Error>;

/// The pages that a task reads while others are written and sent. Dropping it ends the task.
struct ReadAhead<T> {
    engine: Engine,
    caller: Caller,
    pages: mpsc::Receiver<PageResult<T>>,
    _reading: AbortOnDropHandle<()>,
}

/// The part of the document that is not sent yet.
struct Rest<T> {
    ahead: ReadAhead<T>,
    /// Whether no credential was written so far.
    is_empty: bool,
}

impl<L: CredentialList> RemainingPages<L> {
    /// Reads the next page, if the caller may still read.
    async fn read_page(&mut self, after: Id) -> PageResult<L::Item> {
        self.caller.revalidate(&self.engine).await?;
        let on_behalf = self.caller.engine_for(&self.engine);
        let on_behalf = on_behalf.show_last_use(self.shows_last_use);
        self.list.part(&on_behalf, Some(after), CHUNK, &mut self.names).await
    }

    /// Starts to read the remaining pages, if there are any. At most two are ahead of the response:
    /// one waits, and one is being read.
    fn read_ahead(mut self) -> Option<ReadAhead<L::Item>> {
        let mut next = Some(self.after?);
        let (sender, pages) = mpsc::channel(1);
        let (engine, caller) = (self.engine.clone(), self.caller.clone());
        let reading = async move {
            while let Some(after) = next {
                let page = self.read_page(after).await;
                next = page.as_ref().ok().and_then(|page| page.next);
                if sender.send(page).await.is_err() {
                    return;
                }
            }
        };
        let _reading = AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()));
        Some(ReadAhead { engine, caller, pages, _reading })
    }
}

/// Receives the next page from the reading task.
async fn next_page<T>(pages: &mut mpsc::Receiver<PageResult<T>>) -> PageResult<T> {
    // The task has ended before the last page: it panicked, or the server shuts down.
    let ended = || Err(Error::new(ErrorKind::Internal, "an internal error has occurred"));
    pages.recv().await.unwrap_or_else(ended)
}

/// Returns the next part of the document, and the rest of the pages.
async fn next_part<L: CredentialList>(
    rest: Option<Rest<L::Item>>,
) -> Option<(Result<Vec<u8>, Error>, Option<Rest<L::Item>>)> {
    let Rest { mut ahead, is_empty } = rest?;
    let mut page = next_page(&mut ahead.pages).await;
    // The page may have waited for a slow client since it was read.
    if page.is_ok()
        && let Err(refused) = ahead.caller.revalidate(&ahead.engine).await
    {
        page = Err(refused);
    }
    let is_last = page.as_ref().map_or(true, |page| page.next.is_none());
    let is_still_empty = is_empty && page.as_ref().is_ok_and(|page| page.items.is_empty());
    let part = page.map(|page| {
        let mut out = Vec::with_capacity(CHUNK_BYTES);
        write_items::<L>(&mut out, &page.items, is_empty);
        if is_last {
            end(&mut out, is_still_empty);
        }
        out
    });
    if let Err(error) = &part {
        tracing::error!("a list broke off: {error}");
    }
    Some((part, (!is_last).then_some(Rest { ahead, is_empty: is_still_empty })))
}

fn begin<L: CredentialList>(next: Option<String>) -> Vec<u8> {
    let mut out = b"{\n\t\"links\": ".to_vec();
    json::pretty_at(&mut out, 1, &Links { this: L::PATH, next });
    out.extend_from_slice(b",\n\t\"authorizations\": [");
    out
}

fn write_items<L: CredentialList>(out: &mut Vec<u8>, items: &[L::Item], mut first: bool) {
    for item in items {
        out.extend_from_slice(if first { b"\n\t\t" } else { b",\n\t\t" });
        first = false;
        L::write(out, 2, item);
    }
}

fn end(out: &mut Vec<u8>, empty: bool) {
    out.extend_from_slice(if empty { b"]\n}\n" } else { b"\n\t]\n}\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_task_that_ends_early_breaks_the_list_off_and_does_not_end_it() {
        let (sender, mut pages) = mpsc::channel::<PageResult<()>>(1);
        drop(sender);
        assert_eq!(
            next_page(&mut pages).await.err().map(|error| error.kind()),
            Some(ErrorKind::Internal)
        );
    }
}
