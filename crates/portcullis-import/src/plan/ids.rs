//! Ids of new records.

use portcullis::{Id, Random, RandomUnavailable, Timestamp};

/// The epoch of generated ids, 1 January 2020, in milliseconds since 1970.
const EPOCH_MILLIS: i64 = 1_577_836_800_000;

/// The number of low bits of an id. The high bits are the time.
const LOW_BITS: u32 = 22;

/// Ascending ids, in the range of those that the engine generates: the time and random bits, and then one
/// after the other, because a million random ones of the same second would not differ.
pub(super) struct Ids {
    next: u64,
}

impl Ids {
    pub(super) fn starting(now: Timestamp, random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes)?;
        let low = u64::from_be_bytes(bytes) & ((1 << LOW_BITS) - 1);
        let millis = now.as_unix_millis().saturating_sub(EPOCH_MILLIS);
        // Never zero, and above the ids that the engine leaves for imports.
        let time = u64::try_from(millis).unwrap_or(0).max(1) << LOW_BITS;
        Ok(Self { next: time | low })
    }

    pub(super) fn next(&mut self) -> Id {
        let id = Id::from_u64(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use portcullis::SystemRandom;

    use super::*;

    #[test]
    fn ids_ascend_and_two_imports_begin_at_different_ones() {
        let mut ids = Ids::starting(Timestamp::now(), &SystemRandom).unwrap();
        let (first, second) = (ids.next(), ids.next());
        assert!(first < second && !first.is_zero());
        let mut others = Ids::starting(Timestamp::UNIX_EPOCH, &SystemRandom).unwrap();
        let other = others.next();
        assert!(other != first && other.as_u64() >= 1 << LOW_BITS);
    }
}
