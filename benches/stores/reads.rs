//! What reading costs through a store, beside the engine underneath it and a parser of JSON.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use fastrand::Rng;
use futures_util::StreamExt as _;
use portcullis::store::{Entity, Index, Kind, Lookup, Record, StoreExt};
use portcullis::{Authorization, AuthorizationFilter, Engine, Id, Permission, Status};
use portcullis_benches::data::{self, Data};
use portcullis_benches::rounds::{Contender, rounds, took};
use portcullis_benches::table::{Row, nanos};

use crate::bare_sqlite::{self, SELECT};
use crate::ordered::Of;
use crate::world::{OrderedWorld, World};

pub(crate) const GET: &str = "get";
pub(crate) const LIST: &str = "list and page";
pub(crate) const PLANS: &str = "filter plans";

const ROUNDS: usize = 15;

/// How many records a page has.
const PAGE: usize = 20;

/// A list that is not cut off.
pub(crate) const EVERYTHING: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Reads these keys one after the other and returns the time of one.
fn each<'a, K: 'a>(keys: &'a [K], mut read: impl FnMut(&'a K) + 'a) -> Contender<'a> {
    Box::new(move || took(|| keys.iter().for_each(&mut read)).0 / keys.len() as f64)
}

/// Distinct numbers, so that the working set does not depend on the number of records.
pub(crate) fn numbers(data: Data, below: usize, count: usize) -> Vec<usize> {
    let mut random = Rng::with_seed(data.count() as u64);
    let mut chosen = random.choose_multiple(0..below, count);
    random.shuffle(&mut chosen);
    chosen
}

fn get(world: &World, engine: &Engine, lookup: Lookup<'_>) {
    let record = world.runtime.block_on(engine.store().get(lookup)).unwrap().unwrap();
    black_box(Authorization::from_record(&record).unwrap());
}

pub(crate) fn get_id(world: &World, engine: &Engine, id: Id) {
    get(world, engine, Lookup::Id(Kind::Authorization, id));
}

pub(crate) fn get_name(world: &World, engine: &Engine, name: &str) {
    get(world, engine, Lookup::UniqueKey(Kind::Authorization, name));
}

/// Ids and usernames of some authorizations.
pub(crate) fn ids_and_names(data: Data) -> (Vec<Id>, Vec<String>) {
    let some = || numbers(data, data.count(), 400).into_iter();
    (some().map(|n| data.id(n).untyped()).collect(), some().map(|n| data.username(n)).collect())
}

/// A record by its id or username.
pub(crate) fn gets(world: &World, rows: &mut Vec<Row>) {
    let count = world.data.count();
    let (ids, names) = ids_and_names(world.data);
    let by_id = format!("{SELECT} authorizations WHERE id = ?1");
    let by_name = format!("{SELECT} authorizations WHERE unique_key = ?1");

    let taken = rounds(
        ROUNDS,
        vec![
            each(&ids, |id| get_id(world, &world.sqlite, *id)),
            each(&ids, |id| {
                let id = id.to_string();
                assert_eq!(bare_sqlite::read(&world.bare, &by_id, &[&id], 1), 1);
            }),
        ],
    );
    let what = format!("SQLite, get by id of {count}");
    rows.push(Row::at_most(&what, "bare SQLite", &taken, 1.3));

    let taken = rounds(
        ROUNDS,
        vec![
            each(&names, |name| get_name(world, &world.sqlite, name)),
            each(&names, |name| {
                assert_eq!(bare_sqlite::read(&world.bare, &by_name, &[name], 1), 1);
            }),
        ],
    );
    let what = format!("SQLite, get by username of {count}");
    rows.push(Row::at_most(&what, "bare SQLite", &taken, 1.3));
}

/// The same from redb and sled.
pub(crate) fn gets_by_ordered_keys(world: &World, rows: &mut Vec<Row>) {
    for (name, ordered) in [("redb", world.redb()), ("sled", world.sled())] {
        gets_from(world, name, ordered, rows);
    }
}

fn gets_from(world: &World, name: &str, ordered: &OrderedWorld, rows: &mut Vec<Row>) {
    let count = world.data.count();
    let (ids, names) = ids_and_names(world.data);
    let OrderedWorld { engine, bare, .. } = ordered;
    let bare_name = format!("bare {name}");
    let taken = rounds(
        ROUNDS,
        vec![
            each(&ids, |id| get_id(world, engine, *id)),
            each(&ids, |id| assert_eq!(bare.by_id(id.as_u64()), 1)),
        ],
    );
    let what = format!("{name}, get by id of {count}");
    rows.push(Row::beside(&what, &bare_name, &taken));
    let taken = rounds(
        ROUNDS,
        vec![
            each(&names, |name| get_name(world, engine, name)),
            each(&names, |name| assert_eq!(bare.by_name(name), 1)),
        ],
    );
    let what = format!("{name}, get by username of {count}");
    rows.push(Row::beside(&what, &bare_name, &taken));
}

/// The authorizations of a user, or of an org.
pub(crate) struct Owner {
    pub(crate) filter: AuthorizationFilter,
    pub(crate) of: Of,
    index: Index,
    pub(crate) id: String,
}

