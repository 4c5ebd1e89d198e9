//! The commands, one module for each.

pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod bucket;
pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod org;
pub(crate) mod setup;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify;

use std::num::NonZeroUsize;

/// How many records are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
