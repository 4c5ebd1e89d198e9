//! How many logins may wait for their hash, and which of them go first after a restart.

use crate::stores::{PersistentStore, StoreUrl};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::value_parser;
use portcullis::password::HashPoolConfig;
use portcullis::{Engine, InvalidLoginHistory, LoginHistory};
use tempfile::NamedTempFile;
use tokio::time::MissedTickBehavior;

/// How often the history is saved, if it has changed.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// A file that is larger is no history.
const MOST_BYTES: u64 = 2 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct LoginArgs {
    /// How many logins and new passwords may wait for their hash, 1 to 65536. When all places are
    /// taken, a login that is likely to be right takes that of one that is not
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 4096,
        value_parser = value_parser!(u32).range(1..=65_536)
    )]
    login_queue: u32,

    /// How long a login waits for its hash at most, 1 to 60 seconds. What would have to wait for
    /// longer is answered with 503 and the time after which to come again
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = value_parser!(u32).range(1..=60)
    )]
    login_wait: u32,

    /// Keep in this file which usernames have logged in from which addresses, as keyed digests: they
    /// go first after a restart, and do not wait for the failures of others. By default it is
    /// beside the store with `-logins` after its name; for PostgreSQL and memory there is none
    #[arg(long, value_name = "PATH")]
    login_history: Option<PathBuf>,
}

impl LoginArgs {
    pub(super) fn hashing(&self) -> HashPoolConfig {
        let queue = usize::try_from(self.login_queue).unwrap_or(HashPoolConfig::MAX_QUEUE);
        let max_wait = Duration::from_secs(self.login_wait.into());
        HashPoolConfig::default().queue(queue).max_wait(max_wait)
    }

    /// Where the history is, if it is anywhere.
    pub(super) fn history_file(&self, store: &StoreUrl) -> Option<HistoryFile> {
        let path = match (&self.login_history, store) {
            (Some(path), _) => path.clone(),
            (None, StoreUrl::Persistent(PersistentStore::File(store))) => {
                let mut name = OsString::from(store.path().file_name()?);
                name.push("-logins");
                store.path().with_file_name(name)
            }
            (None, StoreUrl::Memory | StoreUrl::Persistent(PersistentStore::Postgres(_))) => {
                return None;
            }
        };
        Some(HistoryFile(path))
    }
}

/// The file of the history. That it cannot be saved is logged, and no reason not to serve.
#[derive(Clone)]
pub(super) struct HistoryFile(PathBuf);

impl HistoryFile {
    /// Reads it. One that is damaged begins anew.
    ///
    /// # Errors
    ///
    /// For anything else that is there: it would be replaced, and is not ours to replace.
    pub(super) fn load(&self) -> anyhow::Result<Option<LoginHistory>> {
        let path = self.0.display();
        let is_file = match fs::metadata(&self.0) {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("--login-history: cannot look at `{path}`"));
            }
        };
        ensure!(is_file, "--login-history: `{path}` is not a file: name another one");
        let mut bytes = Vec::new();
        let file = fs::File::open(&self.0)
            .with_context(|| format!("--login-history: cannot open `{path}`"))?;
        file.take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .with_context(|| format!("--login-history: cannot read `{path}`"))?;
        match LoginHistory::from_bytes(&bytes) {
            Ok(history) => Ok(Some(history)),
            Err(InvalidLoginHistory::Damaged) => {
                tracing::warn!("the login history `{path}` begins anew: it is damaged");
                Ok(None)
            }
            Err(_) => bail!(
                "--login-history: `{path}` is something else, and would be replaced: name another \
                 file, or delete this one"
            ),
        }
    }

    /// Saves the history now and then, for as long as it is polled.
    pub(super) async fn keep(self, engine: Engine) {
        let mut ticks = tokio::time::interval(SAVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saved = engine.login_history_version();
        loop {
            ticks.tick().await;
            let version = engine.login_history_version();
            if version != saved {
                let (file, engine) = (self.clone(), engine.clone());
                if tokio::task::spawn_blocking(move || file.save(&engine)).await.is_ok() {
                    saved = version;
                }
            }
        }
    }

    /// Saves the history.
    pub(super) fn save(&self, engine: &Engine) {
        let history = engine.login_history();
        if history.is_empty() {
            return;
        }
        if let Err(error) = write(&self.0, &history.to_bytes()) {
            let path = self.0.display();
            tracing::warn!("the login history `{path}` could not be saved: {error}");
        }
    }
}

/// Replaces the file as a whole. Only its owner can read it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use portcullis::store::MemoryStore;

    use super::*;

    async fn engine() -> Engine {
        Engine::builder(MemoryStore::new().unwrap()).build().await.unwrap()
    }

    #[tokio::test]
    async fn a_history_is_saved_for_its_owner_alone_and_what_is_damaged_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let file = HistoryFile(directory.path().join("portcullis.db-logins"));
        assert!(file.load().unwrap().is_none());
        let engine = engine().await;
        file.save(&engine);
        assert!(!file.0.exists(), "there is nothing to save");

        write(&file.0, &engine.login_history().to_bytes()).unwrap();
        assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(file.load().unwrap().is_some());
        let saved = fs::read(&file.0).unwrap();
        fs::write(&file.0, &saved[..saved.len() - 1]).unwrap();
        assert!(file.load().unwrap().is_none());
        // A typo must not cost another file.
        for other in ["something else", ""] {
            fs::write(&file.0, other).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("is something else"), "{error}");
        }
        let error = HistoryFile(directory.path().to_owned()).load().unwrap_err().to_string();
        assert!(error.contains("is not a file"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something is left over");
    }
}
