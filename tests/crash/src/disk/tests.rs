//! The disk against traces as strace writes them.

use super::*;
use crate::cuts::Recording;
use crate::ledger::Ledger;
use crate::strace::parse;

const OPEN: &str = r#"1 openat(AT_FDCWD<\x2f>, "/r/f", O_RDWR|O_CREAT, 0600) = 3</r/f>
"#;

fn write(bytes: &str, at: u64) -> String {
    format!("1 pwrite64(3</r/f>, \"{bytes}\", {}, {at}) = {}\n", bytes.len(), bytes.len())
}

const SYNC: &str = "1 fsync(3</r/f>) = 0\n";
const SYNC_DIRECTORY: &str =
    "1 openat(AT_FDCWD</>, \"/r\", O_RDONLY) = 9</r>\n1 fsync(9</r>) = 0\n";

fn disk(model: Model, trace: &str) -> Disk {
    let root = Path::new("/r");
    let mut disk = Disk::new(model, root, &Image::new()).unwrap();
    let recording = Recording::new(trace, Image::new(), Ledger::new(), root.to_owned()).unwrap();
    for moment in &recording.moments {
        recording.step(*moment, &mut disk, &mut Ledger::new()).unwrap().unwrap();
    }
    disk
}

fn file(disk: &Disk, damage: Damage) -> Option<String> {
    let image = disk.cut(damage, &mut fastrand::Rng::with_seed(5));
    let content = image.get("f")?.as_ref()?;
    Some(String::from_utf8(content.clone()).unwrap())
}

#[test]
fn synced_writes_are_there_and_others_may_be() {
    let trace = [OPEN, &write("abc", 0), SYNC, &write("XY", 1), &write("z", 4)].concat();
    let disk = disk(Model::Journal, &trace);
    assert_eq!(file(&disk, Damage::Dropped).unwrap(), "abc");
    assert_eq!(file(&disk, Damage::Kept).unwrap(), "aXY\0z");
    assert_eq!(file(&disk, Damage::Zeros).unwrap(), "abc\0\0");
    assert_eq!(disk.volatile(), 2);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let image = disk.cut(Damage::Reordered, &mut fastrand::Rng::with_seed(seed));
        seen.extend(image.into_values().flatten().map(|bytes| String::from_utf8(bytes).unwrap()));
    }
    assert!(["abc", "aXY", "abc\0z", "aXY\0z"].iter().all(|text| seen.contains(*text)), "{seen:?}");
}

#[test]
fn files_are_lost_with_the_name_of_their_directory() {
    let trace = concat!(
        "1 mkdir(\"/r/new\", 0700) = 0\n",
        "1 openat(AT_FDCWD</>, \"/r/new/f\", O_RDWR|O_CREAT, 0600) = 3</r/new/f>\n",
        "1 pwrite64(3</r/new/f>, \"abc\", 3, 0) = 3\n",
        "1 fsync(3</r/new/f>) = 0\n",
        "1 openat(AT_FDCWD</>, \"/r/new\", O_RDONLY) = 9</r/new>\n1 fsync(9</r/new>) = 0\n",
        "1 rename(\"/r/new\", \"/r/d\") = 0\n",
    );
    let names = |trace: &str, damage| {
        let image = disk(Model::Posix, trace).cut(damage, &mut fastrand::Rng::with_seed(1));
        image.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(trace, Damage::Kept), ["d", "d/f"]);
    let synced = trace.to_owned() + SYNC_DIRECTORY;
    assert_eq!(names(&synced, Damage::Dropped), ["d", "d/f"]);
    assert_eq!(names(trace, Damage::Dropped), ["new/f"], "a directory whose name is lost");
}

#[test]
fn a_name_needs_its_directory_or_the_journal() {
    let trace = [OPEN, &write("abc", 0), SYNC].concat();
    assert_eq!(file(&disk(Model::Posix, &trace), Damage::Dropped), None);
    assert_eq!(file(&disk(Model::Journal, &trace), Damage::Dropped).unwrap(), "abc");
    let trace = trace + SYNC_DIRECTORY;
    assert_eq!(file(&disk(Model::Posix, &trace), Damage::Dropped).unwrap(), "abc");
}