impl Owner {
    pub(crate) fn user(data: Data, number: usize) -> Self {
        let user = data.user(number);
        let mut filter = AuthorizationFilter::all();
        filter.user = Some(user);
        let index = Index::User(Kind::Authorization, user);
        Self { filter, of: Of::User(user), index, id: user.to_string() }
    }

    pub(crate) fn org(data: Data, number: usize) -> Self {
        let org = data.org(number);
        let mut filter = AuthorizationFilter::all();
        filter.org = Some(org);
        let index = Index::Org(Kind::Authorization, org);
        Self { filter, of: Of::Org(org), index, id: org.to_string() }
    }
}

pub(crate) fn list(
    world: &World,
    engine: &Engine,
    filter: &AuthorizationFilter,
    limit: NonZeroUsize,
) -> usize {
    let listing = world.runtime.block_on(engine.list_authorizations(filter, None, limit));
    black_box(listing.unwrap().items).len()
}

/// Some users and some orgs, each with its column and the name in the table.
pub(crate) fn owners(data: Data) -> [(Vec<Owner>, &'static str, &'static str); 2] {
    let users = numbers(data, data.users(), 60).into_iter().map(|n| Owner::user(data, n));
    let orgs = numbers(data, data.orgs(), 10).into_iter().map(|n| Owner::org(data, n));
    [(users.collect(), "user", "one user's"), (orgs.collect(), "org", "one org's")]
}

/// One user's hundred, one org's thousand, and a page of either.
pub(crate) fn lists(world: &World, rows: &mut Vec<Row>) {
    for (owners, column, whose) in &owners(world.data) {
        let all = list(world, &world.memory, &owners[0].filter, EVERYTHING);
        list_all(world, owners, column, whose, all, rows);
    }
}

/// The same from redb and sled.
pub(crate) fn lists_by_ordered_keys(world: &World, rows: &mut Vec<Row>) {
    for (name, ordered) in [("redb", world.redb()), ("sled", world.sled())] {
        lists_from(world, name, ordered, rows);
    }
}

fn lists_from(world: &World, name: &str, ordered: &OrderedWorld, rows: &mut Vec<Row>) {
    let OrderedWorld { engine, bare, .. } = ordered;
    for (owners, _, whose) in &owners(world.data) {
        let all = list(world, engine, &owners[0].filter, EVERYTHING);
        let taken = rounds(
            ROUNDS,
            vec![
                each(owners, |owner| {
                    assert_eq!(list(world, engine, &owner.filter, EVERYTHING), all);
                }),
                each(owners, |owner| assert_eq!(bare.list(owner.of, all), all)),
            ],
        );
        let what = format!("{name}, {whose} {all} of {}", world.data.count());
        rows.push(Row::at_most(&what, &format!("bare {name}"), &taken, 1.2));
    }
}

/// The query for the records of an owner in one of the layouts.
pub(crate) fn of_owner(table: &str, column: &str) -> String {
    format!("{SELECT} {table} WHERE {column}_id = ?1 AND id > ?2 ORDER BY id")
}

fn list_all(
    world: &World,
    owners: &[Owner],
    column: &str,
    whose: &str,
    all: usize,
    rows: &mut Vec<Row>,
) {
    let data = world.data;
    let title = |store: &str| format!("{store}, {whose} {all} of {}", data.count());
    let clustered = of_owner(&format!("of_{column}"), column);
    let indexed = of_owner("indexed", column);
    let zero = "0".repeat(16);
    let bare = |sql: &str, owner: &Owner| {
        assert_eq!(bare_sqlite::read(&world.layouts, sql, &[&owner.id, &zero], all), all);
    };
    let ours = |engine: &Engine, owner: &Owner| {
        assert_eq!(list(world, engine, &owner.filter, EVERYTHING), all);
    };
    let taken = rounds(
        ROUNDS,
        vec![
            each(owners, |owner| ours(&world.sqlite, owner)),
            each(owners, |owner| bare(&clustered, owner)),
            each(owners, |owner| bare(&indexed, owner)),
        ],
    );
    let what = title("SQLite");
    rows.push(Row::at_most(&what, "bare SQLite, clustered by it", &taken.beside(1), 1.4));
    // The targets are for a million.
    let of_a_million = |row: Row| row.promised_if(data.count() >= 1_000_000);
    let walk = "bare SQLite, by an index";
    rows.push(of_a_million(Row::at_most(&what, walk, &taken.beside(2), 0.5)));
    let alone = rounds(
        ROUNDS,
        vec![
            each(owners, |owner| assert_eq!(undecoded(world, owner), all)),
            each(owners, |owner| {
                let keys = [&*owner.id, &zero];
                assert_eq!(bare_sqlite::read_columns(&world.layouts, &indexed, &keys, all), all);
            }),
        ],
    );
    let query = format!("{what}, not decoded");
    rows.push(of_a_million(Row::at_most(&query, walk, &alone, 0.5)));
    let scan = took(|| scan(world, &owners[0].filter, all)).0;
    let faster = scan / taken.median(0);
    let figure = nanos(taken.median(0));
    let peer = ("a scan of every record", nanos(scan));
    let row = Row::at_least(&what, figure, peer, faster, 1_000.0);
    // A thousandth is read a thousand times as fast as all only if each is read faster.
    let promised = column == "user" && data.count() >= 1_000_000;
    rows.push(row.promised_if(promised));

    let records = kept(world, owners);
    let texts: Vec<Vec<String>> = records
        .iter()
        .map(|records| records.iter().map(|record| record.body.to_string()).collect())
        .collect();
    let (mut of_each, mut texts) = (records.iter().cycle(), texts.iter().cycle());
    let taken = rounds(
        ROUNDS,
        vec![
            each(owners, |owner| ours(&world.memory, owner)),
            each(owners, |_| {
                let records = of_each.next().into_iter().flatten();
                let decoded = records.map(|record| Authorization::from_record(record).unwrap());
                assert_eq!(black_box(decoded.collect::<Vec<_>>()).len(), all);
            }),
            each(owners, |_| {
                let texts = texts.next().into_iter().flatten();
                let decoded = texts.map(|text| data::parse(text));
                assert_eq!(black_box(decoded.collect::<Vec<_>>()).len(), all);
            }),
        ],
    );
    let beyond = |contender| (taken.median(0) - taken.median(contender)) / all as f64;
    let figure = |contender, what| {
        format!("{} a record beyond decoding {what}", nanos(beyond(contender).max(0.0)))
    };
    let what = title("memory");
    rows.push(Row::figure(&what, figure(2, "their JSON"), "50 ns", beyond(2) <= 50.0));
    let kept = format!("{what}, beside its own bytes");
    let row = Row::figure(&kept, figure(1, "what it keeps"), "50 ns", beyond(1) <= 50.0);
    rows.push(row.promised_if(false));
}

