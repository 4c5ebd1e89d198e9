//! The options of `serve` for logins: the cache, the queue for hashes, and throttling.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::value_parser;
use portcullis::password::HashPoolConfig;
use portcullis::{CacheConfig, EngineBuilder, LastUseConfig};
use portcullis_http::{CredentialLimiter, CredentialLimits, RequestRate};

use super::byte_size::ByteSize;
use super::login_history::HistoryFile;
use crate::duration;
use crate::passwords::PolicyArgs;
use crate::stores::StoreUrl;

/// The largest cache that can be configured.
const MAX_CACHE_SIZE: ByteSize = ByteSize::mebibytes(65_536);

#[derive(clap::Args)]
#[command(next_help_heading = "Logins")]
pub(super) struct LoginArgs {
    /// The memory for cached logins, such as 64MiB or 1GiB; a plain number is in MiB. At most 64GiB;
    /// 64MiB hold about 100,000 credentials. With 0, every login reads the store and computes a hash
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = ByteSize::mebibytes(64),
        value_parser = |text: &str| ByteSize::parse_up_to(text, MAX_CACHE_SIZE)
    )]
    cache_size: ByteSize,

    /// The time after which a cached login is read from the store again, even if the store has
    /// reported no change: 2 to 86400 seconds
    #[arg(
        long,
        alias = "time-to-live",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = value_parser!(u32).range(2..=86_400)
    )]
    cache_ttl: u32,

    /// Accept cached logins for this time while the store cannot be read: 1 to 86400 seconds, beyond
    /// the 2 seconds for which a cached login is used in any case. A password that was changed or
    /// revoked through another server may be accepted for this time. By default, logins are refused
    #[arg(
        long,
        alias = "outage-grace",
        value_name = "SECONDS",
        value_parser = value_parser!(u32).range(1..=86_400)
    )]
    stale_if_error: Option<u32>,

    /// The most logins and new passwords that wait for their hash, 1 to 65536. When the queue is full,
    /// a login that is likely to succeed replaces one that is not
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 4096,
        value_parser = value_parser!(u32).range(1..=65_536)
    )]
    login_queue: u32,

    /// The longest time that a login waits for its hash, 1 to 60 seconds. A login that would wait
    /// longer gets 503 with `Retry-After`
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = value_parser!(u32).range(1..=60)
    )]
    login_wait: u32,

    /// The file that keeps which usernames have logged in from which addresses, as keyed digests: their
    /// logins go first after a restart, and do not wait for the failures of others. By default beside
    /// the store, with `-logins` after its name; for PostgreSQL and memory, none
    #[arg(long, value_name = "PATH")]
    login_history: Option<PathBuf>,

    /// The time in which the last use of a credential is written at most once, such as 1h or 1d: 1
    /// second to 31 days; `off` records no last uses
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = LastUseInterval::parse)]
    last_use_interval: LastUseInterval,

    /// Do not throttle failed logins, because something in front does. By default, a username has 10
    /// failures free and an address 100; after these, each failure has to be waited for
    #[arg(long)]
    no_throttle: bool,

    #[arg(long, hide = true, value_name = "off", conflicts_with = "no_throttle")]
    throttle: Option<Throttle>,

    /// The most requests of a credential: COUNT/s, COUNT/m or COUNT/h, with up to 1000000. Of each by itself,
    /// at the gateway and at /forward-auth; a request beyond it is 429. By default, not limited
    #[arg(long, value_name = "RATE")]
    credential_rate: Option<RequestRate>,

    /// How many requests a credential may send at once after a pause, 1 to 1000000. By default, those of
    /// one second
    #[arg(
        long,
        value_name = "COUNT",
        requires = "credential_rate",
        value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    credential_burst: Option<u32>,

    /// The most requests of a credential in flight, 1 to 65536, of each by itself, at the gateway; one more
    /// is 429. By default, not limited
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=65_536))]
    credential_in_flight: Option<u32>,

    #[command(flatten)]
    policy: PolicyArgs,
}

/// The value of `--throttle`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Throttle {
    Off,
}

/// The value of `--last-use-interval`.
#[derive(Clone, Copy, Debug)]
enum LastUseInterval {
    Off,
    Every(Duration),
}

impl LastUseInterval {
    fn parse(text: &str) -> Result<Self, String> {
        const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

        if text == "off" {
            return Ok(Self::Off);
        }
        match duration::parse(text)? {
            every if (Duration::from_secs(1)..=LONGEST).contains(&every) => Ok(Self::Every(every)),
            _ => Err("must be between 1s and 31d, or off".to_owned()),
        }
    }
}

impl LoginArgs {
    /// Applies the options to an engine.
    pub(super) fn configure(&self, builder: EngineBuilder) -> EngineBuilder {
        let builder = builder
            .password_policy(self.policy.policy())
            .cache(self.cache())
            .hashing(self.hashing());
        let builder = match self.last_use_interval {
            LastUseInterval::Off => builder.no_last_use(),
            LastUseInterval::Every(interval) => {
                builder.last_use(LastUseConfig::default().interval(interval))
            }
        };
        if self.no_throttle || self.throttle.is_some() {
            return builder.no_throttle();
        }
        builder
    }

    fn cache(&self) -> CacheConfig {
        CacheConfig::default()
            .max_bytes(self.cache_size.bytes())
            .time_to_live(seconds(self.cache_ttl))
            .stale_if_error(seconds(self.stale_if_error.unwrap_or_default()))
    }

    fn hashing(&self) -> HashPoolConfig {
        let queue = usize::try_from(self.login_queue).unwrap_or(HashPoolConfig::MAX_QUEUE);
        HashPoolConfig::default().queue(queue).max_wait(seconds(self.login_wait))
    }

    /// Returns what limits each credential, if it is to be limited.
    pub(super) fn limiter(&self) -> Option<CredentialLimiter> {
        let limits = CredentialLimits::none()
            .rate(self.credential_rate)
            .burst(self.credential_burst.and_then(NonZeroU32::new))
            .in_flight(self.credential_in_flight.and_then(NonZeroU32::new));
        (!limits.is_none()).then(|| CredentialLimiter::new(limits))
    }

    /// Returns the file of the login history, if there is to be one.
    pub(super) fn history_file(&self, store: &StoreUrl) -> Option<HistoryFile> {
        match &self.login_history {
            Some(path) => Some(HistoryFile::new(path.clone())),
            None => HistoryFile::beside(store),
        }
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
