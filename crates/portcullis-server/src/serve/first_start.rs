//! The first start on a new store: setting it up, and delivering the operator token.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis::{Engine, ErrorKind, Name, Setup, SetupDone, TokenSecret};
use tempfile::NamedTempFile;

use super::{announce, write_line};
use crate::failure::describe;
use crate::table::escape;

/// The destination of a new store's operator token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenPlace {
    /// This file, which only its owner may read.
    File(PathBuf),
    /// Standard output, which is a terminal.
    Terminal,
}

/// Sets the store up if it is empty: just created, or created by a process that got no further. Writes
/// the token, or the path of its file, to `stdout`.
pub(super) async fn set_up_if_new(
    engine: &Engine,
    place: &TokenPlace,
    stdout: &mut impl Write,
) -> anyhow::Result<()> {
    if engine.is_set_up().await? {
        return Ok(());
    }
    // A destination that cannot be written fails before anything is set up.
    let delivery = Delivery::prepare(place)?;
    let setup = Setup {
        org: Name::new("default")?,
        user: Name::new("admin")?,
        buckets: vec![Name::new("default")?],
    };
    let done = match engine.setup(setup).await {
        Ok(done) => done,
        // Another server on the same store has set it up, and has delivered the token.
        Err(error) if error.kind() == ErrorKind::Conflict => return Ok(()),
        Err(error) => return Err(error).context("could not set up the new store"),
    };
    match delivery.deliver(&done.secret, stdout) {
        Ok(()) => {
            tracing::info!(org = %done.org.id, user = %done.user.id, "set up the new store");
            Ok(())
        }
        // Without its token, no caller could use the store.
        Err(error) => Err(match undo(engine, &done).await {
            Ok(()) => error.context("the new store was not set up"),
            Err(undo) => error.context(format!(
                "the operator token is lost ({}): create one with `portcullis token create --org \
                 default --user admin --operator`",
                describe(&undo.into())
            )),
        }),
    }
}

async fn undo(engine: &Engine, done: &SetupDone) -> Result<(), portcullis::Error> {
    // The buckets and the token go with the org.
    engine.delete_org(done.org.id).await?;
    engine.delete_user(done.user.id).await
}

/// A prepared delivery of the operator token.
enum Delivery {
    File { unfinished: NamedTempFile, path: PathBuf },
    Terminal,
}

impl Delivery {
    fn prepare(place: &TokenPlace) -> anyhow::Result<Self> {
        let TokenPlace::File(path) = place else { return Ok(Self::Terminal) };
        let directory = path.parent().unwrap_or(Path::new("."));
        // Created with mode 0600, and deleted when it is dropped.
        let unfinished = tempfile::Builder::new()
            .prefix(".operator-token-")
            .tempfile_in(directory)
            .with_context(|| cannot_write(path))?;
        Ok(Self::File { unfinished, path: path.clone() })
    }

    fn deliver(self, secret: &TokenSecret, stdout: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::Terminal => write_line(stdout, &format!("operator token: {}", secret.expose()))
                .context("cannot show the operator token"),
            Self::File { unfinished, path } => {
                write_file(unfinished, &path, secret).with_context(|| cannot_write(&path))?;
                let shown = path.display().to_string();
                announce(stdout, &format!("operator token written to {}", escape(&shown)));
                Ok(())
            }
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the operator token to `{}`", path.display())
}

fn write_file(mut file: NamedTempFile, path: &Path, secret: &TokenSecret) -> io::Result<()> {
    writeln!(file, "{}", secret.expose())?;
    file.as_file().sync_all()?;
    keep_earlier(path)?;
    file.persist(path).map_err(|error| error.error)?;
    match path.parent() {
        // The file has to survive a power cut, as the store does.
        Some(directory) if cfg!(unix) => fs::File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// Renames an existing file, which may hold the token of another store. A link is renamed itself, not
/// followed.
fn keep_earlier(path: &Path) -> io::Result<()> {
    let mut kept = path.to_owned().into_os_string();
    kept.push(".old");
    match fs::rename(path, &kept) {
        Ok(()) => {
            tracing::warn!(
                "there was a file `{}` already: it is now `{}`",
                path.display(),
                Path::new(&kept).display()
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use portcullis::Credentials;
    use portcullis::store::MemoryStore;
    use tempfile::TempDir;

    use super::*;

    async fn engine() -> Engine {
        Engine::builder(MemoryStore::new().unwrap()).build().await.unwrap()
    }

    fn place(directory: &TempDir) -> (TokenPlace, PathBuf) {
        let path = directory.path().join("operator-token");
        (TokenPlace::File(path.clone()), path)
    }

    #[tokio::test]
    async fn the_token_in_the_file_works_and_only_its_owner_can_read_it() {
        let directory = TempDir::new().unwrap();
        let (place, path) = place(&directory);
        let engine = engine().await;
        set_up_if_new(&engine, &place, &mut Vec::new()).await.unwrap();
        let token = fs::read_to_string(&path).unwrap();
        assert!(engine.authenticate_caller(Credentials::token(token.trim_end())).await.is_ok());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }

        fs::remove_file(&path).unwrap();
        set_up_if_new(&engine, &place, &mut Vec::new()).await.unwrap();
        assert!(!path.exists(), "set up twice");
    }

    #[tokio::test]
    async fn nothing_is_set_up_unless_the_terminal_shows_the_token() {
        let fresh = engine().await;
        let mut no_room = [0_u8; 4];
        let result =
            set_up_if_new(&fresh, &TokenPlace::Terminal, &mut no_room.as_mut_slice()).await;
        assert!(result.is_err());
        assert!(!fresh.is_set_up().await.unwrap());

        let mut stdout = Vec::new();
        set_up_if_new(&fresh, &TokenPlace::Terminal, &mut stdout).await.unwrap();
        let line = String::from_utf8(stdout).unwrap();
        let token = line.strip_prefix("operator token: ").unwrap().trim_end();
        assert!(fresh.authenticate_caller(Credentials::token(token)).await.is_ok());
    }

    #[tokio::test]
    async fn an_existing_file_or_link_is_renamed_and_not_followed() {
        let directory = TempDir::new().unwrap();
        let (place, path) = place(&directory);
        fs::write(&path, "earlier").unwrap();
        set_up_if_new(&engine().await, &place, &mut Vec::new()).await.unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), "earlier");
        let kept = directory.path().join("operator-token.old");
        assert_eq!(fs::read_to_string(kept).unwrap(), "earlier");

        #[cfg(unix)]
        {
            let target = directory.path().join("target");
            fs::write(&target, "untouched").unwrap();
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&target, &path).unwrap();
            set_up_if_new(&engine().await, &place, &mut Vec::new()).await.unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
        }
    }

    #[tokio::test]
    async fn nothing_is_set_up_where_the_token_cannot_be_written() {
        let engine = engine().await;
        let nowhere = TokenPlace::File("/nonexistent/operator-token".into());
        assert!(set_up_if_new(&engine, &nowhere, &mut Vec::new()).await.is_err());
        assert!(!engine.is_set_up().await.unwrap());

        // The file can be written, and cannot be renamed.
        let directory = TempDir::new().unwrap();
        let (place, path) = place(&directory);
        fs::write(&path, "earlier").unwrap();
        fs::create_dir_all(directory.path().join("operator-token.old/in-the-way")).unwrap();
        let error = set_up_if_new(&engine, &place, &mut Vec::new()).await.unwrap_err();
        assert!(describe(&error).starts_with("the new store was not set up"), "{error:#}");
        assert!(!engine.is_set_up().await.unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "files are left over");
    }
}
