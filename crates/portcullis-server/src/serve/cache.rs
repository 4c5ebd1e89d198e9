//! What of those who have logged in is kept in memory, as the command line says it.

use std::time::Duration;

use clap::value_parser;
use portcullis::CacheConfig;

#[derive(clap::Args)]
pub(super) struct CacheArgs {
    /// How much memory those who have logged in may take, 0 to 65536 MiB; 64 are enough for about
    /// 100,000 credentials. With 0 every login reads the store and computes a hash
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 64,
        value_parser = value_parser!(u32).range(0..=65_536)
    )]
    cache_size: u32,

    /// After how long somebody who is known is read from the store again, although it has told of
    /// no change, 2 to 86400 seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = value_parser!(u32).range(2..=86_400)
    )]
    time_to_live: u32,

    /// Let in who is known from memory for so long while the store cannot be read, 1 to 86400
    /// seconds beyond the 2 for which an answer may be old anyway. What it gives up: a password
    /// that was changed or revoked elsewhere may work here for that long while the store is
    /// unreachable. By default nobody is let in then
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=86_400))]
    outage_grace: Option<u32>,
}

impl CacheArgs {
    pub(super) fn config(&self) -> CacheConfig {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let mebibytes = usize::try_from(self.cache_size).unwrap_or(usize::MAX);
        CacheConfig::default()
            .max_bytes(mebibytes.saturating_mul(1024 * 1024))
            .time_to_live(seconds(self.time_to_live))
            .stale_if_error(seconds(self.outage_grace.unwrap_or_default()))
    }
}
