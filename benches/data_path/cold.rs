//! A cache miss costs one hash; a stale cache entry costs one read.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use portcullis::password::{HashParams, HashPool, Password};
use portcullis::store::{MemoryStore, Store};
use portcullis::{
    AuthorizationUpdate, CacheConfig, Credentials, Engine, EngineBuilder, SystemRandom,
};
use portcullis_sqlite::SqliteStore;

use crate::rounds::{median, process_time, rounds, took};
use crate::table::{Row, nanos};
use crate::world::{World, cheap, hashing, login, read, runtime};

fn without_cache(engine: EngineBuilder) -> EngineBuilder {
    engine.cache(CacheConfig::off())
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new().unwrap())
}

/// A hash, the way to its thread and back included, takes at most 0.85 of the processor time that
/// Debian's libargon2 takes. Beside it libsodium, which is made for the processor it runs on.
pub(crate) fn hash(table: &mut Vec<Row>) {
    const ROUNDS: usize = 21;
    const MOST: f64 = 0.85;
    type Peer = (&'static str, fn() -> Option<f64>, Option<f64>);
    const PEERS: [Peer; 2] =
        [("argon2 of Debian", libargon2, Some(MOST)), ("libsodium", libsodium, None)];
    let what = "one hash, m=19456 t=2 p=1";
    let runtime = runtime();
    let pool = HashPool::start(hashing(HashParams::default()), Arc::new(SystemRandom)).unwrap();
    let password = Password::new("grafana-pass-1").unwrap();
    let hash = runtime.block_on(pool.hash(&password)).unwrap();
    let ours = || {
        let begin = process_time();
        assert!(runtime.block_on(pool.verify(&password, &hash)).unwrap());
        (process_time() - begin).as_nanos() as f64
    };
    for (name, theirs, most) in PEERS {
        if theirs().is_none() {
            let taken = rounds(ROUNDS, vec![Box::new(ours)]);
            let target = most.map_or(String::new(), |most| format!("at most {most}"));
            table.push(Row::without(what, nanos(taken.median(0)), name, &target));
            continue;
        }
        let theirs = || theirs().expect("it was there a moment ago");
        let taken = rounds(ROUNDS, vec![Box::new(ours), Box::new(theirs)]);
        table.push(match most {
            Some(most) => Row::at_most(what, name, &taken, most),
            None => Row::beside(what, name, &taken),
        });
    }
}

/// Runs the tool of the package `argon2` once; returns the processor time that it reports, in
/// nanoseconds, exact to a millisecond. `None` where it is not installed.
fn libargon2() -> Option<f64> {
    let arguments = "some-salt-of-ours -id -t 2 -k 19456 -p 1";
    let mut child = Command::new("argon2")
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(b"grafana-pass-1").ok()?;
    let said = child.wait_with_output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let line = said.lines().find_map(|line| line.strip_suffix(" seconds"))?;
    Some(line.parse::<f64>().ok()? * 1e9)
}

/// Hashes twice with libsodium, and returns the processor time of the second hash in nanoseconds.
/// Through Python, which needs no header and no wrapper. `None` where either is not installed.
fn libsodium() -> Option<f64> {
    const SCRIPT: &str = "
import ctypes, time
sodium = ctypes.CDLL('libsodium.so.23')
assert sodium.sodium_init() >= 0
out, size = ctypes.create_string_buffer(32), ctypes.c_ulonglong
argon2id, passes, memory = 2, size(2), ctypes.c_size_t(19456 * 1024)
for _ in range(2):
    begin = time.process_time_ns()
    failed = sodium.crypto_pwhash(
        out, size(32), b'grafana-pass-1', size(14), b'some-salt-of-our', passes, memory, argon2id)
    took = time.process_time_ns() - begin
    assert failed == 0
print(took)
";
    let python = Command::new("python3").args(["-c", SCRIPT]).stderr(Stdio::null()).output();
    String::from_utf8(python.ok()?.stdout).ok()?.trim().parse().ok()
}

/// A cold login computes one hash, and all the rest of it takes at most 200 microseconds.
pub(crate) fn cold(table: &mut Vec<Row>) {
    const LOGINS: usize = 1_000;
    let world = World::new(in_memory(), LOGINS, cheap(), without_cache);
    let requests = world.requests(LOGINS);
    let before = world.engine.hash_pool().computations();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let params = Params::new(8, 1, 1, None).unwrap();
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    for request in &requests {
        ours.push(took(|| world.runtime.block_on(world.login(request))).0);
        let (password, mut out) = (request.password.as_bytes(), [0; 32]);
        let mut hash = || {
            argon2.hash_password_into_with_memory(
                password,
                b"sixteen bytes...",
                &mut out,
                &mut memory,
            )
        };
        bare.push(took(|| hash().unwrap()).0);
    }
    let computed = world.engine.hash_pool().computations() - before;
    let each = computed as f64 / LOGINS as f64;
    let (ours, bare) = (median(&ours), median(&bare));
    table.push(Row {
        what: "cold authenticate: hashes computed".to_owned(),
        figure: format!("{each:.3}"),
        peer: String::new(),
        peer_figure: String::new(),
        ratio: f64::NAN,
        target: "exactly 1".to_owned(),
        reached: computed == LOGINS as u64,
    });
    table.push(Row {
        what: "cold authenticate without the hash".to_owned(),
        figure: nanos(ours - bare),
        peer: "of the whole and the bare hash, m=8 t=1".to_owned(),
        peer_figure: format!("{} and {}", nanos(ours), nanos(bare)),
        ratio: f64::NAN,
        target: "at most 200 µs".to_owned(),
        reached: ours - bare <= 200_000.0,
    });
}

/// A stale cache entry costs one read of the store and no hash: after an invalidation of everything,
/// as by a resync, and after a change of the authorization.
pub(crate) fn revalidated(table: &mut Vec<Row>) {
    const KNOWN: usize = 1_000;
    // On a disk: the directory for temporary files is often in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(directory.path().join("portcullis.db")).unwrap());
    let world = World::new(Arc::clone(&store), KNOWN, cheap(), |engine| engine);
    let requests = world.requests(KNOWN);
    world.warm_up(&requests);
    let before = world.engine.hash_pool().computations();
    let invalidated = world.runtime.block_on(async {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            world.engine.invalidate_org(world.setup.org.id);
            // The two read different records, so that neither profits from the other's read.
            let others = requests.iter().skip(KNOWN / 2).chain(&requests);
            for (request, other) in requests.iter().zip(others) {
                ours.push(timed(login(&world.engine, request)).await);
                theirs.push(timed(read(store.as_ref(), &other.username)).await);
            }
        }
        (median(&ours), median(&theirs))
    });
    let changed = world.runtime.block_on(async {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (number, authorization) in world.authorizations.iter().enumerate() {
            let request = requests
                .iter()
                .find(|request| request.username == authorization.username.as_str())
                .unwrap();
            // Each after a change of its own: a commit leaves the store's connections cold.
            change(&world.engine, authorization.id, number).await;
            ours.push(timed(login(&world.engine, request)).await);
            change(&world.engine, authorization.id, number + KNOWN).await;
            theirs.push(timed(read(store.as_ref(), &request.username)).await);
        }
        (median(&ours), median(&theirs))
    });
    let computed = world.engine.hash_pool().computations() - before;
    for (what, (ours, theirs)) in [("after a resync", invalidated), ("after a change", changed)] {
        table.push(Row {
            what: format!("revalidated authenticate, SQLite, {what}"),
            figure: nanos(ours),
            peer: "the store's `get` by username".to_owned(),
            peer_figure: nanos(theirs),
            ratio: ours / theirs,
            target: "at most 1.3".to_owned(),
            reached: ours / theirs <= 1.3,
        });
    }
    table.push(Row {
        what: "revalidated authenticate: hashes computed".to_owned(),
        figure: computed.to_string(),
        peer: String::new(),
        peer_figure: String::new(),
        ratio: f64::NAN,
        target: "none".to_owned(),
        reached: computed == 0,
    });
    world.runtime.block_on(store.close()).unwrap();
}

