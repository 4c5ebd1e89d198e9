//! How long what was read may be believed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::stamps::{Stamp, Stamps, Subject};
use super::{CacheConfig, TrustState};
use crate::Id;
use crate::store::Kind;

/// When something was read: before the read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    stamp: Stamp,
    at: Moment,
}

impl Seen {
    /// The earlier of the two, which is what something made of both was seen at.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { stamp: self.stamp.min(other.stamp), at: self.at.min(other.at) }
    }
}

/// Monotonic time, in nanoseconds since the engine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Tells whether this is one of 64 moments: for what is to be done now and then.
    pub(crate) const fn is_sample(self) -> bool {
        (self.0 >> 4).is_multiple_of(64)
    }

    fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Decides whether what was read still counts.
///
/// It does while nothing about it was [forgotten](Stamps), within its time to live, and while the
/// feed shows that the store has not changed; or, when the feed is behind, for as long after the
/// read as an answer may be old anyway. Where the operator has said so, it counts for longer while
/// the store does not answer ([`Trust::counts_in_grace`]).
pub(crate) struct Trust {
    stamps: Stamps,
    began: Instant,
    /// Until when the feed's last word is good.
    fresh_until: AtomicU64,
    /// Up to when the feed has told everything.
    fresh_as_of: AtomicU64,
    max_staleness: u64,
    time_to_live: u64,
    outage_grace: u64,
    /// Whether the last read of the store was not answered.
    failing: AtomicBool,
    /// From when on somebody waits longer for a store that does not answer.
    patient_from: AtomicU64,
}

/// How long the store is waited for on behalf of somebody who is let in without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same once it has not answered, but for one of them in each second.
const SHORT_PATIENCE: Duration = Duration::from_millis(50);

/// How long ago something may have been seen, at least, for a login to be let in by it while the
/// feed is behind: a read and what follows it, without a hash.
const LONGEST_UNTOLD: Duration = Duration::from_secs(1);

impl Trust {
    pub(crate) fn new(config: &CacheConfig, began: Instant) -> Self {
        Self {
            stamps: Stamps::new(),
            began,
            // Until then nothing can have been read that is older than it may be.
            fresh_until: AtomicU64::new(nanos(config.max_staleness)),
            fresh_as_of: AtomicU64::new(0),
            max_staleness: nanos(config.max_staleness),
            time_to_live: nanos(config.time_to_live),
            outage_grace: nanos(config.stale_if_error),
            failing: AtomicBool::new(false),
            patient_from: AtomicU64::new(0),
        }
    }

    /// Takes the time of a read that begins after this.
    pub(crate) fn before_read(&self, now: Instant) -> Seen {
        Seen { stamp: self.stamps.now(), at: self.moment(now) }
    }

    /// Tells whether what was seen of the subject still counts.
    pub(super) fn counts(&self, seen: Seen, subject: Subject, now: Moment) -> bool {
        self.is_recent(seen, now) && self.stamps.hold(seen.stamp, subject)
    }

    /// Tells whether a login may still be let in by what was seen of the subject before its hash was
    /// computed: nothing about it was forgotten since, and the feed would have told it.
    pub(super) fn is_current(&self, seen: Seen, subject: Subject, now: Moment) -> bool {
        let longest = self.max_staleness.max(nanos(LONGEST_UNTOLD));
        (self.is_fresh(now) || now.since(seen.at) <= longest) && self.holds(seen, subject)
    }

    fn is_recent(&self, seen: Seen, now: Moment) -> bool {
        let age = now.since(seen.at);
        age <= self.time_to_live && (self.is_fresh(now) || age <= self.max_staleness)
    }

    /// Tells whether what was seen of the subject still counts while the store does not answer: it
    /// did when the feed told everything the last time, that was no longer ago than the operator
    /// allows, and nothing about it was forgotten since.
    pub(super) fn counts_in_grace(&self, seen: Seen, subject: Subject, now: Moment) -> bool {
        let as_of = Moment(self.fresh_as_of.load(Ordering::Acquire));
        self.grace_left(now).is_some()
            && as_of.since(seen.at) <= self.time_to_live
            && self.holds(seen, subject)
    }

    /// Tells whether nothing about the subject was forgotten since it was seen.
    pub(super) fn holds(&self, seen: Seen, subject: Subject) -> bool {
        self.stamps.hold(seen.stamp, subject)
    }

    /// How long those who are known may still be let in without the store; `None` where they may
    /// not.
    pub(crate) fn grace_left(&self, now: Moment) -> Option<Duration> {
        let as_of = self.fresh_as_of.load(Ordering::Acquire);
        if self.outage_grace == 0 || as_of == 0 {
            return None;
        }
        let until = as_of.saturating_add(self.max_staleness).saturating_add(self.outage_grace);
        until.checked_sub(now.0).map(Duration::from_nanos)
    }

    /// Tells whether anybody is ever let in without the store.
    pub(crate) fn has_grace(&self) -> bool {
        self.outage_grace > 0
    }

