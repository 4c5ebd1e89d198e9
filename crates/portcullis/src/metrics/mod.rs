//! What is measured, for whatever recorder the program has installed.
//!
//! Names and labels are fixed: nothing that a client says becomes a label.

mod striped;

use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

pub(crate) use striped::Striped;

use crate::password::Overloaded;
use crate::{Error, ErrorKind, Refusal, TrustState};

/// Permission checks of principals, in the whole process: a principal does not know its engine.
pub(crate) static ALLOWED: Striped = Striped::new();
pub(crate) static DENIED: Striped = Striped::new();

/// The handles of an engine, looked up once.
pub(crate) struct Metrics {
    /// Logins that were answered from memory.
    pub(crate) warm: Striped,
    warm_counter: Counter,
    /// Logins for which the store was read and no hash computed.
    pub(crate) lukewarm: Counter,
    /// Logins for which a hash was computed, or an API token read.
    pub(crate) cold: Counter,
    /// Logins that were answered without the store, which did not answer.
    pub(crate) grace: Counter,
    allowed: Counter,
    denied: Counter,
    refused: Vec<(Refusal, Counter)>,
    busy: Counter,
    unavailable: Counter,
    hashes: Counter,
    hashes_waiting: Gauge,
    cache_bytes: Gauge,
    feed_age: Gauge,
    trust_states: [(TrustState, Gauge); TrustState::ALL.len()],
    pub(crate) store: StoreMetrics,
}

/// How long the store takes.
#[derive(Clone)]
pub(crate) struct StoreMetrics {
    pub(crate) get: Histogram,
    pub(crate) list: Histogram,
    pub(crate) commit: Histogram,
    failures: Counter,
}

/// What is read at the moment at which metrics are shown.
pub(crate) struct Levels {
    pub(crate) hashes: u64,
    pub(crate) hashes_waiting: usize,
    pub(crate) cache_bytes: usize,
    /// In seconds; infinite before the first word.
    pub(crate) feed_age: f64,
    pub(crate) trust_state: TrustState,
}

const LOGINS: &str = "portcullis_logins_total";
const REFUSED: &str = "portcullis_logins_refused_total";
const BUSY: &str = "portcullis_logins_busy_total";
const UNAVAILABLE: &str = "portcullis_logins_unavailable_total";
const CHECKS: &str = "portcullis_checks_total";
const HASHES: &str = "portcullis_hashes_total";
const HASHES_WAITING: &str = "portcullis_hashes_waiting";
const CACHE_BYTES: &str = "portcullis_cache_bytes";
const FEED_AGE: &str = "portcullis_feed_age_seconds";
const TRUST_STATE: &str = "portcullis_trust_state";
const STORE: &str = "portcullis_store_seconds";
const STORE_FAILURES: &str = "portcullis_store_failures_total";

impl Metrics {
    pub(crate) fn new() -> Self {
        describe();
        let store = |operation| histogram!(STORE, "operation" => operation);
        Self {
            warm: Striped::new(),
            warm_counter: counter!(LOGINS, "path" => "warm"),
            lukewarm: counter!(LOGINS, "path" => "lukewarm"),
            cold: counter!(LOGINS, "path" => "cold"),
            grace: counter!(LOGINS, "path" => "grace"),
            allowed: counter!(CHECKS, "decision" => "allowed"),
            denied: counter!(CHECKS, "decision" => "denied"),
            refused: Refusal::ALL
                .map(|refusal| (refusal, counter!(REFUSED, "reason" => refusal.label())))
                .into(),
            busy: counter!(BUSY),
            unavailable: counter!(UNAVAILABLE),
            hashes: counter!(HASHES),
            hashes_waiting: gauge!(HASHES_WAITING),
            cache_bytes: gauge!(CACHE_BYTES),
            feed_age: gauge!(FEED_AGE),
            trust_states: TrustState::ALL
                .map(|state| (state, gauge!(TRUST_STATE, "state" => state.as_str()))),
            store: StoreMetrics {
                get: store("get"),
                list: store("list"),
                commit: store("commit"),
                failures: counter!(STORE_FAILURES),
            },
        }
    }

    /// Counts a login that was not answered with a principal.
    pub(crate) fn refused(&self, error: &Error) {
        if let Some(refusal) = error.refusal() {
            let counter = self.refused.iter().find(|(of, _)| *of == refusal);
            counter.iter().for_each(|(_, counter)| counter.increment(1));
            return;
        }
        let source = std::error::Error::source(error);
        if source.is_some_and(|source| source.is::<Overloaded>()) {
            self.busy.increment(1);
            return;
        }
        match error.kind() {
            ErrorKind::Unavailable => self.unavailable.increment(1),
            ErrorKind::Conflict
            | ErrorKind::Forbidden
            | ErrorKind::Internal
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::TooManyRequests
            | ErrorKind::Unauthorized => {}
        }
    }

    /// Hands over what is counted or read apart from the recorder.
    pub(crate) fn publish(&self, levels: &Levels) {
        self.warm_counter.absolute(self.warm.sum());
        self.allowed.absolute(ALLOWED.sum());
        self.denied.absolute(DENIED.sum());
        self.hashes.absolute(levels.hashes);
        self.hashes_waiting.set(levels.hashes_waiting as f64);
        self.cache_bytes.set(levels.cache_bytes as f64);
        self.feed_age.set(levels.feed_age);
        for (state, gauge) in &self.trust_states {
            gauge.set(if *state == levels.trust_state { 1.0 } else { 0.0 });
        }
    }
}

impl StoreMetrics {
    /// Measures a call of the store.
    pub(crate) async fn measure<T>(
        &self,
        histogram: &Histogram,
        call: impl Future<Output = Result<T, crate::store::StoreError>>,
    ) -> Result<T, crate::store::StoreError> {
        let began = Instant::now();
        let answer = call.await;
        histogram.record(began.elapsed());
        if let Err(error) = &answer
            && error.is_failure()
        {
            self.failures.increment(1);
        }
        answer
    }
}

fn describe() {
    describe_counter!(
        LOGINS,
        "Logins that succeeded: answered from memory (`warm`), after a read of the store \
         (`lukewarm`), after a password hash or the first look at an API token (`cold`), or from \
         memory as the store did not answer (`grace`)"
    );
    describe_counter!(REFUSED, "Logins that were refused, by reason");
    describe_counter!(BUSY, "Logins that would have waited too long for their password hash");
    describe_counter!(UNAVAILABLE, "Logins that were refused as the store did not answer");
    describe_counter!(CHECKS, "Permission checks of principals");
    describe_counter!(HASHES, "Password hashes that were computed, of every purpose");
    describe_gauge!(HASHES_WAITING, "Password hashes that wait for a thread");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "What is kept of those who have logged in");
    describe_gauge!(FEED_AGE, Unit::Seconds, "How old the store's last word on changes is");
    describe_gauge!(
        TRUST_STATE,
        "1 for the state that it is in: who is known is let in from memory (`fresh`), credentials \
         are read again (`stale`), the store does not answer and who is known is let in without it \
         (`grace`) or refused (`unavailable`)"
    );
    describe_histogram!(STORE, Unit::Seconds, "How long the store takes");
    describe_counter!(STORE_FAILURES, "Calls of the store that failed");
}
