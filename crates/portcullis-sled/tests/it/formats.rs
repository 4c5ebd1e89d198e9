//! Old directories, opened with today's code.
//!
//! There is one of each format, `tests/fixtures/v1` and so on, as the version that introduced the
//! format has written it. After changing the format, make the directory of the new one:
//!
//! ```text
//! cargo test -p portcullis-sled --test it -- --ignored write_the_fixture_of_this_format
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::store::{Expect, Index, Kind, Lookup, Operation, PageRequest, Record, Store as _};
use portcullis::verify::verify;
use portcullis::{GrantKey, Permission};
use portcullis_testkit::{pinned_dbrp, pinned_records, pinned_uses};

use crate::common::{Place, commit};

/// The format that is written today.
const FORMAT: u64 = 3;

/// The records that a directory of the format has.
fn pinned(format: u64) -> Vec<(Record, Vec<GrantKey>)> {
    let mut records = pinned_records();
    if format >= 2 {
        records.push(pinned_dbrp());
    }
    if format >= 3 {
        records.extend(pinned_uses());
    }
    records
}

fn format(place: &Place) -> u64 {
    let value = place.raw().get("format").unwrap().unwrap();
    u64::from_be_bytes(value.as_ref().try_into().unwrap())
}

fn fixture(format: u64) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    PathBuf::from(directory).join(format!("v{format}"))
}

/// Copies the files of the directory, of which there are no others in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn directories_of_every_format_open() {
    for old in 1..=FORMAT {
        let place = Place::new();
        copy(&fixture(old), &place.path());
        assert_eq!(format(&place), old);
        let store = place.open();
        assert!(!store.was_created());
        for (expected, _) in pinned(old) {
            let lookup = Lookup::UniqueKey(expected.kind, expected.unique_key.as_str());
            assert_eq!(store.get(lookup).await.unwrap(), Some(expected));
        }
        let grant: Permission = "read:buckets/0000000000000003".parse().unwrap();
        let index = Index::Grant(Kind::Authorization, GrantKey::of(grant));
        let request = PageRequest { after: None, limit: 10.try_into().unwrap() };
        assert_eq!(store.list(index, request).await.unwrap().records.len(), 1);
        assert!(verify(&store, |_| {}).await.unwrap().is_ok());
        commit(&store, [crate::common::user(77, "new")]).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        assert_eq!(format(&place), FORMAT, "a version for an older format refuses it");
    }
}

#[tokio::test]
#[ignore = "writes tests/fixtures: run it once, when the format has changed"]
async fn write_the_fixture_of_this_format() {
    let place = Place::new();
    let store = place.open();
    for (record, grants) in pinned(FORMAT) {
        commit(&store, [Operation::Put { record, grants, expect: Expect::Absent }]).await.unwrap();
    }
    store.close().await.unwrap();
    let path = fixture(FORMAT);
    assert!(!path.exists(), "{} must not change any more", path.display());
    copy(&place.path(), &path);
}
