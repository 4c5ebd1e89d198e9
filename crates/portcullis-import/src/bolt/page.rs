//! Pages of a tree.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{BoltError, Damage};

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// The flag of an element of a leaf.
const BUCKET: u32 = 1;
/// An element, without key and value.
const ELEMENT_BYTES: usize = 16;

/// What each page begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u64,
    pub(super) flags: u16,
    pub(super) count: u16,
    /// How many pages belong to it besides the first.
    pub(super) overflow: u32,
}

impl Header {
    pub(super) const BYTES: usize = 16;

    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(page, 0)?,
            flags: u16_at(page, 8)?,
            count: u16_at(page, 10)?,
            overflow: u32_at(page, 12)?,
        })
    }

    pub(super) const fn is_branch(&self) -> bool {
        self.flags == BRANCH
    }
}

/// A page of a tree, with everything in its place and its keys in ascending order.
pub(super) struct Page {
    pub(super) id: u64,
    pub(super) is_leaf: bool,
    bytes: Zeroizing<Vec<u8>>,
    elements: Vec<Element>,
}

struct Element {
    key: Range<usize>,
    content: Content,
}

enum Content {
    /// Another page, from this key on.
    Child(u64),
    Bytes(Range<usize>),
    Bucket(Range<usize>),
}

/// An element of a page.
pub(super) enum Item<'a> {
    Child(u64),
    Bytes(&'a [u8]),
    Bucket(&'a [u8]),
}

impl Page {
    /// Checks the page. `bytes` is the whole run of pages.
    pub(super) fn parse(id: u64, bytes: Zeroizing<Vec<u8>>) -> Result<Self, BoltError> {
        let damage = |damage| BoltError::page(id, damage);
        let header = Header::parse(&bytes).ok_or_else(|| damage(Damage::Bucket))?;
        let count = usize::from(header.count);
        let read = match header.flags {
            BRANCH if count == 0 => return Err(damage(Damage::Empty)),
            BRANCH => branch_element,
            LEAF => leaf_element,
            flags => return Err(damage(Damage::Flags { flags })),
        };
        let mut elements = Vec::with_capacity(count.min(bytes.len() / ELEMENT_BYTES));
        // Keys and values come after all elements, in the same order.
        let mut free_from = Header::BYTES + count * ELEMENT_BYTES;
        let mut last: Option<&[u8]> = None;
        for index in 0..count {
            let start = Header::BYTES + index * ELEMENT_BYTES;
            let (element, end) = read(&bytes, start)
                .filter(|(element, _)| element.key.start >= free_from)
                .ok_or_else(|| damage(Damage::Element { index }))?;
            let key = bytes
                .get(element.key.clone())
                .filter(|_| end <= bytes.len())
                .ok_or_else(|| damage(Damage::Element { index }))?;
            if last.is_some_and(|last| last >= key) {
                return Err(damage(Damage::Order { index }));
            }
            last = Some(key);
            free_from = end;
            elements.push(element);
        }
        Ok(Self { id, is_leaf: !header.is_branch(), bytes, elements })
    }

    pub(super) fn get(&self, index: usize) -> Option<(&[u8], Item<'_>)> {
        let element = self.elements.get(index)?;
        let bytes = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let item = match &element.content {
            Content::Child(page) => Item::Child(*page),
            Content::Bytes(range) => Item::Bytes(bytes(range)),
            Content::Bucket(range) => Item::Bucket(bytes(range)),
        };
        Some((bytes(&element.key), item))
    }

    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.get(0).map(|(key, _)| key)
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.get(self.elements.len().checked_sub(1)?).map(|(key, _)| key)
    }
}

/// Reads an element, and where it ends.
fn branch_element(page: &[u8], start: usize) -> Option<(Element, usize)> {
    let key = start.checked_add(size_at(page, start)?)?;
    let end = key.checked_add(size_at(page, start + 4)?)?;
    let content = Content::Child(u64_at(page, start + 8)?);
    Some((Element { key: key..end, content }, end))
}

fn leaf_element(page: &[u8], start: usize) -> Option<(Element, usize)> {
    let flags = u32_at(page, start)?;
    let key = start.checked_add(size_at(page, start + 4)?)?;
    let value = key.checked_add(size_at(page, start + 8)?)?;
    let end = value.checked_add(size_at(page, start + 12)?)?;
    let content = match flags {
        BUCKET => Content::Bucket(value..end),
        0 => Content::Bytes(value..end),
        _ => return None,
    };
    Some((Element { key: key..value, content }, end))
}

fn size_at(bytes: &[u8], offset: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, offset)?).ok()
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}
