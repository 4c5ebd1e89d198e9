//! `serve` with TLS.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Sandbox, Server, get};

const TLS: &str = "--store memory: --tls-cert cert.pem --tls-key key.pem";

fn certificate(sandbox: &Sandbox) -> CertifiedKey<KeyPair> {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    sandbox.write("cert.pem", certificate.cert.pem());
    sandbox.write("key.pem", certificate.signing_key.serialize_pem());
    certificate
}

/// Connects as a client that trusts the certificate.
fn connect(
    server: &Server,
    certificate: &CertifiedKey<KeyPair>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), server.connect())
}

#[test]
fn https_is_served_to_other_machines_with_a_renewed_certificate_after_a_reload() {
    let sandbox = Sandbox::new();
    let first = certificate(&sandbox);
    let server = Server::start(&sandbox, &format!("{TLS} --listen 0.0.0.0:0"));
    assert_eq!(server.lines.last().unwrap(), &format!("listening on https://{}", server.address));
    let token = sandbox.read("operator-token");
    let token = token.trim_end();
    assert_eq!(get(connect(&server, &first), "/api/v2/orgs", token).0, 200);
    let log = sandbox.read("serve.log");
    assert!(log.contains("every user of this machine can access `key.pem`"), "{log}");

    let second = certificate(&sandbox);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(sandbox.path("key.pem"), mode).unwrap();
    server.signal("HUP");
    while !sandbox.read("serve.log").contains("reloaded the certificate") {
        std::thread::yield_now();
    }
    assert_eq!(get(connect(&server, &second), "/ping", "").0, 204);

    sandbox.write("cert.pem", "");
    server.signal("HUP");
    while !sandbox.read("serve.log").contains("what was loaded before stays in use: --tls-cert: ") {
        std::thread::yield_now();
    }
    assert_eq!(get(connect(&server, &second), "/ping", "").0, 204);
    server.stop();
}

#[test]
fn an_unusable_certificate_is_reported_before_anything_is_created() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "serve --tls-cert cert.pem --tls-key key.pem");
    assert!(error.contains("--tls-cert: cannot read `cert.pem`"), "{error}");
    sandbox.fails(2, "serve --tls-cert cert.pem");
    sandbox.fails(2, "serve --tls-key key.pem");
    sandbox.fails(2, "serve --tls-cert cert.pem --tls-key key.pem --allow-plaintext");
    sandbox.fails(2, "serve --max-connections 0");
    assert_eq!(sandbox.files(), [""; 0]);
}

/// [REM-3]
#[test]
fn a_command_trusts_the_server_whose_authority_the_ca_file_has_and_no_other() {
    let sandbox = Sandbox::new();
    certificate(&sandbox);
    let server = Server::start(&sandbox, TLS);
    let port = server.address.rsplit(':').next().unwrap();
    let url = format!("--url https://localhost:{port} --token-file operator-token");
    assert!(sandbox.ok(&format!("org list {url} --ca-file cert.pem")).contains("default"));
    sandbox.ok(&format!("login {url} --ca-file cert.pem"));
    assert!(sandbox.ok("org list --profile default").contains("default"));

    for name in ["localhost", "portcullis.example.com"] {
        let other = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        sandbox.write("other.pem", other.cert.pem());
        let refused = sandbox.fails(1, &format!("org list {url} --ca-file other.pem"));
        assert!(refused.contains("cannot connect to https://localhost"), "{refused}");
    }
    // The certificate is not for this name.
    let by_address = format!("--url https://{} --token-file operator-token", server.address);
    sandbox.fails(1, &format!("org list {by_address} --ca-file cert.pem"));
    for (content, part) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\nx", "--ca-file")]
    {
        sandbox.write("bad.pem", content);
        let refused = sandbox.fails(1, &format!("org list {url} --ca-file bad.pem"));
        assert!(refused.contains(part), "{refused}");
    }
    server.stop();
}
