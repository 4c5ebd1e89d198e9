//! The cache of logins: what was read and computed before, so that the next request needs neither.
//!
//! It holds two kinds of facts. A [`Proof`](crate::stamp::Proof) states that this password once
//! matched that hash: it never becomes wrong, only useless once the hash is another one. A principal
//! states what the store and the directory held: it is [valid](Freshness) while the change feed
//! reports no change of it, or for a short time after it was read. With
//! [stale-if-error](CacheConfig::stale_if_error) it stays usable for longer while the store does not
//! respond.

mod commit_health;
mod config;
mod epochs;
mod feed_follower;
mod freshness;
mod invalidating_store;
mod keys;
mod login_cache;
mod observer;
mod sync;
mod table;

pub use config::CacheConfig;

pub(crate) use commit_health::CommitHealth;
pub(crate) use feed_follower::Follower;
pub(crate) use freshness::Freshness;
pub(crate) use invalidating_store::InvalidatingStore;
pub(crate) use keys::Keys;
pub(crate) use login_cache::{LoginCache, Lookup, Tenant, TenantStatus};
pub(crate) use observer::StateObserver;
