//! Unique keys are compared byte by byte, over their whole length.

use portcullis::store::{Index, Kind, UniqueKey};

use crate::access::{ALL, Refusal, assert_exists, commit, get_by_key, list_ids, refused, shown};
use crate::fixtures::{self, Sample};
use crate::harness::Harness;

/// Names that differ in case, Unicode form, blanks, NUL or invisible characters are different.
pub async fn names_are_compared_byte_by_byte(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let samples: Vec<_> = (1..)
        .zip(fixtures::names())
        .map(|(id, name)| Sample::authorization(id).with_key(name))
        .collect();
    // One by one: each is looked up while only similar names exist.
    for (test, sample) in samples.iter().enumerate() {
        let found = get_by_key(store, sample.kind, &sample.key).await;
        assert!(
            found.is_none(),
            "{} finds {}",
            shown(&sample.key),
            shown(found.expect("it").unique_key.as_str())
        );
        commit(store, [sample.create()]).await;
        let before = &samples[test.saturating_sub(1)];
        assert_exists(store, before).await;
    }
    for sample in &samples {
        assert_exists(store, sample).await;
        let again = Sample::authorization(u64::MAX).with_key(&*sample.key);
        refused(store, [again.create()], Refusal::key_taken(&again)).await;
    }
    let listed = list_ids(store, Index::All(Kind::Authorization), ALL).await;
    assert_eq!(listed.len(), samples.len());
}

/// A name can be replaced by a similar one, and back.
pub async fn similar_names_can_be_renamed_into_each_other(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let mut now = Sample::authorization(1).with_key("x");
    commit(store, [now.create()]).await;
    for name in fixtures::names() {
        let next = now.revised().with_key(name);
        commit(store, [next.replace(&now)]).await;
        assert_exists(store, &next).await;
        let old = get_by_key(store, now.kind, &now.key).await;
        assert!(old.is_none(), "{} is found after it became {}", shown(&now.key), shown(&next.key));
        now = next;
    }
}

/// The longest unique keys are stored, found, and distinguished by their last byte.
pub async fn the_longest_names_are_compared_to_the_last_byte(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let common = "k".repeat(UniqueKey::MAX_BYTES - 2);
    let ends = ["aa", "ab", "ba", "a\0", "\0a", "\u{e9}", "a", ""];
    let names: Vec<String> = ends.iter().map(|end| format!("{common}{end}")).collect();
    for kind in [Kind::Authorization, Kind::ApiToken] {
        for (id, name) in (1..).zip(&names) {
            let sample = Sample::of(kind, id).with_key(name.as_str());
            assert!(get_by_key(store, kind, name).await.is_none());
            commit(store, [sample.create()]).await;
        }
        for (id, name) in (1..).zip(&names) {
            assert_exists(store, &Sample::of(kind, id).with_key(name.as_str())).await;
            let again = Sample::of(kind, 100).with_key(name.as_str());
            refused(store, [again.create()], Refusal::key_taken(&again)).await;
        }
    }
}

/// A name over the bound cannot be stored, and finds nothing, including the name that is its beginning.
pub async fn names_over_the_bound_are_refused(harness: &Harness) {
    let test = harness.open().await;
    let store = test.store();
    let longest = "k".repeat(UniqueKey::MAX_BYTES);
    let sample = Sample::authorization(1).with_key(longest.as_str());
    commit(store, [sample.create()]).await;
    for more in [1, 2, UniqueKey::MAX_BYTES, 1 << 20] {
        let longer = longest.clone() + &"k".repeat(more);
        assert!(UniqueKey::new(longer.as_str()).is_err());
        let found = get_by_key(store, sample.kind, &longer).await;
        assert!(found.is_none(), "{} finds a shorter one", shown(&longer));
    }
    assert_exists(store, &sample).await;
}
