//! Opens, renames and removes stores.

use std::sync::Arc;
use std::time::Duration;

use portcullis::SystemRandom;
use portcullis::store::Position;
use portcullis::toolkit::Feed;
use tokio::sync::Notify;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::announcements::Announcements;
use crate::connection::Connection;
use crate::connector::{Connector, Endpoint};
use crate::dialect::{BEGIN, COMMIT};
use crate::error::Failure;
use crate::open_error::OpenError;
use crate::options::{PostgresOptions, check_schema};
use crate::poll::Poller;
use crate::pool::Pool;
use crate::schema::{self, FORMAT, SchemaState};
use crate::tls::Tls;
use crate::url::{self, DatabaseUrl, Host};
use crate::write::Writer;
use crate::{PostgresStore, passwords};

/// How long a connection may be idle before TCP probes it.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Opening a store.
impl PostgresOptions {
    /// Opens the store in the database with the URL
    ///
    /// ```text
    /// postgres://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?NAME=VALUE[&…]]
    /// ```
    ///
    /// A host is a name, an IP address or, percent-encoded, the directory of a Unix socket. Of several
    /// hosts, the store uses a writable one: the one with the latest timeline, and the first of
    /// those. The parameters are:
    ///
    /// | name | value |
    /// |---|---|
    /// | `sslmode` | `verify-full`, the default (`require` and `verify-ca` mean the same here): the server's certificate must be trusted and have the host's name. `disable`: no TLS. Sockets have none |
    /// | `sslrootcert` | a PEM file of trusted certificates: issuers, or the server's own self-signed certificate. Default: the certificates that the system trusts |
    /// | `sslcert`, `sslkey` | PEM files with the client's certificate and its key |
    /// | `channel_binding` | `prefer`, the default: the password is bound to the TLS connection if the server supports that. `require`: the password is sent only then. `disable` |
    /// | `passfile` | a password file in the format of `psql` |
    /// | `connect_timeout` | [seconds](PostgresOptions::connect_timeout) |
    /// | `statement_timeout` | [seconds](PostgresOptions::statement_timeout) |
    /// | `pool_size` | [connections](PostgresOptions::pool_size) |
    /// | `application_name` | the name that the server shows; `portcullis` by default |
    /// | `target_session_attrs` | `read-write`, the only value |
    ///
    /// It must be called in a tokio runtime with time and I/O enabled, and the store must be used in
    /// that runtime. It returns when the store has connected, and its schema is checked.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(mut self, url: &str) -> Result<PostgresStore, OpenError> {
        let (connector, mut connection, location) = connect(&mut self, url).await?;
        let refused = refused(&location);
        let created = prepare(&connection, &self, &location).await?;
        schema::check(&mut connection).await.map_err(&refused)?;
        drop(connection);

        let incarnation = Position::new_incarnation(&SystemRandom)?;
        let feed = Feed::of_shared_store(incarnation, 0);
        let announcements = Arc::new(Announcements::new(feed));
        let pool = Pool::new(Arc::clone(&connector), self.pool_size, self.pool_wait());
        let mut poller = Poller::new(
            Arc::clone(&connector),
            Arc::clone(&announcements),
            Arc::clone(&pool),
            self.poll_interval,
            self.changes_retention,
        );
        poller.poll().await.map_err(&refused)?;
        let shutdown = Arc::new(Notify::new());
        Ok(PostgresStore {
            created,
            poller: tokio::spawn(poller.run(Arc::clone(&shutdown))),
            writer: Arc::new(Writer { pool: Arc::clone(&pool), announcements }),
            pool,
            shutdown,
            schema: self.schema,
            display_url: location,
        })
    }

    /// Renames the schema of the store, with everything in it. No process may have the store open.
    ///
    /// # Errors
    ///
    /// [`OpenError::Database`] if there is no store or `schema` exists; otherwise see [`OpenError`].
    pub async fn rename(mut self, url: &str, schema: &str) -> Result<(), OpenError> {
        check_schema(schema).map_err(|reason| OpenError::Options { reason })?;
        let (_, connection, location) = connect(&mut self, url).await?;
        let refused = refused(&location);
        let rename =
            format!("{BEGIN}; ALTER SCHEMA \"{}\" RENAME TO \"{schema}\"; {COMMIT}", self.schema);
        connection.writable().map_err(&refused)?;
        connection.run(&rename).await.map_err(&refused)
    }

    /// Deletes the store, with everything in it. Does nothing if there is none.
    ///
    /// # Errors
    ///
    /// [`OpenError::Foreign`] if the schema is not a store; otherwise see [`OpenError`].
    pub async fn remove(mut self, url: &str) -> Result<(), OpenError> {
        let (_, connection, location) = connect(&mut self, url).await?;
        let refused = refused(&location);
        let found = schema::identify(&connection, &self.schema).await.map_err(&refused)?;
        if found == SchemaState::Foreign {
            return Err(OpenError::Foreign { location, schema: self.schema });
        }
        let remove =
            format!("{BEGIN}; DROP SCHEMA IF EXISTS \"{}\" CASCADE; {COMMIT}", self.schema);
        connection.writable().map_err(&refused)?;
        connection.run(&remove).await.map_err(&refused)
    }
}

