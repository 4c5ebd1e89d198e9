//! Private keys, and the reasons why one cannot be used.

use std::path::Path;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};

use super::{TlsError, unreadable};

/// The identifier of the curve P-521, in DER.
const P_521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";

/// Reads a key that can be used. No error quotes it.
pub(super) fn read(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unusable = |reason| TlsError::Key { path: path.display().to_string(), reason };
    let key = match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => key,
        Err(_) if is_encrypted(path) => {
            return Err(unusable(
                "it is encrypted with a passphrase: decrypt it with `openssl pkey`, and make it \
                 readable for the server only",
            ));
        }
        Err(PemError::NoItemsFound) => {
            return Err(unusable("there is none in PEM with PKCS #8, PKCS #1 or SEC 1"));
        }
        Err(error) => return Err(unreadable(path, error)),
    };
    if any_supported_type(&key).is_ok() {
        return Ok(key);
    }
    let is_p_521 = key.secret_der().windows(P_521.len()).any(|part| part == P_521);
    Err(unusable(if is_p_521 {
        "its curve is P-521, which is not supported: use P-256, P-384, Ed25519 or RSA"
    } else {
        "it is not supported: use RSA from 2048 to 8192 bits, P-256, P-384 or Ed25519"
    }))
}

/// Tells whether the file holds an encrypted key, in either of the two formats.
fn is_encrypted(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|part| part == *mark))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::KeyPair;

    use super::*;

    #[test]
    fn an_unusable_key_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let good = KeyPair::generate().unwrap().serialize_pem();
        fs::write(&path, &good).unwrap();
        read(&path).unwrap();

        // Made by `openssl ecparam -name secp521r1 -genkey`.
        let p_521 = include_str!("../../tests/keys/p521.pem");
        let encrypted = include_str!("../../tests/keys/encrypted.pem");
        let encrypted_rsa = include_str!("../../tests/keys/encrypted_rsa.pem");
        for (text, expected) in [
            (p_521, "P-521"),
            (encrypted, "encrypted with a passphrase"),
            (encrypted_rsa, "encrypted with a passphrase"),
            ("", "there is none"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("key.pem"), "{error}");
            for line in text.lines().skip(2).filter(|line| line.len() > 60) {
                assert!(!error.contains(line), "{error}");
            }
        }
    }
}
