//! The multiplicative hash of the tables of ids, and the choice of its multiplier.

/// How many entries a lookup compares at once. No bucket has more.
pub(super) const WINDOW: usize = 4;

/// The golden ratio's fraction: multiples of it are far from each other.
const FIRST_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many multipliers are tried before the table goes without buckets.
const MULTIPLIERS_FOR_BUCKETS: usize = 8;

/// How many multipliers are tried to find the one with the shortest probes.
const MULTIPLIERS_FOR_PROBES: usize = 32;

/// The farthest that an entry may be from its expected index. A binary search takes about as long as
/// comparing twice as many entries.
pub(super) const MAX_PROBE: usize = 32;

/// A multiplicative hash. The low six bits of the multiplier also store a parameter: the shift that
/// yields the number of a bucket, or the farthest distance of an entry from its expected index. Ids
/// may collide: a lookup compares the ids themselves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct IdHash(u64);

impl IdHash {
    const fn new(multiplier: u64, number: u64) -> Self {
        Self(multiplier & !63 | number)
    }

    fn multipliers() -> impl Iterator<Item = u64> {
        let next = |last: &u64| Some(last.wrapping_mul(FIRST_MULTIPLIER));
        std::iter::successors(Some(FIRST_MULTIPLIER), next)
    }

    /// Returns the bucket of the id.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub(super) const fn bucket(self, id: u64) -> usize {
        (id.wrapping_mul(self.0) >> (self.0 & 63)) as usize
    }

    pub(super) const fn max_probe(self) -> usize {
        (self.0 & 63) as usize
    }

    /// Returns the key of the order without buckets. No two ids have the same one.
    pub(super) const fn rank(self, id: u64) -> u64 {
        id.wrapping_mul(self.0 | 63)
    }

    /// Returns the index that the id would have among `len` evenly spread ids.
    pub(super) const fn expected(self, id: u64, len: usize) -> usize {
        ((self.rank(id) as u128 * len as u128) >> 64) as usize
    }

    /// Finds the hash whose order has the shortest probes, if these are at most [`MAX_PROBE`].
    pub(super) fn nearest_order(ids: &[u64]) -> Option<Self> {
        let max_probe = |multiplier| {
            let mut expected_at = vec![0; ids.len()];
            for id in ids {
                *expected_at.get_mut(Self(multiplier).expected(*id, ids.len()))? += 1;
            }
            let mut next = 0;
            let mut max_probe = 1;
            for (expected, count) in expected_at.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                let last = next + count - 1;
                max_probe = max_probe.max(expected.abs_diff(next)).max(expected.abs_diff(last));
                next += count;
            }
            Some((max_probe, multiplier))
        };
        let (max_probe, multiplier) =
            Self::multipliers().take(MULTIPLIERS_FOR_PROBES).filter_map(max_probe).min()?;
        (max_probe <= MAX_PROBE).then(|| Self::new(multiplier, max_probe as u64))
    }
}

/// A hash that puts at most [`WINDOW`] ids into each bucket.
pub(super) struct Buckets {
    pub(super) hash: IdHash,
    lengths: Vec<u16>,
}

impl Buckets {
    /// Finds a hash with at most `room` buckets. There may be none.
    pub(super) fn choose(ids: &[u64], room: usize) -> Option<Self> {
        u16::try_from(ids.len()).ok()?;
        // From two entries per bucket on average down to a quarter of one.
        let least = ids.len().next_power_of_two().ilog2() - 1;
        (least..least + 4).filter(|bits| 1 << bits <= room).find_map(|bits| {
            IdHash::multipliers().take(MULTIPLIERS_FOR_BUCKETS).find_map(|multiplier| {
                let hash = IdHash::new(multiplier, u64::from(u64::BITS - bits));
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

    /// Returns the index at which each bucket begins.
    pub(super) fn directory(&self) -> Box<[u16]> {
        let starts = self.lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        starts.collect()
    }
}
