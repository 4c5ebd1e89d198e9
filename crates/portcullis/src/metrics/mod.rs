//! Metrics, for the recorder that the program has installed.
//!
//! Names and labels are fixed: nothing that a client sends becomes a label.

mod striped_counter;

use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

pub(crate) use striped_counter::StripedCounter;

use crate::password::Overloaded;
use crate::trust_state::TrustState;
use crate::{Error, ErrorKind, Refusal};

/// Permission checks of principals, in the whole process: a principal belongs to no engine.
pub(crate) static ALLOWED: StripedCounter = StripedCounter::new();
pub(crate) static DENIED: StripedCounter = StripedCounter::new();

/// The handles of an engine, created once.
pub(crate) struct Metrics {
    /// Cache hits.
    pub(crate) cached: StripedCounter,
    cached_counter: Counter,
    /// Logins for which the store was read and no hash computed.
    pub(crate) revalidated: Counter,
    /// Logins for which a hash was computed, or an API token read.
    pub(crate) verified: Counter,
    /// Logins that stale-if-error admitted.
    pub(crate) stale: Counter,
    allowed: Counter,
    denied: Counter,
    refused: Vec<(Refusal, Counter)>,
    busy: Counter,
    unavailable: Counter,
    hashes: Counter,
    hash_queue_length: Gauge,
    cache_bytes: Gauge,
    change_feed_lag: Gauge,
    trust_states: [(TrustState, Gauge); TrustState::ALL.len()],
    pub(crate) store: StoreMetrics,
    pub(crate) uses: UseMetrics,
    last_uses_pending: Gauge,
}

/// What happened to noted uses of credentials.
#[derive(Clone)]
pub(crate) struct UseMetrics {
    pub(crate) written: Counter,
    /// The record was recent already.
    pub(crate) skipped: Counter,
    pub(crate) dropped: Counter,
}

/// Durations and failures of calls of the store.
#[derive(Clone)]
pub(crate) struct StoreMetrics {
    pub(crate) get: Histogram,
    pub(crate) get_many: Histogram,
    pub(crate) list: Histogram,
    pub(crate) commit: Histogram,
    failures: Counter,
}

