//! The commands, one module for each.

pub(crate) mod apply;
pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod bucket;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dbrp;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod setup;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod verify;

use std::num::NonZeroUsize;

use portcullis::Error;

/// The number of records in a page.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

/// Reads a list to its end. `page` returns the records after the last one of the page before.
async fn read_pages<R>(
    mut page: impl AsyncFnMut(Option<&R>) -> Result<Vec<R>, Error>,
) -> Result<Vec<R>, Error> {
    let mut records = Vec::new();
    loop {
        let page = page(records.last()).await?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}
