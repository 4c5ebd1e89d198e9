//! Which store is meant, and opening it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use portcullis::store::{MemoryStore, Store};
use portcullis_sqlite::{OpenError, SqliteStore};

const SUPPORTED: &str = "this build has sqlite:PATH and, for `serve`, memory:";

/// Where the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// In the memory of this process.
    Memory,
    /// In an SQLite file.
    Sqlite(PathBuf),
}

/// What to do where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Create,
    Fail,
}

impl StoreUrl {
    /// Reads the text of `--store`.
    ///
    /// Errors never quote it: a URL may hold a password.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            bail!("--store must begin with a scheme, such as in sqlite:portcullis.db; {SUPPORTED}");
        };
        match (scheme, rest) {
            ("memory", "") => Ok(Self::Memory),
            ("memory", _) => bail!("nothing may follow `memory:` in --store"),
            ("sqlite", "") => bail!("the path is missing in --store: write sqlite:PATH"),
            ("sqlite", ":memory:") => bail!("a store in memory is --store memory:"),
            // Whoever writes `sqlite://x` hardly means `//x`, which is `/x`.
            ("sqlite", path) if path.starts_with("//") => {
                bail!("--store takes a path, not a URL with `//`: write sqlite:PATH")
            }
            ("sqlite", path) => Ok(Self::Sqlite(path.into())),
            ("sled" | "postgres" | "postgresql", _) => {
                bail!("stores on `{scheme}` are not in this build yet: {SUPPORTED}")
            }
            _ => bail!("--store has an unknown scheme: {SUPPORTED}"),
        }
    }

    /// Reads the text of `--store` for a command that works on a store which stays: gives the
    /// path of its file.
    pub(crate) fn parse_lasting(text: &str) -> anyhow::Result<PathBuf> {
        match Self::parse(text)? {
            Self::Sqlite(path) => Ok(path),
            Self::Memory => bail!(
                "a store in memory is gone when this command ends: give the server's store with \
                 --store sqlite:PATH"
            ),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// Opens the store in the file. This blocks.
pub(crate) fn open_file(path: &Path, if_missing: IfMissing) -> anyhow::Result<Arc<dyn Store>> {
    let options = SqliteStore::options().create(if_missing == IfMissing::Create);
    match options.open(path) {
        Ok(store) => Ok(Arc::new(store)),
        Err(OpenError::Missing { path }) => Err(anyhow!(
            "there is no store at `{}`: check --store, or create one with `portcullis setup` or \
             `portcullis serve`",
            path.display()
        )),
        Err(error) => Err(error.into()),
    }
}

/// Makes a store that is gone with this process.
pub(crate) fn in_memory() -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(MemoryStore::new().context("could not begin a store in memory")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        StoreUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_scheme_and_a_path_are_read() {
        assert_eq!(StoreUrl::parse("memory:").unwrap(), StoreUrl::Memory);
        for path in ["portcullis.db", "/var/lib/portcullis.db", "./a:b c", "C:\\data\\p.db"] {
            let url = StoreUrl::parse(&format!("sqlite:{path}")).unwrap();
            assert_eq!(url, StoreUrl::Sqlite(path.into()));
            assert_eq!(url.to_string(), format!("sqlite:{path}"));
        }
    }

    #[test]
    fn what_is_no_store_is_refused_without_quoting_it() {
        assert!(error("portcullis.db").contains("sqlite:portcullis.db"));
        assert!(error("sqlite:").contains("path is missing"));
        assert!(error("sqlite::memory:").contains("--store memory:"));
        assert!(error("sqlite://portcullis.db").contains("sqlite:PATH"));
        assert!(error("memory:x").contains("nothing may follow"));
        assert!(error("sled:data").contains("not in this build yet"));
        for text in ["postgres://ada:s3cret@db/x", "mysql://ada:s3cret@db/x", "s3cret"] {
            let error = error(text);
            assert!(!error.contains("s3cret"), "{error}");
            assert!(error.contains("sqlite:"), "{error}");
        }
    }

    #[test]
    fn memory_is_nothing_for_a_command() {
        let error = StoreUrl::parse_lasting("memory:").unwrap_err().to_string();
        assert!(error.contains("sqlite:PATH"), "{error}");
    }
}
