//! The figures that `docs/scale.md` calculates with: bytes per record and processor time per
//! operation on PostgreSQL; and that cache hits cost the same with it as with SQLite.
//!
//! ```console
//! $ cargo run --release -p portcullis-benches --example scale -- postgres://… 200000
//! $ cargo run --release -p portcullis-benches --example scale -- postgres://… warm
//! ```
//!
//! The server must be on this machine, where its processes are visible, and idle otherwise; `psql` is
//! needed. The schema `scale`, or `scale_warm`, is created, and deleted at the end.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use portcullis::password::{HashParams, HashPoolConfig, Password};
use portcullis::store::{Batch, Entity, Expect, Kind, Lookup, Operation, Revision, Store};
use portcullis::{Action, Authorization, CacheConfig, Credentials, Engine, Status};
use portcullis_benches::data::Data;
use portcullis_postgres::PostgresStore;
use portcullis_sqlite::SqliteStore;

const TASKS: usize = 16;
const NODES: usize = 60;

/// How often each node polls for changes in a second.
const POLLS: f64 = 1_000.0 / 75.0;

/// Processor time of the server's processes and of this one, in seconds.
#[derive(Clone, Copy)]
struct Used {
    server: f64,
    here: f64,
}

/// The server, measured from outside.
struct Outside {
    url: String,
    postmaster: u32,
    ticks: f64,
}

impl Outside {
    fn new(url: &str) -> Self {
        let outside = Self { url: url.to_owned(), postmaster: 0, ticks: 100.0 };
        let file = outside.query("SELECT current_setting('data_directory') || '/postmaster.pid'");
        let pid = fs::read_to_string(file).unwrap();
        Self { postmaster: pid.lines().next().unwrap().parse().unwrap(), ..outside }
    }

    fn query(&self, sql: &str) -> String {
        let mut psql = Command::new("psql");
        let said = psql.args(["-AtXq", "-c", sql, &self.url]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    fn number(&self, sql: &str) -> f64 {
        self.query(sql).parse().unwrap()
    }

    fn used(&self) -> Used {
        let mut server = 0.0;
        for entry in fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(times) = times(pid) else { continue };
            if pid == self.postmaster {
                server += times.own + times.of_children;
            } else if times.parent == self.postmaster {
                server += times.own;
            }
        }
        let here = times(std::process::id()).unwrap().own;
        Used { server: server / self.ticks, here: here / self.ticks }
    }
}

struct Times {
    parent: u32,
    own: f64,
    of_children: f64,
}

fn times(pid: u32) -> Option<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok());
    Some(Times {
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        of_children: number(13)? + number(14)?,
    })
}

/// Carries out `count` operations on [`TASKS`] tasks, and prints the cost of each.
async fn measure<F: Future<Output = ()> + Send>(
    outside: &Outside,
    what: &str,
    count: usize,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) {
    let before = outside.used();
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let tasks = (0..TASKS).map(|_| {
        let (next, one) = (Arc::clone(&next), one.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return took;
                }
                let began = Instant::now();
                one(number).await;
                took.push(began.elapsed());
            }
        })
    });
    let mut took: Vec<Duration> =
        join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    let elapsed = began.elapsed();
    let after = outside.used();
    took.sort();
    let each = |seconds: f64| seconds * 1e6 / count as f64;
    println!(
        "{what}: {:.0}/s by {TASKS} tasks, p50 {:?}, p99 {:?}; processors: server {:.0} us, here {:.0} \
         us each",
        count as f64 / elapsed.as_secs_f64(),
        took[count / 2],
        took[count * 99 / 100],
        each(after.server - before.server),
        each(after.here - before.here),
    );
}

/// The authorization again, with another description.
fn update(data: Data, number: usize) -> Batch {
    let mut authorization = data.authorization(number);
    authorization.description = "changed".to_owned();
    let before = Revision::from_u128(number as u128 + 1);
    let record = authorization.to_record(Revision::from_u128(u128::MAX - number as u128)).unwrap();
    let (grants, expect) = (authorization.grants(), Expect::Revision(before));
    Batch::new().with(Operation::Put { record, grants, expect })
}

