//! With a hundred times the records, no read costs more than twice as much per returned record, and
//! a page hardly more. Stores of all sizes take turns, so that other work on the machine slows all of them.

use std::hint::black_box;
use std::num::NonZeroUsize;

use portcullis::{AuthorizationFilter, AuthorizationId, Engine, Id};
use portcullis_benches::data::Data;
use portcullis_benches::results::Results;
use portcullis_benches::rounds::{Contender, rounds, took};
use portcullis_benches::table::{Row, nanos};

use crate::bare_sqlite::{self, SELECT};
use crate::reads::{EVERYTHING, Owner, get_id, get_name, ids_and_names, list, numbers, owners};
use crate::world::World;

pub(crate) const NAME: &str = "growth";

const ROUNDS: usize = 15;

/// How many records a page has.
const PAGE: usize = 20;

/// How many of all records are read from each of the starting points.
const PART: usize = 1_000;

/// A store, and what it is called.
type Of = (&'static str, fn(&World) -> &Engine);

const STORES: [Of; 4] = [
    ("SQLite", |world| &world.sqlite),
    ("memory", |world| &world.memory),
    ("redb", |world| &world.redb().engine),
    ("sled", |world| &world.sled().engine),
];

/// What is asked for.
struct Keys {
    ids: Vec<Id>,
    names: Vec<String>,
    users: Vec<Owner>,
    orgs: Vec<Owner>,
    /// Where lists of all records begin.
    starts: Vec<AuthorizationId>,
}

impl Keys {
    fn of(data: Data) -> Self {
        let (ids, names) = ids_and_names(data);
        let [(users, ..), (orgs, ..)] = owners(data);
        let starts = numbers(data, data.count() - PART, 10);
        let starts = starts.into_iter().map(|number| data.id(number)).collect();
        Self { ids, names, users, orgs, starts }
    }
}

/// Reads all of these once to warm up, because the other contenders ran in between, and then once
/// more; returns the time of one.
fn again<'a, K>(keys: &'a [K], mut read: impl FnMut(&'a K) + 'a) -> Contender<'a> {
    Box::new(move || {
        keys.iter().for_each(&mut read);
        took(|| keys.iter().for_each(&mut read)).0 / keys.len() as f64
    })
}

/// Measures every read in all the worlds.
pub(crate) fn measure(worlds: &[World], rows: &mut Vec<Row>, results: &mut Results) {
    let keys: Vec<Keys> = worlds.iter().map(|world| Keys::of(world.data)).collect();
    let mut sizes = Sizes { sizes: worlds.iter().zip(&keys).collect(), rows, results };
    for store in STORES {
        of_store(store, &mut sizes);
    }
    of_bare_engines(&mut sizes);
}

