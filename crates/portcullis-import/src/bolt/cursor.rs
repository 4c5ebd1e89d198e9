//! Going through a bucket.

use std::io::{Read, Seek};

use zeroize::Zeroizing;

use super::page::{Item, Page};
use super::{Bolt, BoltError, Bucket, Damage, Root};

/// Goes through the keys of a bucket, in ascending order.
///
/// It holds no file, so that several can go through one.
pub struct Cursor {
    /// The root, until it is read.
    root: Option<Root>,
    /// The pages from the root to the current one, each with the next of its elements.
    path: Vec<(Page, usize)>,
    /// Once more would be read, a page occurs twice. `None` before the root is read.
    pages_left: Option<u64>,
    /// The last key of the leaf before the current one.
    last_key: Option<Zeroizing<Vec<u8>>>,
}

/// A value of a bucket.
pub enum Value<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A bucket.
    Bucket(Bucket),
}

impl Cursor {
    /// The most pages from the root of a bucket to a leaf. With two keys on a page, this many levels
    /// have more pages than a file can.
    pub const MAX_DEPTH: usize = 32;

    /// Begins before the first key.
    pub fn new(bucket: Bucket) -> Self {
        Self { root: Some(bucket.root), path: Vec::new(), pages_left: None, last_key: None }
    }

    /// Returns the next key with its value, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`BoltError::Io`] and [`BoltError::Page`]. There is nothing to be read after an error.
    pub fn next<R: Read + Seek>(
        &mut self,
        file: &mut Bolt<R>,
    ) -> Result<Option<(&[u8], Value<'_>)>, BoltError> {
        match self.root.take() {
            Some(Root::Page(page)) => self.descend(file, page)?,
            Some(Root::Inline(bytes, outer)) => self.inline(bytes, outer)?,
            None => {}
        }
        // The loop ends at the page of the next element, which is borrowed afterwards.
        while let Some((page, next)) = self.path.last_mut() {
            match page.get(*next) {
                None => {
                    if let Some(last) = page.last_key().filter(|_| page.is_leaf) {
                        self.last_key = Some(last.to_vec().into());
                    }
                    self.path.pop();
                }
                Some((_, Item::Child(child))) => {
                    *next += 1;
                    self.descend(file, child)?;
                }
                Some(_) => {
                    *next += 1;
                    break;
                }
            }
        }
        let Some((page, next)) = self.path.last() else { return Ok(None) };
        let value = match next.checked_sub(1).and_then(|index| page.get(index)) {
            Some((key, Item::Bytes(bytes))) => (key, Value::Bytes(bytes)),
            Some((key, Item::Bucket(bytes))) => {
                (key, Value::Bucket(Bucket::parse(bytes, page.id)?))
            }
            Some((_, Item::Child(_))) | None => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Reads a page and begins before its first element.
    fn descend<R: Read + Seek>(&mut self, file: &mut Bolt<R>, id: u64) -> Result<(), BoltError> {
        if self.path.len() >= Self::MAX_DEPTH {
            return Err(BoltError::page(id, Damage::Depth));
        }
        let pages_left = self.pages_left.get_or_insert(file.meta.pages);
        let page = file.page(id, pages_left)?;
        if page.is_leaf
            && let (Some(last), Some(first)) = (&self.last_key, page.first_key())
            && last.as_slice() >= first
        {
            return Err(BoltError::page(id, Damage::Order { index: 0 }));
        }
        self.path.push((page, 0));
        Ok(())
    }

    /// The same with the page of an inline bucket.
    fn inline(&mut self, bytes: Zeroizing<Vec<u8>>, outer: u64) -> Result<(), BoltError> {
        let page = Page::parse(outer, bytes)?;
        if !page.is_leaf {
            return Err(BoltError::page(outer, Damage::Inline));
        }
        self.path.push((page, 0));
        Ok(())
    }
}