fn sizes(outside: &Outside, records: usize) {
    outside.query("VACUUM (ANALYZE) scale.authorizations, scale.grants");
    let listed = outside.query(
        "SELECT c.relname || '=' || pg_relation_size(c.oid) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'scale' \
         AND (c.relname LIKE 'authorizations%' OR c.relname LIKE 'grants%') \
         AND c.relkind IN ('r', 'i') ORDER BY 1",
    );
    let bytes: HashMap<&str, f64> = listed
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, bytes)| (name, bytes.parse::<f64>().unwrap() / records as f64))
        .collect();
    let mut names: Vec<_> = bytes.keys().collect();
    names.sort();
    for name in names {
        println!("{name}: {:.0} bytes for each authorization", bytes[name]);
    }
    let grants = outside.number("SELECT count(*) FROM scale.grants") / records as f64;
    println!("all: {:.0} bytes, with {grants:.1} grants", bytes.values().sum::<f64>());
}

/// A credential that logs in, and a permission to check.
struct Cached {
    authorization: Authorization,
    password: String,
}

/// The first `count` authorizations, with passwords, in the order in which they log in.
async fn with_passwords(engine: &Engine, data: Data, count: usize) -> Vec<Cached> {
    let mut numbers: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut numbers);
    let all = stream::iter(numbers).map(|number| async move {
        let mut authorization = data.authorization(number);
        let password = format!("s3cret-of-{number}");
        let hash =
            engine.hash_pool().hash(&Password::new(password.as_str()).unwrap()).await.unwrap();
        authorization.password_hash = Some(hash);
        authorization.status = Status::Active;
        Cached { authorization, password }
    });
    all.buffered(TASKS).collect().await
}

/// An engine on the store, which has all of them in its cache.
async fn warmed_up(store: Arc<dyn Store>, cached: &[Cached]) -> Engine {
    let day = Duration::from_secs(24 * 60 * 60);
    let cache = CacheConfig::default().max_bytes(512 << 20).time_to_live(day);
    let engine = Engine::builder(store).hashing(cheap()).cache(cache).no_throttle();
    let engine = engine.build().await.unwrap();
    let puts = cached.iter().map(|Cached { authorization, .. }| Operation::Put {
        record: authorization.to_record(Revision::from_u128(1)).unwrap(),
        grants: authorization.grants(),
        expect: Expect::Absent,
    });
    for batch in puts.collect::<Vec<_>>().chunks(1_000) {
        engine.store().commit(batch.iter().cloned().collect::<Batch>()).await.unwrap();
    }
    // The events of these changes come first: they would invalidate the entries.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let logins = stream::iter(cached).map(|one| engine.authenticate(one.credentials()));
    for login in logins.buffer_unordered(TASKS).collect::<Vec<_>>().await {
        login.unwrap();
    }
    engine
}

fn cheap() -> HashPoolConfig {
    HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap())
}

impl Cached {
    fn credentials(&self) -> Credentials<'_> {
        Credentials::password(self.authorization.username.as_str(), self.password.as_bytes())
    }

    /// Logs in from the cache and checks the permission; returns whether it was a hit.
    fn logs_in(&self, engine: &Engine) -> bool {
        let Some(principal) = engine.authenticate_cached(self.credentials()) else {
            return false;
        };
        let resource = &self.authorization.permissions[0].resource;
        std::hint::black_box(principal.check(Action::Read, resource).is_allowed());
        true
    }
}

