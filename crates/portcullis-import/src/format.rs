//! The formats, and opening a file of one.

use std::fmt;
use std::path::Path;

use crate::influxdb_1x::Influxdb1x;
use crate::source::{Source, SourceError};

/// A format of files that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `meta.db` of InfluxDB 1.x.
    Influxdb1x,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = &[Self::Influxdb1x];

    /// Returns the name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Influxdb1x => "influxdb-1x",
        }
    }

    /// Opens a file of the format.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when it cannot be read, or when its beginning shows that it is not of the format.
    pub fn open(self, path: &Path) -> Result<Box<dyn Source>, SourceError> {
        match self {
            Self::Influxdb1x => Ok(Box::new(Influxdb1x::open(path)?)),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
