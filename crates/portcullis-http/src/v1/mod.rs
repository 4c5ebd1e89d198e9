//! Authentication of v1 clients, for a host's own routes.

pub(crate) mod authenticated;
pub(crate) mod authorized_query;
pub(crate) mod buckets;
pub(crate) mod credentials;
pub(crate) mod influxdb_version;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod query;
pub(crate) mod redact;
pub(crate) mod rejection;
