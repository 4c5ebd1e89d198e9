//! Whether what was read is still valid.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::CacheConfig;
use super::epochs::{Epochs, Subject};
use crate::Id;
use crate::stamp::{MonotonicTime, ReadStamp};
use crate::store::Kind;
use crate::trust_state::TrustState;

/// Decides whether what was read is still valid.
///
/// It is valid within its time to live, while none of its subjects was [invalidated](Epochs), and
/// while the change feed is complete; if the feed lags, for `max_staleness` after the read. With
/// stale-if-error it is usable for longer while the store does not respond
/// ([`Freshness::is_valid_if_error`]).
pub(crate) struct Freshness {
    epochs: Epochs,
    began: Instant,
    /// Until when the last event of the feed keeps entries valid.
    fresh_until: AtomicU64,
    /// Up to when the feed was complete.
    complete_as_of: AtomicU64,
    max_staleness: u64,
    time_to_live: u64,
    stale_if_error: u64,
    /// Whether the last read of the store failed.
    failing: AtomicBool,
    /// From when on one read gets the long deadline although the store is failing.
    next_long_read: AtomicU64,
}

/// The deadline of a read whose result a cached entry can replace.
const READ_DEADLINE: Duration = Duration::from_secs(1);

/// The deadline while the store is failing, except for one read in each second.
const SHORT_READ_DEADLINE: Duration = Duration::from_millis(50);

/// The least age at which a read may still admit a login while the feed lags: time for a read and the
/// steps after it, without a hash.
const MIN_CURRENT_AGE: Duration = Duration::from_secs(1);

impl Freshness {
    pub(crate) fn new(config: &CacheConfig, began: Instant) -> Self {
        Self {
            epochs: Epochs::new(),
            began,
            // No read can be older.
            fresh_until: AtomicU64::new(nanos(config.max_staleness)),
            complete_as_of: AtomicU64::new(0),
            max_staleness: nanos(config.max_staleness),
            time_to_live: nanos(config.time_to_live),
            stale_if_error: nanos(config.stale_if_error),
            failing: AtomicBool::new(false),
            next_long_read: AtomicU64::new(0),
        }
    }

    /// Returns the stamp of a read that begins after this call.
    pub(crate) fn before_read(&self, now: Instant) -> ReadStamp {
        ReadStamp { epoch: self.epochs.now(), at: self.moment(now) }
    }

    /// Returns whether what was read about the subject is valid.
    pub(super) fn is_valid(&self, read: ReadStamp, subject: Subject, now: MonotonicTime) -> bool {
        self.is_recent(read, now) && self.epochs.is_unchanged(read.epoch, subject)
    }

    /// Returns whether a login may be admitted by what was read about the subject before its hash was
    /// computed: it was not invalidated since, and the feed would have reported a change.
    pub(super) fn is_current(&self, read: ReadStamp, subject: Subject, now: MonotonicTime) -> bool {
        let longest = self.max_staleness.max(nanos(MIN_CURRENT_AGE));
        (self.is_fresh(now) || now.since(read.at) <= longest) && self.is_unchanged(read, subject)
    }

    fn is_recent(&self, read: ReadStamp, now: MonotonicTime) -> bool {
        let age = now.since(read.at);
        age <= self.time_to_live && (self.is_fresh(now) || age <= self.max_staleness)
    }

    /// Returns whether what was read about the subject is usable while the store does not respond:
    /// it was valid when the feed was complete the last time, that is not longer ago than
    /// stale-if-error allows, and it was not invalidated since.
    pub(super) fn is_valid_if_error(
        &self,
        read: ReadStamp,
        subject: Subject,
        now: MonotonicTime,
    ) -> bool {
        let as_of = MonotonicTime::from_nanos(self.complete_as_of.load(Ordering::Acquire));
        self.stale_time_left(now).is_some()
            && as_of.since(read.at) <= self.time_to_live
            && self.is_unchanged(read, subject)
    }

    /// Returns whether the subject was not invalidated since the read.
    pub(super) fn is_unchanged(&self, read: ReadStamp, subject: Subject) -> bool {
        self.epochs.is_unchanged(read.epoch, subject)
    }

