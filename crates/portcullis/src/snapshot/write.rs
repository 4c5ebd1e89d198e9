//! Writing a snapshot.

use std::io::{self, Write};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::line::{EndLine, Line, SnapshotLine};
use super::read::SnapshotRecord;
use crate::hex;

/// Writes a snapshot, line by line. It is complete only after [`SnapshotWriter::finish`].
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    out: W,
    sha256: Sha256,
    count: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a snapshot of version 1 with its first line. For records of which none
    /// [needs version 2](SnapshotRecord::needs_version_2).
    ///
    /// # Errors
    ///
    /// [`WriteSnapshotError`] when it cannot be written.
    pub fn begin(out: W) -> Result<Self, WriteSnapshotError> {
        Self::begin_version(out, 1)
    }

    /// Begins a snapshot of version 2: a reader of version 1 refuses it at its first line, and not only at
    /// the first member that it does not have.
    ///
    /// # Errors
    ///
    /// [`WriteSnapshotError`] when it cannot be written.
    pub fn begin_version_2(out: W) -> Result<Self, WriteSnapshotError> {
        Self::begin_version(out, 2)
    }

    fn begin_version(out: W, version: u32) -> Result<Self, WriteSnapshotError> {
        let mut writer = Self { out, sha256: Sha256::new(), count: 0 };
        writer.line(&Line::Snapshot(SnapshotLine { version }))?;
        Ok(writer)
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// [`WriteSnapshotError`] when it cannot be written.
    pub fn record(&mut self, record: &SnapshotRecord) -> Result<(), WriteSnapshotError> {
        self.count += 1;
        self.line(&match record {
            SnapshotRecord::Org(org) => Line::Org(org.clone()),
            SnapshotRecord::User(user) => Line::User(user.clone()),
            SnapshotRecord::Bucket(bucket) => Line::Bucket(bucket.clone()),
            SnapshotRecord::Dbrp(mappings) => Line::Dbrp(mappings.into()),
            SnapshotRecord::ApiToken(token) => Line::ApiToken(token.into()),
            SnapshotRecord::Authorization(authorization) => {
                Line::Authorization(authorization.clone())
            }
            SnapshotRecord::ApiTokenUse(used) => Line::ApiTokenUse(used.into()),
            SnapshotRecord::AuthorizationUse(used) => Line::AuthorizationUse(used.into()),
        })
    }

    /// Writes the last line, which proves that nothing is missing, and returns the number of
    /// records.
    ///
    /// # Errors
    ///
    /// [`WriteSnapshotError`] when it cannot be written.
    pub fn finish(mut self) -> Result<u64, WriteSnapshotError> {
        let sha256 = hex::encode(&self.sha256.clone().finalize());
        let count = self.count;
        self.line(&Line::End(EndLine { count, sha256 }))?;
        self.out.flush()?;
        Ok(count)
    }

    fn line(&mut self, line: &Line) -> Result<(), WriteSnapshotError> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        self.sha256.update(&text);
        Ok(self.out.write_all(&text)?)
    }
}

/// The error of writing a snapshot.
#[derive(Debug, Error)]
#[error("could not write the snapshot")]
pub struct WriteSnapshotError(#[from] io::Error);
