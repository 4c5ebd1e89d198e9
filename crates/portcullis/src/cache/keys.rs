//! Keyed digests of passwords and hashes, which the cache holds in their place.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use zeroize::Zeroizing;

use crate::password::PasswordHash;
use crate::stamp::Mac;
use crate::store::Record;
use crate::{OrgId, Random, RandomUnavailable, UserId};

/// Random keys of this engine alone, which never leave its memory.
pub(crate) struct Keys {
    passwords: Key,
    hashes: Key,
    names: Key,
    records: Key,
}

type Key = Zeroizing<[u8; 16]>;

impl Keys {
    /// Draws the keys.
    ///
    /// # Errors
    ///
    /// [`RandomUnavailable`] when the source fails.
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let draw = || {
            let mut key = Zeroizing::new([0; 16]);
            random.fill(&mut *key)?;
            Ok(key)
        };
        Ok(Self { passwords: draw()?, hashes: draw()?, names: draw()?, records: draw()? })
    }

    /// Returns the digest of the username with the password.
    pub(crate) fn password(&self, username: &str, password: &[u8]) -> Mac {
        // No text has the byte 0xff in it, so no two pairs are the same together.
        mac(&self.passwords, &[username.as_bytes(), &[0xff], password])
    }

    /// Returns the digest of the text of the hash, with its parameters and salt.
    pub(crate) fn hash(&self, hash: &PasswordHash) -> Mac {
        mac(&self.hashes, &[hash.expose().as_bytes()])
    }

    /// Returns the digest of a name, for tables whose keys clients choose.
    pub(crate) fn name(&self, name: &[u8]) -> u128 {
        mac(&self.names, &[name]).to_bits()
    }

    /// Returns the digest of the whole record: an edit by hand may have left its revision unchanged.
    pub(crate) fn record(&self, record: &Record) -> Mac {
        let org = record.org.map_or(0, OrgId::as_u64).to_be_bytes();
        let user = record.user.map_or(0, UserId::as_u64).to_be_bytes();
        let status = [u8::from(record.status.is_active())];
        let parts = [
            &record.id.as_u64().to_be_bytes()[..],
            &record.revision.as_u128().to_be_bytes(),
            &org,
            &user,
            &status,
            record.body.bytes(),
        ];
        mac(&self.records, &parts)
    }
}

fn mac(key: &Key, parts: &[&[u8]]) -> Mac {
    let mut hasher = SipHasher24::new_with_key(key);
    for part in parts {
        hasher.write(part);
    }
    Mac::from_bits(hasher.finish128().as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    fn keys() -> Keys {
        Keys::generate(&SystemRandom).unwrap()
    }

    #[test]
    fn a_mac_is_of_one_password_under_one_key() {
        let (keys, others) = (keys(), keys());
        let mac = keys.password("ada", b"s3cret");
        assert!(mac.is(&keys.password("ada", b"s3cret")));
        for password in [&b""[..], b"s3cre", b"s3cret\0", b"S3cret"] {
            assert!(!mac.is(&keys.password("ada", password)), "{password:?}");
        }
        for (username, password) in [("ad", "as3cret"), ("adas", "3cret"), ("", "adas3cret")] {
            assert!(!mac.is(&keys.password(username, password.as_bytes())), "{username}");
        }
        assert!(!mac.is(&others.password("ada", b"s3cret")));
        assert_ne!(mac.to_bits(), keys.name(b"ada"));
    }

    /// From the authors' test vectors: key 00 01 … 0f, input 00 01 … 0e.
    #[test]
    fn the_digest_is_siphash_2_4_128() {
        let key = Zeroizing::new(std::array::from_fn(|i| i as u8));
        let input: [u8; 15] = std::array::from_fn(|i| i as u8);
        let expected = 0x5493_e999_33b0_a811_7e08_ec0f_97cf_c3d9_u128.swap_bytes();
        assert_eq!(mac(&key, &[&input]).to_bits(), expected);
        assert_eq!(mac(&key, &[&input[..4], &input[4..]]).to_bits(), expected);
    }
}
