//! Argon2id hashes in the PHC string format, as they are read.

use argon2::Version;
use argon2::password_hash::phc;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::hash::{HashParams, InvalidPasswordHash, OUTPUT_BYTES, SALT_BYTES};

/// The parsed text of a hash.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Argon2Text {
    pub(super) params: HashParams,
    pub(super) version: Version,
    pub(super) salt: phc::Salt,
    pub(super) output: phc::Output,
}

impl Argon2Text {
    /// Reads the text, and checks that computing the hash costs no more than is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPasswordHash> {
        match Self::parse_ours(text) {
            Some(ours) => Ok(ours),
            None => Self::parse_any(text),
        }
    }

    /// Reads what [`super::PasswordHash`] writes, and nothing else. Every record that is read from
    /// a store has one: here it takes 245 ns of the record's 550, and in the general way 410.
    fn parse_ours(text: &str) -> Option<Self> {
        let (memory_kib, rest) = number(text.strip_prefix("$argon2id$v=19$m=")?)?;
        let (passes, rest) = number(rest.strip_prefix(",t=")?)?;
        let (lanes, rest) = number(rest.strip_prefix(",p=")?)?;
        let (salt, output) = rest.strip_prefix('$')?.split_once('$')?;
        let params = HashParams::new(memory_kib, passes, lanes).ok()?;
        Some(Self {
            params,
            version: Version::V0x13,
            salt: phc::Salt::new(&bytes::<SALT_BYTES>(salt)?).ok()?,
            output: phc::Output::new(&bytes::<OUTPUT_BYTES>(output)?).ok()?,
        })
    }

    /// Reads any hash of Argon2id.
    fn parse_any(text: &str) -> Result<Self, InvalidPasswordHash> {
        let unknown = || {
            why(text).map_or(InvalidPasswordHash::Unknown, |reason| {
                InvalidPasswordHash::Unsupported { reason }
            })
        };
        let hash = phc::PasswordHash::new(text).map_err(|_| unknown())?;
        let known = ["m", "t", "p"];
        if hash.algorithm.as_str() != "argon2id"
            || hash.params.iter().any(|(name, _)| !known.contains(&name.as_str()))
            || hash.params.iter().count() != known.len()
        {
            return Err(unknown());
        }
        let version = match hash.version {
            None => Version::V0x10,
            Some(version) => Version::try_from(version).map_err(|_| unknown())?,
        };
        let parameter = |name: &str| hash.params.get_decimal(name).ok_or_else(unknown);
        let params = HashParams::new(parameter("m")?, parameter("t")?, parameter("p")?)?;
        let salt = hash.salt.ok_or_else(unknown)?;
        let output = hash.hash.ok_or_else(unknown)?;
        if salt.len() < 8 || output.as_bytes().len() < 16 {
            return Err(unknown());
        }
        Ok(Self { params, version, salt, output })
    }
}

/// What is wrong with a text that looks like a hash of Argon2.
fn why(text: &str) -> Option<&'static str> {
    let (algorithm, rest) = text.strip_prefix('$')?.split_once('$')?;
    match algorithm {
        "argon2id" => {}
        "argon2i" => return Some("it is one of Argon2i, and only Argon2id is taken"),
        "argon2d" => return Some("it is one of Argon2d, and only Argon2id is taken"),
        _ => return None,
    }
    let (version, rest) = match rest.strip_prefix("v=").and_then(|rest| rest.split_once('$')) {
        Some((version, rest)) => (version, rest),
        None => ("16", rest),
    };
    if !["16", "19"].contains(&version) {
        return Some("its version is neither 16 nor 19");
    }
    let mut parts = rest.split('$');
    let (params, salt, output) = (parts.next()?, parts.next(), parts.next());
    for param in params.split(',') {
        match param.split_once('=').map(|(name, _)| name) {
            Some("m" | "t" | "p") => {}
            Some("data") => return Some("it has associated data (`data`), which is not supported"),
            Some("keyid") => {
                return Some("it needs a secret key (`keyid`), which is not supported");
            }
            _ => return Some("it has other parameters than `m`, `t` and `p`"),
        }
    }
    if params.split(',').count() != 3 {
        return Some("it has not each of the parameters `m`, `t` and `p` once");
    }
    let length = |part: Option<&str>| part.map_or(0, |part| part.len() * 3 / 4);
    match (length(salt), length(output)) {
        (0..8, _) => Some("its salt is shorter than 8 bytes"),
        (salt, _) if salt > phc::Salt::MAX_LENGTH => Some("its salt is longer than 48 bytes"),
        (_, 0..16) => Some("its output is shorter than 16 bytes"),
        (_, output) if output > phc::Output::MAX_LENGTH => {
            Some("its output is longer than 64 bytes")
        }
        _ => None,
    }
}

/// Reads a number that does not begin with a zero, and returns what comes after its digits.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let number = if digits.starts_with('0') { None } else { digits.parse().ok() };
    Some((number?, rest))
}

/// Reads exactly so many bytes.
fn bytes<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    // One more than it takes would not be noticed otherwise.
    let fits = text.len() == (LEN * 4).div_ceil(3);
    let len = fits.then(|| BASE64_STANDARD_NO_PAD.decode_slice(text, &mut bytes).ok())??;
    (len == LEN).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$\
                        AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn what_we_write_is_read_at_once() {
        let ours = Argon2Text::parse_ours(OURS).unwrap();
        assert_eq!(Ok(ours), Argon2Text::parse_any(OURS));
    }

    #[test]
    fn what_is_a_little_different_is_left_to_the_general_way() {
        for (old, new) in [
            ("v=19", "v=16"),
            ("v=19$", ""),
            ("m=19456", "m=019456"),
            ("m=19456", "m=+9456"),
            ("m=19456", "m=7"),
            ("m=19456,t=2", "t=2,m=19456"),
            ("p=1", "p=1,data=AAAA"),
            ("p=1", "p="),
            ("DA0ODw", "DA0ODx"),
            ("DA0ODw", "DA0OD"),
            ("DA0ODw", "DA0ODw=="),
            ("Gx", "G-"),
            ("wdHh8", "wdHh9"),
            ("wdHh8", "wdHh8A"),
            ("wdHh8", "wdHh8$"),
        ] {
            let text = OURS.replacen(old, new, 1);
            assert_ne!(text, OURS);
            assert_eq!(Argon2Text::parse_ours(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_agree(
            costs in (prop_oneof![Just("0"), Just("")], 0..200_000_u32, 0..20_u32, 0..20_u32),
            salt in "[A-Za-z0-9+/]{21,23}|[A-Za-z0-9+/]{21}[AQgw]",
            output in "[A-Za-z0-9+/=_-]{42,44}|[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]",
            change in proptest::option::of((0..120_usize, "\\PC")),
        ) {
            let (zero, memory_kib, passes, lanes) = costs;
            let mut text =
                format!("$argon2id$v=19$m={zero}{memory_kib},t={passes},p={lanes}${salt}${output}");
            if let Some((at, with)) = change
                && at < text.len()
            {
                text.replace_range(at..=at, &with);
            }
            if let Some(ours) = Argon2Text::parse_ours(&text) {
                prop_assert_eq!(Argon2Text::parse_any(&text), Ok(ours));
            }
        }
    }
}
