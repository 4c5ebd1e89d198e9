//! Parses the URL of a database: `postgres://user[:password]@host1[:port],host2/db?sslmode=…`.
//!
//! No error quotes the URL, which may hold a password.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host as ConfigHost};

use crate::tls::TlsFiles;

/// A parsed URL.
#[derive(Clone)]
pub(crate) struct DatabaseUrl {
    /// User, password, database and what else the driver needs, but neither hosts nor TLS.
    pub(crate) config: Config,
    pub(crate) hosts: Vec<(Host, u16)>,
    /// `None` if TLS is disabled.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) passfile: Option<PathBuf>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) pool_size: Option<u32>,
}

/// The url of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    /// The directory of its Unix socket.
    Directory(PathBuf),
}

impl DatabaseUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without quoting it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        const FORM: &str = "write postgres://USER@HOST:PORT/DATABASE";
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(FORM.to_owned());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        if query.contains('@') {
            // The `?` is part of a password then, and begins no query.
            return Err("`?` and `@` in a password or parameter are written %3F and %40".to_owned());
        }
        if base.matches('@').count() > 1 {
            // The text after the first one would count as a host, and hosts are shown.
            return Err("an `@` in a name or password is written %40".to_owned());
        }
        // The driver's own error may quote the URL.
        let config: Config = base.parse().map_err(|_| FORM.to_owned())?;
        let mut url = Self {
            hosts: hosts(&config)?,
            config,
            tls: Some(TlsFiles::default()),
            passfile: None,
            connect_timeout: None,
            statement_timeout: None,
            pool_size: None,
        };
        let (mut certificate, mut key) = (None, None);
        let mut names = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a parameter has no value")?;
            if names.contains(&name) {
                return Err("a parameter is given twice".to_owned());
            }
            names.push(name);
            let value = decode(value)?;
            match name {
                "channel_binding" => {
                    let binding = match value.as_str() {
                        "disable" => ChannelBinding::Disable,
                        "prefer" => ChannelBinding::Prefer,
                        "require" => ChannelBinding::Require,
                        _ => {
                            return Err(
                                "`channel_binding` is `prefer`, `require` or `disable`".to_owned()
                            );
                        }
                    };
                    url.config.channel_binding(binding);
                }
                "application_name" => {
                    url.config.application_name(value);
                }
                "connect_timeout" => {
                    let seconds = number(&value).map(Duration::from_secs);
                    let wrong = "`connect_timeout` is a number of seconds, at least 1";
                    url.connect_timeout = Some(seconds.ok_or(wrong)?);
                }
                "statement_timeout" => {
                    let seconds = number(&value).map(Duration::from_secs);
                    let wrong = "`statement_timeout` is a number of seconds, at least 1";
                    url.statement_timeout = Some(seconds.ok_or(wrong)?);
                }
                "pool_size" => {
                    let size = number(&value).and_then(|size| u32::try_from(size).ok());
                    let wrong = "`pool_size` is a number of connections, at least 1";
                    url.pool_size = Some(size.ok_or(wrong)?);
                }
                "passfile" => url.passfile = Some(value.into()),
                "sslcert" => certificate = Some(value.into()),
                "sslkey" => key = Some(value.into()),
                "sslmode" => match value.as_str() {
                    "disable" => url.tls = None,
                    "require" | "verify-ca" | "verify-full" => {}
                    "allow" | "prefer" => {
                        return Err("this `sslmode` may fall back to an unencrypted connection: \
                             `verify-full` checks the server's certificate, `disable` uses no TLS"
                            .to_owned());
                    }
                    _ => return Err("`sslmode` is `verify-full` or `disable`".to_owned()),
                },
                "sslrootcert" => {
                    if let Some(tls) = &mut url.tls {
                        tls.roots = (value != "system").then(|| value.into());
                    }
                }
                "target_session_attrs" if value == "read-write" || value == "primary" => {}
                "target_session_attrs" => {
                    return Err("`target_session_attrs` is always `read-write`".to_owned());
                }
                _ => {
                    return Err("it has an unknown parameter: there are `application_name`, \
                                `channel_binding`, `connect_timeout`, `passfile`, `pool_size`, `sslcert`, `sslkey`, \
                                `sslmode`, `sslrootcert`, `statement_timeout` and \
                                `target_session_attrs`"
                        .to_owned());
                }
            }
        }
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("`sslcert` and `sslkey` go together".to_owned()),
        };
        if let Some(tls) = &mut url.tls {
            tls.client = client;
        }
        if url.hosts.iter().all(|(host, _)| matches!(host, Host::Directory(_))) {
            // A socket does not leave this machine.
            url.tls = None;
        }
        if url.tls.is_none() && url.config.get_channel_binding() == ChannelBinding::Require {
            return Err("`channel_binding=require` needs TLS, and there is none".to_owned());
        }
        Ok(url)
    }

    /// Returns the hosts, ports and database as a URL, without user and password.
    pub(crate) fn display(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(name).collect();
        let database = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}/{}", hosts.join(","), database.escape_debug())
    }
}