    /// Returns for how long cached logins are still usable without the store; `None` if they are not.
    pub(crate) fn stale_time_left(&self, now: MonotonicTime) -> Option<Duration> {
        let as_of = self.complete_as_of.load(Ordering::Acquire);
        if self.stale_if_error == 0 || as_of == 0 {
            return None;
        }
        let until = as_of.saturating_add(self.max_staleness).saturating_add(self.stale_if_error);
        until.checked_sub(now.as_nanos()).map(Duration::from_nanos)
    }

    /// Returns whether stale-if-error is configured.
    pub(crate) fn allows_stale(&self) -> bool {
        self.stale_if_error > 0
    }

    /// Records that a read of the store succeeded.
    pub(crate) fn store_succeeded(&self) {
        // A write only if it changes something: every read comes here.
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Records that a read of the store failed.
    pub(crate) fn store_failed(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Returns the deadline of a read whose result a cached entry can replace. While the store is
    /// failing, one read in each second gets the long deadline, so that a store that has only become
    /// slow is detected.
    pub(crate) fn read_deadline(&self, now: MonotonicTime) -> Duration {
        let from = self.next_long_read.load(Ordering::Relaxed);
        let next = now.as_nanos().saturating_add(nanos(READ_DEADLINE));
        let is_long = !self.failing.load(Ordering::Relaxed)
            || (from <= now.as_nanos()
                && self
                    .next_long_read
                    .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok());
        if is_long { READ_DEADLINE } else { SHORT_READ_DEADLINE }
    }

    /// Returns whether cache entries are valid, and why (not).
    pub(crate) fn state(&self, now: MonotonicTime) -> TrustState {
        if self.is_fresh(now) {
            TrustState::Fresh
        } else if !self.failing.load(Ordering::Relaxed) {
            TrustState::Stale
        } else if self.stale_time_left(now).is_some() {
            TrustState::StaleIfError
        } else {
            TrustState::Unavailable
        }
    }

    fn is_fresh(&self, now: MonotonicTime) -> bool {
        now.as_nanos() <= self.fresh_until.load(Ordering::Acquire)
    }

    pub(crate) fn moment(&self, at: Instant) -> MonotonicTime {
        MonotonicTime::from_nanos(nanos(at.saturating_duration_since(self.began)))
    }

    /// Records that the feed has reported every commit before the instant.
    pub(super) fn feed_complete(&self, as_of: Instant) {
        let as_of = self.moment(as_of).as_nanos();
        self.complete_as_of.fetch_max(as_of, Ordering::AcqRel);
        self.fresh_until.fetch_max(as_of.saturating_add(self.max_staleness), Ordering::AcqRel);
    }

    /// Returns when the feed was complete the last time; `None` before the first time.
    pub(crate) fn complete_as_of(&self) -> Option<MonotonicTime> {
        Some(self.complete_as_of.load(Ordering::Acquire))
            .filter(|as_of| *as_of > 0)
            .map(MonotonicTime::from_nanos)
    }

    /// Returns the time since the feed was complete; `None` before the first time.
    pub(crate) fn change_feed_lag(&self, now: MonotonicTime) -> Option<Duration> {
        self.complete_as_of().map(|as_of| Duration::from_nanos(now.since(as_of)))
    }

    /// Invalidates what was read about the record.
    pub(crate) fn invalidate(&self, kind: Kind, id: Id) {
        let id = id.as_u64();
        match kind {
            Kind::Authorization => self.epochs.invalidate(Subject::Authorization(id)),
            Kind::ApiToken => self.epochs.invalidate(Subject::Token(id)),
            Kind::User | Kind::Org => self.epochs.invalidate(Subject::Tenant(id)),
            Kind::Bucket => self.epochs.invalidate(Subject::Buckets),
            Kind::Dbrp => self.epochs.invalidate(Subject::Dbrps),
            // No entry depends on it.
            Kind::ApiTokenUse | Kind::AuthorizationUse | Kind::Tombstone => {}
        }
    }

    /// Invalidates a record after a read found it changed. The change feed may not have delivered
    /// that change, and stale-if-error must not use the old value.
    pub(crate) fn invalidate_contradicted(&self, kind: Kind, id: Id, now: MonotonicTime) {
        if self.allows_stale() && !self.is_fresh(now) {
            self.invalidate(kind, id);
        }
    }

    /// Invalidates everything that was read.
    pub(crate) fn invalidate_all(&self) {
        self.epochs.invalidate_all();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Subject = Subject::Authorization(7);

    fn after(freshness: &Freshness, seconds: f64) -> Instant {
        freshness.began + Duration::from_secs_f64(seconds)
    }

    fn is_valid(freshness: &Freshness, read: ReadStamp, seconds: f64) -> bool {
        freshness.is_valid(read, A, freshness.moment(after(freshness, seconds)))
    }

    fn freshness() -> Freshness {
        Freshness::new(&CacheConfig::default(), Instant::now())
    }

    #[test]
    fn without_events_a_read_is_valid_for_max_staleness() {
        let freshness = freshness();
        let read = freshness.before_read(after(&freshness, 10.0));
        assert!(is_valid(&freshness, read, 12.0));
        assert!(!is_valid(&freshness, read, 12.1));
    }

    #[test]
    fn a_complete_feed_keeps_a_read_valid_until_its_time_to_live_ends() {
        let freshness = freshness();
        let read = freshness.before_read(after(&freshness, 10.0));
        freshness.feed_complete(after(&freshness, 60.0));
        assert!(is_valid(&freshness, read, 62.0));
        assert!(!is_valid(&freshness, read, 62.1), "the feed was complete too long ago");
        freshness.feed_complete(after(&freshness, 69.0));
        assert!(is_valid(&freshness, read, 70.0));
        assert!(!is_valid(&freshness, read, 70.1), "older than its time to live");
        // An older event has no effect.
        freshness.feed_complete(after(&freshness, 1.0));
        assert!(is_valid(&freshness, read, 70.0));
    }

    #[test]
    fn an_invalidated_read_is_not_valid_however_recent_the_feed_is() {
        let freshness = freshness();
        let read = freshness.before_read(after(&freshness, 1.0));
        freshness.feed_complete(after(&freshness, 2.0));
        assert!(is_valid(&freshness, read, 2.0));
        freshness.invalidate(Kind::Authorization, Id::from_u64(7));
        assert!(!is_valid(&freshness, read, 2.0));
        let again = freshness.before_read(after(&freshness, 2.0));
        assert!(is_valid(&freshness, again, 2.0));
        freshness.invalidate_all();
        assert!(!is_valid(&freshness, again, 2.0));
    }

    #[test]
    fn the_lag_is_the_time_since_the_feed_was_complete() {
        let freshness = freshness();
        let lag = |seconds| freshness.change_feed_lag(freshness.moment(after(&freshness, seconds)));
        assert_eq!(lag(1.0), None);
        freshness.feed_complete(after(&freshness, 1.0));
        assert_eq!(lag(3.0), Some(Duration::from_secs(2)));
    }

    /// With a stale-if-error of ten seconds, beyond the two of `max_staleness`.
    fn with_stale_if_error() -> Freshness {
        let config = CacheConfig::default().stale_if_error(Duration::from_secs(10));
        Freshness::new(&config, Instant::now())
    }

    fn is_valid_if_error(freshness: &Freshness, read: ReadStamp, seconds: f64) -> bool {
        freshness.is_valid_if_error(read, A, freshness.moment(after(freshness, seconds)))
    }

    /// [OUTAGE-4]
    #[test]
    fn stale_if_error_is_counted_from_the_last_complete_feed_and_ends_to_the_nanosecond() {
        let freshness = with_stale_if_error();
        let read = freshness.before_read(after(&freshness, 10.0));
        assert!(!is_valid_if_error(&freshness, read, 10.0), "the feed was never complete");
        freshness.feed_complete(after(&freshness, 20.0));
        assert!(is_valid_if_error(&freshness, read, 32.0));
        assert!(!is_valid_if_error(&freshness, read, 32.000_000_001));
        // A later read is not usable for longer; after a later event of the feed it is.
        let later = freshness.before_read(after(&freshness, 31.0));
        assert!(!is_valid_if_error(&freshness, later, 32.000_000_001));
        freshness.feed_complete(after(&freshness, 21.0));
        assert!(is_valid_if_error(&freshness, read, 33.0));
    }

    /// [OUTAGE-2]
    #[test]
    fn stale_if_error_is_off_by_default() {
        let freshness = freshness();
        let read = freshness.before_read(after(&freshness, 10.0));
        freshness.feed_complete(after(&freshness, 10.0));
        assert!(!is_valid_if_error(&freshness, read, 10.0));
        assert!(!freshness.allows_stale());
    }

    #[test]
    fn stale_if_error_uses_nothing_that_was_invalidated_or_too_old_before() {
        let freshness = with_stale_if_error();
        let read = freshness.before_read(after(&freshness, 10.0));
        freshness.feed_complete(after(&freshness, 70.0));
        assert!(is_valid_if_error(&freshness, read, 82.0));
        freshness.feed_complete(after(&freshness, 70.1));
        assert!(!is_valid_if_error(&freshness, read, 70.1), "its time to live had ended by then");
        let read = freshness.before_read(after(&freshness, 70.0));
        freshness.invalidate(Kind::Authorization, Id::from_u64(7));
        assert!(!is_valid_if_error(&freshness, read, 70.1));
        let read = freshness.before_read(after(&freshness, 70.0));
        freshness.invalidate_all();
        assert!(!is_valid_if_error(&freshness, read, 70.1));
    }

    #[test]
    fn a_contradicted_record_is_invalidated_only_if_stale_if_error_could_use_it() {
        let id = Id::from_u64(7);
        for (freshness, seconds, invalidates) in [
            (freshness(), 30.0, false),
            (with_stale_if_error(), 11.0, false),
            (with_stale_if_error(), 30.0, true),
        ] {
            let read = freshness.before_read(after(&freshness, 10.0));
            freshness.feed_complete(after(&freshness, 10.0));
            let now = freshness.moment(after(&freshness, seconds));
            freshness.invalidate_contradicted(Kind::Authorization, id, now);
            assert_eq!(freshness.is_unchanged(read, A), !invalidates, "{seconds}");
        }
    }

    /// [OUTAGE-1]
    #[test]
    fn the_state_follows_from_the_feed_the_store_and_stale_if_error() {
        use TrustState::{Fresh, Stale, StaleIfError, Unavailable};

        for (freshness, answers, fails) in [
            (freshness(), [Fresh, Stale, Stale], [Fresh, Unavailable, Unavailable]),
            (with_stale_if_error(), [Fresh, Stale, Stale], [Fresh, StaleIfError, Unavailable]),
        ] {
            freshness.feed_complete(after(&freshness, 10.0));
            let states = || {
                [12.0, 12.1, 22.1]
                    .map(|at| freshness.state(freshness.moment(after(&freshness, at))))
            };
            assert_eq!(states(), answers);
            freshness.store_failed();
            assert_eq!(states(), fails);
            freshness.store_succeeded();
            assert_eq!(states(), answers);
        }
    }

    /// [OUTAGE-3]
    #[test]
    fn while_the_store_fails_one_read_in_each_second_has_the_long_deadline() {
        let freshness = with_stale_if_error();
        let read_deadline =
            |seconds| freshness.read_deadline(freshness.moment(after(&freshness, seconds)));
        assert_eq!([read_deadline(1.0), read_deadline(1.0)], [READ_DEADLINE; 2]);
        freshness.store_failed();
        assert_eq!([read_deadline(1.0), read_deadline(1.0)], [READ_DEADLINE, SHORT_READ_DEADLINE]);
        assert_eq!([read_deadline(1.9), read_deadline(2.0)], [SHORT_READ_DEADLINE, READ_DEADLINE]);
        freshness.store_succeeded();
        assert_eq!([read_deadline(2.0), read_deadline(2.0)], [READ_DEADLINE; 2]);
    }
}