/// What cache hits cost with each of the stores behind the engine, by rounds that take turns.
async fn warm(url: &str) {
    const ROUNDS: usize = 51;
    const ASKED: usize = 200_000;
    for count in [1_000, 100_000] {
        let data = Data::new(count);
        let directory = tempfile::tempdir().unwrap();
        let options = || PostgresStore::options().schema("scale_warm");
        options().remove(url).await.unwrap();
        let stores: [Arc<dyn Store>; 2] = [
            Arc::new(SqliteStore::open(directory.path().join("portcullis.db")).unwrap()),
            Arc::new(options().open(url).await.unwrap()),
        ];
        for store in &stores {
            for batch in data.tenants() {
                store.commit(batch).await.unwrap();
            }
        }
        let hashing = Engine::builder(portcullis::store::MemoryStore::new().unwrap());
        let hashing = hashing.hashing(cheap()).build().await.unwrap();
        let mut cached = with_passwords(&hashing, data, count).await;
        let [sqlite, postgres] = &stores;
        let engines = [
            warmed_up(Arc::clone(sqlite), &cached).await,
            warmed_up(Arc::clone(postgres), &cached).await,
        ];
        // Not in the order of their allocation, which is more regular with one of the stores.
        fastrand::shuffle(&mut cached);
        let mut taken = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for which in [round % 2, 1 - round % 2] {
                let began = Instant::now();
                let requested = cached.iter().cycle().take(ASKED);
                let warm = requested.filter(|one| one.logs_in(&engines[which])).count();
                taken[which].push(began.elapsed().as_nanos() as f64 / ASKED as f64);
                assert_eq!(
                    warm,
                    ASKED,
                    "feeds: {:?}",
                    engines.each_ref().map(Engine::change_feed_lag)
                );
            }
        }
        let mut ratios: Vec<f64> = taken[0].iter().zip(&taken[1]).map(|(a, b)| b / a).collect();
        let median = |of: &mut Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        let [sqlite, postgres] = &mut taken;
        println!(
            "warm authenticate and check, {count} hot: {:.0} ns with SQLite, {:.0} ns with PostgreSQL; \
             median of the rounds' ratios {:.3}",
            median(sqlite),
            median(postgres),
            median(&mut ratios)
        );
        for store in stores {
            store.close().await.unwrap();
        }
        options().remove(url).await.unwrap();
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, records) = match arguments.as_slice() {
        [url, what] if what == "warm" => return warm(url).await,
        [url, records] => (url, records),
        _ => return println!("usage: scale postgres://… RECORDS or warm"),
    };
    let data = Data::new(records.parse().unwrap());
    let outside = Arc::new(Outside::new(url));
    let options = || PostgresStore::options().schema("scale");
    options().remove(url).await.unwrap();
    let store = Arc::new(options().open(url).await.unwrap());

    let began = Instant::now();
    for batch in data.tenants().chain(data.batches()) {
        store.commit(batch).await.unwrap();
    }
    println!("filled with {} in {:.1?}", data.count(), began.elapsed());
    sizes(&outside, data.count());
    outside.query("CHECKPOINT");

    let count = data.count();
    let (by_name, by_id) = (Arc::clone(&store), Arc::clone(&store));
    let spread = move |number: usize| number.wrapping_mul(7_919) % count;
    measure(&outside, "get by username", 40_000, move |number| {
        let store = Arc::clone(&by_name);
        async move {
            let username = data.username(spread(number));
            let lookup = Lookup::UniqueKey(Kind::Authorization, &username);
            assert!(store.get(lookup).await.unwrap().is_some());
        }
    })
    .await;
    measure(&outside, "get by id", 40_000, move |number| {
        let store = Arc::clone(&by_id);
        async move {
            let id = data.id(spread(number)).untyped();
            assert!(store.get(Lookup::Id(Kind::Authorization, id)).await.unwrap().is_some());
        }
    })
    .await;
    let wal = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn";
    // The first of each logs whole pages; the second, before the next checkpoint, only changes.
    let parts =
        [("create", true, 0), ("create", true, 1), ("update", false, 0), ("update", false, 1)];
    for (what, is_new, part) in parts {
        let first = part * 5_000;
        let (writer, before) = (Arc::clone(&store), outside.number(wal));
        measure(&outside, what, 5_000, move |number| {
            let store = Arc::clone(&writer);
            async move {
                let batch = match is_new {
                    true => Batch::new().with(data.create(count + first + number)),
                    false => update(data, first + number),
                };
                store.commit(batch).await.unwrap();
            }
        })
        .await;
        println!("{what}: {:.0} bytes of log each", (outside.number(wal) - before) / 5_000.0);
    }
    let changes = outside
        .query("SELECT pg_total_relation_size('scale.changes') / count(*) FROM scale.changes");
    println!("a noted change: {changes} bytes");

    // What polling for changes costs, by the number of nodes.
    let seconds = 10.0;
    for rate in [0, 1_000] {
        let mut idle = 0.0;
        for nodes in [0, NODES] {
            let opened = (0..nodes)
                .map(|_| async { options().pool_size(1).create(false).open(url).await.unwrap() });
            let opened = join_all(opened).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = outside.used();
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut number = 10_000 + nodes * 1_000;
            let began = Instant::now();
            while began.elapsed().as_secs_f64() < seconds {
                pace.tick().await;
                let writes = (0..rate / 50).map(|_| {
                    number += 1;
                    store.commit(update(data, number))
                });
                for written in join_all(writes).await {
                    written.unwrap();
                }
            }
            let took = began.elapsed().as_secs_f64();
            let after = outside.used();
            let used = (after.server - before.server) / took;
            println!("{nodes} nodes, {rate} changes/s: server {used:.3} of a processor");
            match nodes {
                0 => idle = used,
                nodes => {
                    let poll = (used - idle) / (nodes as f64 * POLLS);
                    println!(
                        "  a poll: {:.0} us, with {:.0} changes",
                        poll * 1e6,
                        f64::from(rate) / POLLS
                    );
                }
            }
            for node in opened {
                node.close().await.unwrap();
            }
        }
    }
    store.close().await.unwrap();
    options().remove(url).await.unwrap();
}
