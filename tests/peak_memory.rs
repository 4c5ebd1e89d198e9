//! Those who log in at once wait in a queue, and take no memory to hash in. Alone in its process,
//! so that what is counted is its own.

use futures_util::future::join_all;
use peak_alloc::PeakAlloc;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::{Batch, Entity, Expect, MemoryStore, Operation, Revision};
use portcullis::{
    AuthorizationId, Credentials, Engine, Name, NewAuthorization, Permission, Resource, SetUp,
    Username,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LOG_INS: usize = 1_000;

const PASSWORD: &str = "s3cret-enough";

const MIB: usize = 1024 * 1024;

/// What one hash takes: 19,456 KiB.
const HASH: usize = 19 * MIB;

/// What everything else may take: the futures of all who wait, what is cached, the store.
const REST: usize = 16 * MIB;

/// The memory is that of the default parameters; one pass instead of two takes half of the time.
#[tokio::test]
async fn a_thousand_log_ins_at_once_take_no_more_memory_than_the_threads() {
    let mut hashing = HashPoolConfig::default();
    hashing.params = HashParams::new(19_456, 1, 1).unwrap();
    hashing.queue = LOG_INS;
    let (before, resident_before) = (MEMORY.current_usage(), resident("VmRSS"));
    let builder = Engine::builder(MemoryStore::new().unwrap()).hashing(hashing);
    let engine = builder.throttle(None).build().await.unwrap();
    let names = fill(&engine).await;

    MEMORY.reset_peak_usage();
    let computed = engine.hash_pool().computations();
    let log_in =
        async |name: &String| engine.authenticate(Credentials::password(name, PASSWORD)).await;
    let answers = join_all(names.iter().map(log_in)).await;
    for answer in answers {
        answer.unwrap();
    }
    assert_eq!(engine.hash_pool().computations() - computed, LOG_INS as u64);

    let most = hashing.threads * HASH + REST;
    let growth = MEMORY.peak_usage() - before;
    println!("{LOG_INS} log-ins took {growth} bytes of {most}");
    assert!(growth <= most, "{growth} bytes, and {} threads", hashing.threads);
    // What the allocator keeps counts as well: hashing in fresh memory fragments it.
    if let (Some(before), Some(peak)) = (resident_before, resident("VmHWM")) {
        let growth = peak - before;
        println!("resident {growth} bytes");
        assert!(growth <= most, "{growth} bytes resident, and {} threads", hashing.threads);
    }
}

/// Makes everybody who will log in; returns their names. The one hash of all of them is computed for
/// each, since nobody shares a computation with somebody else.
async fn fill(engine: &Engine) -> Vec<String> {
    let name = |text| Name::new(text).unwrap();
    let set_up = SetUp { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let done = engine.set_up(set_up).await.unwrap();
    let bucket = Resource::bucket(done.org.id, done.buckets[0].id);
    let first = Username::new("telegraf").unwrap();
    let new = NewAuthorization::new(first, done.org.id, [Permission::write(bucket)]);
    let first = engine.create_authorization(new.for_user(done.user.id)).await.unwrap();
    engine.set_password(first.id, PASSWORD).await.unwrap();
    let first = engine.authorization(first.id).await.unwrap().unwrap();
    let (names, puts): (Vec<_>, Vec<_>) = (1..=LOG_INS)
        .map(|number| {
            let mut other = first.clone();
            other.id = AuthorizationId::from_u64(number as u64);
            other.username = Username::new(format!("telegraf-{number}")).unwrap();
            let record = other.to_record(Revision::from_u128(1)).unwrap();
            let put = Operation::Put { record, grants: other.grants(), expect: Expect::Absent };
            (other.username.as_str().to_owned(), put)
        })
        .unzip();
    engine.store().commit(puts.into_iter().collect::<Batch>()).await.unwrap();
    names
}

/// What Linux says of this process, in bytes.
fn resident(what: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}