/// Returns what makes an error of a failure of the database.
fn refused(location: &str) -> impl Fn(Failure) -> OpenError + use<> {
    let location = location.to_owned();
    move |failure| OpenError::Database { location: location.clone(), source: failure.into() }
}

/// Connects to the primary among the hosts of the URL.
async fn connect(
    options: &mut PostgresOptions,
    url: &str,
) -> Result<(Arc<Connector>, Connection, String), OpenError> {
    let url = DatabaseUrl::parse(url).map_err(|reason| OpenError::Url { reason })?;
    options.apply_url(&url);
    options.check().map_err(|reason| OpenError::Options { reason })?;
    let location = url.display();
    let connector = Arc::new(connector(options, &url)?);
    match connector.connect().await {
        Ok(connection) => Ok((connector, connection, location)),
        Err(failure) => Err(OpenError::Connect { location, source: failure.into() }),
    }
}

/// Creates or migrates the schema if `create` is on, and tells whether it was created.
async fn prepare(
    connection: &Connection,
    options: &PostgresOptions,
    location: &str,
) -> Result<bool, OpenError> {
    let refused = refused(location);
    let location = || location.to_owned();
    let schema = options.schema.as_str();
    let mut created = false;
    let mut found = schema::identify(connection, schema).await.map_err(&refused)?;
    let migrates = match found {
        SchemaState::Absent => true,
        SchemaState::Store { format } => (1..FORMAT).contains(&format),
        _ => false,
    };
    if options.create && migrates {
        connection.writable().map_err(&refused)?;
        created = schema::migrate(connection, schema).await.map_err(&refused)?;
        found = schema::identify(connection, schema).await.map_err(&refused)?;
    }
    match found {
        SchemaState::Absent => Err(OpenError::Missing { location: location() }),
        SchemaState::Foreign => {
            Err(OpenError::Foreign { location: location(), schema: options.schema.clone() })
        }
        SchemaState::Unsuitable(reason) => {
            Err(OpenError::Unsuitable { location: location(), reason })
        }
        SchemaState::Store { format } if format > FORMAT => {
            Err(OpenError::Newer { location: location(), found: format, supported: FORMAT })
        }
        SchemaState::Store { format } if format < FORMAT => {
            Err(OpenError::Older { location: location(), found: format, supported: FORMAT })
        }
        SchemaState::Store { .. } => Ok(created),
    }
}

fn connector(options: &PostgresOptions, url: &DatabaseUrl) -> Result<Connector, OpenError> {
    let tls = match &url.tls {
        Some(files) => {
            Some(Tls::load(files).map_err(|error| OpenError::Tls { source: error.into() })?)
        }
        None => None,
    };
    let endpoints = url.hosts.iter().map(|host| endpoint(options, url, host));
    Ok(Connector::new(
        endpoints.collect(),
        tls,
        &options.schema,
        options.connect_timeout,
        options.statement_timeout,
    ))
}

/// Returns how to connect to one of the hosts.
fn endpoint(options: &PostgresOptions, url: &DatabaseUrl, host: &(Host, u16)) -> Endpoint {
    let mut config = Config::new();
    match &host.0 {
        Host::Name(name) => config.host(name),
        #[cfg(unix)]
        Host::Directory(path) => config.host_path(path),
        // A URL names none here.
        #[cfg(not(unix))]
        Host::Directory(_) => &mut config,
    };
    config
        .port(host.1)
        .application_name(url.config.get_application_name().unwrap_or("portcullis"))
        .channel_binding(url.config.get_channel_binding())
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE / 4)
        .keepalives_retries(3)
        .tcp_user_timeout(options.statement_timeout + KEEPALIVE);
    let user = url.config.get_user();
    if let Some(user) = user {
        config.user(user);
    }
    let database = url.config.get_dbname().or(user).unwrap_or_default();
    if !database.is_empty() {
        config.dbname(database);
    }
    let tls = url.tls.is_some() && matches!(host.0, Host::Name(_));
    config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    let password = url.config.get_password().map(ToOwned::to_owned);
    let password = password.or_else(|| options.given_password()).or_else(|| {
        passwords::find(url.passfile.as_deref(), host, database, user.unwrap_or_default())
    });
    if let Some(password) = password {
        config.password(password);
    }
    Endpoint { name: url::name(host), config }
}
