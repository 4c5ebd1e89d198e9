//! Hashes of passwords as text, and what they cost.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::Password;
use super::argon2_text::Argon2Text;
use super::bcrypt_hash::BcryptHash;
use crate::Random;
use crate::from_text::from_text;

/// How long the salts are that we draw.
pub(super) const SALT_BYTES: usize = 16;
/// How long the outputs are that we keep.
pub(super) const OUTPUT_BYTES: usize = 32;

/// What a new hash costs: the parameters of Argon2id (RFC 9106).
///
/// The default, 19,456 KiB, 2 passes and 1 lane, is the first of the equivalent choices that
/// OWASP's password storage cheat sheet recommends; it takes about 20 ms of one core.
///
/// In a configuration file the settings are `memory_kib`, `passes` and `lanes`. Missing ones have
/// their defaults; unknown ones, and values out of bounds, are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "UncheckedParams")]
pub struct HashParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl HashParams {
    /// Bounds for the memory of one computation, in KiB.
    pub const MEMORY_KIB: RangeInclusive<u32> = 8..=131_072;
    /// Bounds for the number of passes over the memory.
    pub const PASSES: RangeInclusive<u32> = 1..=16;
    /// Bounds for the number of lanes; a lane needs 8 KiB.
    pub const LANES: RangeInclusive<u32> = 1..=16;

    /// Checks the bounds, which are also the ceilings for hashes that are imported.
    ///
    /// # Errors
    ///
    /// [`InvalidHashParams`] names the parameter, its value and its bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, InvalidHashParams> {
        let within = |name, value, bounds: RangeInclusive<u32>| {
            let ok = bounds.contains(&value);
            if ok { Ok(()) } else { Err(InvalidHashParams { name, value, bounds }) }
        };
        within("passes", passes, Self::PASSES)?;
        within("lanes", lanes, Self::LANES)?;
        within("memory in KiB", memory_kib, 8 * lanes..=*Self::MEMORY_KIB.end())?;
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Returns the memory of one computation, in KiB.
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    fn to_argon2(self, output_len: usize) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(output_len))
    }
}

impl Default for HashParams {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// [`HashParams`] as a configuration file has them.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UncheckedParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for UncheckedParams {
    fn default() -> Self {
        let HashParams { memory_kib, passes, lanes } = HashParams::default();
        Self { memory_kib, passes, lanes }
    }
}

impl TryFrom<UncheckedParams> for HashParams {
    type Error = InvalidHashParams;

    fn try_from(unchecked: UncheckedParams) -> Result<Self, InvalidHashParams> {
        Self::new(unchecked.memory_kib, unchecked.passes, unchecked.lanes)
    }
}

/// Says which parameter of a hash is out of bounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{name} must be between {} and {}, not {value}", bounds.start(), bounds.end())]
pub struct InvalidHashParams {
    name: &'static str,
    value: u32,
    bounds: RangeInclusive<u32>,
}

/// The hash of a password, checked to be one that can and may be computed.
///
/// Argon2id in the PHC string format, or bcrypt from an import. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Arc<str>,
    scheme: Scheme,
}

#[derive(Clone, PartialEq, Eq)]
enum Scheme {
    /// Salt and output are read again when a password is compared with it: most hashes are only
    /// carried from a store to a list.
    Argon2id {
        params: HashParams,
        version: Version,
    },
    Bcrypt(BcryptHash),
}

impl PasswordHash {
    /// The highest cost of a bcrypt hash that is accepted: about 1.6 s of one core.
    pub const MAX_BCRYPT_COST: u32 = 14;

    /// Reads the text and checks what computing it would cost. One line end after it does not count.
    ///
    /// # Errors
    ///
    /// [`InvalidPasswordHash::Unknown`] when it is neither of the two forms,
    /// [`InvalidPasswordHash::Unsupported`] when it is of a kind that is not computed here, and
    /// [`InvalidPasswordHash::Params`] or [`InvalidPasswordHash::BcryptCost`] when it would cost
    /// too much (or, for bcrypt, less than bcrypt can).
    pub fn parse(text: &str) -> Result<Self, InvalidPasswordHash> {
        let text = without_line_end(text);
        let scheme = if text.starts_with("$2") {
            let bcrypt = BcryptHash::parse(text).ok_or(InvalidPasswordHash::Unknown)?;
            if !(BcryptHash::MIN_COST..=Self::MAX_BCRYPT_COST).contains(&bcrypt.cost()) {
                return Err(InvalidPasswordHash::BcryptCost { cost: bcrypt.cost() });
            }
            Scheme::Bcrypt(bcrypt)
        } else {
            let Argon2Text { params, version, .. } = Argon2Text::parse(text)?;
            Scheme::Argon2id { params, version }
        };
        Ok(Self { text: text.into(), scheme })
    }

