//! API tokens: the credentials of callers of the management API.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{AllowedNetworks, Status};
use crate::from_text::from_text;
use crate::{ApiTokenId, OrgId, Permission, Random, RandomUnavailable, Timestamp, UserId, hex};

/// The secret of an API token. It is shown once, at creation; only its digest is stored.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    const PREFIX: &'static str = "pcl_";
    const RANDOM_BYTES: usize = 32;

    /// Takes an existing secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// Draws a new secret of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the source fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let mut bytes = Zeroizing::new([0; Self::RANDOM_BYTES]);
        random.fill(&mut *bytes)?;
        let mut secret = Zeroizing::new(Self::PREFIX.to_owned());
        BASE64_URL_SAFE_NO_PAD.encode_string(*bytes, &mut secret);
        Ok(Self(secret))
    }

    /// Returns the secret itself, for its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the digest that is stored.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(<redacted>)")
    }
}

/// The SHA-256 digest of an API token's secret, as text `sha256:` and 64 hexadecimal digits.
///
/// A plain digest is enough because secrets are 256 random bits. Even so, only an export shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    const PREFIX: &'static str = "sha256:";

    /// Digests the secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Returns a part of it as the hash of a table. Tokens are random, so no client can choose it.
    pub(crate) const fn table_hash(&self) -> u64 {
        let [first, second, third, fourth, fifth, sixth, seventh, eighth, ..] = self.0;
        u64::from_le_bytes([first, second, third, fourth, fifth, sixth, seventh, eighth])
    }

    /// Returns half of it, which identifies the token in memory.
    pub(crate) fn prefix(&self) -> u128 {
        let half = self.0.first_chunk::<16>().copied().unwrap_or_default();
        u128::from_le_bytes(half)
    }

    /// Returns the text form, for stores and exports.
    pub fn to_text(&self) -> String {
        Self::PREFIX.to_owned() + &hex::encode(&self.0)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(<redacted>)")
    }
}

/// The error for a text that is not the digest of an API token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a token digest: expected `sha256:` and 64 hexadecimal digits")]
pub struct InvalidTokenDigest;

impl FromStr for TokenDigest {
    type Err = InvalidTokenDigest;

    fn from_str(text: &str) -> Result<Self, InvalidTokenDigest> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(InvalidTokenDigest)?;
        hex::decode(digits).map(Self).ok_or(InvalidTokenDigest)
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, str::parse)
    }
}

/// An API token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiToken {
    /// Its id.
    pub id: ApiTokenId,
    /// The digest of its secret.
    pub digest: TokenDigest,
    /// Whether it may be used.
    pub status: Status,
    /// Free text.
    pub description: String,
    /// The org it belongs to.
    pub org: OrgId,
    /// The user it belongs to. It works only while the user is active.
    pub user: UserId,
    /// The permissions it holds.
    pub permissions: Vec<Permission>,
    /// From when on it is refused, by the wall clock; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used.
    pub allowed_networks: AllowedNetworks,
}

impl ApiToken {
    /// Tells whether it has a member that a version without that member must not ignore: such a version
    /// would admit more logins.
    pub(crate) fn needs_version_2(&self) -> bool {
        self.expires_at.is_some() || !self.allowed_networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    #[test]
    fn a_digest_comes_back_from_its_text() {
        let digest = TokenSecret::new("op-token-7f3a").digest();
        assert_eq!(digest.to_text().parse(), Ok(digest));
        let upper = digest.to_text().to_uppercase().replace("SHA256", "sha256");
        assert_eq!(upper.parse(), Ok(digest));
    }

    #[test]
    fn a_text_that_is_not_a_digest_is_refused() {
        let good = TokenSecret::new("x").digest().to_text();
        let mut short = good.clone();
        short.pop();
        let md5 = good.replace("sha256", "md5");
        for text in ["", "sha256:", &short, &md5, &format!("{good}0"), &good.replace('a', "é")] {
            if text != good {
                assert_eq!(text.parse::<TokenDigest>(), Err(InvalidTokenDigest), "{text:?}");
            }
        }
    }

    #[test]
    fn secrets_are_long_differ_and_hold_no_colon() {
        let one = TokenSecret::generate(&SystemRandom).unwrap();
        let other = TokenSecret::generate(&SystemRandom).unwrap();
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 4 + 43);
        assert!(!one.expose().contains(':'));
    }

    #[test]
    fn debug_shows_neither_secret_nor_digest() {
        let secret = TokenSecret::new("op-token-7f3a");
        let shown = format!("{secret:?} {:?}", secret.digest());
        assert_eq!(shown, "TokenSecret(<redacted>) TokenDigest(<redacted>)");
    }
}
