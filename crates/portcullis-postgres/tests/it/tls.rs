//! TLS: which servers are accepted.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis::store::Store as _;
use portcullis_postgres::OpenError;
use portcullis_testkit::postgres::{Server, absent};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::{error_chain, options, run};

/// Writes a CA, and a certificate for the server `localhost` by it.
fn write_certificates(directory: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(directory.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    make_readable(directory);
}

/// Makes the files readable for the server.
fn make_readable(directory: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(directory, 0o755);
        mode(&directory.join("server.key"), 0o600);
        // The server runs as another user if this process is root.
        let _ = Command::new("chown").arg("postgres").arg(directory.join("server.key")).output();
    }
}

/// Writes a self-signed certificate as in PostgreSQL's manual, which is marked as one of a CA.
fn write_self_signed(directory: &Path, names: &[&str], not_after: Option<i32>) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut server = CertificateParams::new(names).unwrap();
    server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if let Some(year) = not_after {
        server.not_after = rcgen::date_time_ymd(year, 1, 1);
    }
    fs::write(directory.join("server.pem"), server.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    make_readable(directory);
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("portcullis-tls-").tempdir_in("/tmp").unwrap()
}

/// Starts a server with the certificate of the directory.
fn start(directory: &Path, settings: &[&str]) -> &'static Server {
    let file = |name: &str| directory.join(name).display().to_string();
    let tls = [
        "ssl = on".to_owned(),
        format!("ssl_cert_file = '{}'", file("server.pem")),
        format!("ssl_key_file = '{}'", file("server.key")),
    ];
    let all: Vec<_> = tls.iter().map(String::as_str).chain(settings.iter().copied()).collect();
    Box::leak(Box::new(Server::start(&all).unwrap()))
}

#[test]
fn a_self_signed_certificate_is_accepted_if_pinned_and_vouches_for_no_other() {
    if absent().is_some() {
        return;
    }
    for (names, not_after, is_accepted) in [
        (&["localhost"][..], None, true),
        // Made by `openssl req -x509 -subj /CN=localhost`.
        (&[], None, true),
        (&["elsewhere"], None, false),
        (&["localhost"], Some(2020), false),
    ] {
        let (directory, other) = (directory(), directory());
        write_self_signed(directory.path(), names, not_after);
        write_self_signed(other.path(), names, not_after);
        let server = start(directory.path(), &[]);
        let database = server.database();
        let url = |root: &Path| {
            let (port, name) = (server.port(), database.name());
            let root = root.join("server.pem").display().to_string();
            format!("postgres://postgres@localhost:{port}/{name}?sslrootcert={root}")
        };
        run(async {
            match options().open(&url(directory.path())).await {
                Ok(store) => {
                    assert!(is_accepted, "{names:?} {not_after:?}");
                    store.close().await.unwrap();
                }
                Err(error) => {
                    let text = error_chain(&error);
                    assert!(!is_accepted && text.contains("certificate"), "{names:?}: {text}");
                }
            }
            let error = options().open(&url(other.path())).await.unwrap_err();
            assert!(error_chain(&error).contains("certificate"), "{}", error_chain(&error));
        });
    }
}

#[test]
fn a_password_is_bound_to_the_tls_connection() {
    if absent().is_some() {
        return;
    }
    let directory = directory();
    write_certificates(directory.path());
    let rules = directory.path().join("pg_hba.conf");
    let allowed =
        "local all all trust\nhostssl all ada all scram-sha-256\nhost all all all trust\n";
    fs::write(&rules, allowed).unwrap();
    let server = start(directory.path(), &[&format!("hba_file = '{}'", rules.display())]);
    let database = server.database();
    let (port, name) = (server.port(), database.name());
    database.run("CREATE USER ada SUPERUSER PASSWORD 's3cret'");
    let url = |user: &str, binding: &str| {
        let root = directory.path().join("ca.pem").display().to_string();
        format!(
            "postgres://{user}@localhost:{port}/{name}?sslrootcert={root}&channel_binding={binding}"
        )
    };
    run(async {
        for binding in ["require", "prefer", "disable"] {
            let store = options().open(&url("ada:s3cret", binding)).await.unwrap();
            store.close().await.unwrap();
        }
        // Without a password there is nothing to bind.
        options().open(&url("postgres", "prefer")).await.unwrap().close().await.unwrap();
        let error = options().open(&url("postgres", "require")).await.unwrap_err();
        let text = error_chain(&error);
        assert!(text.contains("channel binding") && !text.contains("s3cret"), "{text}");
    });
}

#[test]
fn only_a_server_with_a_trusted_certificate_is_used() {
    if absent().is_some() {
        return;
    }
    let directory = directory();
    write_certificates(directory.path());
    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let server = start(directory.path(), &[]);
    let database = server.database();
    let (port, name) = (server.port(), database.name());
    let url = |host: &str, root: &Path| {
        format!(
            "postgres://postgres@{host}:{port}/{name}?sslrootcert={}",
            root.join("ca.pem").display()
        )
    };
    run(async {
        let store = options().open(&url("localhost", directory.path())).await.unwrap();
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                         WHERE application_name = 'portcullis'";
        assert_eq!(database.run(encrypted), "t");
        store.close().await.unwrap();
        for wrong in [
            // Another CA; another host name; no certificate that the system trusts.
            url("localhost", other.path()),
            url("127.0.0.1", directory.path()),
            format!("postgres://postgres@localhost:{port}/{name}"),
        ] {
            let error = options().open(&wrong).await.unwrap_err();
            let text = error_chain(&error);
            assert!(
                matches!(error, OpenError::Connect { .. }) && text.contains("certificate"),
                "{text}"
            );
        }
        let error = options().open(&url("localhost", Path::new("/nowhere"))).await.unwrap_err();
        assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
        let plain = format!("postgres://postgres@localhost:{port}/{name}?sslmode=disable");
        options().open(&plain).await.unwrap().close().await.unwrap();
    });
    // A server without TLS is refused, unless TLS is disabled.
    if let Some(plain) = portcullis_testkit::postgres::server().filter(|plain| plain.port() != 0) {
        run(async {
            let error = options()
                .open(&format!(
                    "postgres://postgres@localhost:{}/postgres?sslrootcert={}",
                    plain.port(),
                    file("ca.pem")
                ))
                .await
                .unwrap_err();
            assert!(error_chain(&error).contains("TLS"), "{}", error_chain(&error));
        });
    }
}
