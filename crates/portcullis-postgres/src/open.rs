//! Opening: the address, the connection, and what can be wrong with what is there.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use portcullis::store::Position;
use portcullis::toolkit::Feed;
use portcullis::{RandomUnavailable, SystemRandom};
use thiserror::Error;
use tokio::sync::Notify;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode};

use crate::announcements::Announcements;
use crate::connection::Connection;
use crate::connector::{Connector, Host as Target};
use crate::dialect::{BEGIN, COMMIT};
use crate::error::Failure;
use crate::follow::Follower;
use crate::options::PostgresOptions;
use crate::pool::Pool;
use crate::schema::{self, FORMAT, Found};
use crate::tls::Tls;
use crate::url::{self, Address, Binding, Host};
use crate::write::Writer;
use crate::{PostgresStore, passwords};

type Source = Box<dyn StdError + Send + Sync>;

/// Says why a store could not be opened. Nothing was changed in a schema that is not a store. What
/// it says and shows never holds a password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is none.
    #[error("the address of the database cannot be read: {reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// No host could be reached, or none lets us in that can be written to.
    #[error("cannot connect to {place}")]
    Connect {
        /// Hosts, ports and database.
        place: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The database refused something.
    #[error("cannot use the store in {place}")]
    Database {
        /// Hosts, ports and database.
        place: String,
        /// What it said.
        #[source]
        source: Source,
    },
    /// The schema is something else.
    #[error("the schema `{schema}` in {place} is not a Portcullis store: choose another database")]
    Foreign {
        /// Hosts, ports and database.
        place: String,
        /// The schema.
        schema: String,
    },
    /// There is no store, and none was to be [created](PostgresOptions::create).
    #[error("there is no store in {place}: check the address, or have one created")]
    Missing {
        /// Hosts, ports and database.
        place: String,
    },
    /// A newer version of Portcullis has written the store.
    #[error(
        "the store in {place} has format {found} and this version of Portcullis reads up to \
         {supported}: upgrade Portcullis"
    )]
    Newer {
        /// Hosts, ports and database.
        place: String,
        /// The format of the store.
        found: i64,
        /// The newest format that this version can read.
        supported: i64,
    },
    /// An older version of Portcullis has written the store, and it was not to be
    /// [brought up to date](PostgresOptions::create).
    #[error(
        "the store in {place} has format {found} and this version of Portcullis writes \
         {supported}: have it brought up to date when all nodes have been upgraded"
    )]
    Older {
        /// Hosts, ports and database.
        place: String,
        /// The format of the store.
        found: i64,
        /// The format that this version writes.
        supported: i64,
    },
    /// A setting is out of bounds, of the [options](PostgresOptions) or in the address.
    #[error("{reason}")]
    Options {
        /// Which setting, its value, and what it may be.
        reason: String,
    },
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// The files for TLS cannot be used.
    #[error("cannot speak TLS with the database")]
    Tls {
        /// Why.
        #[source]
        source: Source,
    },
    /// The database cannot hold a store.
    #[error("the database of {place} cannot be used: {reason}")]
    Unsuitable {
        /// Hosts, ports and database.
        place: String,
        /// Why.
        reason: &'static str,
    },
}

/// How long the connection to a host may be silent before it is asked whether it is there.
const ALIVE: Duration = Duration::from_secs(20);

pub(crate) async fn open(
    mut options: PostgresOptions,
    url: &str,
) -> Result<PostgresStore, OpenError> {
    let (connector, mut connection, place) = connect(&mut options, url).await?;
    let refused =
        |failure: Failure| OpenError::Database { place: place.clone(), source: failure.into() };
    let created = prepare(&connection, &options, &place).await?;
    schema::check(&mut connection).await.map_err(refused)?;
    drop(connection);

    let incarnation = Position::new_incarnation(&SystemRandom)?;
    let feed = Feed::of_shared_store(incarnation, 0);
    let announcements = Arc::new(Announcements::new(feed));
    let pool = Pool::new(Arc::clone(&connector), options.pool_size, options.pool_wait());
    let mut follower = Follower::new(
        Arc::clone(&connector),
        Arc::clone(&announcements),
        Arc::clone(&pool),
        options.poll_interval,
        options.changes_retention,
    );
    follower.look().await.map_err(refused)?;
    let end = Arc::new(Notify::new());
    let following = tokio::spawn(follower.run(Arc::clone(&end)));
    let writer = Arc::new(Writer { pool: Arc::clone(&pool), announcements });
    Ok(PostgresStore { place, created, pool, writer, end, following, schema: options.schema })
}

/// Gives a store another schema.
pub(crate) async fn rename(
    mut options: PostgresOptions,
    url: &str,
    schema: &str,
) -> Result<(), OpenError> {
    check_name(schema)?;
    let (_, connection, place) = connect(&mut options, url).await?;
    let refused =
        |failure: Failure| OpenError::Database { place: place.clone(), source: failure.into() };
    let rename =
        format!("{BEGIN}; ALTER SCHEMA \"{}\" RENAME TO \"{schema}\"; {COMMIT}", options.schema);
    connection.writable().map_err(refused)?;
    connection.run(&rename).await.map_err(refused)
}