    /// Takes note that a read of the store was answered.
    pub(crate) fn store_answered(&self) {
        // Written seldom: everybody who reads comes here.
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Takes note that a read of the store was not answered.
    pub(crate) fn store_failed(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    /// How long to wait for the store on behalf of somebody who may be let in without it. One in
    /// each second waits longer, so that a store that has become slow is heard.
    pub(crate) fn patience(&self, now: Moment) -> Duration {
        let from = self.patient_from.load(Ordering::Relaxed);
        let next = now.0.saturating_add(nanos(PATIENCE));
        let is_patient = !self.failing.load(Ordering::Relaxed)
            || (from <= now.0
                && self
                    .patient_from
                    .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok());
        if is_patient { PATIENCE } else { SHORT_PATIENCE }
    }

    /// Whether what is remembered is used, and why (not).
    pub(crate) fn state(&self, now: Moment) -> TrustState {
        if self.is_fresh(now) {
            TrustState::Fresh
        } else if !self.failing.load(Ordering::Relaxed) {
            TrustState::Stale
        } else if self.grace_left(now).is_some() {
            TrustState::Grace
        } else {
            TrustState::Unavailable
        }
    }

    fn is_fresh(&self, now: Moment) -> bool {
        now.0 <= self.fresh_until.load(Ordering::Acquire)
    }

    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment(nanos(at.saturating_duration_since(self.began)))
    }

    /// Everything that was committed before the instant has been told.
    pub(super) fn fresh(&self, as_of: Instant) {
        let as_of = self.moment(as_of).0;
        self.fresh_as_of.fetch_max(as_of, Ordering::AcqRel);
        self.fresh_until.fetch_max(as_of.saturating_add(self.max_staleness), Ordering::AcqRel);
    }

    /// When the feed had told everything the last time; `None` before the first time.
    pub(crate) fn told_as_of(&self) -> Option<Moment> {
        Some(self.fresh_as_of.load(Ordering::Acquire)).filter(|as_of| *as_of > 0).map(Moment)
    }

    /// How old the feed's last word is; `None` before the first one.
    pub(crate) fn feed_age(&self, now: Moment) -> Option<Duration> {
        self.told_as_of().map(|as_of| Duration::from_nanos(now.since(as_of)))
    }

    /// Calls into question what was read about the record.
    pub(crate) fn forget(&self, kind: Kind, id: Id) {
        let id = id.as_u64();
        match kind {
            Kind::Authorization => self.stamps.forget(Subject::Authorization(id)),
            Kind::ApiToken => self.stamps.forget(Subject::Token(id)),
            Kind::User | Kind::Org => self.stamps.forget(Subject::Tenant(id)),
            Kind::Bucket => self.stamps.forget(Subject::Buckets),
            // Nothing of it is kept.
            Kind::Deletion => {}
        }
    }

    /// Calls into question what was read about the record before, as something else was found of
    /// it which the feed may not have told: so that nobody is let in by it again in grace.
    pub(crate) fn found_otherwise(&self, kind: Kind, id: Id, now: Moment) {
        if self.has_grace() && !self.is_fresh(now) {
            self.forget(kind, id);
        }
    }

    /// Calls into question everything that was read.
    pub(crate) fn forget_everything(&self) {
        self.stamps.forget_everything();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Subject = Subject::Authorization(7);

    fn after(trust: &Trust, seconds: f64) -> Instant {
        trust.began + Duration::from_secs_f64(seconds)
    }

    fn counts(trust: &Trust, seen: Seen, seconds: f64) -> bool {
        trust.counts(seen, A, trust.moment(after(trust, seconds)))
    }

    fn trust() -> Trust {
        Trust::new(&CacheConfig::default(), Instant::now())
    }

    #[test]
    fn without_news_what_was_read_counts_for_the_staleness_that_is_allowed() {
        let trust = trust();
        let seen = trust.before_read(after(&trust, 10.0));
        assert!(counts(&trust, seen, 12.0));
        assert!(!counts(&trust, seen, 12.1));
    }

    #[test]
    fn a_fresh_feed_keeps_it_until_its_time_to_live_ends() {
        let trust = trust();
        let seen = trust.before_read(after(&trust, 10.0));
        trust.fresh(after(&trust, 60.0));
        assert!(counts(&trust, seen, 62.0));
        assert!(!counts(&trust, seen, 62.1), "the feed's last word is too old");
        trust.fresh(after(&trust, 69.0));
        assert!(counts(&trust, seen, 70.0));
        assert!(!counts(&trust, seen, 70.1), "older than its time to live");
        // An older word does no harm.
        trust.fresh(after(&trust, 1.0));
        assert!(counts(&trust, seen, 70.0));
    }

    #[test]
    fn what_was_forgotten_does_not_count_however_fresh_the_feed_is() {
        let trust = trust();
        let seen = trust.before_read(after(&trust, 1.0));
        trust.fresh(after(&trust, 2.0));
        assert!(counts(&trust, seen, 2.0));
        trust.forget(Kind::Authorization, Id::from_u64(7));
        assert!(!counts(&trust, seen, 2.0));
        let again = trust.before_read(after(&trust, 2.0));
        assert!(counts(&trust, again, 2.0));
        trust.forget_everything();
        assert!(!counts(&trust, again, 2.0));
    }

    #[test]
    fn the_age_of_the_feed_is_told() {
        let trust = trust();
        let age = |seconds| trust.feed_age(trust.moment(after(&trust, seconds)));
        assert_eq!(age(1.0), None);
        trust.fresh(after(&trust, 1.0));
        assert_eq!(age(3.0), Some(Duration::from_secs(2)));
    }

    /// With a grace of ten seconds, beyond the two that an answer may be old anyway.
    fn with_grace() -> Trust {
        let config = CacheConfig::default().stale_if_error(Duration::from_secs(10));
        Trust::new(&config, Instant::now())
    }

    fn counts_in_grace(trust: &Trust, seen: Seen, seconds: f64) -> bool {
        trust.counts_in_grace(seen, A, trust.moment(after(trust, seconds)))
    }

    #[test]
    fn grace_is_counted_from_the_feeds_last_word_and_ends_to_the_nanosecond() {
        let trust = with_grace();
        let seen = trust.before_read(after(&trust, 10.0));
        assert!(!counts_in_grace(&trust, seen, 10.0), "the feed has never told anything");
        trust.fresh(after(&trust, 20.0));
        assert!(counts_in_grace(&trust, seen, 32.0));
        assert!(!counts_in_grace(&trust, seen, 32.000_000_001));
        // What is read later is not good for longer, and a later word of the feed is.
        let later = trust.before_read(after(&trust, 31.0));
        assert!(!counts_in_grace(&trust, later, 32.000_000_001));
        trust.fresh(after(&trust, 21.0));
        assert!(counts_in_grace(&trust, seen, 33.0));
    }

    #[test]
    fn there_is_no_grace_unless_it_was_said() {
        let trust = trust();
        let seen = trust.before_read(after(&trust, 10.0));
        trust.fresh(after(&trust, 10.0));
        assert!(!counts_in_grace(&trust, seen, 10.0));
        assert!(!trust.has_grace());
    }

    #[test]
    fn grace_brings_nothing_back_that_was_forgotten_or_was_too_old_before() {
        let trust = with_grace();
        let seen = trust.before_read(after(&trust, 10.0));
        trust.fresh(after(&trust, 70.0));
        assert!(counts_in_grace(&trust, seen, 82.0));
        trust.fresh(after(&trust, 70.1));
        assert!(!counts_in_grace(&trust, seen, 70.1), "its time to live had ended by then");
        let seen = trust.before_read(after(&trust, 70.0));
        trust.forget(Kind::Authorization, Id::from_u64(7));
        assert!(!counts_in_grace(&trust, seen, 70.1));
        let seen = trust.before_read(after(&trust, 70.0));
        trust.forget_everything();
        assert!(!counts_in_grace(&trust, seen, 70.1));
    }

    #[test]
    fn what_was_found_otherwise_is_forgotten_only_where_grace_could_bring_it_back() {
        let id = Id::from_u64(7);
        for (trust, seconds, forgets) in
            [(trust(), 30.0, false), (with_grace(), 11.0, false), (with_grace(), 30.0, true)]
        {
            let seen = trust.before_read(after(&trust, 10.0));
            trust.fresh(after(&trust, 10.0));
            let now = trust.moment(after(&trust, seconds));
            trust.found_otherwise(Kind::Authorization, id, now);
            assert_eq!(trust.holds(seen, A), !forgets, "{seconds}");
        }
    }

    #[test]
    fn the_state_is_told_by_the_feed_the_store_and_the_grace() {
        use TrustState::{Fresh, Grace, Stale, Unavailable};

        for (trust, answers, fails) in [
            (trust(), [Fresh, Stale, Stale], [Fresh, Unavailable, Unavailable]),
            (with_grace(), [Fresh, Stale, Stale], [Fresh, Grace, Unavailable]),
        ] {
            trust.fresh(after(&trust, 10.0));
            let states =
                || [12.0, 12.1, 22.1].map(|at| trust.state(trust.moment(after(&trust, at))));
            assert_eq!(states(), answers);
            trust.store_failed();
            assert_eq!(states(), fails);
            trust.store_answered();
            assert_eq!(states(), answers);
        }
    }

    #[test]
    fn a_store_that_has_not_answered_is_waited_for_by_one_in_each_second() {
        let trust = with_grace();
        let patience = |seconds| trust.patience(trust.moment(after(&trust, seconds)));
        assert_eq!([patience(1.0), patience(1.0)], [PATIENCE; 2]);
        trust.store_failed();
        assert_eq!([patience(1.0), patience(1.0)], [PATIENCE, SHORT_PATIENCE]);
        assert_eq!([patience(1.9), patience(2.0)], [SHORT_PATIENCE, PATIENCE]);
        trust.store_answered();
        assert_eq!([patience(2.0), patience(2.0)], [PATIENCE; 2]);
    }
}