    /// Memory in KiB, and passes, lanes and version, of Argon2id; `None` for bcrypt.
    pub(crate) fn costs(&self) -> Option<(u32, [u8; 3])> {
        match &self.scheme {
            Scheme::Argon2id { params, version } => {
                let version = u32::from(*version);
                let [passes, lanes, version] =
                    [params.passes, params.lanes, version].map(u8::try_from);
                Some((params.memory_kib, [passes.ok()?, lanes.ok()?, version.ok()?]))
            }
            Scheme::Bcrypt(_) => None,
        }
    }

    /// Takes the text of a hash with its [costs](Self::costs), which are not read again: that would be
    /// 245 ns for each record of the store in memory, a third of a list.
    pub(crate) fn with_costs(text: &str, costs: (u32, [u8; 3])) -> Option<Self> {
        let (memory_kib, others) = costs;
        let [passes, lanes, version] = others.map(u32::from);
        let params = HashParams::new(memory_kib, passes, lanes).ok()?;
        let scheme = Scheme::Argon2id { params, version: Version::try_from(version).ok()? };
        Some(Self { text: text.into(), scheme })
    }

    /// Returns the text, for the store and for an export. With it, passwords can be
    /// tried offline: do not show it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Tells whether a new hash with the parameters would be harder to try passwords against:
    /// bcrypt, an older version of Argon2, or less memory times passes.
    pub fn is_weaker_than(&self, params: HashParams) -> bool {
        let work = |params: &HashParams| u64::from(params.memory_kib) * u64::from(params.passes);
        match &self.scheme {
            Scheme::Argon2id { params: own, version } => {
                *version != Version::default() || work(own) < work(&params)
            }
            Scheme::Bcrypt(_) => true,
        }
    }

    /// Hashes the password with a fresh salt.
    pub(super) fn compute(
        password: &Password,
        params: HashParams,
        random: &dyn Random,
        arena: &mut Arena,
    ) -> Result<Self, crate::Error> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt)?;
        let mut output = [0; OUTPUT_BYTES];
        argon2id(password, params, Version::default(), &salt, &mut output, arena)
            .map_err(crate::Error::internal)?;
        let encoded = phc::Salt::new(&salt).and_then(|salt| {
            let output = phc::Output::new(&output)?;
            Ok(format!(
                "$argon2id$v={}$m={},t={},p={}${salt}${output}",
                u32::from(Version::default()),
                params.memory_kib,
                params.passes,
                params.lanes,
            ))
        });
        let text = encoded.map_err(crate::Error::internal)?;
        let scheme = Scheme::Argon2id { params, version: Version::default() };
        Ok(Self { text: text.into(), scheme })
    }

    /// Tells whether this is the hash of the password, which is never empty.
    pub(super) fn matches(
        &self,
        password: &Password,
        arena: &mut Arena,
    ) -> Result<bool, crate::Error> {
        match &self.scheme {
            Scheme::Argon2id { .. } => {
                let text = Argon2Text::parse(&self.text).map_err(crate::Error::internal)?;
                let Argon2Text { params, version, salt, output } = text;
                let expected = output.as_bytes();
                let mut computed = vec![0; expected.len()];
                argon2id(password, params, version, &salt, &mut computed, arena)
                    .map_err(crate::Error::internal)?;
                let equal: bool = computed.ct_eq(expected).into();
                Ok(equal && !password.expose().is_empty())
            }
            Scheme::Bcrypt(hash) => Ok(hash.matches(password.expose())),
        }
    }
}

fn argon2id(
    password: &Password,
    params: HashParams,
    version: Version,
    salt: &[u8],
    output: &mut [u8],
    arena: &mut Arena,
) -> Result<(), argon2::Error> {
    let params = params.to_argon2(output.len())?;
    let blocks = arena.blocks(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, version, params).hash_password_into_with_memory(
        password.expose(),
        salt,
        output,
        blocks,
    )
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(<redacted>)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::parse)
    }
}

