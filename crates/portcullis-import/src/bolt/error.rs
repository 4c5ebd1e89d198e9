//! Why a file cannot be read.

use std::io;

use thiserror::Error;

/// Why a file of bbolt cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BoltError {
    /// The file could not be read.
    #[error("could not be read: {0}")]
    Io(#[source] io::Error),
    /// It has no meta page.
    #[error("is not a file of bbolt")]
    Foreign,
    /// It is of another version of the format.
    #[error("has version {version} of bbolt's format, and only 2 can be read")]
    Version {
        /// The version.
        version: u32,
    },
    /// Both meta pages are damaged.
    #[error("both meta pages are damaged")]
    Meta,
    /// It is shorter than its pages.
    #[error("is cut off: it has {bytes} of at least {expected} bytes")]
    Truncated {
        /// Its length.
        bytes: u64,
        /// The least length of its pages.
        expected: u64,
    },
    /// A page is damaged.
    #[error("page {page} is damaged: {damage}")]
    Page {
        /// The number of the page.
        page: u64,
        /// What is wrong with it.
        damage: Damage,
    },
}

impl BoltError {
    pub(super) const fn page(page: u64, damage: Damage) -> Self {
        Self::Page { page, damage }
    }
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A page refers to it, and there is none.
    #[error("it does not exist, the file has pages 2 to {}", pages.saturating_sub(1))]
    Range {
        /// The number of pages.
        pages: u64,
    },
    /// It says that it is another page.
    #[error("it has the number {found}")]
    Id {
        /// The number.
        found: u64,
    },
    /// It is neither a branch nor a leaf.
    #[error("it is neither a branch nor a leaf, but has the flags {flags:#x}")]
    Flags {
        /// Its flags.
        flags: u16,
    },
    /// Its run of pages does not end within the file.
    #[error("it is {pages} pages long, and the file has fewer")]
    Run {
        /// The number of pages.
        pages: u64,
    },
    /// Its run of pages is too long to be read.
    #[error("it has {bytes} bytes, and {longest} can be read")]
    Length {
        /// Its length.
        bytes: u64,
        /// The longest one.
        longest: u64,
    },
    /// An element lies outside of the page, or overlaps with another one.
    #[error("element {index} lies outside of its place")]
    Element {
        /// The element, from 0.
        index: usize,
    },
    /// A key is not greater than the one before it.
    #[error("the key of element {index} is not greater than the one before it")]
    Order {
        /// The element, from 0.
        index: usize,
    },
    /// A branch refers to no page.
    #[error("it is a branch without elements")]
    Empty,
    /// A branch is inline in the value of a bucket.
    #[error("it has a bucket that is neither a leaf nor elsewhere")]
    Inline,
    /// The value of a bucket is too short.
    #[error("it has a bucket without a root")]
    Bucket,
    /// It is too far from the root of its bucket.
    #[error("it is more than {} levels below its bucket", super::Cursor::MAX_DEPTH)]
    Depth,
    /// More pages belong to the bucket than the file has: one occurs more than once.
    #[error("it or another page occurs more than once in its bucket")]
    Twice,
}
