//! Where a server is, and how connections to it are made.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The URL of a server: `http` or `https`, a host, and perhaps a port and a path before all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or with a `/` before and none after it.
    prefix: String,
}

impl Address {
    /// Parses a URL. The error quotes nothing of it: it may hold a password where it must not.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let invalid = || {
            anyhow!(
                "it is not a URL such as https://portcullis.example.com:8087, without credentials, \
                 query and fragment"
            )
        };
        let uri: Uri = url.trim().parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(invalid());
        };
        let prefix = uri.path().trim_end_matches('/');
        let is_http = [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
        let has_port = authority
            .as_str()
            .strip_prefix(authority.host())
            .is_some_and(|rest| rest.is_empty() || authority.port_u16().is_some());
        let is_plain =
            prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
        let is_normal = prefix.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
        let has_more = uri.query().is_some() || url.contains(['#', '@']);
        if !is_http || !has_port || !is_plain || !is_normal || has_more {
            return Err(invalid());
        }
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), prefix: prefix.to_owned() })
    }

    /// Returns whether what is sent there can be read on the way: without TLS, to another host.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.authority.host();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_this_host = ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback());
        self.scheme == Scheme::HTTP && !is_this_host
    }

    /// Returns the URI of a path, perhaps with a query.
    pub(super) fn uri(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path_and_query}", self.prefix))
            .build()
    }

    /// Returns a connector that trusts these certificates in PEM, or else those that the system trusts.
    pub(super) fn connector(
        &self,
        ca: Option<&[u8]>,
    ) -> anyhow::Result<HttpsConnector<HttpConnector>> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = ca {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|_| anyhow!("it is no certificate in PEM"))?;
                roots.add(certificate).context("a certificate cannot be read")?;
            }
            if roots.is_empty() {
                bail!("there is no certificate in PEM");
            }
        } else if self.scheme == Scheme::HTTPS {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!("the system trusts no certificates: give --ca-file");
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, authority, prefix } = self;
        write!(f, "{scheme}://{authority}{prefix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_with_a_host_and_perhaps_a_path() {
        for (url, shown, uri) in [
            ("http://127.0.0.1:8087", "http://127.0.0.1:8087", "http://127.0.0.1:8087/x?y"),
            ("https://db/", "https://db", "https://db/x?y"),
            ("https://[::1]:8087/a/b/", "https://[::1]:8087/a/b", "https://[::1]:8087/a/b/x?y"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.uri("/x?y").unwrap().to_string(), uri);
        }
        for url in [
            "",
            "db",
            "db:8087",
            "ftp://db",
            "http://",
            "http://ada:s3cret@db",
            "http://db?s3cret",
            "http://db/#s3cret",
            "http://db:x",
            "http://db/a//b",
            "http://db/../x",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    /// [REM-3]
    #[test]
    fn only_plain_http_to_another_host_is_exposed() {
        for (url, is_exposed) in [
            ("http://127.0.0.1:8087", false),
            ("http://127.8.9.1", false),
            ("http://[::1]:8087", false),
            ("http://localhost:8087", false),
            ("http://LocalHost", false),
            ("https://db.example.com", false),
            ("http://db.example.com", true),
            ("http://10.0.0.1:8087", true),
            ("http://127.0.0.1.example.com", true),
            ("http://localhost.example.com", true),
            ("http://[::2]", true),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_exposed(), is_exposed, "{url}");
        }
    }
}
