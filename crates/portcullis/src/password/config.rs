//! Settings of the hash pool.

use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::HashParams;
use crate::config::{InvalidConfig, check_bounds, duration};

/// How passwords are hashed, and by how many threads.
///
/// In a configuration file the settings have the names of the setters; durations are text such as
/// `10s`. Missing settings have their defaults, and unknown ones are an error. Bounds are checked
/// when the engine is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HashPoolConfig {
    pub(super) params: HashParams,
    pub(super) threads: usize,
    pub(super) queue: usize,
    #[serde(deserialize_with = "duration")]
    pub(super) max_wait: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) idle_memory_timeout: Duration,
}

impl Default for HashPoolConfig {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            params: HashParams::default(),
            threads: cores.min(8),
            queue: 4_096,
            max_wait: Duration::from_secs(10),
            idle_memory_timeout: Duration::from_secs(10),
        }
    }
}

impl HashPoolConfig {
    /// The greatest [`Self::queue`].
    pub const MAX_QUEUE: usize = 65_536;
    /// The least and the greatest [`Self::max_wait`].
    pub const WAIT_BOUNDS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
    /// The greatest [`Self::threads`].
    const MAX_THREADS: usize = 1_024;

    /// Sets what a new hash costs. Default: [`HashParams::default`].
    #[must_use]
    pub fn params(self, params: HashParams) -> Self {
        Self { params, ..self }
    }

    /// Sets the number of threads. Each has memory for one computation while there is something to
    /// compute. Default: one for each core, at most 8. From 1 to 1,024.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets how many logins and new passwords may wait for a thread, all together. Default: 4,096,
    /// which take about 4 MiB. From 1 to 65,536.
    ///
    /// Logins and new passwords take turns. Among logins those go first whose username has logged
    /// in from the same address before, and those last whose username or address has failed
    /// lately. Beyond that, addresses and usernames take turns. When the queue is full, the job with
    /// the lowest priority makes room for one with a higher priority.
    #[must_use]
    pub fn queue(self, queue: usize) -> Self {
        Self { queue, ..self }
    }

    /// Sets how long a login or a new password waits for its hash at most. Default: 10 seconds.
    /// From 100 milliseconds to one minute.
    ///
    /// A login that would have to wait for longer is refused at once with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and the time after which to try
    /// again, computed from the length of the queue and the measured time of a hash.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// Sets how long a thread without work keeps its memory. Default: 10 seconds. To allocate it
    /// again makes the next computation a little longer; with [`Duration::MAX`] it is kept for good.
    #[must_use]
    pub fn idle_memory_timeout(self, idle_memory_timeout: Duration) -> Self {
        Self { idle_memory_timeout, ..self }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let [shortest, longest] = Self::WAIT_BOUNDS;
        check_bounds("HashPoolConfig::threads", self.threads, 1, Self::MAX_THREADS)?;
        check_bounds("HashPoolConfig::queue", self.queue, 1, Self::MAX_QUEUE)?;
        check_bounds("HashPoolConfig::max_wait", self.max_wait, shortest, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        let default = HashPoolConfig::default();
        let error = |config: HashPoolConfig| config.validate().unwrap_err().to_string();
        assert_eq!(default.validate(), Ok(()));
        assert_eq!(
            error(default.threads(0)),
            "HashPoolConfig::threads must be between 1 and 1024, not 0"
        );
        let queue = "HashPoolConfig::queue must be between 1 and 65536, not";
        assert_eq!(error(default.queue(0)), format!("{queue} 0"));
        assert_eq!(error(default.queue(65_537)), format!("{queue} 65537"));
        let wait = "HashPoolConfig::max_wait must be between 100ms and 60s, not";
        assert_eq!(error(default.max_wait(Duration::from_millis(99))), format!("{wait} 99ms"));
        assert_eq!(error(default.max_wait(Duration::from_secs(61))), format!("{wait} 61s"));
    }
}
