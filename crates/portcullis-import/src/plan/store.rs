//! Storing a plan.

use std::io::{self, BufRead};

use portcullis::snapshot::{InvalidSnapshot, LineError, Snapshot};
use portcullis::store::Batch;
use portcullis::{Engine, Error, ErrorKind, ImportError};
use thiserror::Error;

use super::Plan;

/// The number of records of a part: a commit of few megabytes.
const PART: u64 = 10_000;

impl Plan {
    /// Stores the new records in one commit, all or none.
    ///
    /// They are in memory meanwhile, about a kilobyte for each.
    ///
    /// # Errors
    ///
    /// [`StorePlanError`]. Nothing was stored.
    pub async fn store(&mut self, engine: &Engine) -> Result<(), StorePlanError> {
        let records = self.new_records();
        if records > Batch::MAX_OPERATIONS as u64 {
            return Err(StorePlanError::TooMany { records });
        }
        let snapshot = Snapshot::read(self.records.lines()?)?;
        engine.import(snapshot, false).await?;
        Ok(())
    }

    /// Stores the new records in a store that no one else uses yet and that is discarded after an error.
    ///
    /// They are in several commits, so that any number takes little memory.
    ///
    /// # Errors
    ///
    /// [`StorePlanError`]. Some of the records may have been stored.
    pub async fn store_in_parts(&mut self, engine: &Engine) -> Result<(), StorePlanError> {
        let mut lines = self.records.lines()?;
        let mut part = Vec::new();
        loop {
            part.clear();
            for _ in 0..PART {
                if lines.read_until(b'\n', &mut part)? == 0 {
                    break;
                }
            }
            if part.is_empty() {
                return Ok(());
            }
            engine.import(Snapshot::read(part.as_slice())?, false).await?;
        }
    }
}

/// Why a plan was not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorePlanError {
    /// There are more new records than fit into one commit.
    #[error(
        "{records} new records are more than the {} that fit into one commit: import them into a store \
         that does not exist yet",
        Batch::MAX_OPERATIONS
    )]
    TooMany {
        /// The number of new records.
        records: u64,
    },
    /// Records of the store were changed meanwhile, or two items of the file contradict each other.
    #[error("{} of the new records are refused, the first one because: {}", .0.len(), first(.0))]
    Refused(Vec<LineError>),
    /// The store failed.
    #[error(transparent)]
    Engine(Error),
    /// A temporary file could not be read.
    #[error("a temporary file could not be read")]
    TemporaryFile(#[from] io::Error),
}

fn first(errors: &[LineError]) -> &str {
    errors.first().map_or("", |error| &error.reason)
}

impl From<InvalidSnapshot> for StorePlanError {
    fn from(error: InvalidSnapshot) -> Self {
        match error {
            InvalidSnapshot::Io(error) => Self::TemporaryFile(error),
            InvalidSnapshot::Lines(lines) => Self::Refused(lines),
            error => Self::TemporaryFile(io::Error::other(error)),
        }
    }
}

impl From<ImportError> for StorePlanError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Engine(error) => Self::Engine(error),
            ImportError::Lines(lines) => Self::Refused(lines),
            error => Self::Engine(Error::new(ErrorKind::Internal, error.to_string())),
        }
    }
}
