//! Lists from a cold file: the system's page cache is dropped before each, so that every page that
//! is read comes from the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_benches::rounds::{Contender, rounds, took};
use portcullis_benches::table::Row;
use rustix::fs::{Advice, fadvise};

use crate::bare_sqlite;
use crate::reads::{EVERYTHING, Owner, list, numbers, of_owner};
use crate::world::{World, layouts_file, sqlite_file};

pub(crate) const NAME: &str = "lists from the disk";

const ROUNDS: usize = 9;

/// Drops the file from the system's page cache.
fn drop_cached_pages(file: &Path) {
    fadvise(File::open(file).unwrap(), 0, None, Advice::DontNeed).unwrap();
}

/// Reads the whole file into the system's page cache, as other benches expect it.
fn cache_pages(file: &Path) {
    io::copy(&mut File::open(file).unwrap(), &mut io::sink()).unwrap();
}

/// Reads another one of these every time, from the disk.
fn each_once<'a>(
    owners: &'a [Owner],
    file: PathBuf,
    read: impl Fn(&Owner) -> usize + 'a,
    all: usize,
) -> Contender<'a> {
    let mut next = owners.iter();
    Box::new(move || {
        let owner = next.next().unwrap();
        drop_cached_pages(&file);
        let (nanos, found) = took(|| read(owner));
        assert_eq!(found, all);
        nanos
    })
}

/// One user's hundred and one org's thousand, beside SQLite clustered by them, and by an index.
pub(crate) fn lists(world: &World, rows: &mut Vec<Row>) {
    let data = world.data;
    // One more, which warms up.
    let some = |below| numbers(data, below, ROUNDS + 1).into_iter();
    let users = some(data.users()).map(|number| Owner::user(data, number)).collect();
    let orgs = some(data.orgs()).map(|number| Owner::org(data, number)).collect();
    compare(world, users, "user", "one user's", rows);
    compare(world, orgs, "org", "one org's", rows);
    [sqlite_file(data), layouts_file(data)].iter().for_each(|file| cache_pages(file));
}

fn compare(world: &World, owners: Vec<Owner>, column: &str, whose: &str, rows: &mut Vec<Row>) {
    let data = world.data;
    let all = list(world, &world.memory, &owners[0].filter, EVERYTHING);
    let zero = "0".repeat(16);
    let bare = |sql: String| {
        let zero = zero.clone();
        move |owner: &Owner| bare_sqlite::read(&world.layouts, &sql, &[&owner.id, &zero], all)
    };
    let clustered = of_owner(&format!("of_{column}"), column);
    let indexed = of_owner("indexed", column);
    let taken = rounds(
        ROUNDS,
        vec![
            each_once(
                &owners,
                sqlite_file(data),
                |owner| list(world, &world.sqlite, &owner.filter, EVERYTHING),
                all,
            ),
            each_once(&owners, layouts_file(data), bare(clustered), all),
            each_once(&owners, layouts_file(data), bare(indexed), all),
        ],
    );
    let what = format!("SQLite, {whose} {all} of {} from the disk", data.count());
    rows.push(Row::beside(&what, "bare SQLite, clustered by it", &taken.beside(1)));
    let row = Row::at_most(&what, "bare SQLite, by an index", &taken.beside(2), 0.5);
    // The target is for a million.
    rows.push(row.promised_if(data.count() >= 1_000_000));
}