/// Says why a text is not accepted as the hash of a password. The text is not in the message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPasswordHash {
    /// A bcrypt cost under 4 or over [`PasswordHash::MAX_BCRYPT_COST`].
    #[error(
        "password hash: bcrypt cost must be between {} and {}, not {cost}",
        BcryptHash::MIN_COST,
        PasswordHash::MAX_BCRYPT_COST
    )]
    BcryptCost {
        /// The cost.
        cost: u32,
    },
    /// Argon2id with a parameter out of bounds.
    #[error("password hash: {0}")]
    Params(#[from] InvalidHashParams),
    /// A hash that can be read and is not taken.
    #[error("password hash: {reason}")]
    Unsupported {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Neither Argon2id in PHC form nor bcrypt.
    #[error("password hash: neither an Argon2id PHC string nor bcrypt")]
    Unknown,
}

/// Memory for computations, kept between them: allocating it each time fragments the heap until
/// it is a multiple of what is in use.
#[derive(Default)]
pub(super) struct Arena(Vec<Block>);

/// The least that an arena reserves, of which only what is used takes memory. What is larger than
/// 32 MiB glibc always requests from the system, and returns to it when it is freed; anything smaller
/// it keeps, once it has seen that size freed (`M_MMAP_THRESHOLD` in mallopt(3)).
const LEAST_RESERVED: usize = (32 << 20) / Block::SIZE + 1;

impl Arena {
    fn blocks(&mut self, count: usize) -> Result<&mut [Block], argon2::Error> {
        if self.0.len() < count {
            self.release();
            let reserved = self.0.try_reserve_exact(count.max(LEAST_RESERVED));
            reserved.map_err(|_| argon2::Error::OutOfMemory)?;
            self.0.resize(count, Block::new());
        }
        Ok(self.0.get_mut(..count).unwrap_or_default())
    }

    /// Gives back what a foreign hash needed, if that was more than is usual.
    pub(super) fn release_above(&mut self, params: HashParams) {
        if self.0.len() > params.memory_kib as usize {
            self.release();
        }
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}

/// Returns the text without one line end after it. Where there are more, none is taken, so that what
/// is read again stays the same.
fn without_line_end(text: &str) -> &str {
    let rest = text.strip_suffix('\n').unwrap_or(text);
    let rest = rest.strip_suffix('\r').unwrap_or(rest);
    if rest.ends_with(['\r', '\n']) { text } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    fn cheap() -> HashParams {
        HashParams::new(8, 1, 1).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn matches(hash: &PasswordHash, text: &str) -> bool {
        hash.matches(&password(text), &mut Arena::default()).unwrap()
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error_and_the_next_can() {
        let mut arena = Arena::default();
        assert_eq!(arena.blocks(usize::MAX).unwrap_err(), argon2::Error::OutOfMemory);
        assert_eq!(arena.blocks(8).unwrap().len(), 8);
    }

    /// [PW-13]
    #[test]
    fn only_what_is_more_than_usual_is_given_back() {
        let mut arena = Arena::default();
        for (used, kept) in [(8, 8), (9, 0)] {
            arena.blocks(used).unwrap();
            arena.release_above(cheap());
            assert_eq!(arena.0.len(), kept);
        }
        assert_eq!(arena.0.capacity(), 0);
    }

    /// [PW-5]
    #[test]
    fn the_defaults_are_owasps() {
        let hash = PasswordHash::compute(
            &password("grafana-pass-1"),
            HashParams::default(),
            &SystemRandom,
            &mut Arena::default(),
        )
        .unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        assert!(matches(&hash, "grafana-pass-1"));
        assert!(!matches(&hash, "grafana-pass-2"));
    }

    /// [PW-5]
    #[test]
    fn a_hash_comes_back_from_its_text_and_salts_differ() {
        let hash = |text| {
            PasswordHash::compute(&password(text), cheap(), &SystemRandom, &mut Arena::default())
                .unwrap()
        };
        let (one, other) = (hash("grafana-pass-1"), hash("grafana-pass-1"));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(PasswordHash::parse(one.expose()), Ok(one));
    }

    /// [PW-6]
    #[test]
    fn a_hash_from_elsewhere_is_verified() {
        // Made with the reference implementation in C: echo -n password | argon2 somesalt -id
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        )
        .unwrap();
        assert!(matches(&hash, "password"));
        assert!(!matches(&hash, "Password"));
    }

    /// [PW-8]
    #[test]
    fn the_empty_password_matches_no_hash() {
        let empty =
            PasswordHash::compute(&password(""), cheap(), &SystemRandom, &mut Arena::default())
                .unwrap();
        assert!(!matches(&empty, ""));
    }

    /// [PW-9]
    #[test]
    fn passwords_that_differ_only_past_byte_72_never_both_match() {
        let long = "x".repeat(73);
        let hash =
            PasswordHash::compute(&password(&long), cheap(), &SystemRandom, &mut Arena::default())
                .unwrap();
        assert!(matches(&hash, &long));
        assert!(!matches(&hash, &"x".repeat(72)));
        assert!(!matches(&hash, &format!("{}y", "x".repeat(72))));
    }

    /// [PW-6]
    #[test]
    fn what_would_cost_too_much_is_refused_before_hashing() {
        let error = |text: &str| PasswordHash::parse(text).unwrap_err().to_string();
        let tail = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(
            error(&format!("$argon2id$v=19$m=4194304,t=2,p=1{tail}")),
            "password hash: memory in KiB must be between 8 and 131072, not 4194304"
        );
        assert_eq!(
            error(&format!("$argon2id$v=19$m=65536,t=4294967295,p=1{tail}")),
            "password hash: passes must be between 1 and 16, not 4294967295"
        );
        assert_eq!(
            error("$2b$31$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6"),
            "password hash: bcrypt cost must be between 4 and 14, not 31"
        );
    }

    #[test]
    fn a_text_that_is_not_a_hash_is_refused_and_not_repeated() {
        for text in [
            "",
            "plain-text-password",
            "$",
            "$argon2id",
            "$scrypt$ln=16,r=8,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$2b$04$tooshort",
            "$1$abcdefgh$0123456789",
        ] {
            assert_eq!(PasswordHash::parse(text), Err(InvalidPasswordHash::Unknown), "{text:?}");
        }
    }

    /// [PW-7]
    #[test]
    fn a_hash_that_is_not_taken_is_refused_with_what_is_wrong_and_not_repeated() {
        const SALT: &str = "c29tZXNhbHQ";
        const OUTPUT: &str = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let (long, short) = ("c29tZXNhbHQ".repeat(7), "c29tZQ");
        for (text, reason) in [
            (format!("$argon2i$v=19$m=8,t=1,p=1${SALT}${OUTPUT}"), "one of Argon2i,"),
            (format!("$argon2d$v=19$m=8,t=1,p=1${SALT}${OUTPUT}"), "one of Argon2d,"),
            (format!("$argon2id$v=18$m=8,t=1,p=1${SALT}${OUTPUT}"), "neither 16 nor 19"),
            (format!("$argon2id$v=19$m=8,t=1,p=1,data=AAAA${SALT}${OUTPUT}"), "(`data`)"),
            (format!("$argon2id$v=19$m=8,t=1,p=1,keyid=AAAA${SALT}${OUTPUT}"), "(`keyid`)"),
            (format!("$argon2id$v=19$m=8,t=1,p=1,x=1${SALT}${OUTPUT}"), "other parameters"),
            (format!("$argon2id$v=19$m=8,t=1${SALT}${OUTPUT}"), "not each of the parameters"),
            (format!("$argon2id$v=19$m=8,t=1,p=1${short}${OUTPUT}"), "salt is shorter than 8"),
            (format!("$argon2id$v=19$m=8,t=1,p=1${long}${OUTPUT}"), "salt is longer than 48"),
            (format!("$argon2id$v=19$m=8,t=1,p=1${SALT}${short}"), "output is shorter than 16"),
            (
                format!("$argon2id$v=19$m=8,t=1,p=1${SALT}${OUTPUT}{OUTPUT}{OUTPUT}"),
                "longer than 64",
            ),
            (format!("$argon2id$v=19$m=8,t=1,p=1${SALT}"), "output is shorter than 16"),
            ("$argon2id$v=19$m=8,t=1,p=1".to_owned(), "salt is shorter than 8"),
        ] {
            let error = PasswordHash::parse(&text).unwrap_err();
            let shown = error.to_string();
            assert!(matches!(error, InvalidPasswordHash::Unsupported { .. }), "{text}: {shown}");
            assert!(shown.contains(reason) && !shown.contains("c29t"), "{text}: {shown}");
        }
    }

    /// [PW-7]
    #[test]
    fn one_line_end_after_a_hash_does_not_count() {
        let text =
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for end in ["\n", "\r\n"] {
            let hash = PasswordHash::parse(&format!("{text}{end}")).unwrap();
            assert_eq!(hash.expose(), text);
        }
        assert!(PasswordHash::parse(&format!("{text}\n\n")).is_err());
        // What follows a bcrypt hash is kept: read again, it is the same.
        let bcrypt = "$2$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9FrehFGg5MlA";
        for tail in ["", "\r", "\n", "\r\n", "\n\n", "\r\r", "\n\r", "x\n", "x\r\r\n"] {
            let hash = PasswordHash::parse(&format!("{bcrypt}{tail}")).unwrap();
            assert_eq!(PasswordHash::parse(hash.expose()).unwrap(), hash, "{tail:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(
            text in "\\$?(argon2id)?\\$?(v=[0-9]{0,4})?\\$?(m=[0-9]{0,9},t=[0-9]{0,9},p=[0-9]{0,3})?\\$?[A-Za-z0-9+/]{0,50}\\$?\\PC{0,40}"
        ) {
            let _ = PasswordHash::parse(&text);
        }
    }
}
