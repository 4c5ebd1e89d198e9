//! Measures three methods to find committed changes, and one that loses some, beside 16 writers.
//!
//! ```console
//! $ cargo run --release -p portcullis-postgres --example feeds -- postgres://…
//! ```
//!
//! Each method runs for the same time, in turn, once alone and once beside a transaction that has
//! written and stays open for as long. The output for each: commits per second, the delay from commit
//! to finding a change, the delay from the first poll until everything before it is known to be found,
//! and how many changes were never found.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measuring program"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls};

const WRITERS: i64 = 16;
const LANES: i64 = 16;
const TIME: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `seq > last`: loses changes.
    Sequence,
    /// Transactions below the oldest one in progress.
    Horizon,
    /// Changes that are visible now and were not visible before.
    Snapshots,
    /// Counters, each in a row that is locked to the end of the transaction.
    Lanes,
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET search_path TO feeds; SET jit TO off").await.unwrap();
    client
}

async fn write(client: &Client, way: Way, id: i64) {
    client.batch_execute("BEGIN").await.unwrap();
    client.execute("INSERT INTO records VALUES ($1, repeat('x', 300))", &[&id]).await.unwrap();
    match way {
        Way::Lanes => {
            let free = "UPDATE lanes SET last = last + 1 WHERE lane = (SELECT lane FROM lanes \
                        ORDER BY (lane + $1) % 16 LIMIT 1 FOR UPDATE SKIP LOCKED) \
                        RETURNING lane, last";
            let rows = client.query(free, &[&id]).await.unwrap();
            let (lane, last): (i64, i64) = match rows.first() {
                Some(row) => (row.get(0), row.get(1)),
                None => {
                    let wait =
                        "UPDATE lanes SET last = last + 1 WHERE lane = $1 RETURNING lane, last";
                    let row = client.query_one(wait, &[&(id % LANES)]).await.unwrap();
                    (row.get(0), row.get(1))
                }
            };
            client
                .execute("INSERT INTO lane_changes VALUES ($1, $2, $3)", &[&lane, &last, &id])
                .await
                .unwrap();
        }
        _ => {
            client.execute("INSERT INTO changes (id) VALUES ($1)", &[&id]).await.unwrap();
        }
    }
    client.batch_execute("COMMIT").await.unwrap();
}

/// The state that a poll begins with.
#[derive(Default)]
struct Cursor {
    xid: i64,
    seq: i64,
    next: i64,
    under_way: Vec<i64>,
    lanes: HashMap<i64, i64>,
    waiting: Option<(Instant, i64)>,
}

/// Returns the changes found, and the instant up to which none is missing.
async fn look(client: &Client, way: Way, cursor: &mut Cursor) -> (Vec<i64>, Option<Instant>) {
    let as_of = Instant::now();
    match way {
        Way::Sequence => {
            let rows = client
                .query("SELECT seq, id FROM changes WHERE seq > $1 ORDER BY seq", &[&cursor.seq])
                .await
                .unwrap();
            cursor.seq = rows.last().map_or(cursor.seq, |row| row.get(0));
            (rows.iter().map(|row| row.get(1)).collect(), Some(as_of))
        }
        Way::Horizon => {
            let sql = "SELECT s.xmin, s.xmax, c.xid, c.seq, c.id FROM (SELECT \
                pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, \
                pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax) AS s \
                LEFT JOIN changes AS c ON (c.xid, c.seq) > ($1, $2) AND c.xid < s.xmin \
                ORDER BY c.xid, c.seq";
            let rows = client.query(sql, &[&cursor.xid, &cursor.seq]).await.unwrap();
            let (xmin, xmax): (i64, i64) = (rows[0].get(0), rows[0].get(1));
            let ids: Vec<i64> = rows.iter().filter_map(|row| row.get(4)).collect();
            if !ids.is_empty() {
                (cursor.xid, cursor.seq) =
                    (rows[rows.len() - 1].get(2), rows[rows.len() - 1].get(3));
            }
            let (at, wanted) = *cursor.waiting.get_or_insert((as_of, xmax));
            let fresh = (xmin >= wanted).then_some(at);
            if fresh.is_some() {
                cursor.waiting = None;
            }
            (ids, fresh)
        }
        Way::Snapshots => {
            let sql = "SELECT s.snapshot, c.id FROM (SELECT pg_current_snapshot()::text AS snapshot) AS s \
                LEFT JOIN changes AS c ON c.xid >= $1 OR c.xid = ANY ($2) ORDER BY c.seq";
            let rows = client.query(sql, &[&cursor.next, &cursor.under_way]).await.unwrap();
            let snapshot: &str = rows[0].get(0);
            let parts: Vec<_> = snapshot.split(':').collect();
            cursor.next = parts[1].parse().unwrap();
            cursor.under_way = parts[2].split(',').filter_map(|xid| xid.parse().ok()).collect();
            (rows.iter().filter_map(|row| row.get(1)).collect(), Some(as_of))
        }
        Way::Lanes => {
            let lanes: Vec<i64> = (0..LANES).collect();
            let from: Vec<i64> =
                lanes.iter().map(|lane| *cursor.lanes.get(lane).unwrap_or(&0)).collect();
            let sql = "SELECT c.lane, c.seq, c.id FROM unnest($1::bigint[], $2::bigint[]) AS l (lane, last) \
                JOIN lane_changes AS c ON c.lane = l.lane AND c.seq > l.last ORDER BY c.lane, c.seq";
            let rows = client.query(sql, &[&lanes, &from]).await.unwrap();
            for row in &rows {
                cursor.lanes.insert(row.get(0), row.get(1));
            }
            (rows.iter().map(|row| row.get(2)).collect(), Some(as_of))
        }
    }
}

