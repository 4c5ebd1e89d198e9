//! The file of the login history, which decides which logins go first after a restart.

use crate::stores::{PersistentStore, StoreUrl};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use portcullis::{Engine, InvalidLoginHistory, LoginHistory};
use tempfile::NamedTempFile;
use tokio::time::MissedTickBehavior;

/// The time between two saves of a history that changes.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// The most bytes that are read of the file. A history is smaller.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// The file of the login history. An error when it is saved is logged, and does not end the server.
#[derive(Clone)]
pub(super) struct HistoryFile(PathBuf);

impl HistoryFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the file beside the files of the store, `None` for a store without files.
    pub(super) fn beside(store: &StoreUrl) -> Option<Self> {
        let StoreUrl::Persistent(PersistentStore::File(store)) = store else { return None };
        let mut name = OsString::from(store.path().file_name()?);
        name.push("-logins");
        Some(Self(store.path().with_file_name(name)))
    }

    /// Reads the history, `None` if there is none, or if it is damaged.
    ///
    /// # Errors
    ///
    /// When the file is not a login history: it would be replaced when the history is saved.
    pub(super) fn load(&self) -> anyhow::Result<Option<LoginHistory>> {
        let path = self.0.display();
        let is_file = match fs::metadata(&self.0) {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("--login-history: cannot access `{path}`"));
            }
        };
        ensure!(is_file, "--login-history: `{path}` is not a file: name another one");
        let mut bytes = Vec::new();
        let file = fs::File::open(&self.0)
            .with_context(|| format!("--login-history: cannot open `{path}`"))?;
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .with_context(|| format!("--login-history: cannot read `{path}`"))?;
        match LoginHistory::from_bytes(&bytes) {
            Ok(history) => Ok(Some(history)),
            Err(InvalidLoginHistory::Damaged) => {
                tracing::warn!("the login history `{path}` is damaged, and a new one begins");
                Ok(None)
            }
            Err(_) => bail!(
                "--login-history: `{path}` is not a login history, and would be replaced: name another \
                 file, or delete this one"
            ),
        }
    }

    /// Saves the history at intervals, as long as the future is polled.
    pub(super) async fn save_regularly(self, engine: Engine) {
        let mut ticks = tokio::time::interval(SAVE_INTERVAL);
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

    /// Saves the history, unless it is empty.
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

/// Replaces the file atomically, with a mode that lets only its owner read it.
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

    /// [QUEUE-8]
    #[tokio::test]
    async fn a_history_is_saved_for_its_owner_alone_and_a_damaged_one_is_replaced() {
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
        // A typo must not replace another file.
        for other in ["something else", ""] {
            fs::write(&file.0, other).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("is not a login history"), "{error}");
        }
        let error = HistoryFile(directory.path().to_owned()).load().unwrap_err().to_string();
        assert!(error.contains("is not a file"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something is left over");
    }
}
