//! The handlers of the management API and of the health routes.

pub(crate) mod api_tokens;
pub(crate) mod authorizations;
pub(crate) mod dbrps;
mod dry_run;
pub(crate) mod health;
pub(crate) mod list;
pub(crate) mod lookups;
pub(crate) mod page;
pub(crate) mod setup;
mod stream;
pub(crate) mod tenants;
pub(crate) mod wire;
