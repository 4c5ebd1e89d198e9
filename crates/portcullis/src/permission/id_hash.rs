//! The multiplicative hash of the tables of ids, and the choice of its multiplier.

/// How many entries a lookup compares at once. No bucket has more.
pub(super) const WINDOW: usize = 4;

/// The golden ratio's fraction: multiples of it are far from each other.
const FIRST_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many multipliers are tried before the table goes without buckets.
const MULTIPLIERS: usize = 8;

/// A multiplicative hash. The low six bits of the multiplier also store the shift that yields the
/// number of a bucket. Ids may collide: a lookup compares the ids themselves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct IdHash(u64);

impl IdHash {
    /// Returns the bucket of the id.
    #[expect(clippy::inline_always, reason = "the call costs as much as the lookup")]
    #[inline(always)]
    pub(super) const fn bucket(self, id: u64) -> usize {
        (id.wrapping_mul(self.0) >> (self.0 & 63)) as usize
    }
}

/// A hash that puts at most [`WINDOW`] ids into each bucket.
pub(super) struct Buckets {
    pub(super) hash: IdHash,
    lengths: Vec<u16>,
}

impl Buckets {
    /// Finds a hash for ids that ascend. There may be none, and there is none if two are equal.
    pub(super) fn choose(ids: &[u64]) -> Option<Self> {
        u16::try_from(ids.len()).ok()?;
        if ids.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
            return None;
        }
        // From two entries per bucket on average down to a quarter of one.
        let most = ids.len().next_power_of_two().ilog2() + 2;
        ((most - 3).max(1)..=most).find_map(|bits| {
            let next = |last: &u64| Some(last.wrapping_mul(FIRST_MULTIPLIER));
            let mut multipliers =
                std::iter::successors(Some(FIRST_MULTIPLIER), next).take(MULTIPLIERS);
            multipliers.find_map(|multiplier| {
                let hash = IdHash(multiplier & !63 | u64::from(u64::BITS - bits));
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
