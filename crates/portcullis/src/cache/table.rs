//! A table of bounded size that is read without a lock.
//!
//! A key's hash selects a set of seven slots, which share a cache line with a byte of each entry's hash.
//! A reader reads the line and the entry, and never waits. A writer replaces one entry; two concurrent
//! writers of a set may lose one, which costs the next lookup a read of the store. The table compares
//! no keys: each entry carries its key, and what its validity depends on.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

/// Entries in a set; with their tags they fill a cache line.
const WAYS: usize = 7;

/// Expected entries for each set: half of its slots, so that few sets overflow.
const PER_SET: usize = 4;

/// Sets that are allocated together, with the first entry of one of them: a table with few entries takes
/// little memory.
const CHUNK: usize = 64;

/// What a table keeps.
pub(super) trait Entry {
    /// Returns its size in bytes, roughly, with everything that it owns.
    fn bytes(&self) -> usize;
}

pub(super) struct Table<E> {
    chunks: Box<[OnceLock<Chunk<E>>]>,
    sets: usize,
    /// The bytes of all entries.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// The set from which eviction continues.
    hand: AtomicUsize,
}

type Chunk<E> = Box<[Set<E>]>;

#[repr(align(64))]
struct Set<E> {
    /// A byte of the hash of each entry.
    tags: [AtomicU8; WAYS],
    /// A bit for each entry that was found since the last eviction from the set.
    used: AtomicU8,
    entries: [ArcSwapOption<E>; WAYS],
}

impl<E> Set<E> {
    fn new() -> Self {
        Self {
            tags: Default::default(),
            used: AtomicU8::new(0),
            entries: std::array::from_fn(|_| ArcSwapOption::empty()),
        }
    }

    fn ways(&self) -> impl Iterator<Item = (u8, &AtomicU8, &ArcSwapOption<E>)> + Clone {
        let bits = (0..WAYS).map(|way| 1 << way);
        bits.zip(&self.tags).zip(&self.entries).map(|((bit, tag), entry)| (bit, tag, entry))
    }
}

impl<E: Entry> Table<E> {
    /// A table for entries that take at most so many bytes together, and about so many each. With
    /// `max_bytes` 0 it keeps nothing.
    pub(super) fn new(max_bytes: usize, bytes_each: usize) -> Self {
        let sets = match max_bytes / bytes_each.max(1) {
            0 => 0,
            entries => (entries / PER_SET).max(1).next_power_of_two(),
        };
        Self {
            chunks: (0..sets.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            sets,
            bytes: AtomicUsize::new(0),
            max_bytes,
            hand: AtomicUsize::new(0),
        }
    }

    /// The bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the first value that `pick` returns for an entry with the hash.
    pub(super) fn find<T>(&self, hash: u64, pick: impl Fn(&Arc<E>) -> Option<T>) -> Option<T> {
        let set = self.set(self.index(hash))?;
        let tag = tag(hash);
        for (bit, its_tag, entry) in set.ways() {
            if its_tag.load(Ordering::Relaxed) == tag
                && let Some(entry) = &*entry.load()
                && let Some(found) = pick(entry)
            {
                // Rarely a write, so that the line stays shared between cores.
                if set.used.load(Ordering::Relaxed) & bit == 0 {
                    set.used.fetch_or(bit, Ordering::Relaxed);
                }
                return Some(found);
            }
        }
        None
    }

    /// Keeps the entry, in place of the one that is `same`, of none, or of the entry that
    /// was found least recently.
    pub(super) fn insert(&self, hash: u64, entry: E, same: impl Fn(&E) -> bool) {
        self.insert_shared(hash, Arc::new(entry), same);
    }

    /// As [`Self::insert`], for an entry that others have too.
    pub(super) fn insert_shared(&self, hash: u64, entry: Arc<E>, same: impl Fn(&E) -> bool) {
        let Some(set) = self.set_or_new(self.index(hash)) else { return };
        let bytes = entry.bytes();
        // An entry that large would evict too many others.
        if bytes > self.max_bytes / 16 {
            return;
        }
        let tag = tag(hash);
        let of_same = set.ways().find(|(_, its_tag, entry)| {
            its_tag.load(Ordering::Relaxed) == tag && entry.load().as_deref().is_some_and(&same)
        });
        let place = of_same.or_else(|| {
            let empty = set.ways().find(|(_, _, entry)| entry.load().is_none());
            empty.or_else(|| self.least_used(set))
        });
        let Some((bit, its_tag, place)) = place else { return };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let former = place.swap(Some(entry));
        its_tag.store(tag, Ordering::Relaxed);
        set.used.fetch_or(bit, Ordering::Relaxed);
        self.released(former.as_deref());
        self.trim();
    }

    /// A slot whose entry was not used since the last search for one to evict.
    fn least_used<'a>(&self, set: &'a Set<E>) -> Option<(u8, &'a AtomicU8, &'a ArcSwapOption<E>)> {
        let turn = self.hand.fetch_add(1, Ordering::Relaxed) % WAYS;
        let used = set.used.load(Ordering::Relaxed);
        let mut around = set.ways().cycle().skip(turn).take(WAYS);
        let unused = around.find(|(bit, ..)| used & bit == 0);
        unused.or_else(|| {
            set.used.store(0, Ordering::Relaxed);
            set.ways().nth(turn)
        })
    }