#[test]
fn sync_file_range_counts_for_those_who_believe_in_it() {
    let range = "1 sync_file_range(3</r/f>, 0, 3, SYNC_FILE_RANGE_WRITE) = 0\n";
    let trace = [OPEN, SYNC, &write("abc", 0), range].concat();
    assert_eq!(file(&disk(Model::Journal, &trace), Damage::Dropped).unwrap(), "");
    assert_eq!(file(&disk(Model::Lenient, &trace), Damage::Dropped).unwrap(), "abc");
}

#[test]
fn after_a_failed_sync_the_next_one_saves_nothing_of_before() {
    let failed = "1 fsync(3</r/f>) = -1 EIO (Input/output error) (INJECTED)\n";
    let trace = [OPEN, SYNC, &write("abc", 0), failed, &write("d", 3), SYNC].concat();
    let disk = disk(Model::Journal, &trace);
    assert_eq!(file(&disk, Damage::Dropped).unwrap(), "\0\0\0d");
    assert_eq!(file(&disk, Damage::Kept).unwrap(), "abcd");
}

#[test]
fn a_sync_covers_the_calls_that_had_returned_when_it_began() {
    let trace = format!(
        "{OPEN}{SYNC}1 pwrite64(3</r/f>, \"abc\", 3, 0 <unfinished ...>\n2 fsync(3</r/f>) = 0\n\
         1 <... pwrite64 resumed>) = 3\n"
    );
    assert_eq!(file(&disk(Model::Journal, &trace), Damage::Dropped).unwrap(), "");
}

#[test]
fn writes_without_an_offset_follow_each_other() {
    let write = "1 write(3</r/f>, \"ab\", 2) = 2\n";
    let trace = [OPEN, write, write, "1 lseek(3</r/f>, 1, SEEK_SET) = 1\n", write].concat();
    assert_eq!(file(&disk(Model::Journal, &trace), Damage::Kept).unwrap(), "aabb");
}

#[test]
fn renames_and_removals_are_as_durable_as_their_directory() {
    let rename = "1 rename(\"/r/f\", \"/r/g\") = 0\n";
    let trace = [OPEN, &write("abc", 0), SYNC, SYNC_DIRECTORY, rename].concat();
    let renamed = disk(Model::Posix, &trace);
    assert_eq!(file(&renamed, Damage::Dropped).unwrap(), "abc");
    assert_eq!(file(&renamed, Damage::Kept), None);
    let synced = disk(Model::Posix, &(trace + "1 fsync(9</r>) = 0\n1 unlink(\"/r/g\") = 0\n"));
    let image = synced.cut(Damage::Dropped, &mut fastrand::Rng::with_seed(1));
    assert_eq!(image.keys().collect::<Vec<_>>(), ["g"]);
    assert!(synced.cut(Damage::Kept, &mut fastrand::Rng::with_seed(1)).is_empty());
}

#[test]
fn a_torn_write_keeps_the_bytes_outside_of_it() {
    let old = "o".repeat(2_000);
    let trace = [OPEN, &write(&old, 0), SYNC, &write(&"n".repeat(1_000), 300)].concat();
    let disk = disk(Model::Journal, &trace);
    let mut torn = 0;
    for seed in 0..40 {
        for damage in [Damage::Torn, Damage::Sectors] {
            let image = disk.cut(damage, &mut fastrand::Rng::with_seed(seed));
            let content = image["f"].clone().unwrap();
            assert!(content[..300].iter().chain(&content[1_300..]).all(|byte| *byte == b'o'));
            let new = content.iter().filter(|byte| **byte == b'n').count();
            torn += usize::from(new > 0 && new < 1_000);
        }
    }
    assert!(torn > 10);
}

#[test]
fn a_call_that_is_not_modelled_is_an_error() {
    let trace = format!("{OPEN}1 copy_file_range(3</r/f>, NULL, 3</r/f>, NULL, 5, 0) = 5\n");
    let mut disk = Disk::new(Model::Posix, Path::new("/r"), &Image::new()).unwrap();
    let calls = parse(&trace).unwrap();
    disk.begin(0, &calls[0]).unwrap();
    disk.end(0, &calls[0]);
    assert!(disk.begin(1, &calls[1]).is_err());
}