/// Reads the records through the store, as the engine does, and leaves them as they are.
fn undecoded(world: &World, owner: &Owner) -> usize {
    world.runtime.block_on(async {
        let mut pages = world.sqlite.store().pages(owner.index, EVERYTHING);
        let mut found = 0;
        while let Some(page) = pages.next().await {
            found += black_box(page.unwrap().records).len();
        }
        found
    })
}

/// The records of each, which share the memory store's bodies: decoding them here has the same
/// cache misses as listing them.
fn kept(world: &World, owners: &[Owner]) -> Vec<Vec<Record>> {
    let store = world.memory.store();
    let listed = owners.iter().map(|owner| {
        let pages = store.pages(owner.index, EVERYTHING);
        world.runtime.block_on(pages.map(|page| page.unwrap().records).concat())
    });
    listed.collect()
}

/// Scans every record, as the reference does.
fn scan(world: &World, filter: &AuthorizationFilter, expected: usize) {
    let mut statement = world.bare.prepare("SELECT body FROM authorizations").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let authorization = data::parse(row.get_ref(0).unwrap().as_str().unwrap());
        if filter.matches(&authorization) {
            found.push(authorization);
        }
    }
    assert_eq!(black_box(found).len(), expected);
}

/// Every filter gets the plan that is meant for it: the cost follows the number of results, not the
/// number of records.
pub(crate) fn plans(world: &World, c: &mut Criterion) {
    let data = world.data;
    let count = data.count();
    let mut group = c.benchmark_group(format!("{PLANS}, a page of {PAGE} of {count}"));
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    let authorization = data.authorization(count / 2);
    let requested = Permission::read(data.bucket(7, 1));
    type Set = fn(&mut AuthorizationFilter, &Authorization, Permission);
    let filters: [(&str, Set); 7] = [
        ("id", |filter, a, _| filter.id = Some(a.id)),
        ("username", |filter, a, _| filter.username = Some(a.username.as_str().to_owned())),
        ("user", |filter, a, _| filter.user = Some(a.user)),
        ("org", |filter, a, _| filter.org = Some(a.org)),
        ("user, org, inactive", |filter, a, _| {
            (filter.user, filter.org) = (Some(a.user), Some(a.org));
            filter.status = Some(Status::Inactive);
        }),
        ("permits", |filter, _, requested| filter.permits = Some(requested)),
        ("all", |_, _, _| {}),
    ];
    let page = NonZeroUsize::new(PAGE).unwrap();
    for (name, set) in filters {
        let mut filter = AuthorizationFilter::all();
        set(&mut filter, &authorization, requested);
        for (store, engine) in [
            ("SQLite", &world.sqlite),
            ("redb", &world.redb().engine),
            ("sled", &world.sled().engine),
            ("memory", &world.memory),
        ] {
            group.bench_function(BenchmarkId::new(store, name), |b| {
                b.iter(|| list(world, engine, &filter, page));
            });
        }
    }
    group.finish();
}

/// Reads the record by its id and decodes it, through the extension that engines use.
pub(crate) async fn first_read(engine: &Engine, data: Data) -> Authorization {
    let id = data.id(data.count() / 2).untyped();
    engine.store().find::<Authorization>(id).await.unwrap().unwrap().0
}