    /// Evicts entries, the least recently found first, until the rest fits.
    fn trim(&self) {
        // Twice around removes everything: once the marks, once the entries.
        for _ in 0..2 * self.sets {
            if self.bytes() <= self.max_bytes {
                return;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed);
            let Some(set) = self.set(hand & (self.sets - 1)) else { continue };
            let used = set.used.swap(0, Ordering::Relaxed);
            for (bit, _, entry) in set.ways() {
                if used & bit == 0 {
                    self.released(entry.swap(None).as_deref());
                }
            }
        }
    }

    fn released(&self, entry: Option<&E>) {
        let bytes = entry.map_or(0, Entry::bytes);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The number of sets is a power of two, or zero, which leads to none.
    const fn index(&self, hash: u64) -> usize {
        hash as usize & self.sets.wrapping_sub(1)
    }

    fn set(&self, index: usize) -> Option<&Set<E>> {
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    fn set_or_new(&self, index: usize) -> Option<&Set<E>> {
        let chunk = self.chunks.get(index / CHUNK)?;
        chunk.get_or_init(|| (0..CHUNK).map(|_| Set::new()).collect()).get(index % CHUNK)
    }
}

/// A byte of the hash that does not choose the set.
const fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number {
        key: u64,
        value: u64,
        bytes: usize,
    }

    impl Entry for Number {
        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    /// Mixes like a hash function; the tests need it to be the same each time.
    fn hash(key: u64) -> u64 {
        let mixed = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn put(table: &Table<Number>, key: u64, value: u64, bytes: usize) {
        table.insert(hash(key), Number { key, value, bytes }, |number| number.key == key);
    }

    fn get(table: &Table<Number>, key: u64) -> Option<u64> {
        table.find(hash(key), |number| (number.key == key).then_some(number.value))
    }

    #[test]
    fn a_set_is_one_cache_line() {
        assert_eq!(size_of::<Set<Number>>(), 64);
    }

    #[test]
    fn what_was_put_is_found_and_replaced() {
        let table = Table::new(100_000, 100);
        for key in 0..500 {
            put(&table, key, key, 100);
        }
        for key in 0..500 {
            put(&table, key, key + 1, 100);
        }
        let found = (0..500).filter(|key| get(&table, *key) == Some(key + 1)).count();
        assert!(found > 490, "{found}");
        assert!((0..500).all(|key| get(&table, key) != Some(key)), "an old value");
        assert_eq!(get(&table, 500), None);
    }

    #[test]
    fn it_never_keeps_more_than_it_may() {
        let table = Table::new(10_000, 100);
        for key in 0..10_000 {
            put(&table, key, key, 50 + (key as usize * 37) % 400);
            assert!(table.bytes() <= 10_000);
        }
        assert!(table.bytes() > 5_000, "{}", table.bytes());
        put(&table, 1, 1, 5_000);
        assert_ne!(get(&table, 1), Some(1), "one entry of half of the table");
    }

    #[test]
    fn what_is_used_stays() {
        let table = Table::new(10_000, 100);
        for key in 0..20 {
            put(&table, key, key, 100);
        }
        for key in 20..20_000 {
            put(&table, key, key, 100);
            for key in 0..20 {
                get(&table, key);
            }
        }
        let left = (0..20).filter(|key| get(&table, *key).is_some()).count();
        assert!(left > 10, "{left} of 20");
    }

    #[test]
    fn a_table_of_no_size_keeps_nothing() {
        let table = Table::new(0, 100);
        put(&table, 1, 1, 1);
        assert_eq!((get(&table, 1), table.bytes()), (None, 0));
    }

    #[test]
    fn concurrent_readers_find_only_values_of_their_key() {
        let table = Table::new(20_000, 100);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let key = (round * 7 + thread) % 300;
                        if round % 3 == 0 {
                            put(table, key, key * 1_000_000 + round, 100);
                        } else if let Some(value) = get(table, key) {
                            assert_eq!(value / 1_000_000, key, "another key's value");
                        }
                    }
                });
            }
        });
        let kept: usize = (0..300).filter(|key| get(&table, *key).is_some()).count();
        assert!(kept > 0);
        let bytes: usize = (0..table.sets)
            .filter_map(|index| table.set(index))
            .flat_map(Set::ways)
            .map(|(_, _, e)| e.load().iter().count() * 100)
            .sum();
        assert_eq!(table.bytes(), bytes);
    }
}