async fn measure(url: &str, way: Way, beside_long: bool) {
    let admin = connect(url).await;
    admin
        .batch_execute(
            "DROP SCHEMA IF EXISTS feeds CASCADE; CREATE SCHEMA feeds;
             CREATE TABLE records (id BIGINT PRIMARY KEY, body TEXT NOT NULL);
             CREATE TABLE changes (
                 xid BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
                 seq BIGINT GENERATED ALWAYS AS IDENTITY, id BIGINT NOT NULL, PRIMARY KEY (xid, seq));
             CREATE TABLE lanes (lane BIGINT PRIMARY KEY, last BIGINT NOT NULL) WITH (fillfactor = 10);
             INSERT INTO lanes SELECT n, 0 FROM generate_series(0, 15) AS n;
             CREATE TABLE lane_changes (lane BIGINT, seq BIGINT, id BIGINT NOT NULL, PRIMARY KEY (lane, seq))",
        )
        .await
        .unwrap();
    if way == Way::Sequence {
        admin.batch_execute("CREATE INDEX ON changes (seq)").await.unwrap();
    }
    let long = connect(url).await;
    if beside_long {
        long.batch_execute("BEGIN; INSERT INTO records VALUES (-1, '')").await.unwrap();
    }
    let next = Arc::new(AtomicI64::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let committed: Arc<Mutex<HashMap<i64, Instant>>> = Arc::default();
    let writers = (0..WRITERS).map(|_| {
        let (next, stop, committed) =
            (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&committed));
        let url = url.to_owned();
        tokio::spawn(async move {
            let client = connect(&url).await;
            while !stop.load(Ordering::Relaxed) {
                let id = next.fetch_add(1, Ordering::Relaxed);
                write(&client, way, id).await;
                committed.lock().unwrap().insert(id, Instant::now());
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let client = connect(url).await;
    if way != Way::Sequence {
        client
            .batch_execute("SET enable_seqscan TO off; SET plan_cache_mode TO force_custom_plan")
            .await
            .unwrap();
    }
    let mut cursor = Cursor { next: 0, ..Cursor::default() };
    let mut found: HashMap<i64, Instant> = HashMap::new();
    let mut ages = Vec::new();
    let begin = Instant::now();
    let mut looks = Duration::ZERO;
    let mut count = 0;
    let mut ended = None;
    loop {
        let look_begins = Instant::now();
        let (ids, fresh) = look(&client, way, &mut cursor).await;
        looks += look_begins.elapsed();
        count += 1;
        let now = Instant::now();
        for id in ids {
            found.entry(id).or_insert(now);
        }
        ages.extend(fresh.map(|as_of| now - as_of));
        match ended {
            None if begin.elapsed() > TIME => {
                stop.store(true, Ordering::Relaxed);
                ended = Some(Instant::now());
                if beside_long {
                    long.batch_execute("COMMIT").await.unwrap();
                }
            }
            Some(at) if at.elapsed() > Duration::from_secs(1) => break,
            _ => {}
        }
        tokio::time::sleep(EVERY).await;
    }
    join_all(writers).await;
    let committed = committed.lock().unwrap();
    let mut late: Vec<_> = committed
        .iter()
        .filter_map(|(id, at)| Some(found.get(id)?.saturating_duration_since(*at)))
        .collect();
    late.sort();
    ages.sort();
    let missed = committed.keys().filter(|id| !found.contains_key(id)).count();
    let at = |times: &[Duration], percent: usize| {
        times
            .get((times.len().max(1) - 1) * percent / 100)
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e3
    };
    println!(
        "{way:?}{}: {:.0} commits/s, found after p50 {:.1} p99 {:.1} ms, fresh as of p50 {:.1} max {:.1} ms ago, look {:.2} ms, missed {missed} of {}",
        if beside_long { " beside a long transaction" } else { "" },
        committed.len() as f64 / TIME.as_secs_f64(),
        at(&late, 50),
        at(&late, 99),
        at(&ages, 50),
        at(&ages, 100),
        looks.as_secs_f64() * 1e3 / f64::from(count),
        committed.len(),
    );
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    for round in 1..=2 {
        println!("round {round}");
        for beside_long in [false, true] {
            for way in [Way::Sequence, Way::Horizon, Way::Snapshots, Way::Lanes] {
                measure(&url, way, beside_long).await;
            }
        }
    }
    connect(&url).await.batch_execute("DROP SCHEMA feeds CASCADE").await.unwrap();
}