/// Whose lists are read, and what they are called.
type Whose = (&'static str, fn(&Keys) -> &[Owner]);

const OWNERS: [Whose; 2] = [("one user's", |keys| &keys.users), ("one org's", |keys| &keys.orgs)];

fn of_store((store, engine): Of, sizes: &mut Sizes<'_>) {
    let title = |what: &str| format!("{store}, {what}");
    sizes.compare(&title("get by id"), 1, 2.0, |world, keys| {
        let engine = engine(world);
        again(&keys.ids, move |id| get_id(world, engine, *id))
    });
    sizes.compare(&title("get by username"), 1, 2.0, |world, keys| {
        let engine = engine(world);
        again(&keys.names, move |name| get_name(world, engine, name))
    });
    for (whose, owners) in OWNERS {
        let all = sizes.records_of(owners);
        let page = NonZeroUsize::new(PAGE).unwrap();
        let parts = [
            (EVERYTHING, all, whose.to_owned(), 2.0),
            (page, PAGE, format!("a page of {PAGE} of {whose}"), 1.5),
        ];
        for (limit, records, what, most) in parts {
            sizes.compare(&title(&what), records, most, |world, keys| {
                let engine = engine(world);
                again(owners(keys), move |owner| {
                    assert_eq!(list(world, engine, &owner.filter, limit), records);
                })
            });
        }
    }
    sizes.compare(&title("all records"), PART, 2.0, |world, keys| {
        let engine = engine(world);
        again(&keys.starts, move |after| all_records(world, engine, *after))
    });
}

/// The engines underneath, which have no targets.
fn of_bare_engines(sizes: &mut Sizes<'_>) {
    let none = f64::INFINITY;
    let query = |condition| format!("{SELECT} authorizations WHERE {condition} ORDER BY id");
    let read = |world: &World, sql: &str, key: &str, most| {
        assert_eq!(bare_sqlite::read(&world.bare, sql, &[key], most), most);
    };
    sizes.compare("bare SQLite, get by id", 1, none, |world, keys| {
        let sql = query("id = ?1");
        again(&keys.ids, move |id| read(world, &sql, &id.to_string(), 1))
    });
    sizes.compare("bare SQLite, get by username", 1, none, |world, keys| {
        let sql = query("unique_key = ?1");
        again(&keys.names, move |name| read(world, &sql, name, 1))
    });
    sizes.compare("bare SQLite, all records", PART, none, |world, keys| {
        let sql = query("id > ?1");
        again(&keys.starts, move |after| read(world, &sql, &after.to_string(), PART))
    });
    sizes.compare("bare sled, get by id", 1, none, |world, keys| {
        let bare = &world.sled().bare;
        again(&keys.ids, move |id| assert_eq!(bare.by_id(id.as_u64()), 1))
    });
    sizes.compare("bare sled, get by username", 1, none, |world, keys| {
        let bare = &world.sled().bare;
        again(&keys.names, move |name| assert_eq!(bare.by_name(name), 1))
    });
    for (whose, owners) in OWNERS {
        let all = sizes.records_of(owners);
        sizes.compare(&format!("bare sled, {whose}"), all, none, |world, keys| {
            let bare = &world.sled().bare;
            again(owners(keys), move |owner| assert_eq!(bare.list(owner.of, all), all))
        });
    }
}

/// A list of all authorizations, in the order of their ids: neighbours lie apart in a file that is
/// clustered by owner.
fn all_records(world: &World, engine: &Engine, after: AuthorizationId) {
    let (everything, part) = (AuthorizationFilter::all(), NonZeroUsize::new(PART).unwrap());
    let listing = engine.list_authorizations(&everything, Some(after), part);
    let found = world.runtime.block_on(listing).unwrap().items;
    assert_eq!(black_box(found).len(), PART);
}

/// The worlds, from the smallest to the largest, and where results go.
struct Sizes<'w> {
    sizes: Vec<(&'w World, &'w Keys)>,
    rows: &'w mut Vec<Row>,
    results: &'w mut Results,
}

impl<'w> Sizes<'w> {
    /// How many records one of these owners has.
    fn records_of(&self, owners: fn(&Keys) -> &[Owner]) -> usize {
        let (world, keys) = self.sizes[0];
        list(world, &world.memory, &owners(keys)[0].filter, EVERYTHING)
    }

    /// Lets the read take turns in all worlds. Per returned record it is to cost at most `most` times as
    /// much in the largest as in the smallest.
    fn compare(
        &mut self,
        what: &str,
        records: usize,
        most: f64,
        read: impl Fn(&'w World, &'w Keys) -> Contender<'w>,
    ) {
        let turns = self.sizes.iter().map(|(world, keys)| read(world, keys)).collect();
        let taken = rounds(ROUNDS, turns);
        let of_each = |size: usize| taken.median(size) / records as f64;
        let count = |size: usize| self.sizes[size].0.data.count();
        for size in 0..self.sizes.len() {
            self.results.point("records", what, count(size) as f64, of_each(size));
        }
        let last = self.sizes.len() - 1;
        if last == 0 {
            return;
        }
        let label = format!("{what}, each record, of {}", count(last));
        let peer = format!("of {}", count(0));
        let peer = (peer.as_str(), nanos(of_each(0)));
        let row = Row::ratio(&label, nanos(of_each(last)), peer, taken.ratio(last, 0), most);
        self.rows.push(row.promised_if(most.is_finite()));
    }
}
