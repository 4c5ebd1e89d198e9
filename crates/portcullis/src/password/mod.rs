//! Passwords: the secret, the rules for new ones, hashes, and the threads that compute them.

mod argon2_text;
mod bcrypt_hash;
mod block_list;
mod config;
mod hash;
mod policy;
mod pool;
mod queue;
mod secret;
mod shared;

pub use block_list::BlockList;
pub use config::HashPoolConfig;
pub use hash::{HashParams, InvalidHashParams, InvalidPasswordHash, PasswordHash};
pub use policy::{PasswordPolicy, WeakPassword};
pub(crate) use pool::{Admission, Against, Overloaded};
pub use pool::{HashError, HashPool};
pub(crate) use queue::{Lane, Ticket};
pub use secret::{Password, PasswordTooLong};
pub(crate) use shared::SharedVerifications;