/// Values that are read when metrics are rendered.
pub(crate) struct Gauges {
    pub(crate) hashes: u64,
    pub(crate) hash_queue_length: usize,
    pub(crate) cache_bytes: usize,
    /// In seconds; infinite before the first event.
    pub(crate) change_feed_lag: f64,
    pub(crate) trust_state: TrustState,
    /// How many credentials of each kind expire within 7 and within 30 days; `None` before the first scan.
    pub(crate) expiring: Option<[(&'static str, [u64; 2]); 3]>,
    pub(crate) last_uses_pending: usize,
}

const LOGINS: &str = "portcullis_logins_total";
const CHECKS: &str = "portcullis_checks_total";
const HASHES: &str = "portcullis_hashes_total";
const HASH_QUEUE_LENGTH: &str = "portcullis_hash_queue_length";
const CACHE_BYTES: &str = "portcullis_cache_bytes";
const CHANGE_FEED_LAG: &str = "portcullis_change_feed_lag_seconds";
const TRUST_STATE: &str = "portcullis_trust_state";
const EXPIRING: &str = "portcullis_expiring";
const LAST_USES: &str = "portcullis_last_uses_total";
const LAST_USES_PENDING: &str = "portcullis_last_uses_pending";
const STORE_DURATION: &str = "portcullis_store_duration_seconds";
const STORE_FAILURES: &str = "portcullis_store_failures_total";

impl Metrics {
    pub(crate) fn new() -> Self {
        describe();
        let ok = |source| counter!(LOGINS, "result" => "ok", "source" => source);
        let refused =
            |refusal: Refusal| counter!(LOGINS, "result" => "refused", "reason" => refusal.label());
        let uses = |result| counter!(LAST_USES, "result" => result);
        let store = |operation| histogram!(STORE_DURATION, "operation" => operation);
        Self {
            cached: StripedCounter::new(),
            cached_counter: ok("cache"),
            revalidated: ok("revalidated"),
            verified: ok("verified"),
            stale: ok("stale"),
            allowed: counter!(CHECKS, "decision" => "allowed"),
            denied: counter!(CHECKS, "decision" => "denied"),
            refused: Refusal::ALL.map(|refusal| (refusal, refused(refusal))).into(),
            busy: counter!(LOGINS, "result" => "busy"),
            unavailable: counter!(LOGINS, "result" => "unavailable"),
            hashes: counter!(HASHES),
            hash_queue_length: gauge!(HASH_QUEUE_LENGTH),
            cache_bytes: gauge!(CACHE_BYTES),
            change_feed_lag: gauge!(CHANGE_FEED_LAG),
            trust_states: TrustState::ALL
                .map(|state| (state, gauge!(TRUST_STATE, "state" => state.as_str()))),
            store: StoreMetrics {
                get: store("get"),
                get_many: store("get_many"),
                list: store("list"),
                commit: store("commit"),
                failures: counter!(STORE_FAILURES),
            },
            uses: UseMetrics {
                written: uses("written"),
                skipped: uses("skipped"),
                dropped: uses("dropped"),
            },
            last_uses_pending: gauge!(LAST_USES_PENDING),
        }
    }

    /// Counts a login that failed.
    pub(crate) fn login_failed(&self, error: &Error) {
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
            | ErrorKind::PreconditionFailed
            | ErrorKind::TooManyRequests
            | ErrorKind::Unauthorized => {}
        }
    }

    /// Publishes what is counted or read apart from the recorder.
    pub(crate) fn publish(&self, gauges: &Gauges) {
        self.cached_counter.absolute(self.cached.sum());
        self.allowed.absolute(ALLOWED.sum());
        self.denied.absolute(DENIED.sum());
        self.hashes.absolute(gauges.hashes);
        self.hash_queue_length.set(gauges.hash_queue_length as f64);
        self.cache_bytes.set(gauges.cache_bytes as f64);
        self.change_feed_lag.set(gauges.change_feed_lag);
        self.last_uses_pending.set(gauges.last_uses_pending as f64);
        for (state, gauge) in &self.trust_states {
            gauge.set(if *state == gauges.trust_state { 1.0 } else { 0.0 });
        }
        for (kind, counts) in gauges.expiring.into_iter().flatten() {
            for (within, count) in ["7d", "30d"].into_iter().zip(counts) {
                gauge!(EXPIRING, "kind" => kind, "within" => within).set(count as f64);
            }
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
        let result = call.await;
        histogram.record(began.elapsed());
        if let Err(error) = &result
            && error.is_failure()
        {
            self.failures.increment(1);
        }
        result
    }
}

fn describe() {
    describe_counter!(
        LOGINS,
        "Logins by `result`: `ok` by `source` (`cache`, `revalidated` after a read of the store, \
         `verified` after a password hash or the first read of an API token, `stale` from the cache \
         while the store did not respond), `refused` by `reason`, `busy` when the password hash would \
         have waited too long, `unavailable` when the store did not respond"
    );
    describe_counter!(CHECKS, "Permission checks of principals");
    describe_counter!(HASHES, "Password hashes that were computed, for any purpose");
    describe_gauge!(HASH_QUEUE_LENGTH, "Password hashes that wait for a thread");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Memory of the cached logins");
    describe_gauge!(
        CHANGE_FEED_LAG,
        Unit::Seconds,
        "Time since the store's change feed was complete"
    );
    describe_gauge!(
        TRUST_STATE,
        "1 for the present state: logins are answered from the cache (`fresh`), credentials are read \
         again (`stale`), the store does not respond and cached logins are admitted \
         (`stale_if_error`) or refused (`unavailable`)"
    );
    describe_gauge!(
        EXPIRING,
        "Active credentials that expire soon, by `kind` (`authorization`, `api_token`, and `password` of \
         an authorization) and `within` (`7d`, and `30d` with those of `7d`), from the last scan of the \
         store"
    );
    describe_counter!(
        LAST_USES,
        "Last uses of credentials by `result`: `written` to the store, `skipped` because the one in the \
         store is recent, `dropped` because too many waited or the credential is gone"
    );
    describe_gauge!(LAST_USES_PENDING, "Last uses of credentials that wait to be written");
    describe_histogram!(STORE_DURATION, Unit::Seconds, "Durations of calls of the store");
    describe_counter!(STORE_FAILURES, "Calls of the store that failed");
}
