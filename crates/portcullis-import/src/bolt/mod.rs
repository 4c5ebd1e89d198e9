//! Reads files of [bbolt](https://github.com/etcd-io/bbolt), in one of which InfluxDB 2.x keeps its records.
//!
//! A file is not trusted. It is read page by page and never as a whole: memory is bounded by the pages
//! from the root to one leaf. Every offset is checked, no page is used twice, and keys ascend.
//!
//! A file consists of pages of one size. Two of them are *meta pages*, with the size, the root and the
//! number of pages; the one of the later transaction counts. *Branch* and *leaf* pages are a tree of
//! keys in ascending order, each in a run of one page and any number of *overflow* pages. A value is either bytes
//! or a *bucket*: a tree of its own, whose root is another page, or *inline* in the value if it is small.
//! Numbers are those of the machine that wrote the file, which is little-endian here.

mod cursor;
mod error;
mod meta;
mod page;
#[cfg(test)]
pub(crate) mod writer;

use std::io::{Read, Seek, SeekFrom};

use zeroize::Zeroizing;

pub use self::cursor::{Cursor, Value};
pub use self::error::{BoltError, Damage};
use self::meta::Meta;
use self::page::{Header, Page};

/// A file of bbolt.
///
/// The file must not be changed while it is read: bbolt locks it, and
/// [`File::try_lock_shared`](std::fs::File::try_lock_shared) fails while a program has it open for
/// writing.
#[derive(Debug)]
pub struct Bolt<R> {
    file: R,
    meta: Meta,
}

/// A bucket: keys in ascending order, each with bytes or a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    root: Root,
}

#[derive(Clone)]
enum Root {
    /// The page.
    Page(u64),
    /// The page itself, and the one that it is in.
    Inline(Zeroizing<Vec<u8>>, u64),
}

/// Without the records of an inline bucket.
impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Page(page) | Self::Inline(_, page)) = self;
        f.debug_tuple("Page").field(page).finish()
    }
}

impl Bucket {
    /// The root page and a counter of the bucket.
    const HEADER_BYTES: usize = 16;

    /// Reads the value of a bucket on the page.
    fn parse(value: &[u8], page: u64) -> Result<Self, BoltError> {
        let damage = || BoltError::page(page, Damage::Bucket);
        let (header, inline) = value.split_at_checked(Self::HEADER_BYTES).ok_or_else(damage)?;
        let root = header.first_chunk().copied().map(u64::from_le_bytes).ok_or_else(damage)?;
        let root = match root {
            0 => Root::Inline(inline.to_vec().into(), page),
            root => Root::Page(root),
        };
        Ok(Self { root })
    }
}

impl<R: Read + Seek> Bolt<R> {
    /// The longest run of pages of a leaf in bytes. It bounds the length of a record.
    pub const MAX_LEAF_BYTES: u64 = 64 * 1024 * 1024;
    /// The longest run of pages of a branch in bytes: bbolt divides one of more than four keys, and
    /// keys have at most 32,768 bytes.
    pub const MAX_BRANCH_BYTES: u64 = 512 * 1024;

    /// Reads the meta pages.
    ///
    /// # Errors
    ///
    /// [`BoltError::Io`], or else what is wrong with the file as a whole: [`BoltError::Foreign`],
    /// [`BoltError::Version`], [`BoltError::Meta`] or [`BoltError::Truncated`].
    pub fn open(mut file: R) -> Result<Self, BoltError> {
        let bytes = file.seek(SeekFrom::End(0)).map_err(BoltError::Io)?;
        let meta = Meta::find(&mut file, bytes)?;
        Ok(Self { file, meta })
    }

    /// Returns the bucket of the buckets in the file.
    pub const fn root(&self) -> Bucket {
        Bucket { root: Root::Page(self.meta.root) }
    }

    /// Returns a bucket of the [root](Self::root).
    ///
    /// # Errors
    ///
    /// [`BoltError::Io`] and [`BoltError::Page`].
    pub fn bucket(&mut self, name: &[u8]) -> Result<Option<Bucket>, BoltError> {
        let mut cursor = Cursor::new(self.root());
        while let Some((key, value)) = cursor.next(self)? {
            if let Value::Bucket(bucket) = value
                && key == name
            {
                return Ok(Some(bucket));
            }
        }
        Ok(None)
    }

    /// Reads a page of a tree, and subtracts its length from the number of pages that may yet be read.
    fn page(&mut self, id: u64, pages_left: &mut u64) -> Result<Page, BoltError> {
        let damage = |damage| BoltError::page(id, damage);
        let Meta { page_size, pages, .. } = self.meta;
        if !(Meta::PAGES..pages).contains(&id) {
            return Err(damage(Damage::Range { pages }));
        }
        let start = self.read(id * page_size, page_size)?;
        let header = Header::parse(&start).ok_or_else(|| damage(Damage::Range { pages }))?;
        if header.id != id {
            return Err(damage(Damage::Id { found: header.id }));
        }
        let run = 1 + u64::from(header.overflow);
        if run > pages - id {
            return Err(damage(Damage::Run { pages: run }));
        }
        let bytes = run * page_size;
        let longest = match header.is_branch() {
            true => Self::MAX_BRANCH_BYTES,
            false => Self::MAX_LEAF_BYTES,
        };
        if bytes > longest.max(page_size) {
            return Err(damage(Damage::Length { bytes, longest }));
        }
        *pages_left = pages_left.checked_sub(run).ok_or_else(|| damage(Damage::Twice))?;
        let whole = match header.overflow {
            0 => start,
            _ => self.read(id * page_size, bytes)?,
        };
        Page::parse(id, whole)
    }

    /// Reads bytes that the file has.
    fn read(&mut self, offset: u64, bytes: u64) -> Result<Zeroizing<Vec<u8>>, BoltError> {
        meta::read(&mut self.file, offset, bytes).map_err(BoltError::Io)
    }
}

#[cfg(test)]
mod tests;
