//! Sorted numbers, each with the slot of a row: every index of the memory store.

/// The most entries of a chunk: few enough that an insertion is fast.
const CHUNK: usize = 512;

/// A number to sort by, an id or a hash, and the slot of a row.
pub(super) type Entry = (u64, u32);

/// Entries in ascending order.
///
/// They are in chunks, which are full where entries are inserted in order, as ids are. A tree would
/// leave its nodes half empty then.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// No chunk is empty.
    chunks: Vec<Chunk>,
}

/// Consecutive entries.
#[derive(Debug)]
struct Chunk {
    /// A copy of the last entry, so that the search for a chunk does not load the entries of others.
    last: Entry,
    entries: Vec<Entry>,
}

impl Chunk {
    fn new(entries: Vec<Entry>) -> Self {
        let mut chunk = Self { last: Entry::default(), entries };
        chunk.update_last();
        chunk
    }

    fn update_last(&mut self) {
        self.last = self.entries.last().copied().unwrap_or_default();
    }
}

impl Sorted {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Inserts the entry, unless it exists.
    pub(super) fn insert(&mut self, entry: Entry) {
        let last = self.chunks.len().saturating_sub(1);
        let at = self.chunk_of(entry).min(last);
        let Some(chunk) = self.chunks.get_mut(at) else {
            // Most indexes have one chunk.
            self.chunks.reserve_exact(1);
            self.chunks.push(Chunk::new(vec![entry]));
            return;
        };
        let Err(place) = chunk.entries.binary_search(&entry) else { return };
        let beyond = if chunk.entries.len() < CHUNK {
            chunk.entries.insert(place, entry);
            None
        } else if at == last && place == chunk.entries.len() {
            Some(vec![entry])
        } else {
            let mut upper = chunk.entries.split_off(CHUNK / 2);
            match place.checked_sub(CHUNK / 2) {
                Some(place) => upper.insert(place, entry),
                None => chunk.entries.insert(place, entry),
            }
            Some(upper)
        };
        chunk.update_last();
        if let Some(beyond) = beyond {
            self.chunks.insert(at + 1, Chunk::new(beyond));
        }
    }

    /// Removes the entry, if it exists.
    pub(super) fn remove(&mut self, entry: Entry) {
        let at = self.chunk_of(entry);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.entries.binary_search(&entry) else { return };
        chunk.entries.remove(place);
        chunk.update_last();
        if chunk.entries.is_empty() {
            self.chunks.remove(at);
        } else if chunk.entries.len() < chunk.entries.capacity() / 4 {
            chunk.entries.shrink_to(chunk.entries.capacity() / 2);
        }
    }

    /// Returns the entries from this one on, in order.
    pub(super) fn from(&self, first: Entry) -> impl Iterator<Item = Entry> + '_ {
        let at = self.chunk_of(first);
        let chunks = self.chunks.get(at..).unwrap_or_default();
        // Only the first chunk has entries that are lower.
        let lower = chunks.first().map_or(0, |it| it.entries.partition_point(|one| *one < first));
        chunks.iter().flat_map(|chunk| &chunk.entries).skip(lower).copied()
    }

    /// Where the chunk is that has the entry, if any has.
    fn chunk_of(&self, entry: Entry) -> usize {
        self.chunks.partition_point(|chunk| chunk.last < entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn entries_are_those_of_a_set(
            changes in prop::collection::vec((prop::bool::weighted(0.7), 0..2_000_u64, 0..2_u32), 0..4_000),
            first in (0..2_000_u64, 0..2_u32),
        ) {
            let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
            for (insert, number, slot) in changes {
                if insert {
                    sorted.insert((number, slot));
                    set.insert((number, slot));
                } else {
                    sorted.remove((number, slot));
                    set.remove(&(number, slot));
                }
            }
            prop_assert!(sorted.from((0, 0)).eq(set.iter().copied()));
            prop_assert!(sorted.from(first).eq(set.range(first..).copied()));
            prop_assert_eq!(sorted.is_empty(), set.is_empty());
            for chunk in &sorted.chunks {
                prop_assert!((1..=CHUNK).contains(&chunk.entries.len()));
                prop_assert_eq!(Some(&chunk.last), chunk.entries.last());
            }
        }
    }

    #[test]
    fn entries_inserted_in_order_fill_their_chunks() {
        let mut sorted = Sorted::default();
        (0..100 * CHUNK as u64).for_each(|number| sorted.insert((number, 0)));
        assert_eq!(sorted.chunks.len(), 100);
    }
}
