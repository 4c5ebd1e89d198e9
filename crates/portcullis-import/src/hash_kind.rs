//! The kinds of password hashes that files for HTTP servers have.

/// Returns what a hash is that cannot be carried. `None` for bcrypt and Argon2id, whose parameters the planner
/// checks.
///
/// The text is taken for a password if it is of no kind.
pub(crate) fn refused(hash: &str) -> Option<&'static str> {
    const KINDS: [(&str, Option<&str>); 13] = [
        ("$2", None),
        ("$argon2id$", None),
        ("$apr1$", Some("MD5 of Apache (apr1)")),
        ("$1$", Some("MD5 (crypt)")),
        ("$5$", Some("SHA-256 (crypt)")),
        ("$6$", Some("SHA-512 (crypt)")),
        ("$7$", Some("scrypt")),
        ("$y$", Some("yescrypt")),
        ("$gy$", Some("gost-yescrypt")),
        ("$argon2", Some("Argon2i or Argon2d")),
        ("{SHA}", Some("SHA-1 without salt")),
        ("{SSHA}", Some("SHA-1")),
        ("{PLAIN}", Some("no hash but the password itself")),
    ];
    if let Some((_, kind)) = KINDS.into_iter().find(|(prefix, _)| hash.starts_with(prefix)) {
        return kind;
    }
    let is_crypt_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    match hash {
        "" => Some("empty"),
        _ if hash.starts_with('$') || hash.starts_with('{') => Some("of an unknown kind"),
        _ if hash.len() == 13 && hash.bytes().all(is_crypt_digit) => Some("DES (crypt)"),
        _ => Some("no hash but perhaps the password itself"),
    }
}

/// Describes a refused hash for the report.
pub(crate) fn note(line: u64, kind: &str) -> String {
    let subject = if kind.starts_with("no hash") { "it is" } else { "its hash is" };
    format!(
        "line {line}: {subject} {kind}, and only bcrypt and Argon2id are carried: set a password with \
         `htpasswd -B`, or here afterwards"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [IMP-28]
    #[test]
    fn every_kind_of_hash_but_bcrypt_and_argon2id_is_refused_by_its_name() {
        let bcrypt = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
        for carried in [bcrypt, "$2a$10$x", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"] {
            assert_eq!(refused(carried), None);
        }
        for (hash, part) in [
            ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "apr1"),
            ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "MD5"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("$5$salt$hash", "SHA-256"),
            ("$6$salt$hash", "SHA-512"),
            ("$y$j9T$salt$hash", "yescrypt"),
            ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "Argon2i"),
            ("rqXexS6ZhobKA", "DES"),
            ("hunter2", "perhaps the password"),
            ("", "empty"),
            ("$x$", "unknown"),
        ] {
            assert!(refused(hash).is_some_and(|kind| kind.contains(part)), "{hash}");
        }
    }
}
