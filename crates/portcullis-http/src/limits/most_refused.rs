//! Which credentials are refused most.

use std::collections::HashMap;

use super::Key;

/// How many credentials are counted at a time.
const COUNTED: usize = 256;

/// Counts by the *space saving* algorithm (Metwally and others, 2005): a credential that is not counted takes the
/// place and the count of the one with the lowest. Whichever is refused more often than a 256th of all is counted.
#[derive(Default)]
pub(super) struct MostRefused(HashMap<Key, u64>);

impl MostRefused {
    pub(super) fn count(&mut self, key: Key) {
        if let Some(count) = self.0.get_mut(&key) {
            *count += 1;
            return;
        }
        let mut replaced = 0;
        if self.0.len() >= COUNTED {
            let lowest = self.0.iter().min_by_key(|(_, count)| **count);
            if let Some((&lowest, &count)) = lowest {
                self.0.remove(&lowest);
                replaced = count;
            }
        }
        self.0.insert(key, replaced + 1);
    }

    /// Returns those with the highest counts, the highest first; of equal ones in the order of their ids.
    pub(super) fn first(&self, at_most: usize) -> impl Iterator<Item = (Key, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(key, count)| (*key, *count)).collect();
        all.sort_unstable_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
        all.into_iter().take(at_most)
    }
}

#[cfg(test)]
mod tests {
    use portcullis::Id;

    use super::*;

    /// [LIMIT-6]
    #[test]
    fn those_that_are_refused_most_are_found_among_any_number() {
        let mut counts = MostRefused::default();
        for round in 0..2_000_u64 {
            for often in 1..=20 {
                counts.count(Key::ApiToken(Id::from_u64(often)));
            }
            for rare in 0..5 {
                counts.count(Key::Authorization(Id::from_u64(1_000 + round * 5 + rare)));
            }
        }
        assert_eq!(counts.0.len(), COUNTED);
        let mut found: Vec<_> = counts.first(20).map(|(key, _)| key.id().as_u64()).collect();
        found.sort_unstable();
        assert_eq!(found, (1..=20).collect::<Vec<_>>());
        let error = 2_000 * 25 / COUNTED as u64;
        assert!(counts.first(20).all(|(_, count)| (2_000..=2_000 + error).contains(&count)));
    }
}
