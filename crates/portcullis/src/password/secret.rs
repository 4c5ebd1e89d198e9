//! The password itself.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// A password, as bytes: never shown, wiped from memory when dropped, bounded in length.
///
/// Bytes count, not characters: NUL is a byte like others, and nothing is normalized.
#[derive(Clone)]
pub struct Password(Zeroizing<Box<[u8]>>);

impl Password {
    /// The longest password that is hashed, in bytes. The rules for new passwords are stricter.
    pub const MAX_BYTES: usize = 4_096;

    /// Takes the bytes as they are, the empty password included (which matches no hash).
    ///
    /// # Errors
    ///
    /// [`PasswordTooLong`] over [`Password::MAX_BYTES`].
    pub fn new(password: impl Into<Vec<u8>>) -> Result<Self, PasswordTooLong> {
        let password = Zeroizing::new(password.into());
        if password.len() > Self::MAX_BYTES {
            return Err(PasswordTooLong);
        }
        Ok(Self(Zeroizing::new(password.as_slice().into())))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(<redacted>)")
    }
}

/// Says that a password is longer than [`Password::MAX_BYTES`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a password must be at most {} bytes long", Password::MAX_BYTES)]
pub struct PasswordTooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_not_even_the_length() {
        let password = Password::new("grafana-pass-1").unwrap();
        assert_eq!(format!("{password:?}"), "Password(<redacted>)");
    }

    /// [PW-10]
    #[test]
    fn length_is_capped() {
        assert!(Password::new(vec![b'x'; Password::MAX_BYTES]).is_ok());
        assert!(Password::new(vec![b'x'; Password::MAX_BYTES + 1]).is_err());
    }
}
