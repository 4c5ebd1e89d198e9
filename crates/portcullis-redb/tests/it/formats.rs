//! Old files, opened with today's code.
//!
//! There is one of each format, `tests/fixtures/v1.redb` and so on, as the version that introduced the
//! format has written it. After changing the format, make the file of the new one:
//!
//! ```text
//! cargo test -p portcullis-redb --test it -- --ignored write_the_fixture_of_this_format
//! ```

use std::fs;
use std::path::PathBuf;

use portcullis::store::{Expect, Index, Kind, Lookup, Operation, PageRequest, Store as _};
use portcullis::verify::verify;
use portcullis::{GrantKey, Permission};
use portcullis_testkit::pinned_records;

use crate::common::{Place, commit};

/// The format that is written today.
const FORMAT: u64 = 1;

fn fixture(format: u64) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    PathBuf::from(directory).join(format!("v{format}.redb"))
}

#[tokio::test]
async fn files_of_every_format_open() {
    for old in 1..=FORMAT {
        let place = Place::new();
        fs::copy(fixture(old), place.path()).unwrap();
        let store = place.open();
        assert!(!store.was_created());
        for (expected, _) in pinned_records() {
            let lookup = Lookup::UniqueKey(expected.kind, expected.unique_key.as_str());
            assert_eq!(store.get(lookup).await.unwrap(), Some(expected));
        }
        let grant: Permission = "read:buckets/0000000000000003".parse().unwrap();
        let index = Index::Grant(Kind::Authorization, GrantKey::of(grant));
        let request = PageRequest { after: None, limit: 10.try_into().unwrap() };
        assert_eq!(store.list(index, request).await.unwrap().records.len(), 1);
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
        commit(&store, [crate::common::user(77, "new")]).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "writes tests/fixtures: run it once, when the format has changed"]
async fn write_the_fixture_of_this_format() {
    let place = Place::new();
    let store = place.open();
    for (record, grants) in pinned_records() {
        commit(&store, [Operation::Put { record, grants, expect: Expect::Absent }]).await.unwrap();
    }
    store.close().await.unwrap();
    let path = fixture(FORMAT);
    assert!(!path.exists(), "{} must not change any more", path.display());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(place.path(), &path).unwrap();
}
