//! A thousand logins at once, with passwords hashed at the default cost: memory stays within that of
//! the hash pool, and is returned to the system after the last login. Alone in its process, whose
//! memory is counted by the system: bytes that are allocated and never touched cost nothing, and bytes
//! that are freed may still be kept by the allocator.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::MemoryStore;
use portcullis::{Credentials, Engine, ErrorKind};

const LOGINS: usize = 1_000;
const THREADS: usize = 2;

/// What the logins may take besides the memory of the threads, in bytes.
const CONSTANT: usize = 8 * 1024 * 1024;

/// A line of the system's status of this process, in bytes.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Waits until the process has no more than that, in bytes. The promise is that the memory is returned,
/// not when: the limit only ends a test that would never end.
async fn comes_down_to(most: usize) {
    let begin = Instant::now();
    while status("VmRSS:") > most {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} bytes stay", status("VmRSS:"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// [PW-13]
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_at_once_take_the_memory_of_the_pool_and_no_more() {
    let params = HashParams::default();
    let hashing = HashPoolConfig::default()
        .params(params)
        .threads(THREADS)
        .queue(64)
        .idle_memory_timeout(Duration::from_millis(100));
    let before = status("VmRSS:");
    let builder = Engine::builder(MemoryStore::new().unwrap()).hashing(hashing).no_throttle();
    let engine = builder.build().await.unwrap();

    let logins: Vec<_> = (0..LOGINS)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let name = format!("name-{number}");
                engine.authenticate(Credentials::password(&name, "whatever")).await.unwrap_err()
            })
        })
        .collect();
    // Half of them are dropped, at different times.
    for login in logins.iter().step_by(2) {
        login.abort();
    }
    let (mut hashed, mut too_many, mut left) = (0, 0, 0);
    for login in logins {
        match login.await {
            Ok(error) if error.kind() == ErrorKind::Unauthorized => hashed += 1,
            Ok(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.retry_after() > Some(Duration::ZERO));
                too_many += 1;
            }
            Err(error) => {
                assert!(error.is_cancelled());
                left += 1;
            }
        }
    }
    let peak = status("VmHWM:").saturating_sub(before);
    println!("{hashed} were hashed, {too_many} too many, {left} left; at the most {peak} bytes");
    assert!(hashed > 0 && too_many > 0, "{hashed} hashed, {too_many} too many");
    let of_the_pool = THREADS * params.memory_kib() as usize * 1024;
    assert!(peak <= of_the_pool + CONSTANT, "{peak} bytes, the pool has {of_the_pool}");
    // Later logins are served, and keep no memory: an allocator may return the first memory of a
    // size, and keep the next.
    for _ in 0..3 {
        comes_down_to(before + CONSTANT).await;
        let again = engine.authenticate(Credentials::password("again", "whatever")).await;
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Unauthorized);
    }
    comes_down_to(before + CONSTANT).await;
}
