//! The meta pages.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;

use zeroize::Zeroizing;

use super::BoltError;
use super::page::{Header, u32_at, u64_at};

/// The fields that are checked against each other.
const BYTES: usize = 56;
const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// What a meta page says of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of a page, a power of two.
    pub(super) page_size: u64,
    /// The page of the root bucket.
    pub(super) root: u64,
    /// The number of pages in use or free. All of them are in the file.
    pub(super) pages: u64,
    /// Counts the transactions.
    transaction: u64,
}

/// Why a page is no meta page.
enum Defect {
    Magic,
    Version(u32),
    Content,
}

impl Meta {
    /// The number of meta pages, which are the first.
    pub(super) const PAGES: u64 = 2;

    /// Sizes of pages that machines have.
    const PAGE_SIZES: RangeInclusive<u64> = 1_024..=65_536;

    /// Finds the meta page that counts in a file of this length.
    pub(super) fn find<R: Read + Seek>(file: &mut R, bytes: u64) -> Result<Self, BoltError> {
        let first = Self::at(file, 0, bytes)?;
        let found = match first {
            Ok(first) => {
                let second = Self::at(file, first.page_size, bytes)?.ok();
                second.filter(|second| second.transaction > first.transaction).unwrap_or(first)
            }
            Err(defect) => match Self::second(file, bytes)? {
                Some(second) => second,
                None => {
                    return Err(match defect {
                        Defect::Magic => BoltError::Foreign,
                        Defect::Version(version) => BoltError::Version { version },
                        Defect::Content => BoltError::Meta,
                    });
                }
            },
        };
        match found.pages.checked_mul(found.page_size) {
            Some(expected) if expected <= bytes => Ok(found),
            expected => Err(BoltError::Truncated { bytes, expected: expected.unwrap_or(u64::MAX) }),
        }
    }

    /// Looks for the second meta page, whose place depends on the size of pages.
    fn second<R: Read + Seek>(file: &mut R, bytes: u64) -> Result<Option<Self>, BoltError> {
        let mut page_size = *Self::PAGE_SIZES.start();
        while Self::PAGE_SIZES.contains(&page_size) {
            if let Ok(meta) = Self::at(file, page_size, bytes)?
                && meta.page_size == page_size
            {
                return Ok(Some(meta));
            }
            page_size *= 2;
        }
        Ok(None)
    }

    fn at<R: Read + Seek>(
        file: &mut R,
        offset: u64,
        bytes: u64,
    ) -> Result<Result<Self, Defect>, BoltError> {
        let length = (Header::BYTES + BYTES + size_of::<u64>()) as u64;
        if offset.checked_add(length).is_none_or(|end| end > bytes) {
            return Ok(Err(Defect::Magic));
        }
        let page = read(file, offset, length).map_err(BoltError::Io)?;
        Ok(Self::parse(page.get(Header::BYTES..).unwrap_or_default()))
    }

    fn parse(meta: &[u8]) -> Result<Self, Defect> {
        let number = |offset| u32_at(meta, offset).ok_or(Defect::Content);
        let long = |offset| u64_at(meta, offset).ok_or(Defect::Content);
        if number(0)? != MAGIC {
            return Err(Defect::Magic);
        }
        let version = number(4)?;
        if version != VERSION {
            return Err(Defect::Version(version));
        }
        let checked = meta.get(..BYTES).ok_or(Defect::Content)?;
        let found = Self {
            page_size: number(8)?.into(),
            root: long(16)?,
            pages: long(40)?,
            transaction: long(48)?,
        };
        let is_valid = long(BYTES)? == fnv1a(checked)
            && found.page_size.is_power_of_two()
            && Self::PAGE_SIZES.contains(&found.page_size);
        if is_valid { Ok(found) } else { Err(Defect::Content) }
    }
}

/// The checksum of a meta page: FNV-1a of 64 bits.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Reads bytes that the file has, or had when it was opened.
pub(super) fn read<R: Read + Seek>(
    file: &mut R,
    offset: u64,
    bytes: u64,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut buffer = Zeroizing::new(vec![0; length]);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut buffer)?;
    Ok(buffer)
}