/// How many nanoseconds it takes.
async fn timed<T>(work: impl Future<Output = T>) -> f64 {
    let begin = std::time::Instant::now();
    work.await;
    begin.elapsed().as_nanos() as f64
}

async fn change(engine: &Engine, id: portcullis::AuthorizationId, number: usize) {
    let update = AuthorizationUpdate::description(format!("agent {number}"));
    engine.update_authorization(id, update).await.unwrap();
}

/// A name that does not exist takes as long as a wrong password: time reveals nothing about names.
pub(crate) fn unknown_username(table: &mut Vec<Row>) {
    const ROUNDS: usize = 61;
    let world = World::new(in_memory(), 1, HashParams::default(), without_cache);
    let refuse = |username: &str| {
        let credentials = Credentials::password(username, "not-the-password");
        let (nanos, outcome) =
            took(|| world.runtime.block_on(world.engine.authenticate(credentials)));
        assert!(outcome.is_err());
        nanos
    };
    let cached = crate::world::username(0);
    let taken =
        rounds(ROUNDS, vec![Box::new(|| refuse("unknown-000000")), Box::new(|| refuse(&cached))]);
    let ratio = taken.median(0) / taken.median(1);
    table.push(Row {
        what: "unknown username, m=19456 t=2".to_owned(),
        figure: nanos(taken.median(0)),
        peer: "wrong password".to_owned(),
        peer_figure: nanos(taken.median(1)),
        ratio,
        target: "0.9 to 1.1".to_owned(),
        reached: (0.9..=1.1).contains(&ratio),
    });
}
