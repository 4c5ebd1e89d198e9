//! A thousand log-ins at once, with passwords hashed at what they cost by default: memory stays
//! within what the hash pool keeps. Alone in its process, so that what is counted is its own.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::MemoryStore;
use portcullis::{Credentials, Engine, ErrorKind};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LOG_INS: usize = 1_000;
const THREADS: usize = 2;

/// What the log-ins may take besides the memory of the threads, in bytes.
const CONSTANT: usize = 8 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_log_ins_at_once_take_the_memory_of_the_pool_and_no_more() {
    let params = HashParams::default();
    let mut hashing = HashPoolConfig::default();
    (hashing.params, hashing.threads, hashing.queue) = (params, THREADS, 64);
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let builder = Engine::builder(MemoryStore::new().unwrap()).hashing(hashing).throttle(None);
    let engine = builder.build().await.unwrap();

    let log_ins: Vec<_> = (0..LOG_INS)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let name = format!("name-{number}");
                engine.authenticate(Credentials::password(&name, "whatever")).await.unwrap_err()
            })
        })
        .collect();
    // Half of them leave, at some time or other.
    for log_in in log_ins.iter().step_by(2) {
        log_in.abort();
    }
    let (mut hashed, mut too_many, mut left) = (0, 0, 0);
    for log_in in log_ins {
        match log_in.await {
            Ok(error) if error.kind() == ErrorKind::Unauthorized => hashed += 1,
            Ok(error) => {
                assert_eq!(error.kind(), ErrorKind::TooManyRequests, "{error}");
                assert!(error.retry_after() > Some(Duration::ZERO));
                too_many += 1;
            }
            Err(error) => {
                assert!(error.is_cancelled());
                left += 1;
            }
        }
    }
    let peak = MEMORY.peak_usage().saturating_sub(before);
    println!("{hashed} were hashed, {too_many} too many, {left} left; at the most {peak} bytes");
    assert!(hashed > 0 && too_many > 0, "{hashed} hashed, {too_many} too many");
    let of_the_pool = THREADS * params.memory_kib() as usize * 1024;
    assert!(peak <= of_the_pool + CONSTANT, "{peak} bytes, the pool has {of_the_pool}");
    // It is let in again.
    let again = engine.authenticate(Credentials::password("again", "whatever")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unauthorized);
}
