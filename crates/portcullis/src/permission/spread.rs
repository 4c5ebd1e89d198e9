//! How ids are spread over a table, so that each is found at once.

use super::id_table::WINDOW;

/// The golden ratio's fraction: multiples of it are far from each other.
const FIRST_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many multipliers are tried before the table does without buckets.
const MULTIPLIERS_FOR_BUCKETS: usize = 8;

/// How many multipliers are tried to find the one with the shortest reach.
const MULTIPLIERS_FOR_REACH: usize = 32;

/// How far an entry may be from where it is looked for. A search by halves is about as fast as to
/// look at twice as many.
pub(super) const FARTHEST: usize = 32;

/// Spreads ids: the product with this number, whose last six bits say one thing more: how many bits
/// of the product are left out to have the number of a bucket, or how far an entry is at most from
/// where it is expected. Two ids may well have the same bucket; what is found is decided by
/// comparing ids.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    const fn new(multiplier: u64, number: u64) -> Self {
        Self(multiplier & !63 | number)
    }

    fn multipliers() -> impl Iterator<Item = u64> {
        let next = |last: &u64| Some(last.wrapping_mul(FIRST_MULTIPLIER));
        std::iter::successors(Some(FIRST_MULTIPLIER), next)
    }

    /// Which bucket the id is in.
    #[expect(clippy::inline_always, reason = "the call costs as much as the look")]
    #[inline(always)]
    pub(super) const fn bucket(self, id: u64) -> usize {
        (id.wrapping_mul(self.0) >> (self.0 & 63)) as usize
    }

    pub(super) const fn reach(self) -> usize {
        (self.0 & 63) as usize
    }

    /// What the order without buckets goes by. It is another one for every id.
    pub(super) const fn rank(self, id: u64) -> u64 {
        id.wrapping_mul(self.0 | 63)
    }

    /// Where the id would be among so many that are spread evenly.
    pub(super) const fn expected(self, id: u64, len: usize) -> usize {
        ((self.rank(id) as u128 * len as u128) >> 64) as usize
    }

    /// Finds the one with which entries are nearest to where they are expected, if that is near
    /// enough.
    pub(super) fn nearest(ids: &[u64]) -> Option<Self> {
        let reach = |multiplier| {
            let mut expected_at = vec![0; ids.len()];
            for id in ids {
                *expected_at.get_mut(Self(multiplier).expected(*id, ids.len()))? += 1;
            }
            let mut next = 0;
            let mut reach = 1;
            for (expected, count) in expected_at.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                let last = next + count - 1;
                reach = reach.max(expected.abs_diff(next)).max(expected.abs_diff(last));
                next += count;
            }
            Some((reach, multiplier))
        };
        let (reach, multiplier) =
            Self::multipliers().take(MULTIPLIERS_FOR_REACH).filter_map(reach).min()?;
        (reach <= FARTHEST).then(|| Self::new(multiplier, reach as u64))
    }
}

/// A way to spread ids over buckets of at most [`WINDOW`].
pub(super) struct Buckets {
    pub(super) hash: Hash,
    lengths: Vec<u16>,
}

impl Buckets {
    /// Finds one with room for so many buckets. There may be none.
    pub(super) fn choose(ids: &[u64], room: usize) -> Option<Self> {
        u16::try_from(ids.len()).ok()?;
        // From two entries a bucket on the average down to a quarter of one.
        let least = ids.len().next_power_of_two().ilog2() - 1;
        (least..least + 4).filter(|bits| 1 << bits <= room).find_map(|bits| {
            Hash::multipliers().take(MULTIPLIERS_FOR_BUCKETS).find_map(|multiplier| {
                let hash = Hash::new(multiplier, u64::from(u64::BITS - bits));
                let mut lengths = vec![0; 1 << bits];
                for id in ids {
                    let length = lengths.get_mut(hash.bucket(*id))?;
                    *length += 1;
                    if usize::from(*length) > WINDOW {
                        return None;
                    }
                }
                Some(Self { hash, lengths })
            })
        })
    }

    pub(super) fn of(&self, id: u64) -> usize {
        self.hash.bucket(id)
    }

    /// Where each bucket begins.
    pub(super) fn directory(&self) -> Box<[u16]> {
        let starts = self.lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        starts.collect()
    }
}
