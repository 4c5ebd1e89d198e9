//! Engines for tests: passwords that cost next to nothing, a clock that is moved by hand, and
//! randomness that is the same in every run.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::{Clock, Random, RandomUnavailable, Timestamp};

use crate::random::Dice;

/// Argon2id that costs next to nothing, by so many threads.
pub(crate) fn cheap_hashing(threads: usize) -> HashPoolConfig {
    HashPoolConfig::default()
        .params(HashParams::new(8, 1, 1).expect("the lowest bounds"))
        .threads(threads)
        .queue(4_096)
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// Midnight of 1 January 2024.
    const START_MILLIS: i64 = 1_704_067_200_000;

    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Self::START_MILLIS)))
    }

    /// Moves it by a millisecond.
    pub(crate) fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.millis()).expect("a time of this century")
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Randomness that follows from a seed. Clones draw from the same row.
///
/// What is drawn for an id has 8 values only, so that an engine draws taken ids often and must
/// draw again.
#[derive(Clone, Debug)]
pub(crate) struct SeededRandom(Arc<Mutex<Dice>>);

impl SeededRandom {
    const BYTES_OF_AN_ID: usize = 8;

    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Dice::new(seed))))
    }

    /// Goes on with another row.
    pub(crate) fn reseed(&self, seed: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Dice::new(seed);
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn_for_an_id = buffer.len() == Self::BYTES_OF_AN_ID;
        for chunk in buffer.chunks_mut(8) {
            let number = if drawn_for_an_id { dice.roll() % 8 } else { dice.roll() };
            let bytes = number.to_be_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

/// Reads a number from the environment; the default where there is none.
pub(crate) fn number_from_env<T: std::str::FromStr>(variable: &str, default: T) -> T {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{variable} must be a number"),
        },
        Err(_) => default,
    }
}
