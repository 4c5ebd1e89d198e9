//! Parts of engines for tests: a clock that is set by hand, and reproducible randomness.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis::{Clock, Random, RandomUnavailable, Timestamp};

use crate::random::Dice;

/// A clock that only moves when it is set. Clones share the time.
#[derive(Clone, Debug)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// Midnight of 1 January 2024.
    const START_MILLIS: i64 = 1_704_067_200_000;

    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Self::START_MILLIS)))
    }

    /// Advances it by a millisecond.
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

/// Reproducible randomness from a seed. Clones draw from the same sequence.
///
/// Values for ids have only 8 variants, so that an engine often draws a taken id and must draw again.
#[derive(Clone, Debug)]
pub(crate) struct SeededRandom(Arc<Mutex<Dice>>);

impl SeededRandom {
    const BYTES_OF_AN_ID: usize = 8;

    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Dice::new(seed))))
    }

    /// Continues with another sequence.
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

/// Reads a number from the environment, or returns the default.
pub(crate) fn number_from_env<T: std::str::FromStr>(variable: &str, default: T) -> T {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{variable} must be a number"),
        },
        Err(_) => default,
    }
}
