//! The reasons why a store cannot be opened.

use std::error::Error as StdError;

use portcullis::RandomUnavailable;
use thiserror::Error;

type Source = Box<dyn StdError + Send + Sync>;

/// The reason why a store could not be opened.
///
/// A schema that is not a store is never changed. No message holds a password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL of the database is invalid.
    #[error("the address of the database cannot be read: {reason}")]
    Url {
        /// What is wrong with it, without quoting it.
        reason: String,
    },
    /// No host can be reached, or none accepts the connection as a primary.
    #[error("cannot connect to {location}")]
    Connect {
        /// Hosts, ports and database.
        location: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The database refused a statement.
    #[error("cannot use the store in {location}")]
    Database {
        /// Hosts, ports and database.
        location: String,
        /// The error that it reported.
        #[source]
        source: Source,
    },
    /// The schema exists and is not a store.
    #[error(
        "the schema `{schema}` in {location} is not a Portcullis store: choose another database"
    )]
    Foreign {
        /// Hosts, ports and database.
        location: String,
        /// The schema.
        schema: String,
    },
    /// There is no store, and [`create`](crate::PostgresOptions::create) is off.
    #[error("there is no store in {location}: check the address, or have one created")]
    Missing {
        /// Hosts, ports and database.
        location: String,
    },
    /// A newer version of Portcullis has written the store.
    #[error(
        "the store in {location} has format {found} and this version of Portcullis reads up to \
         {supported}: upgrade Portcullis"
    )]
    Newer {
        /// Hosts, ports and database.
        location: String,
        /// The format of the store.
        found: i64,
        /// The newest format that this version can read.
        supported: i64,
    },
    /// An older version of Portcullis has written the store, and [`create`](crate::PostgresOptions::create)
    /// is off.
    #[error(
        "the store in {location} has format {found} and this version of Portcullis writes \
         {supported}: have it brought up to date when all nodes have been upgraded"
    )]
    Older {
        /// Hosts, ports and database.
        location: String,
        /// The format of the store.
        found: i64,
        /// The format that this version writes.
        supported: i64,
    },
    /// One of the [options](crate::PostgresOptions), or a parameter of the URL, is out of bounds.
    #[error("{reason}")]
    Options {
        /// The option, its value, and its bounds.
        reason: String,
    },
    /// The system provided no random bytes.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// The TLS certificates or the private key cannot be used.
    #[error("cannot use TLS for the database")]
    Tls {
        /// Why.
        #[source]
        source: Source,
    },
    /// The database cannot hold a store.
    #[error("the database of {location} cannot be used: {reason}")]
    Unsuitable {
        /// Hosts, ports and database.
        location: String,
        /// Why.
        reason: &'static str,
    },
}
