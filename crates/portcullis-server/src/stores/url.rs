//! The text of `--store`.

use std::fmt;

use anyhow::bail;

use super::file::FileStore;
use super::persistent::PersistentStore;
use super::postgres::PostgresLocation;

const SUPPORTED: &str = "this build has sqlite:PATH, redb:PATH, sled:PATH, postgres://USER@HOST/DATABASE and, for `serve`, memory:";

/// A store, as `--store` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// In the memory of this process.
    Memory,
    /// Outside of this process.
    Persistent(PersistentStore),
}

impl StoreUrl {
    /// Parses the text of `--store`.
    ///
    /// Errors never quote it: a URL may hold a password.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            bail!("--store must begin with a scheme, such as in sqlite:portcullis.db; {SUPPORTED}");
        };
        match (scheme, rest) {
            ("memory", "") => Ok(Self::Memory),
            ("memory", _) => bail!("nothing may follow `memory:` in --store"),
            ("sqlite" | "redb" | "sled", "") => {
                bail!("the path is missing in --store: write {scheme}:PATH")
            }
            ("sqlite", ":memory:") => bail!("a store in memory is --store memory:"),
            // `sqlite://x` hardly means `//x`, which is `/x`.
            ("sqlite" | "redb" | "sled", path) if path.starts_with("//") => {
                bail!("--store takes a path, not a URL with `//`: write {scheme}:PATH")
            }
            ("sqlite", path) => Ok(Self::file(FileStore::Sqlite(path.into()))),
            ("redb", path) => Ok(Self::file(FileStore::Redb(path.into()))),
            ("sled", path) => Ok(Self::file(FileStore::Sled(path.into()))),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => {
                Ok(Self::Persistent(PersistentStore::Postgres(PostgresLocation::new(text))))
            }
            ("postgres" | "postgresql", _) => {
                bail!("--store is no URL: write {scheme}://USER@HOST/DATABASE")
            }
            _ => bail!("--store has an unknown scheme: {SUPPORTED}"),
        }
    }

    /// Returns whether the text of `--store` contains a password.
    pub(crate) fn has_password(text: &str) -> bool {
        let Some((_, rest)) = text.split_once("://") else { return false };
        rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    }

    fn file(store: FileStore) -> Self {
        Self::Persistent(PersistentStore::File(store))
    }

    /// Parses the text of `--store` for a command, which needs a persistent store.
    pub(crate) fn parse_persistent(text: &str) -> anyhow::Result<PersistentStore> {
        match Self::parse(text)? {
            Self::Persistent(store) => Ok(store),
            Self::Memory => bail!(
                "a store in memory does not outlive this command: give the server's store with \
                 --store sqlite:PATH"
            ),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Persistent(store) => store.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        StoreUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_scheme_and_a_path_are_parsed() {
        assert_eq!(StoreUrl::parse("memory:").unwrap(), StoreUrl::Memory);
        for path in ["portcullis.db", "/var/lib/portcullis.db", "./a:b c", "C:\\data\\p.db"] {
            let url = StoreUrl::parse(&format!("sqlite:{path}")).unwrap();
            assert_eq!(url, StoreUrl::file(FileStore::Sqlite(path.into())));
            assert_eq!(url.to_string(), format!("sqlite:{path}"));
            let url = StoreUrl::parse(&format!("redb:{path}")).unwrap();
            assert_eq!(url, StoreUrl::file(FileStore::Redb(path.into())));
            assert_eq!(url.to_string(), format!("redb:{path}"));
            let url = StoreUrl::parse(&format!("sled:{path}")).unwrap();
            assert_eq!(url, StoreUrl::file(FileStore::Sled(path.into())));
            assert_eq!(url.to_string(), format!("sled:{path}"));
        }
    }

    #[test]
    fn an_invalid_store_is_refused_without_being_quoted() {
        assert!(error("portcullis.db").contains("sqlite:portcullis.db"));
        assert!(error("sqlite:").contains("path is missing"));
        assert!(error("sqlite::memory:").contains("--store memory:"));
        assert!(error("sqlite://portcullis.db").contains("sqlite:PATH"));
        assert!(error("memory:x").contains("nothing may follow"));
        assert!(error("redb:").contains("write redb:PATH"));
        assert!(error("sled:").contains("write sled:PATH"));
        for text in ["postgres:ada:s3cret@db/x", "mysql://ada:s3cret@db/x", "s3cret"] {
            let error = error(text);
            assert!(!error.contains("s3cret"), "{error}");
            assert!(error.contains("://") || error.contains("sqlite:"), "{error}");
        }
    }

    #[test]
    fn the_url_of_a_database_is_parsed_and_its_secrets_are_not_shown() {
        for scheme in ["postgres", "postgresql"] {
            let url = StoreUrl::parse(&format!("{scheme}://ada:s3cret@db/x")).unwrap();
            assert_eq!(url.to_string(), "postgres://db:5432/x");
            assert!(!format!("{url:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_password_in_the_url_of_a_database_is_found() {
        for url in ["postgres://ada:s3cret@db/x", "postgresql://ada:s3?c@ret@db:5432/x"] {
            assert!(StoreUrl::has_password(url), "{url}");
        }
        for url in ["postgres://ada@db:5432/x", "postgres://db:5432/x", "sqlite:C:\\a@b", "memory:"]
        {
            assert!(!StoreUrl::has_password(url), "{url}");
        }
    }

    #[test]
    fn a_command_refuses_a_store_in_memory() {
        let error = StoreUrl::parse_persistent("memory:").unwrap_err().to_string();
        assert!(error.contains("sqlite:PATH"), "{error}");
    }
}