/// Deletes a store.
pub(crate) async fn remove(mut options: PostgresOptions, url: &str) -> Result<(), OpenError> {
    let (_, connection, place) = connect(&mut options, url).await?;
    let refused =
        |failure: Failure| OpenError::Database { place: place.clone(), source: failure.into() };
    match schema::identify(&connection, &options.schema).await.map_err(refused)? {
        Found::Foreign => return Err(OpenError::Foreign { place, schema: options.schema }),
        Found::Absent | Found::Store { .. } | Found::Unsuitable(_) => {}
    }
    let remove = format!("{BEGIN}; DROP SCHEMA IF EXISTS \"{}\" CASCADE; {COMMIT}", options.schema);
    connection.writable().map_err(refused)?;
    connection.run(&remove).await.map_err(refused)
}

/// Connects to what the address names.
async fn connect(
    options: &mut PostgresOptions,
    url: &str,
) -> Result<(Arc<Connector>, Connection, String), OpenError> {
    check_name(&options.schema)?;
    let address = Address::parse(url).map_err(|reason| OpenError::Address { reason })?;
    options.heed(&address);
    options.check().map_err(|reason| OpenError::Options { reason })?;
    let place = address.place();
    let connector = Arc::new(connector(options, &address)?);
    match connector.connect().await {
        Ok(connection) => Ok((connector, connection, place)),
        Err(failure) => Err(OpenError::Connect { place, source: failure.into() }),
    }
}

/// Refuses names of schemas that would have to be quoted.
fn check_name(schema: &str) -> Result<(), OpenError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match schema.starts_with(|c: char| c.is_ascii_lowercase())
        && schema.len() <= 48
        && schema.chars().all(fits)
    {
        true => Ok(()),
        false => Err(OpenError::Address {
            reason: "the name of a schema is up to 48 lower-case letters, digits and underscores, \
                     and begins with a letter"
                .to_owned(),
        }),
    }
}

/// Makes the schema what this version writes, if that is wanted, and tells whether it is new.
async fn prepare(
    connection: &Connection,
    options: &PostgresOptions,
    place: &str,
) -> Result<bool, OpenError> {
    let place = || place.to_owned();
    let refused = |failure: Failure| OpenError::Database { place: place(), source: failure.into() };
    let schema = options.schema.as_str();
    let mut created = false;
    let mut found = schema::identify(connection, schema).await.map_err(refused)?;
    let migrates = match found {
        Found::Absent => true,
        Found::Store { format } => (1..FORMAT).contains(&format),
        _ => false,
    };
    if options.create && migrates {
        connection.writable().map_err(refused)?;
        created = schema::migrate(connection, schema).await.map_err(refused)?;
        found = schema::identify(connection, schema).await.map_err(refused)?;
    }
    match found {
        Found::Absent => Err(OpenError::Missing { place: place() }),
        Found::Foreign => {
            Err(OpenError::Foreign { place: place(), schema: options.schema.clone() })
        }
        Found::Unsuitable(reason) => Err(OpenError::Unsuitable { place: place(), reason }),
        Found::Store { format } if format > FORMAT => {
            Err(OpenError::Newer { place: place(), found: format, supported: FORMAT })
        }
        Found::Store { format } if format < FORMAT => {
            Err(OpenError::Older { place: place(), found: format, supported: FORMAT })
        }
        Found::Store { .. } => Ok(created),
    }
}

fn connector(options: &PostgresOptions, address: &Address) -> Result<Connector, OpenError> {
    let tls = match &address.tls {
        Some(files) => {
            Some(Tls::load(files).map_err(|error| OpenError::Tls { source: error.into() })?)
        }
        None => None,
    };
    let hosts = address.hosts.iter().map(|host| target(options, address, host));
    Ok(Connector::new(
        hosts.collect(),
        tls,
        &options.schema,
        options.connect_timeout,
        options.statement_timeout,
    ))
}

/// What is said to one of the hosts.
fn target(options: &PostgresOptions, address: &Address, host: &(Host, u16)) -> Target {
    let mut config = Config::new();
    match &host.0 {
        Host::Name(name) => config.host(name),
        #[cfg(unix)]
        Host::Directory(path) => config.host_path(path),
        // An address names none here.
        #[cfg(not(unix))]
        Host::Directory(_) => &mut config,
    };
    config
        .port(host.1)
        .application_name(address.application.as_deref().unwrap_or("portcullis"))
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(ALIVE)
        .keepalives_interval(ALIVE / 4)
        .keepalives_retries(3)
        .tcp_user_timeout(options.statement_timeout + ALIVE);
    if let Some(user) = &address.user {
        config.user(user);
    }
    let user = address.user.as_deref().unwrap_or_default();
    let database = address.database.as_deref().unwrap_or(user);
    if !database.is_empty() {
        config.dbname(database);
    }
    let tls = address.tls.is_some() && matches!(host.0, Host::Name(_));
    config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    config.channel_binding(match address.channel_binding {
        Binding::Disable => ChannelBinding::Disable,
        Binding::Prefer => ChannelBinding::Prefer,
        Binding::Require => ChannelBinding::Require,
    });
    let given = address.password.clone().or_else(|| options.given_password());
    let password =
        given.or_else(|| passwords::find(address.passfile.as_deref(), host, database, user));
    if let Some(password) = password {
        config.password(password);
    }
    Target { name: url::name(host), config }
}
