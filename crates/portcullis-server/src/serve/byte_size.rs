//! Sizes in bytes, as arguments.

use std::fmt;
use std::str::FromStr;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// A size such as `64MiB`, with a unit of KiB, MiB or GiB. A plain number is a number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(u64);

impl ByteSize {
    pub(super) const fn mebibytes(count: u64) -> Self {
        Self(count * MIB)
    }

    /// Returns the number of bytes, or the largest number where that does not fit into memory.
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Parses a size of at most `max`.
    ///
    /// # Errors
    ///
    /// A message for the user of the command line.
    pub(super) fn parse_up_to(text: &str, max: Self) -> Result<Self, String> {
        match text.parse::<Self>()? {
            size if size > max => Err(format!("it is more than {max}")),
            size => Ok(size),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at_checked(end).unwrap_or((text, ""));
        let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "mib" => MIB,
            "kib" => KIB,
            "gib" => GIB,
            _ => return Err("the unit is none of KiB, MiB and GiB".to_owned()),
        };
        let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
        count.map(Self).ok_or_else(|| "it is not a size such as 64MiB".to_owned())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            size if size.is_multiple_of(GIB) && size > 0 => (GIB, "GiB"),
            size if size.is_multiple_of(MIB) => (MIB, "MiB"),
            size if size.is_multiple_of(KIB) => (KIB, "KiB"),
            size => return write!(f, "{size} B"),
        };
        write!(f, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_mib() {
        for (text, bytes, shown) in [
            ("64MiB", 64 * MIB, "64MiB"),
            ("64 mib", 64 * MIB, "64MiB"),
            ("64", 64 * MIB, "64MiB"),
            ("0", 0, "0MiB"),
            ("512KiB", 512 * KIB, "512KiB"),
            ("2048KiB", 2 * MIB, "2MiB"),
            ("64GiB", 64 * GIB, "64GiB"),
            ("65536", 64 * GIB, "64GiB"),
        ] {
            let size = text.parse::<ByteSize>().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "64MB",
            "64M",
            "x",
            "99999999999999999999",
            "9999999999999GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_has_a_largest_value() {
        let max = ByteSize::mebibytes(65_536);
        assert_eq!(ByteSize::parse_up_to("64GiB", max).unwrap(), max);
        assert_eq!(ByteSize::parse_up_to("65537", max).unwrap_err(), "it is more than 64GiB");
    }
}
