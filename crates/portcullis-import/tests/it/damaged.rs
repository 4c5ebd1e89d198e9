//! Files that are damaged, cut off, or of another program.

use portcullis_import::Format;

use crate::meta::{self, bytes, number, plain_database, user};
use crate::support::{file, items};

fn good() -> Vec<u8> {
    meta::file(
        &[plain_database("telemetry"), plain_database("events")],
        &[user("reader", false, &[("telemetry", 1)]), user("writer", false, &[("events", 2)])],
    )
}

fn error(bytes: &[u8]) -> String {
    match items(bytes) {
        Ok(items) => panic!("{} items", items.len()),
        Err(error) => error.to_string(),
    }
}

/// [IMP-7]
#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    let good = good();
    assert_eq!(items(&good).unwrap().len(), 8);
    for length in 0..good.len() {
        let error = error(&good[..length]);
        assert!(error.starts_with('`'), "{length}: {error}");
    }
    assert!(error(&[]).ends_with("the file is empty"));
    let without_end = &good[..good.len() - 2];
    assert!(error(without_end).contains("the field `MaxShardID` is missing"));
    let in_a_user = error(&good[..good.len() - 20]);
    assert!(in_a_user.contains(", byte ") && in_a_user.contains("cut off"), "{in_a_user}");
}

/// Every bit of the file is changed once: there are items or an error, and nothing worse.
/// [IMP-7]
#[test]
fn a_damaged_file_is_an_error_or_has_other_items() {
    let good = good();
    let mut refused = 0;
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.clone();
            damaged[place] ^= 1 << bit;
            refused += usize::from(items(&damaged).is_err());
        }
    }
    assert!(refused > good.len(), "{refused}");
}

/// [IMP-7]
#[test]
fn files_of_other_programs_are_refused_with_the_reason() {
    let bolt = [[0; 16].as_slice(), &0xED0C_DAED_u32.to_le_bytes(), &[0; 4_096]].concat();
    for (what, content) in [
        ("text", b"hello, world\nthis is text\n".to_vec()),
        ("JSON", b"{\"type\":\"snapshot\",\"version\":1}\n".to_vec()),
        ("SQLite", b"SQLite format 3\0\x10\0\x01\x01\0@  \0\0\0\0".to_vec()),
        ("bolt", bolt),
        ("zeros", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("other protobuf", bytes(1, "name")),
        (
            "a field with a long length",
            [number(1, 0), vec![0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(),
        ),
        ("a database that is a number", [meta::file(&[], &[]), number(5, 1)].concat()),
        ("a user that is text", [meta::file(&[], &[]), bytes(6, "reader")].concat()),
        ("a name that is not UTF-8", [meta::file(&[], &[]), bytes(6, bytes(1, [0xff]))].concat()),
        ("a group", [meta::file(&[], &[]), vec![0x33]].concat()),
        ("field 0", [meta::file(&[], &[]), vec![0x02, 0x00]].concat()),
        ("a long number", [meta::file(&[], &[]), vec![0x08], vec![0x80; 11]].concat()),
    ] {
        let error = error(&content);
        assert!(error.starts_with("`/") && error.len() < 300, "{what}: {error}");
    }
    let nested = (0..10_000).fold(Vec::new(), |inner, _| bytes(3, inner));
    assert!(items(&[meta::file(&[], &[]), bytes(5, nested)].concat()).is_ok());
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &std::path::Path| match Format::Influxdb1x.open(path) {
        Ok(_) => panic!("{path:?}"),
        Err(error) => error.to_string(),
    };
    assert!(error(directory.path()).ends_with("is a directory"));
    assert!(error(&directory.path().join("meta.db")).contains("could not be read"));
    assert!(error("/dev/zero".as_ref()).ends_with("is not a regular file"));
    let there = file(&good());
    assert!(Format::Influxdb1x.open(there.path()).is_ok());
}
