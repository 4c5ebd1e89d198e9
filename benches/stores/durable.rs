//! What a durable change costs: each store beside the engine underneath it, doing the same.
//!
//! A durable change costs what the bare engine's costs, with the same rows, indexes and syncs; and
//! with many writers less, since they share the waits for the disk.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::store::{Batch, Entity, Expect, Operation, Record, Revision, Store};
use portcullis::{GrantKey, Status};
use portcullis_benches::data::{self, Data};
use portcullis_benches::rounds::quantile;
use portcullis_benches::table::{Row, nanos};
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;
use tokio::runtime::Runtime;

use crate::bare_redb::BareRedb;
use crate::bare_sled::BareSled;
use crate::bare_sqlite;
use crate::ordered::Bare;
use crate::world::{redb_file, runtime, sled_directory, sqlite_file, temporary};

/// Each makes changes one after the other; all of them at the same time.
const WRITERS: [usize; 3] = [1, 4, 16];

/// The number of changes in a turn, by all writers together.
const CHANGES: usize = 320;

const ROUNDS: usize = 8;

/// How many records there are before.
const RECORDS: usize = 100_000;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Patch,
    Delete,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Create, Self::Patch, Self::Delete];

    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        };
        format!("durable {name}")
    }

    /// What the change with the number needs. Each number is used once.
    fn change(self, data: Data, number: usize) -> Change {
        let (before, grants) = match self {
            Self::Create => data.record(data.count() + number),
            Self::Patch | Self::Delete => data.record(number.wrapping_mul(31) % data.count()),
        };
        let mut after = before.clone();
        if self == Self::Patch {
            let mut authorization = portcullis::Authorization::from_record(&before).unwrap();
            authorization.status = Status::Inactive;
            authorization.description.push_str(", changed");
            let revision = Revision::from_u128(u128::MAX - number as u128);
            after = authorization.to_record(revision).unwrap();
        }
        Change { before, after, grants }
    }
}

/// A record and what becomes of it.
struct Change {
    before: Record,
    after: Record,
    grants: Vec<GrantKey>,
}

impl Change {
    fn operation(self, kind: Kind) -> Operation {
        let expect = self.before.revision;
        let (record, grants) = (self.after, self.grants);
        match kind {
            Kind::Create => Operation::Put { record, grants, expect: Expect::Absent },
            Kind::Patch => Operation::Put { record, grants, expect: Expect::Revision(expect) },
            Kind::Delete => Operation::Delete { kind: record.kind, id: record.id, expect },
        }
    }
}

/// How long each change took, and all of them together.
struct Turn {
    each: Vec<f64>,
    together: Duration,
}

/// Changes through a store, by tasks of a runtime, as a server makes them.
fn by_tasks(
    runtime: &Runtime,
    store: &Arc<dyn Store>,
    writers: usize,
    batches: Vec<Batch>,
) -> Turn {
    let batches = Arc::new(std::sync::Mutex::new(batches));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (store, batches) = (Arc::clone(store), Arc::clone(&batches));
            runtime.spawn(async move {
                let mut each = Vec::with_capacity(CHANGES);
                loop {
                    let next = batches.lock().unwrap().pop();
                    let Some(batch) = next else { return each };
                    let begin = Instant::now();
                    store.commit(batch).await.unwrap();
                    each.push(begin.elapsed().as_nanos() as f64);
                }
            })
        })
        .collect();
    let each = runtime.block_on(async {
        let mut each = Vec::with_capacity(CHANGES);
        for task in tasks {
            each.extend(task.await.unwrap());
        }
        each
    });
    Turn { each, together: begin.elapsed() }
}

/// The same by hand, by one writer.
fn by_hand(changes: &[Change], change: impl Fn(&Change)) -> Turn {
    let begin = Instant::now();
    let each = changes.iter().map(|each| {
        let begin = Instant::now();
        change(each);
        begin.elapsed().as_nanos() as f64
    });
    let each = each.collect();
    Turn { each, together: begin.elapsed() }
}

/// All turns of a contender.
#[derive(Default)]
struct Turns {
    each: Vec<f64>,
    rates: Vec<f64>,
}

impl Turns {
    fn add(&mut self, turn: Turn) {
        self.rates.push(turn.each.len() as f64 / turn.together.as_secs_f64());
        self.each.extend(turn.each);
    }

    fn rate(&self) -> f64 {
        quantile(&self.rates, 0.5)
    }

    fn at(&self, share: f64) -> f64 {
        quantile(&self.each, share)
    }
}

