//! The handlers of the management API and of the health routes.

pub(crate) mod authorizations;
pub(crate) mod dbrps;
pub(crate) mod health;
pub(crate) mod list;
pub(crate) mod lookups;
mod page;
pub(crate) mod wire;
