//! Which usernames have logged in from which addresses.

use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::sync::lock;
use crate::throttle::network;
use crate::{Random, RandomUnavailable, Timestamp};

/// Which usernames have logged in from which addresses lately, for use after a restart.
///
/// After a restart every password has to be hashed again. A login from an address from which its username
/// has logged in before then has priority, and does not wait for failures from other addresses. The
/// history contains no username, address or password, only keyed digests of a username with an address
/// (or a /64 of IPv6). It changes rarely, and losing it is harmless.
///
/// An [`Engine`](crate::Engine) returns it with
/// [`login_history`](crate::Engine::login_history) and takes it with
/// [`EngineBuilder::login_history`](crate::EngineBuilder::login_history).
///
/// ```
/// use portcullis::{Engine, LoginHistory, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let saved = engine.login_history().to_bytes();
/// let history = LoginHistory::from_bytes(&saved)?;
/// let after_restart =
///     Engine::builder(MemoryStore::new()?).login_history(history).build().await?;
/// # Ok(())
/// # }
/// ```
pub struct LoginHistory {
    key: Zeroizing<[u8; 16]>,
    entries: Vec<Entry>,
}

/// The error for bytes that are no [`LoginHistory`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLoginHistory {
    /// It is truncated or too long, or its checksum is wrong.
    #[error("the login history is damaged")]
    Damaged,
    /// It has a version that this program does not support, or is something else.
    #[error("this is no login history of a supported version")]
    Unknown,
}

/// A username and an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Its keyed digest; 0 where there is none.
    digest: u64,
    /// The time of its last login, in minutes since 1970.
    minute: u32,
}

impl LoginHistory {
    /// The number of pairs of a username and an address that are kept. Further ones evict the oldest.
    pub const MAX_ENTRIES: usize = 65_536;
    /// The number of days after which a pair expires.
    pub const DAYS: u32 = 30;

    const MAGIC: &'static [u8] = b"portcullis login history 1\n";
    const CHECKSUM: usize = 32;
    const ENTRY: usize = 12;

    /// Encodes it, in at most 800 KiB. The file must be readable by the server alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Self::MAGIC.to_vec();
        bytes.extend_from_slice(&*self.key);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.digest.to_le_bytes());
            bytes.extend_from_slice(&entry.minute.to_le_bytes());
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Decodes what [`LoginHistory::to_bytes`] has returned.
    ///
    /// # Errors
    ///
    /// [`InvalidLoginHistory::Unknown`] for anything else, [`InvalidLoginHistory::Damaged`] if it is
    /// incomplete or changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidLoginHistory> {
        use InvalidLoginHistory::{Damaged, Unknown};

        let content = bytes.strip_prefix(Self::MAGIC).ok_or(Unknown)?;
        let (covered, sum) = bytes.split_last_chunk::<{ Self::CHECKSUM }>().ok_or(Damaged)?;
        if checksum(covered) != *sum {
            return Err(Damaged);
        }
        let content = content.get(..content.len() - Self::CHECKSUM).ok_or(Damaged)?;
        let (key, entries) = content.split_first_chunk::<16>().ok_or(Damaged)?;
        let (entries, rest) = entries.as_chunks::<{ Self::ENTRY }>();
        if !rest.is_empty() || entries.len() > Self::MAX_ENTRIES {
            return Err(Damaged);
        }
        let entry = |bytes: &[u8; Self::ENTRY]| {
            let (digest, minute) = bytes.split_first_chunk::<8>()?;
            let (minute, _) = minute.split_first_chunk::<4>()?;
            let (digest, minute) = (u64::from_le_bytes(*digest), u32::from_le_bytes(*minute));
            Some(Entry { digest, minute })
        };
        let entries = entries.iter().filter_map(entry).collect();
        Ok(Self { key: Zeroizing::new(*key), entries })
    }

    /// Returns the number of pairs of a username and an address.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for LoginHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginHistory").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn checksum(bytes: &[u8]) -> [u8; LoginHistory::CHECKSUM] {
    use sha2::Digest as _;

    sha2::Sha256::digest(bytes).into()
}

