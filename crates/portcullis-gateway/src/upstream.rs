//! The database behind the gateway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::pool::Pool;

/// The upstream: where the database is, and the credentials with which the gateway is known there.
///
/// ```
/// use portcullis_gateway::Upstream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let upstream = Upstream::new("http://127.0.0.1:8186")?.password("portcullis", "s3cret")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    /// What is put before each path; empty, or with a `/` before and none after it.
    prefix: String,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) org: Option<String>,
    roots: Option<RootCertStore>,
    connect_timeout: Duration,
    pub(crate) timeout: Duration,
}

/// Why an upstream cannot be used. No secret is in the text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// The text is not `http://HOST`, `https://HOST`, perhaps with a port and a path.
    #[error(
        "it is not a URL such as http://127.0.0.1:8186, without credentials, query and fragment"
    )]
    Url,
    /// The credentials cannot be the value of a header, or the username has a colon.
    #[error(
        "the credentials hold a line end or another character that no header has, or a `:` in the username"
    )]
    Credentials,
    /// The PEM holds no certificate that can be read.
    #[error("there is no certificate in PEM form")]
    Certificates,
    /// The system trusts no certificates, and none were given.
    #[error("the system trusts no certificates: give one")]
    NoRoots,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

impl Upstream {
    /// The database at this URL: `http` or `https`, a host, and perhaps a port and a path, which is put
    /// before the path of each request.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::Url`].
    pub fn new(url: &str) -> Result<Self, InvalidUpstream> {
        let uri: Uri = url.parse().map_err(|_| InvalidUpstream::Url)?;
        let scheme = uri.scheme().cloned().ok_or(InvalidUpstream::Url)?;
        let authority = uri.authority().cloned().ok_or(InvalidUpstream::Url)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let is_http = [Scheme::HTTP, Scheme::HTTPS].contains(&scheme);
        let has_port = authority
            .as_str()
            .strip_prefix(authority.host())
            .is_some_and(|rest| rest.is_empty() || authority.port_u16().is_some());
        let is_plain =
            prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte));
        let segments = || prefix.split('/').skip(1);
        let is_normal = segments().all(|segment| !["", ".", ".."].contains(&segment));
        if !is_http
            || !has_port
            || !is_plain
            || !is_normal
            || uri.query().is_some()
            || url.contains(['#', '@'])
        {
            return Err(InvalidUpstream::Url);
        }
        Ok(Self {
            scheme,
            authority,
            prefix,
            authorization: None,
            org: None,
            roots: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
        })
    }

    /// Sets username and password with which the gateway logs in there: `Authorization: Basic`. Default:
    /// none.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::Credentials`].
    pub fn password(self, username: &str, password: &str) -> Result<Self, InvalidUpstream> {
        if username.contains(':') {
            return Err(InvalidUpstream::Credentials);
        }
        let plain = Zeroizing::new(format!("{username}:{password}"));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(plain.as_bytes()));
        self.authorization("Basic", &encoded)
    }

    /// Sets the token with which the gateway logs in there: `Authorization: Token`. Default: none.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::Credentials`].
    pub fn token(self, token: &str) -> Result<Self, InvalidUpstream> {
        self.authorization("Token", token)
    }

    fn authorization(self, scheme: &str, secret: &str) -> Result<Self, InvalidUpstream> {
        let text = Zeroizing::new(format!("{scheme} {secret}"));
        let is_visible = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let value = is_visible.then(|| HeaderValue::from_str(&text).ok()).flatten();
        let mut value = value.ok_or(InvalidUpstream::Credentials)?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Sets the `org` of requests to `/api/v2/write`, which InfluxDB 2.x needs. The client's is never
    /// passed on: the gateway's credentials may reach other orgs. Default: none.
    pub fn org(self, org: impl Into<Option<String>>) -> Self {
        Self { org: org.into(), ..self }
    }

    /// Sets the certificates that TLS trusts: PEM. Default: those that the system trusts.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::Certificates`].
    pub fn certificates(self, pem: &[u8]) -> Result<Self, InvalidUpstream> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| InvalidUpstream::Certificates)?;
            roots.add(certificate).map_err(|_| InvalidUpstream::Certificates)?;
        }
        if roots.is_empty() {
            return Err(InvalidUpstream::Certificates);
        }
        Ok(Self { roots: Some(roots), ..self })
    }

    /// Sets the longest time that it may take to connect. Default: 2 seconds.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the longest time in which the upstream may send nothing: of the beginning of a response after
    /// it has received the whole request, and of the rest. A query that takes longer until its first
    /// result fails. Default: 60 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Returns a pool of connections to it.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream::NoRoots`] and [`InvalidUpstream::Tls`], for `https`.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>, InvalidUpstream> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(self.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let uri = format!("{}://{}/", self.scheme, self.authority);
        let uri = uri.parse().map_err(|_| InvalidUpstream::Url)?;
        Ok(Pool::new(connector, uri))
    }

    fn tls(&self) -> Result<ClientConfig, InvalidUpstream> {
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None if self.scheme == Scheme::HTTP => RootCertStore::empty(),
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(InvalidUpstream::NoRoots);
                }
                roots
            }
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidUpstream::Tls(error.to_string()))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// Returns the URI of a request to this origin; `None` if it is too long.
    pub(crate) fn uri(&self, path_and_query: String) -> Option<Uri> {
        let whole = match self.prefix.is_empty() {
            true => path_and_query,
            false => format!("{}{path_and_query}", self.prefix),
        };
        PathAndQuery::from_maybe_shared(Bytes::from(whole)).ok().map(Uri::from)
    }

    /// Returns the value of `Host`.
    pub(crate) fn host(&self) -> HeaderValue {
        // An authority has no characters that a header cannot have.
        HeaderValue::from_str(self.authority.as_str()).unwrap_or(HeaderValue::from_static(""))
    }

    /// Returns the URL, for logs.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// The credentials are not shown.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_url_with_a_host_and_perhaps_a_path() {
        for (url, path, expected) in [
            ("http://127.0.0.1:8186", "/write?db=x", "/write?db=x"),
            ("https://[::1]:8186/", "/ping", "/ping"),
            ("http://db/insert/0/influx", "/write", "/insert/0/influx/write"),
        ] {
            let upstream = Upstream::new(url).unwrap();
            assert_eq!(upstream.uri(path.to_owned()).unwrap().to_string(), expected);
        }
        for url in [
            "",
            "db",
            "127.0.0.1:8186",
            "ftp://db",
            "http://",
            "http://ada:s3cret@db",
            "http://db?x",
            "http://db/?x=1",
            "http://db/#x",
            "http://db:x",
            "http://db/a//b",
            "http://db/../x",
            "http://db/a%2fb",
            "unix:///run/x",
        ] {
            assert!(Upstream::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_are_in_no_debug_output_and_none_can_break_a_header() {
        let upstream = || Upstream::new("http://db").unwrap();
        for bad in ["", "x y", "x\n", "x\r\nHost: y", "ä\u{7f}"] {
            assert!(upstream().token(bad).is_err(), "{bad:?}");
        }
        assert!(upstream().password("a:b", "c").is_err());
        let upstream = upstream().password("portcullis", "s3cret").unwrap();
        let shown = format!("{upstream:?} {:?}", upstream.authorization);
        assert!(!shown.contains("czNjcmV0") && !shown.contains("s3cret"), "{shown}");
        let value = upstream.authorization.unwrap();
        assert_eq!(value, format!("Basic {}", BASE64_STANDARD.encode("portcullis:s3cret")));
    }
}
