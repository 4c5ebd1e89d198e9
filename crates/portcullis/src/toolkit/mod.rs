//! Parts for authors of stores.
//!
//! A store implements [`Store`](crate::store::Store), and [`MaintenanceStore`](crate::store::MaintenanceStore) if it
//! can be verified and backed up. These parts solve what most stores have in common; a store uses
//! those that fit its engine:
//!
//! | part | for |
//! |---|---|
//! | [`Feed`] | [`Store::watch`](crate::store::Store::watch) and positions |
//! | [`GroupWriter`], [`Committer`] | engines with one writer: group commit on a thread |
//! | [`InlineReadGate`], [`run_blocking`] | engines whose calls block |
//! | [`OwnedLookup`] | sending a [`Lookup`](crate::store::Lookup) to another thread |
//! | [`pages`] | reading all records, page by page |
//! | [`ordered`] | keys, values, reads and changes; for engines with ordered keys |
//! | [`SharedDatabase`], [`catch_panic`], [`OpenError`] | embedded engines of one process |
//! | [`Backups`], [`Unfinished`] | backups and new stores that appear when they are complete |
//! | [`relational`] | tables, their columns and index entries; for SQL databases |
//!
//! # How to write a store
//!
//! 1. Write plain functions on a connection of the driver: one that gets a record, one that lists a
//!    page, one that applies an operation. Decide uniqueness by a constraint of the database, and
//!    compare bytes: mind collations, padding and the type of the column. On an engine with ordered
//!    keys, implement the traits of [`ordered`], which has these functions; `portcullis-redb` is such a
//!    store in fewer than 900 lines.
//! 2. Cross over from `async` in one place. If calls of the driver block, reads go through an
//!    [`InlineReadGate`] and [`run_blocking`]; commits go to a [`GroupWriter`], or to a task of their
//!    own. Dropping the caller's future must not interrupt a commit.
//! 3. In `commit`, call [`Batch::into_operations`](crate::store::Batch::into_operations) first: it
//!    refuses a batch that is too large.
//! 4. Announce every change to a [`Feed`] after its commit and before its acknowledgement, in the
//!    order of commits.
//! 5. Return [`StoreError::Indeterminate`](crate::store::StoreError::Indeterminate) where a commit may
//!    or may not have happened, and nowhere else.
//! 6. Run the conformance suite of `portcullis-testkit`.

mod blocking;
mod database;
mod feed;
mod group_writer;
mod inline_reads;
mod lookup;
mod open_error;
pub mod ordered;
mod pages;
pub mod relational;
mod unfinished;

pub use blocking::run_blocking;
pub use database::{EnginePanic, SharedDatabase, catch_panic};
pub use feed::Feed;
pub use group_writer::{Committer, GroupWriter, ambiguous};
pub use inline_reads::{InlineReadGate, Permit};
pub use lookup::{OwnedLookup, OwnedLookups};
pub use open_error::OpenError;
pub use pages::pages;
pub use unfinished::{Backups, Unfinished, sync_directory};