/// The history of a running engine. It takes about 1 MiB.
pub(crate) struct FamiliarSources {
    key: Zeroizing<[u8; 16]>,
    buckets: Box<[Mutex<[Entry; BUCKET]>]>,
    changes: AtomicU64,
}

/// Entries that share a lock. A further one evicts the oldest.
const BUCKET: usize = 8;

/// In minutes.
const DAY: u32 = 24 * 60;

/// The age after which a login updates its entry, which has to be saved again.
const REFRESH_MINUTES: u32 = 12 * 60;

impl FamiliarSources {
    /// Continues a history, or starts one with a random key.
    pub(crate) fn new(
        history: Option<LoginHistory>,
        random: &dyn Random,
    ) -> Result<Self, RandomUnavailable> {
        let mut key = Zeroizing::new([0; 16]);
        match &history {
            Some(history) => key.copy_from_slice(&*history.key),
            None => random.fill(&mut *key)?,
        }
        let buckets = (0..LoginHistory::MAX_ENTRIES / BUCKET).map(|_| Mutex::default()).collect();
        let familiar = Self { key, buckets, changes: AtomicU64::new(0) };
        for entry in history.into_iter().flat_map(|history| history.entries) {
            familiar.insert(entry);
        }
        familiar.changes.store(0, Ordering::Relaxed);
        Ok(familiar)
    }

    /// Tells whether the username has logged in from the source lately.
    pub(crate) fn contains(&self, name: &str, source: IpAddr, now: Timestamp) -> bool {
        let (digest, now) = (self.digest(name, source), minute(now));
        let Some(bucket) = self.bucket(digest) else { return false };
        bucket.iter().any(|entry| entry.is(digest) && !entry.is_old(now))
    }

    /// Records that the username has logged in from the source.
    pub(crate) fn record(&self, name: &str, source: IpAddr, now: Timestamp) {
        self.insert(Entry { digest: self.digest(name, source), minute: minute(now) });
    }

    /// Returns the number of changes since the start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Returns a copy for saving, without expired entries.
    pub(crate) fn history(&self, now: Timestamp) -> LoginHistory {
        let now = minute(now);
        let mut entries = Vec::new();
        for bucket in &self.buckets {
            let bucket = lock(bucket);
            entries.extend(bucket.iter().filter(|entry| entry.digest != 0 && !entry.is_old(now)));
        }
        LoginHistory { key: self.key.clone(), entries }
    }

    fn insert(&self, new: Entry) {
        let Some(mut bucket) = self.bucket(new.digest) else { return };
        if let Some(entry) = bucket.iter_mut().find(|entry| entry.is(new.digest)) {
            // A recent entry stays, because every change has to be saved.
            if new.minute.saturating_sub(entry.minute) < REFRESH_MINUTES {
                return;
            }
            *entry = new;
        } else {
            let [first, others @ ..] = &mut *bucket;
            // An entry of the future was written with a wrong clock.
            let rank = |entry: &Entry| if entry.is_old(new.minute) { 0 } else { entry.minute };
            let oldest = others.iter_mut().fold(first, |oldest, entry| {
                if rank(entry) < rank(oldest) { entry } else { oldest }
            });
            *oldest = new;
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn digest(&self, name: &str, source: IpAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match network(source) {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        // The length keeps the bytes of an address and of a name apart.
        hasher.write_u64(name.len() as u64);
        hasher.write(name.as_bytes());
        hasher.finish().max(1)
    }

    fn bucket(&self, digest: u64) -> Option<MutexGuard<'_, [Entry; BUCKET]>> {
        let index = (digest >> 32) as usize % self.buckets.len().max(1);
        Some(lock(self.buckets.get(index)?))
    }
}

impl Entry {
    fn is(&self, digest: u64) -> bool {
        self.digest.ct_eq(&digest).into()
    }

    /// Tells whether it has expired, or is of the future.
    fn is_old(&self, now: u32) -> bool {
        now.saturating_sub(self.minute) > LoginHistory::DAYS * DAY
            || self.minute.saturating_sub(now) > DAY
    }
}

fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.as_unix_millis() / 60_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    const DAY_MILLIS: i64 = 24 * 60 * 60_000;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_unix_millis(20_000 * DAY_MILLIS + days * DAY_MILLIS).unwrap()
    }

