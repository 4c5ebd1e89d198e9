//! What was read and computed before, kept so that the next request is answered from memory.
//!
//! Two kinds of knowledge are kept, which can be wrong in different ways. A [`Proof`] says that
//! this password once matched that very hash: it is never wrong, only useless once the hash is
//! another one. A principal says what the store and the directory said: it is [trusted](Trust) as
//! long as the store's feed of changes shows that nothing about it has changed, or for a moment
//! after it was read; and in grace, while the store does not answer, where the operator has said so.

mod changes;
mod config;
mod follow;
mod keys;
mod known;
mod stamps;
mod state;
mod store;
mod sync;
mod table;
mod trust;

pub use config::CacheConfig;
pub use state::TrustState;

pub(crate) use changes::Changes;
pub(crate) use follow::Follower;
pub(crate) use keys::{Keys, Mac, Proof};
pub(crate) use known::{Known, KnownBy, Look, Memory, Standing};
pub(crate) use state::Observer;
pub(crate) use store::ForgettingStore;
pub(crate) use trust::{Moment, Seen, Trust};
