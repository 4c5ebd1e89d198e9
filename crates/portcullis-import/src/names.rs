//! Which names have occurred, in little memory: digests in place of the names.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;

use portcullis::{Random, RandomUnavailable};
use siphasher::sip::SipHasher13;
use unicode_normalization::UnicodeNormalization;

/// The names of the items of each kind.
///
/// Digests have a random key, so that no file can contain two names with the same one. By chance it happens
/// in one of forty million imports of a million names: the second name is then reported as one that occurs
/// twice.
pub(crate) struct Names {
    key: [u64; 2],
    kinds: HashMap<&'static str, NamesOfKind>,
}

#[derive(Default)]
struct NamesOfKind {
    /// The digest of each folded name, and that of the first name with it.
    first: HashMap<u64, u64>,
    /// The digests of the other names.
    others: HashSet<u64>,
}

/// How a name relates to those before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No other name resembles it.
    New,
    /// It differs from another one only by case or Unicode form. Both have this form without them.
    Similar(String),
    /// It is there already.
    Same,
}

impl Names {
    pub(crate) fn new(random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let mut key = [[0; 8]; 2];
        random.fill(key.as_flattened_mut())?;
        Ok(Self { key: key.map(u64::from_le_bytes), kinds: HashMap::new() })
    }

    /// Adds the name of an item of the kind.
    pub(crate) fn add(&mut self, kind: &'static str, name: &str) -> Seen {
        let folded = fold(name);
        let (digest, folded_digest) = (self.digest(name), self.digest(&folded));
        let names = self.kinds.entry(kind).or_default();
        match names.first.entry(folded_digest) {
            Entry::Vacant(free) => {
                free.insert(digest);
                Seen::New
            }
            Entry::Occupied(first) if *first.get() == digest => Seen::Same,
            Entry::Occupied(_) if names.others.insert(digest) => Seen::Similar(folded),
            Entry::Occupied(_) => Seen::Same,
        }
    }

    fn digest(&self, name: &str) -> u64 {
        let [first, second] = self.key;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

/// Returns the name without case and Unicode forms.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Lower case of a compatibility form may be one again.
    name.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use portcullis::SystemRandom;

    use super::*;

    /// [IMP-9]
    #[test]
    fn names_that_differ_by_case_or_unicode_form_are_similar() {
        let mut names = Names::new(&SystemRandom).unwrap();
        assert_eq!(names.add("user", "Straße"), Seen::New);
        assert_eq!(names.add("user", "Straße"), Seen::Same);
        assert_eq!(names.add("user", "STRAßE"), Seen::Similar("straße".to_owned()));
        assert_eq!(names.add("user", "STRAßE"), Seen::Same);
        assert_eq!(names.add("user", "Strasse"), Seen::New);
        for (one, other) in
            [("ada", "ADA"), ("caf\u{e9}", "cafe\u{301}"), ("ﬁre", "fire"), ("Ａ", "a")]
        {
            let mut names = Names::new(&SystemRandom).unwrap();
            assert_eq!(names.add("user", one), Seen::New);
            assert!(matches!(names.add("user", other), Seen::Similar(_)), "{one} {other}");
            assert_eq!(names.add("org", other), Seen::New);
        }
    }
}
