//! Writes files of bbolt, for tests.

use std::collections::BTreeMap;

use super::meta::fnv1a;

/// The content of a bucket.
pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

/// A value of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Bytes(Vec<u8>),
    Bucket(Tree),
    /// A bucket in its value.
    Inline(Tree),
}

impl<const N: usize> From<&[u8; N]> for Node {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// Returns a file.
pub(crate) fn file(page_size: usize, root: &Tree) -> Vec<u8> {
    let mut writer = Writer { page_size, bytes: vec![0; 2 * page_size] };
    let root = writer.tree(root);
    let pages = (writer.bytes.len() / page_size) as u64;
    for transaction in [1, 2] {
        writer.meta(transaction, root, pages);
    }
    writer.bytes
}

struct Writer {
    page_size: usize,
    bytes: Vec<u8>,
}

impl Writer {
    fn meta(&mut self, transaction: u64, root: u64, pages: u64) {
        let page = transaction % 2;
        let mut bytes = header(page, 4, 0, 0);
        bytes.extend(0xed0c_daed_u32.to_le_bytes());
        bytes.extend(2_u32.to_le_bytes());
        bytes.extend((self.page_size as u32).to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        for number in [root, 0, u64::MAX, pages, transaction] {
            bytes.extend(number.to_le_bytes());
        }
        let sum = fnv1a(&bytes[16..]);
        bytes.extend(sum.to_le_bytes());
        let at = page as usize * self.page_size;
        self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    /// Writes the pages of a bucket and returns its root.
    fn tree(&mut self, tree: &Tree) -> u64 {
        let items: Vec<_> = tree.iter().map(|(key, node)| self.item(key, node)).collect();
        let mut level = Vec::new();
        let mut rest = &items[..];
        loop {
            let length = |item: &(_, Vec<u8>, Vec<u8>)| 16 + item.1.len() + item.2.len();
            let count = self.fitting(rest.iter().map(length), 1);
            let (page, after) = rest.split_at(count);
            let first = page.first().map(|(_, key, _)| key.clone()).unwrap_or_default();
            level.push((first, self.run(2, page.len(), &leaf(page))));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut rest = &level[..];
            while !rest.is_empty() {
                let count = self.fitting(rest.iter().map(|(key, _)| 16 + key.len()), 2);
                let (page, after) = rest.split_at(count.min(rest.len()));
                above.push((page[0].0.clone(), self.run(1, page.len(), &branch(page))));
                rest = after;
            }
            level = above;
        }
        level[0].1
    }

    fn item(&mut self, key: &[u8], node: &Node) -> (u32, Vec<u8>, Vec<u8>) {
        let (flag, value) = match node {
            Node::Bytes(bytes) => (0, bytes.clone()),
            Node::Bucket(tree) => (1, [self.tree(tree).to_le_bytes(), [0; 8]].concat()),
            Node::Inline(tree) => {
                let items: Vec<_> = tree.iter().map(|(key, node)| self.item(key, node)).collect();
                let mut value = vec![0; 16];
                value.extend(header(0, 2, items.len(), 0));
                value.extend(leaf(&items));
                (1, value)
            }
        };
        (flag, key.to_vec(), value)
    }

    /// Returns how many elements with these lengths are on a page.
    fn fitting(&self, lengths: impl Iterator<Item = usize>, least: usize) -> usize {
        let mut left = self.page_size - 16;
        let mut count = 0;
        for length in lengths {
            if count >= least && length > left {
                break;
            }
            left = left.saturating_sub(length);
            count += 1;
        }
        count
    }

    /// Writes a page with its overflow, and returns its number.
    fn run(&mut self, flags: u16, count: usize, elements: &[u8]) -> u64 {
        let id = (self.bytes.len() / self.page_size) as u64;
        let pages = (16 + elements.len()).div_ceil(self.page_size).max(1);
        let end = self.bytes.len() + pages * self.page_size;
        self.bytes.extend(header(id, flags, count, pages - 1));
        self.bytes.extend(elements);
        self.bytes.resize(end, 0);
        id
    }
}

fn header(id: u64, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend((count as u16).to_le_bytes());
    bytes.extend((overflow as u32).to_le_bytes());
    bytes
}

fn leaf(items: &[(u32, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut data = Vec::new();
    for (index, (flags, key, value)) in items.iter().enumerate() {
        let position = (items.len() - index) * 16 + data.len();
        for number in [*flags as usize, position, key.len(), value.len()] {
            elements.extend((number as u32).to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    [elements, data].concat()
}

fn branch(children: &[(Vec<u8>, u64)]) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut data = Vec::new();
    for (index, (key, child)) in children.iter().enumerate() {
        let position = (children.len() - index) * 16 + data.len();
        for number in [position, key.len()] {
            elements.extend((number as u32).to_le_bytes());
        }
        elements.extend(child.to_le_bytes());
        data.extend(key);
    }
    [elements, data].concat()
}
