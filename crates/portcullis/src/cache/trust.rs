//! How long what was read may be believed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::CacheConfig;
use super::stamps::{Stamp, Stamps, Subject};
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
    fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Decides whether what was read still counts.
///
/// It does while nothing about it was [forgotten](Stamps), within its time to live, and while the
/// feed shows that the store has not changed; or, when the feed is behind, for as long after the
/// read as an answer may be old anyway.
pub(crate) struct Trust {
    stamps: Stamps,
    began: Instant,
    /// Until when the feed's last word is good.
    fresh_until: AtomicU64,
    /// Up to when the feed has told everything.
    fresh_as_of: AtomicU64,
    max_staleness: u64,
    time_to_live: u64,
}

impl Trust {
    pub(crate) fn new(config: &CacheConfig, began: Instant) -> Self {
        Self {
            stamps: Stamps::new(),
            began,
            fresh_until: AtomicU64::new(0),
            fresh_as_of: AtomicU64::new(0),
            max_staleness: nanos(config.max_staleness),
            time_to_live: nanos(config.time_to_live),
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

    fn is_recent(&self, seen: Seen, now: Moment) -> bool {
        let age = now.since(seen.at);
        age <= self.time_to_live
            && (now.0 <= self.fresh_until.load(Ordering::Acquire) || age <= self.max_staleness)
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

    /// How old the feed's last word is; `None` before the first one.
    pub(crate) fn feed_age(&self, now: Instant) -> Option<Duration> {
        match self.fresh_as_of.load(Ordering::Acquire) {
            0 => None,
            as_of => Some(Duration::from_nanos(self.moment(now).since(Moment(as_of)))),
        }
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
        assert_eq!(trust.feed_age(after(&trust, 1.0)), None);
        trust.fresh(after(&trust, 1.0));
        assert_eq!(trust.feed_age(after(&trust, 3.0)), Some(Duration::from_secs(2)));
    }
}