/// Measures one kind of change on both stores.
pub(crate) fn measure(kind: Kind, rows: &mut Vec<Row>) {
    eprintln!("{} …", kind.name());
    let data = Data::new(RECORDS);
    let runtime = runtime();
    let directory = temporary();
    let at = |name: &str| directory.path().join(name);

    let (ours, bare) = (at("store.db"), at("bare.db"));
    for copy in [&ours, &bare] {
        std::fs::copy(sqlite_file(data), copy).unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&ours).unwrap());
    let bare = bare_sqlite::to_write(&bare);
    let regions = bare_sqlite::Regions::of(&bare);
    let by_hand = |change: &Change| match kind {
        Kind::Create => bare_sqlite::create(&bare, &regions, &change.after, &change.grants),
        Kind::Patch => bare_sqlite::patch(&bare, &change.after),
        Kind::Delete => bare_sqlite::delete(&bare, &change.before),
    };
    take_turns(kind, ("SQLite", &store), &by_hand, &runtime, rows);
    runtime.block_on(store.close()).unwrap();

    let (ours, bare) = (at("store.redb"), at("bare.redb"));
    for copy in [&ours, &bare] {
        std::fs::copy(redb_file(data), copy).unwrap();
    }
    let store = Arc::new(RedbStore::open(&ours).unwrap());
    beside(kind, ("redb", store), &BareRedb::of_a_store(&bare), &runtime, rows);

    let (ours, bare) = (at("store.sled"), at("bare.sled"));
    for copy in [&ours, &bare] {
        data::copy(&sled_directory(data), copy).unwrap();
    }
    let store = Arc::new(SledStore::open(&ours).unwrap());
    beside(kind, ("sled", store), &BareSled::of_a_store(&bare), &runtime, rows);
}

/// Measures a store beside its engine by hand.
fn beside(
    kind: Kind,
    (name, store): (&str, Arc<dyn Store>),
    bare: &dyn Bare,
    runtime: &Runtime,
    rows: &mut Vec<Row>,
) {
    let by_hand = |change: &Change| match kind {
        Kind::Create => bare.create(&change.after, &change.grants),
        Kind::Patch => bare.patch(&change.after, &change.grants),
        Kind::Delete => bare.delete(&change.before, &change.grants),
    };
    take_turns(kind, (name, &store), &by_hand, runtime, rows);
    runtime.block_on(store.close()).unwrap();
}

fn take_turns(
    kind: Kind,
    (name, store): (&str, &Arc<dyn Store>),
    by_hand_one: &dyn Fn(&Change),
    runtime: &Runtime,
    rows: &mut Vec<Row>,
) {
    let data = Data::new(RECORDS);
    let next = AtomicUsize::new(0);
    let next_by_hand = AtomicUsize::new(0);
    let changes = |next: &AtomicUsize| -> Vec<Change> {
        let from = next.fetch_add(CHANGES, Ordering::Relaxed);
        (from..from + CHANGES).map(|number| kind.change(data, number)).collect()
    };
    let turns: [RefCell<Turns>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let mut turn = |at: usize| {
            let turn = match WRITERS.get(at) {
                Some(writers) => {
                    let batches = changes(&next).into_iter();
                    let batches = batches.map(|change| Batch::from_iter([change.operation(kind)]));
                    by_tasks(runtime, store, *writers, batches.collect())
                }
                None => by_hand(&changes(&next_by_hand), by_hand_one),
            };
            // The first round warms up.
            if round > 0 {
                turns[at].borrow_mut().add(turn);
            }
        };
        // The two that are compared one directly after the other, each first in every other round.
        let order = if round % 2 == 0 { [3, 0, 1, 2] } else { [0, 3, 2, 1] };
        order.into_iter().for_each(&mut turn);
    }
    let [alone, four, sixteen, bare] = turns.map(RefCell::into_inner);

    let what = format!("{name}, {}, 1 writer", kind.name());
    let bare_name = format!("bare {name}");
    for (share, text, most) in [(0.5, "median", 1.25), (0.99, "99 in 100", 2.0)] {
        let (ours, theirs) = (alone.at(share), bare.at(share));
        let what = format!("{what}, {text}");
        let peer = (bare_name.as_str(), nanos(theirs));
        let row = Row::ratio(&what, nanos(ours), peer, ours / theirs, most);
        // By hand redb and sled are patched without reading the old record.
        let like_for_like = name == "SQLite" || matches!(kind, Kind::Create);
        rows.push(row.promised_if(like_for_like));
    }
    let least = match name {
        "SQLite" => 1.6,
        "redb" => 2.0,
        _ => 2.5,
    };
    let a_second = |turns: &Turns| format!("{:.0} a second", turns.rate());
    for (writers, turns) in [(4, &four), (16, &sixteen)] {
        let what = format!("{name}, {}, {writers} writers", kind.name());
        let ratio = turns.rate() / alone.rate();
        let row =
            Row::at_least(&what, a_second(turns), ("1 writer", a_second(&alone)), ratio, least);
        rows.push(row.promised_if(writers == 16));
    }
}
