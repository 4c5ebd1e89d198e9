//! Verification of bcrypt hashes that come from an import.

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::ConstantTimeEq;

/// Unpadded base64 with bcrypt's alphabet. Excess bits of the last digit are ignored, as in other
/// implementations.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

const SALT_DIGITS: usize = 22;
const HASH_DIGITS: usize = 31;

/// bcrypt uses only the first 72 bytes. A longer password never matches here, because every other one
/// with the same first 72 bytes would match too.
const MAX_PASSWORD_BYTES: usize = 72;

/// The parts of a bcrypt hash: `$2b$10$` (or `2`, `2a`, `2x`, `2y`, all computed alike), 22 digits
/// of salt and 31 of hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BcryptHash {
    cost: u32,
    salt: [u8; 16],
    digits: [u8; HASH_DIGITS],
}

impl BcryptHash {
    /// The lowest cost of bcrypt.
    pub(super) const MIN_COST: u32 = 4;

    /// Reads the text; `None` when it is not bcrypt. What follows the 60th byte is ignored, as
    /// the reference does.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$2")?;
        let rest = rest.strip_prefix(['a', 'b', 'x', 'y']).unwrap_or(rest);
        let (cost, rest) = rest.strip_prefix('$')?.split_once('$')?;
        if cost.len() != 2 || !cost.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let salt = BASE64.decode(rest.get(..SALT_DIGITS)?).ok()?;
        let digits = rest.get(SALT_DIGITS..SALT_DIGITS + HASH_DIGITS)?;
        BASE64.decode(digits).ok()?;
        Some(Self {
            cost: cost.parse().ok()?,
            salt: salt.try_into().ok()?,
            digits: digits.as_bytes().try_into().ok()?,
        })
    }

    pub(super) fn cost(&self) -> u32 {
        self.cost
    }

    /// Computes the hash of the password and compares in constant time.
    ///
    /// A password that cannot match costs the computation too, so that the time reveals nothing.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let looked_at = password.get(..MAX_PASSWORD_BYTES).unwrap_or(password);
        let Ok(parts) = bcrypt::hash_with_salt(looked_at, self.cost, self.salt) else {
            return false;
        };
        let text = parts.to_string();
        let digits = text.len().checked_sub(HASH_DIGITS).and_then(|start| text.get(start..));
        let equal = digits.is_some_and(|digits| digits.as_bytes().ct_eq(&self.digits).into());
        if equal && password.len() > MAX_PASSWORD_BYTES {
            tracing::warn!(
                "a login is refused: its password is longer than the 72 bytes that the bcrypt hash of \
                 an import is of, which do match: set the password anew"
            );
        }
        equal && (1..=MAX_PASSWORD_BYTES).contains(&password.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECRET_PASS_1: &str = "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6";

    fn matches(hash: &str, password: &[u8]) -> bool {
        BcryptHash::parse(hash).unwrap().matches(password)
    }

    /// Counts warnings.
    struct Warnings(Arc<AtomicUsize>);

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// [PW-9]
    #[test]
    fn a_password_that_is_too_long_for_its_hash_is_logged_and_no_other() {
        let hash = bcrypt::hash_with_salt([b'a'; 72], 4, [7; 16]).unwrap().to_string();
        let warnings = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Warnings(Arc::clone(&warnings)), || {
            assert!(matches(&hash, &[b'a'; 72]));
            assert!(!matches(&hash, &[b'b'; 73]));
            assert_eq!(warnings.load(Ordering::Relaxed), 0);
            assert!(!matches(&hash, &[b'a'; 73]));
            assert_eq!(warnings.load(Ordering::Relaxed), 1);
        });
    }

    /// [PW-6]
    #[test]
    fn every_prefix_is_computed_alike() {
        for prefix in ["$2$", "$2a$", "$2b$", "$2x$", "$2y$"] {
            let hash = SECRET_PASS_1.replace("$2b$", prefix);
            assert!(matches(&hash, b"secret-pass-1"), "{prefix}");
            assert!(!matches(&hash, b"secret-pass-2"), "{prefix}");
        }
    }

    /// [PW-6]
    #[test]
    fn what_follows_60_bytes_is_ignored() {
        assert!(matches(&format!("{SECRET_PASS_1}trailing"), b"secret-pass-1"));
    }

    /// [PW-9]
    #[test]
    fn only_the_first_72_bytes_never_decide() {
        // Of 72 times `p`.
        let hash = "$2a$04$FCrfJKORtqzFjlTo1PgQWuo2jfHnjUP7CP5XVb8HggR3O/YplNWJS";
        assert!(matches(hash, &[b'p'; 72]));
        assert!(!matches(hash, &[b'p'; 73]));
        assert!(!matches(hash, &[b'p'; 71]));
    }

    /// [PW-1]
    #[test]
    fn a_nul_is_part_of_the_password() {
        let hash = "$2a$04$iqHJluEchiq8zZwJMPKcL.gFkSEQCR3uwETdKJAi1aX4plcZ2lw5e";
        assert!(matches(hash, b"a\0b-long-enough"));
        assert!(!matches(hash, b"a"));
        assert!(!matches(hash, b"a\0b-other-text"));
    }

    #[test]
    fn a_text_that_is_not_bcrypt_is_refused() {
        let mangled = [
            String::new(),
            "$2b$".to_owned(),
            SECRET_PASS_1.trim_end_matches('6').to_owned(),
            SECRET_PASS_1.replace("$2b$", "$2c$"),
            SECRET_PASS_1.replace("$2b$", "$3b$"),
            SECRET_PASS_1.replace("$04$", "$4$"),
            SECRET_PASS_1.replace("$04$", "$+4$"),
            SECRET_PASS_1.replace('f', "é"),
            SECRET_PASS_1.replace('f', "="),
            "é".repeat(30),
        ];
        for text in mangled {
            assert!(BcryptHash::parse(&text).is_none(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "(\\$2[abxy]?\\$)?[0-9]{0,2}\\$?[./A-Za-z0-9\\PC]{0,60}") {
            let _ = BcryptHash::parse(&text);
        }
    }
}