    fn familiar(history: Option<LoginHistory>) -> FamiliarSources {
        FamiliarSources::new(history, &SystemRandom).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// [QUEUE-7]
    #[test]
    fn a_history_outlives_a_restart_for_thirty_days() {
        let before = familiar(None);
        before.record("telegraf", address("192.0.2.1"), at(0));
        before.record("grafana", address("2001:db8:0:1::1"), at(10));
        let saved = before.history(at(10)).to_bytes();
        let after = familiar(Some(LoginHistory::from_bytes(&saved).unwrap()));
        assert_eq!(after.changes(), 0);
        assert!(after.contains("telegraf", address("::ffff:192.0.2.1"), at(30)));
        assert!(!after.contains("telegraf", address("192.0.2.1"), at(31)));
        assert!(after.contains("grafana", address("2001:db8:0:1::2"), at(31)));
        assert!(!after.contains("grafana", address("2001:db8:0:2::1"), at(10)));
        assert!(!after.contains("grafana", address("192.0.2.1"), at(10)));
        assert_eq!(after.history(at(31)).len(), 1);
    }

    #[test]
    fn a_login_each_second_is_written_twice_a_day() {
        let familiar = familiar(None);
        for second in 0..48 * 60 * 60 {
            let now = Timestamp::from_unix_millis(20_000 * DAY_MILLIS + second * 1_000).unwrap();
            familiar.record("telegraf", address("192.0.2.1"), now);
        }
        assert_eq!(familiar.changes(), 4);
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let familiar = familiar(None);
        for number in 0..200_000 {
            let day = number / 10_000;
            familiar.record(&format!("agent-{number}"), address("192.0.2.1"), at(day));
        }
        let recorded = |range: std::ops::Range<i64>| {
            let is = |number: &i64| {
                familiar.contains(&format!("agent-{number}"), address("192.0.2.1"), at(20))
            };
            range.filter(is).count()
        };
        assert!(recorded(190_000..200_000) > 9_990);
        assert!(recorded(0..10_000) < 50);
        let saved = familiar.history(at(20)).to_bytes();
        assert!(saved.len() <= 800 * 1_024, "{}", saved.len());
    }

    #[test]
    fn entries_of_a_clock_that_was_ahead_do_not_count_and_make_room() {
        let familiar = familiar(None);
        for number in 0..100_000 {
            familiar.record(&format!("agent-{number}"), address("192.0.2.1"), at(1_000));
        }
        assert!(!familiar.contains("agent-99999", address("192.0.2.1"), at(0)));
        assert!(familiar.history(at(0)).is_empty());
        for number in 0..10_000 {
            familiar.record(&format!("right-{number}"), address("192.0.2.1"), at(0));
        }
        assert!(familiar.history(at(0)).len() > 9_990);
    }

    #[test]
    fn what_is_damaged_or_foreign_is_refused() {
        let familiar = familiar(None);
        for number in 0..10 {
            familiar.record(&format!("agent-{number}"), address("192.0.2.1"), at(0));
        }
        let saved = familiar.history(at(0)).to_bytes();
        assert!(LoginHistory::from_bytes(&saved).is_ok());
        for length in 0..saved.len() {
            assert!(LoginHistory::from_bytes(&saved[..length]).is_err(), "{length}");
        }
        for byte in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[byte] ^= 1;
            assert!(LoginHistory::from_bytes(&damaged).is_err(), "{byte}");
        }
        let of = |bytes: &[u8]| LoginHistory::from_bytes(bytes).unwrap_err();
        assert_eq!(of(b"something else"), InvalidLoginHistory::Unknown);
        assert_eq!(of(LoginHistory::MAGIC), InvalidLoginHistory::Damaged);
    }

    #[test]
    fn a_clock_outside_of_its_range_is_no_panic() {
        let familiar = familiar(None);
        for millis in [i64::MIN, -1, 0, 253_402_300_799_000, i64::MAX] {
            let Some(now) = Timestamp::from_unix_millis(millis) else { continue };
            familiar.record("telegraf", address("192.0.2.1"), now);
            assert!(familiar.contains("telegraf", address("192.0.2.1"), now));
        }
    }
}
