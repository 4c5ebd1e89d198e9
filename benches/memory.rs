//! How much memory stores take: a record in memory with all its indexes, a process that serves a
//! large file, and a list that is sent over HTTP.
//!
//! Apart from the other benches, since every allocation is counted. `PORTCULLIS_BENCH_RECORDS` says
//! for how many records, as for `stores`.

#[path = "http/engine.rs"]
mod engine;
#[path = "http/server.rs"]
mod server;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::{Kind, Lookup, MemoryStore, Store};
use portcullis::{AuthorizationFilter, CacheConfig, Credentials, Engine};
use portcullis_benches::data::{Data, sizes};
use portcullis_benches::parts::Parts;
use portcullis_benches::results::Results;
use portcullis_benches::rounds::{median, took};
use portcullis_benches::table::{self, Row, nanos};
use portcullis_sqlite::SqliteStore;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Marks the process that is measured.
const SERVE: &str = "--serve";

const MIB: f64 = 1_048_576.0;

/// How much memory a process may take without a cache, in MiB, besides that of running hashes.
const MOST: f64 = 40.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, path, count] = arguments.as_slice()
        && first == SERVE
    {
        serve(Path::new(path), Data::new(count.parse().unwrap()));
        return;
    }
    if Parts::from_arguments().is_none() {
        return;
    }
    let mut results = Results::begin("memory");
    let mut rows = Vec::new();
    for count in sizes() {
        let data = Data::new(count);
        rows.push(in_memory(data, &mut results));
        rows.extend(of_a_process(data));
        rows.push(of_a_list(data));
    }
    table::finish(results, &rows);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Every byte that was allocated and not freed.
fn in_memory(data: Data, results: &mut Results) -> Row {
    let runtime = runtime();
    let before = MEMORY.current_usage();
    let store = MemoryStore::new().unwrap();
    for batch in data.batches() {
        runtime.block_on(store.commit(batch)).unwrap();
    }
    let bytes = (MEMORY.current_usage() - before) as f64 / data.count() as f64;
    results.point("memory", "bytes a record, store in memory", data.count() as f64, bytes);
    let what = format!("memory, a record of {}", data.count());
    Row::figure(&what, format!("{bytes:.0} bytes"), "700 bytes", bytes <= 700.0)
}

/// The peak of memory that is added while a list of everything goes over HTTP, in the server and in a
/// reader that keeps nothing.
fn of_a_list(data: Data) -> Row {
    let runtime = engine::runtime();
    let (engine, token) = engine::engine(data, &runtime);
    let mut connection =
        server::Server::start(portcullis_http::ServerApi::new(engine.clone()).into_router())
            .connect();
    let request = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\n\r\n")
    };
    // After a first request, which allocates what every request needs.
    connection.send(&request("/private/legacy/authorizations?limit=20"));
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    connection.send(&request("/private/legacy/authorizations"));
    let mib = MEMORY.peak_usage().saturating_sub(before) as f64 / MIB;
    runtime.block_on(engine.store().close()).unwrap();
    let what = format!("list of {} over HTTP, memory while it is sent", data.count());
    Row::figure(&what, format!("{mib:.1} MiB"), "8 MiB", mib <= 8.0)
}

/// A process that serves the file: the time to its first response, and memory.
fn of_a_process(data: Data) -> [Row; 4] {
    let directory = data.cached("sqlite-2", |path| {
        let store = SqliteStore::open(path.join("portcullis.db")).unwrap();
        let runtime = runtime();
        for batch in data.batches() {
            runtime.block_on(store.commit(batch)).unwrap();
        }
        runtime.block_on(store.close()).unwrap();
    });
    let path = directory.unwrap().join("portcullis.db");
    let measure = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([SERVE.as_ref(), path.as_os_str(), data.count().to_string().as_ref()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().parse::<Served>().unwrap()
    };
    let runs: Vec<Served> = (0..5).map(|_| measure()).collect();
    let of = |figure: fn(&Served) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    let what = |what: &str| format!("SQLite, a process on {}, {what}", data.count());
    let memory = |of_what: &str, bytes: f64, most: f64| {
        let mib = bytes / MIB;
        Row::figure(&what(of_what), format!("{mib:.0} MiB"), &format!("{most:.0} MiB"), mib <= most)
    };
    let arenas = threads() as f64 * f64::from(HashParams::default().memory_kib()) / 1_024.0;
    let first = of(|served| served.first);
    [
        Row::figure(&what("first answer"), nanos(first), "50 ms", first <= 50e6),
        memory("memory", of(|served| served.reading), MOST),
        memory("memory while passwords are hashed", of(|served| served.hashing), MOST + arenas),
        memory("memory after the last login", of(|served| served.after), MOST),
    ]
}

/// The figures that the serving process prints: nanoseconds, and bytes.
struct Served {
    first: f64,
    reading: f64,
    hashing: f64,
    after: f64,
}

impl FromStr for Served {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        let figures: Vec<f64> =
            said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [first, reading, hashing, after] = figures[..] else { return Err(said.to_owned()) };
        Ok(Self { first, reading, hashing, after })
    }
}

/// Does the work of a server, without a cache, and prints the time to the first response and the
/// memory: the peak while it read, the peak while it hashed passwords on every thread, and the
/// memory after that.
fn serve(path: &Path, data: Data) {
    let hashing = HashPoolConfig::default().idle_memory_timeout(Duration::from_millis(100));
    let (first, (runtime, engine)) = took(|| {
        let runtime = runtime();
        let engine = runtime.block_on(async {
            let store = SqliteStore::options().create(false).open(path).unwrap();
            let builder = Engine::builder(store).cache(CacheConfig::off()).hashing(hashing);
            let engine = builder.build().await.unwrap();
            let id = data.id(data.count() / 2);
            engine.authorization(id).await.unwrap();
            engine
        });
        (runtime, engine)
    });
    runtime.block_on(async {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let name = data.username(random.usize(..data.count()));
            let lookup = Lookup::UniqueKey(Kind::Authorization, &name);
            engine.store().get(lookup).await.unwrap().unwrap();
        }
        let everything = NonZeroUsize::new(1_000).unwrap();
        for _ in 0..200 {
            let mut filter = AuthorizationFilter::all();
            filter.org = Some(data.org(random.usize(..data.orgs())));
            engine.list_authorizations(&filter, None, everything).await.unwrap();
        }
    });
    let reading = system_says("VmHWM:");
    runtime.block_on(async {
        // Usernames without a record, which cost as much.
        let names: Vec<_> = (0..8 * threads()).map(|number| number.to_string()).collect();
        let logins =
            names.iter().map(|name| engine.authenticate(Credentials::password(name, "whatever")));
        for outcome in futures_util::future::join_all(logins).await {
            outcome.unwrap_err();
        }
    });
    let hashed = system_says("VmHWM:");
    let begin = Instant::now();
    while system_says("VmRSS:") > reading && begin.elapsed() < Duration::from_secs(2) {
        std::thread::yield_now();
    }
    println!("{first} {reading} {hashed} {}", system_says("VmRSS:"));
    runtime.block_on(engine.store().close()).unwrap();
}

/// The threads of [`HashPoolConfig::default`].
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(8)
}

/// A line of the system's status of this process, in bytes.
fn system_says(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}
