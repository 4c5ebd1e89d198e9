//! TLS: certificate and key from files, which can be reloaded while the server runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Accepts TLS connections with the certificate that was loaded last.
#[derive(Clone)]
pub(super) struct Tls(watch::Receiver<Arc<ServerConfig>>);

impl Tls {
    /// Performs the handshake with a client.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.0.borrow());
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The options for the certificate and its key.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Speak TLS, with the certificate chain in this file: PEM, the server's certificate first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate: a PEM file without a passphrase
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns whether TLS is configured.
    pub(super) fn is_given(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Loads the files, if TLS is configured.
    pub(super) fn load(&self) -> anyhow::Result<Option<(Tls, Reloader)>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let files = TlsFiles { certificate: certificate.clone(), key: key.clone() };
        let (sender, receiver) = watch::channel(Arc::new(files.config()?));
        Ok(Some((Tls(receiver), Reloader { files, sender })))
    }
}

#[derive(Debug)]
struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let certificates = self.certificates()?;
        let key = self.private_key()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .with_context(|| {
                format!(
                    "the certificate in `{}` and the key in `{}` do not work together",
                    self.certificate.display(),
                    self.key.display()
                )
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let path = &self.certificate;
        let unreadable = || format!("--tls-cert: cannot read `{}`", path.display());
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .map_err(without_content)
            .and_then(|found| found.collect::<Result<_, _>>().map_err(without_content))
            .with_context(unreadable)?;
        if certificates.is_empty() {
            bail!(
                "--tls-cert: there is no certificate in `{}`: a PEM file begins with `-----BEGIN \
                 CERTIFICATE-----`",
                path.display()
            );
        }
        Ok(certificates)
    }

    fn private_key(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        let path = &self.key;
        warn_if_open_to_others(path);
        match PrivateKeyDer::from_pem_file(path) {
            Ok(key) if is_p_521(&key) => bail!(
                "--tls-key: the key in `{}` is of the curve P-521, which is not supported: use P-256, \
                 P-384, Ed25519 or RSA",
                path.display()
            ),
            Ok(key) => Ok(key),
            Err(_) if is_encrypted(path) => bail!(
                "--tls-key: the key in `{}` is encrypted with a passphrase: decrypt it with `openssl \
                 pkey`, and let only the server read it",
                path.display()
            ),
            Err(PemError::NoItemsFound) => bail!(
                "--tls-key: there is no private key in `{}` that can be used: PEM with PKCS #8, \
                 PKCS #1 or SEC 1 is needed, and no passphrase",
                path.display()
            ),
            Err(error) => Err(without_content(error))
                .with_context(|| format!("--tls-key: cannot read `{}`", path.display())),
        }
    }
}

/// Returns whether the key contains the object identifier of the curve P-521.
fn is_p_521(key: &PrivateKeyDer<'_>) -> bool {
    const P_521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";
    key.secret_der().windows(P_521.len()).any(|part| part == P_521)
}

/// Returns whether the file has an encrypted key, in either of the two forms.
fn is_encrypted(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|part| part == *mark))
}

/// Returns an error about a PEM file without any of its content.
fn without_content(error: PemError) -> anyhow::Error {
    match error {
        PemError::Io(error) => error.into(),
        PemError::MissingSectionEnd { .. } => anyhow::anyhow!("a section has no end"),
        PemError::IllegalSectionStart { .. } => {
            anyhow::anyhow!("the begin of a section is malformed")
        }
        PemError::Base64Decode(_) => anyhow::anyhow!("a section is not Base64"),
        _ => anyhow::anyhow!("it is not PEM"),
    }
}

/// Warns of a file with a secret that every user of the machine can access.
#[cfg(unix)]
pub(super) fn warn_if_open_to_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    // Group access is how servers usually get access to a key.
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0) {
        tracing::warn!(
            "every user of this machine can access `{}`: remove their access with `chmod o=`",
            path.display()
        );
    }
}

#[cfg(not(unix))]
pub(super) fn warn_if_open_to_others(_: &Path) {}

/// Loads the files again after a certificate was renewed.
pub(super) struct Reloader {
    files: TlsFiles,
    sender: watch::Sender<Arc<ServerConfig>>,
}

impl Reloader {
    /// Loads the files for new connections. If that fails, new connections use what was loaded before.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        self.sender.send_replace(Arc::new(self.files.config()?));
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use rcgen::{CertifiedKey, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::failure::describe;

    /// Returns a self-signed certificate for `localhost`.
    pub(in crate::serve) fn certificate() -> CertifiedKey<KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    /// The directory of a certificate and its key.
    pub(in crate::serve) struct Directory(TempDir);

    impl Directory {
        pub(in crate::serve) fn write(&self, certificate: &CertifiedKey<KeyPair>) {
            fs::write(self.0.path().join("cert.pem"), certificate.cert.pem()).unwrap();
            self.write_key(certificate);
        }

        pub(in crate::serve) fn write_key(&self, certificate: &CertifiedKey<KeyPair>) {
            let key = certificate.signing_key.serialize_pem();
            fs::write(self.0.path().join("key.pem"), key).unwrap();
        }

        fn args(&self) -> TlsArgs {
            let path = |name| Some(self.0.path().join(name));
            TlsArgs { tls_cert: path("cert.pem"), tls_key: path("key.pem") }
        }

        fn error(&self) -> String {
            describe(&self.args().load().err().unwrap())
        }
    }

    pub(in crate::serve) fn load(
        certificate: &CertifiedKey<KeyPair>,
    ) -> (Directory, Tls, Reloader) {
        let directory = Directory(TempDir::new().unwrap());
        directory.write(certificate);
        let (tls, reloader) = directory.args().load().unwrap().unwrap();
        (directory, tls, reloader)
    }

    const P_521: &str = include_str!("../../tests/keys/p521.pem");

    #[test]
    fn an_error_names_the_file_and_quotes_nothing_of_it() {
        let (first, second) = (certificate(), certificate());
        let (directory, _, _) = load(&first);
        let (cert, key) = (first.cert.pem(), first.signing_key.serialize_pem());
        directory.write_key(&second);
        assert!(directory.error().contains("do not work together"), "{}", directory.error());

        let secret = key.lines().nth(1).unwrap();
        let broken = key.replace("-----END", "----END");
        let not_base64 = key.replace('\n', "!\n");
        for (name, content, expected) in [
            ("cert.pem", "", "--tls-cert: there is no certificate in `"),
            ("cert.pem", key.as_str(), "--tls-cert: there is no certificate in `"),
            ("key.pem", "", "--tls-key: there is no private key in `"),
            ("key.pem", cert.as_str(), "--tls-key: there is no private key in `"),
            ("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", "--tls-key: the key in `"),
            ("key.pem", P_521, "--tls-key: the key in `"),
            ("key.pem", broken.as_str(), "--tls-key: cannot read `"),
            ("key.pem", not_base64.as_str(), "--tls-key: cannot read `"),
        ] {
            directory.write(&first);
            fs::write(directory.0.path().join(name), content).unwrap();
            let error = directory.error();
            assert!(error.starts_with(expected) && error.contains(name), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
        fs::remove_file(directory.0.path().join("cert.pem")).unwrap();
        let error = directory.error();
        assert!(error.starts_with("--tls-cert: cannot read `"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}
