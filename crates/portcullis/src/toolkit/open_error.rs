//! Why a store in files could not be opened.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a store that belongs to one process could not be opened. A file or directory that is not a store
/// was not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is a store, and damaged.
    #[error("`{}` is damaged: restore it from a backup", path.display())]
    Corrupt {
        /// The path of the store.
        path: PathBuf,
        /// The error of the engine.
        #[source]
        source: Source,
    },
    /// There is nothing, and no store could be created.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// The path of the store.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path leads to something else.
    #[error("`{}` is not a Portcullis store of this kind: choose another path", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// It is open already, in another process or in this one.
    #[error(
        "`{}` is in use: only one process at a time can have it open; stop the other one, or ask \
         it over HTTP",
        path.display()
    )]
    InUse {
        /// The path of the store.
        path: PathBuf,
    },
    /// There is no store, and none was to be created.
    #[error("there is no store at `{}`: check the path, or have one created", path.display())]
    Missing {
        /// The path, where nothing is, or something empty.
        path: PathBuf,
    },
    /// A newer version of Portcullis has written it.
    #[error(
        "`{}` has format {found} and this version of Portcullis reads up to {supported}: \
         upgrade Portcullis",
        path.display()
    )]
    Newer {
        /// The path of the store.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version can read.
        supported: u64,
    },
    /// It could not be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The path of the store.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
}

type Source = Box<dyn StdError + Send + Sync>;

impl OpenError {
    /// Makes [`OpenError::Open`].
    pub fn open(path: &Path, source: impl Into<Source>) -> Self {
        Self::Open { path: path.to_owned(), source: source.into() }
    }

    /// Makes [`OpenError::Create`].
    pub fn create(path: &Path, source: io::Error) -> Self {
        Self::Create { path: path.to_owned(), source }
    }
}
