//! TLS: who is believed, and who is not.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis::store::Store as _;
use portcullis_postgres::OpenError;
use portcullis_testkit::postgres::{Server, absent};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::{everything, options, run};

/// A CA of our own, and a certificate of the server `localhost` by it.
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
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(directory, 0o755);
        mode(&directory.join("server.key"), 0o600);
        // The server is somebody else if we are root.
        let _ = Command::new("chown").arg("postgres").arg(directory.join("server.key")).output();
    }
}

#[test]
fn only_a_server_with_the_right_certificate_is_spoken_to() {
    if absent().is_some() {
        return;
    }
    let directory = tempfile::Builder::new().prefix("portcullis-tls-").tempdir_in("/tmp").unwrap();
    write_certificates(directory.path());
    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let server: &'static Server = Box::leak(Box::new(
        Server::start(&[
            "ssl = on",
            &format!("ssl_cert_file = '{}'", file("server.pem")),
            &format!("ssl_key_file = '{}'", file("server.key")),
        ])
        .unwrap(),
    ));
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
            // By another CA; by the name that was called; by none that the system trusts.
            url("localhost", other.path()),
            url("127.0.0.1", directory.path()),
            format!("postgres://postgres@localhost:{port}/{name}"),
        ] {
            let error = options().open(&wrong).await.unwrap_err();
            let said = everything(&error);
            assert!(
                matches!(error, OpenError::Connect { .. }) && said.contains("certificate"),
                "{said}"
            );
        }
        let error = options().open(&url("localhost", Path::new("/nowhere"))).await.unwrap_err();
        assert!(matches!(error, OpenError::Tls { .. }), "{error:?}");
        let plain = format!("postgres://postgres@localhost:{port}/{name}?sslmode=disable");
        options().open(&plain).await.unwrap().close().await.unwrap();
    });
    // A server without TLS is not spoken to in the clear, unless that is said.
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
            assert!(everything(&error).contains("TLS"), "{}", everything(&error));
        });
    }
}