/// Returns the host and port for display.
pub(crate) fn name((host, port): &(Host, u16)) -> String {
    match host {
        Host::Name(name) if name.contains(':') => format!("[{}]:{port}", name.escape_debug()),
        Host::Name(name) => format!("{}:{port}", name.escape_debug()),
        Host::Directory(path) => format!("{}:{port}", path.display().to_string().escape_debug()),
    }
}

fn hosts(config: &Config) -> Result<Vec<(Host, u16)>, String> {
    const PORT: u16 = 5432;
    let ports = config.get_ports();
    let port = |number: usize| match ports {
        [] => PORT,
        [one] => *one,
        many => many.get(number).copied().unwrap_or(PORT),
    };
    let hosts = config.get_hosts().iter().enumerate().map(|(number, host)| {
        let host = match host {
            ConfigHost::Tcp(name) => Host::Name(name.trim_matches(['[', ']']).to_owned()),
            #[cfg(unix)]
            ConfigHost::Unix(path) => Host::Directory(path.clone()),
        };
        (host, port(number))
    });
    let hosts: Vec<_> = hosts.collect();
    match hosts.iter().any(|(host, _)| matches!(host, Host::Name(name) if name.is_empty())) {
        false if !hosts.is_empty() => Ok(hosts),
        _ => Err("it names no host".to_owned()),
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number > 0)
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "a parameter is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> DatabaseUrl {
        DatabaseUrl::parse(url).unwrap()
    }

    fn refused(url: &str) -> String {
        let error = DatabaseUrl::parse(url).err().unwrap();
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    #[test]
    fn hosts_ports_and_names_are_parsed() {
        let url = parse("postgres://ada:s3cr%40t@db1:5433,db2:5434/portcullis");
        let hosts = [("db1", 5433), ("db2", 5434)];
        assert_eq!(url.hosts, hosts.map(|(host, port)| (Host::Name(host.into()), port)));
        assert_eq!(url.config.get_user(), Some("ada"));
        assert_eq!(url.config.get_password(), Some(&b"s3cr@t"[..]));
        assert_eq!(url.config.get_dbname(), Some("portcullis"));
        assert_eq!(url.tls, Some(TlsFiles::default()));
        assert_eq!(url.display(), "postgres://db1:5433,db2:5434/portcullis");
        let one = parse("postgresql://db/x");
        assert_eq!(one.hosts, [(Host::Name("db".into()), 5432)]);
        let socket = parse("postgres://ada@%2Frun%2Fpostgresql/x");
        assert_eq!(socket.hosts, [(Host::Directory("/run/postgresql".into()), 5432)]);
        assert_eq!(socket.tls, None);
    }

    #[test]
    fn certificates_are_checked_unless_tls_is_disabled() {
        for mode in ["require", "verify-ca", "verify-full"] {
            assert!(parse(&format!("postgres://db/x?sslmode={mode}")).tls.is_some(), "{mode}");
        }
        assert_eq!(parse("postgres://db/x?sslmode=disable").tls, None);
        let files = parse("postgres://db/x?sslrootcert=%2Fca.pem&sslcert=c&sslkey=k").tls.unwrap();
        assert_eq!(files.roots, Some("/ca.pem".into()));
        assert_eq!(files.client, Some(("c".into(), "k".into())));
        for mode in ["prefer", "allow"] {
            assert!(refused(&format!("postgres://db/x?sslmode={mode}")).contains("unencrypted"));
        }
    }

    #[test]
    fn channel_binding_is_preferred_by_default() {
        for (parameter, expected) in [
            ("", ChannelBinding::Prefer),
            ("?channel_binding=prefer", ChannelBinding::Prefer),
            ("?channel_binding=require", ChannelBinding::Require),
            ("?channel_binding=disable", ChannelBinding::Disable),
        ] {
            let url = parse(&format!("postgres://db/x{parameter}"));
            assert_eq!(url.config.get_channel_binding(), expected);
        }
    }

    #[test]
    fn an_invalid_url_is_refused_without_quoting_it() {
        for url in [
            "",
            "s3cret",
            "mysql://ada:s3cret@db/x",
            "postgres://ada:s3cret@db:port/x",
            "postgres://ada:s3cret@db/x?s3cret=1",
            "postgres://ada:s3cret@db/x?sslmode=s3cret",
            "postgres://ada:s3cret@db/x?sslmode",
            "postgres://ada:s3cret@db/x?sslcert=s3cret",
            "postgres://ada:s3cret@db/x?sslmode=disable&sslmode=disable",
            "postgres://ada:s3cret@db/x?connect_timeout=0",
            "postgres://ada:s3cret@db/x?pool_size=s3cret",
            "postgres://ada:s3cret@db/x?statement_timeout=-1",
            "postgres://ada:s3cret@db/x?target_session_attrs=any",
            "postgres://ada:s3cret@/x",
            "postgres://ada:12?s3cret@db/x",
            "postgres://ada:12@s3cret@db/x",
            "postgres://ada:12@s3cret/3@db/x",
            "postgres://ada:s3cret@db/x?channel_binding=s3cret",
            "postgres://ada:s3cret@db/x?channel_binding=require&sslmode=disable",
            "postgres://ada:s3cret@%2Frun/x?channel_binding=require",
        ] {
            refused(url);
        }
    }
}
