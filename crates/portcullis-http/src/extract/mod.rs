//! What handlers extract from a request.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod conditions;
pub(crate) mod id;
pub(crate) mod query;
