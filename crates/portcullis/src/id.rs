//! Identifiers: 64 bits, written as 16 hexadecimal digits.
//!
//! The text form is the one of the v2 API (`docs/spec/authorizations.md`): exactly 16 digits, upper
//! or lower case on input, lower case on output, and never all zeros.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::from_text::from_text;

/// Number of bytes of an id's text form.
pub const ID_TEXT_LEN: usize = 16;

/// The epoch of generated ids, 1 January 2020, in milliseconds since 1970.
pub(crate) const ID_EPOCH_MILLIS: i64 = 1_577_836_800_000;

/// The number of random low bits of a generated id. The high bits are the time, so that ids ascend
/// with it.
pub(crate) const ID_RANDOM_BITS: u32 = 22;

/// Why a text is not an id. Clients of the API receive these messages.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text is 16 bytes long and not all of them are hexadecimal digits, or all are zeros.
    #[error("invalid ID")]
    Invalid,
    /// The text is not 16 bytes long. Bytes are counted, not characters.
    #[error("id must have a length of 16 bytes")]
    Length,
}

/// An id of any type, such as that of the resource that a permission names.
///
/// Zero can be constructed with [`Id::from_u64`]. It is never generated, never parses, and
/// [`Permission::validate`](crate::Permission::validate) refuses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// Takes the number as it is, zero included.
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns when a generated id was drawn, in milliseconds since 1970.
    pub(crate) fn drawn_at_millis(self) -> i64 {
        let millis = i64::try_from(self.0 >> ID_RANDOM_BITS).unwrap_or(i64::MAX);
        millis.saturating_add(ID_EPOCH_MILLIS)
    }

    /// Parses exactly the text that [`Display`](fmt::Display) writes: 16 hexadecimal digits in lower
    /// case. For stores that keep ids as text; for input of clients, use [`FromStr`]. Zero, which no
    /// record has, parses here: it sorts before all others.
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        let id = Self(u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        (id.digits() == digits).then_some(id)
    }

    /// Returns the text.
    fn digits(self) -> [u8; ID_TEXT_LEN] {
        let mut rest = self.0;
        let mut digits = [0; ID_TEXT_LEN];
        for digit in digits.iter_mut().rev() {
            let value = (rest & 0xf) as u8;
            *digit = value + if value < 10 { b'0' } else { b'a' - 10 };
            rest >>= 4;
        }
        digits
    }

    /// Tells whether this is zero, which no record has.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != ID_TEXT_LEN {
            return Err(ParseIdError::Length);
        }
        match u64::from_str_radix(text, 16) {
            // A sign would be taken.
            Ok(number) if number != 0 && !text.starts_with('+') => Ok(Self(number)),
            _ => Err(ParseIdError::Invalid),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, str::parse)
    }
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Id);

        impl $name {
            /// Takes the number as it is, zero included.
            pub const fn from_u64(id: u64) -> Self {
                Self(Id::from_u64(id))
            }

            /// Returns the number.
            pub const fn as_u64(self) -> u64 {
                self.0.as_u64()
            }

            /// Returns the id without its type.
            pub const fn untyped(self) -> Id {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self)
            }
        }
    )+};
}

typed_ids! {
    /// Id of an API token.
    ApiTokenId;
    /// Id of an authorization.
    AuthorizationId;
    /// Id of a bucket.
    BucketId;
    /// Id of a DBRP mapping.
    DbrpId;
    /// Id of an organization.
    OrgId;
    /// Id of a user.
    UserId;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ID-3]
    #[test]
    fn length_is_tested_before_digits() {
        for text in ["", "abc", "000000000000001", "00000000000000001", "éééééééééééééééé"]
        {
            assert_eq!(text.parse::<Id>(), Err(ParseIdError::Length), "{text:?}");
        }
    }

    #[test]
    fn digits_are_exactly_what_is_written() {
        for id in [0, 1, 0x0d0d_0000_0000_000a, u64::MAX] {
            let id = Id::from_u64(id);
            assert_eq!(Id::from_digits(id.to_string().as_bytes()), Some(id));
        }
        for text in ["", "1", "000000000000000A", "+000000000000001", "00000000000000001"] {
            assert_eq!(Id::from_digits(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn every_byte_in_every_place_is_a_digit_or_refused() {
        for place in 0..ID_TEXT_LEN {
            for byte in 0..=u8::MAX {
                let mut digits = *b"0123456789abcdef";
                digits[place] = byte;
                let digit = char::from(byte).to_digit(16);
                let written = digit.filter(|_| !byte.is_ascii_uppercase());
                assert_eq!(Id::from_digits(&digits).is_some(), written.is_some(), "{digits:?}");
                if let Ok(text) = str::from_utf8(&digits) {
                    let expected = digit.and_then(|_| u64::from_str_radix(text, 16).ok());
                    assert_eq!(text.parse().ok(), expected.map(Id::from_u64), "{text:?}");
                }
            }
        }
    }

    /// [ID-1] [ID-3]
    #[test]
    fn signs_prefixes_blanks_and_zero_are_refused() {
        for text in [
            "0000000000000000",
            "+000000000000001",
            "-000000000000001",
            "0x00000000000001",
            "0000_0000_0000_1",
            " 000000000000001",
            "000000000000001\n",
            "éééééééé",
        ] {
            assert_eq!(text.parse::<Id>(), Err(ParseIdError::Invalid), "{text:?}");
        }
    }

    /// [ID-2]
    #[test]
    fn prints_lower_case_and_padded() {
        let id: OrgId = "0000000000ABCDEF".parse().unwrap();
        assert_eq!(id.to_string(), "0000000000abcdef");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"0000000000abcdef\"");
    }

    proptest::proptest! {
        /// [ID-1] [ID-2]
        #[test]
        fn every_id_but_zero_comes_back_from_its_text(id in 1..=u64::MAX) {
            let id = Id::from_u64(id);
            proptest::prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn a_text_is_read_digit_by_digit(text in "[0-9a-fA-F]{15}[0-9a-gA-G:/@`\\x00\\x7f]") {
            let expected = u64::from_str_radix(&text, 16).ok().filter(|number| *number != 0);
            proptest::prop_assert_eq!(text.parse().ok(), expected.map(Id::from_u64));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Id>();
        }
    }
}
