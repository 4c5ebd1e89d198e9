//! Profiles: servers with their API tokens, in the user's configuration directory.
//!
//! Each is a file of its own, so that two commands never change the same one.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail};
use portcullis::TokenSecret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

const EXTENSION: &str = "json";

/// The name of a profile, which is also the name of its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProfileName(String);

impl Default for ProfileName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for ProfileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("a profile has a name of 1 to 64 ASCII letters, digits, `-` and `_`")
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server with an API token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Profile {
    /// The URL of the server.
    pub(crate) url: String,
    /// Certificates to trust in place of the system's: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether the token may be sent without TLS to another host.
    #[serde(default)]
    pub(crate) allow_http: bool,
    #[serde(serialize_with = "expose", deserialize_with = "secret")]
    pub(crate) token: TokenSecret,
}

fn expose<S: Serializer>(token: &TokenSecret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenSecret, D::Error> {
    String::deserialize(deserializer).map(TokenSecret::new)
}

impl Profile {
    /// Reads the profile.
    pub(crate) fn read(name: &ProfileName) -> anyhow::Result<Self> {
        Self::read_in(&directory()?, name)
    }

    fn read_in(directory: &Path, name: &ProfileName) -> anyhow::Result<Self> {
        let path = path(directory, name);
        let cannot_read = || format!("cannot read the profile `{name}` in `{}`", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing(name));
            }
            Err(error) => return Err(error).with_context(cannot_read),
        };
        refuse_open_to_others(&file).with_context(cannot_read)?;
        let text = Zeroizing::new(io::read_to_string(file).with_context(cannot_read)?);
        // The error of the parser may quote the text.
        let parsed = serde_json::from_str(&text);
        parsed.map_err(|_| anyhow!("{}: it is damaged, log in again", cannot_read()))
    }

    /// Stores the profile, or replaces the one of the same name, in one step.
    pub(crate) fn store(&self, name: &ProfileName) -> anyhow::Result<()> {
        self.store_in(&directory()?, name)
    }

    fn store_in(&self, directory: &Path, name: &ProfileName) -> anyhow::Result<()> {
        let path = path(directory, name);
        let cannot_write = || format!("cannot write the profile `{name}` to `{}`", path.display());
        create_directory(directory).with_context(cannot_write)?;
        let mut text = Zeroizing::new(Vec::with_capacity(8_192));
        serde_json::to_writer_pretty(&mut *text, self).with_context(cannot_write)?;
        text.push(b'\n');
        // Only the owner can read a temporary file.
        let mut file = tempfile::Builder::new()
            .prefix(".profile")
            .tempfile_in(directory)
            .with_context(cannot_write)?;
        file.write_all(&text)
            .and_then(|()| file.as_file().sync_all())
            .and_then(|()| file.persist(&path).map(drop).map_err(|error| error.error))
            .with_context(cannot_write)
    }

    /// Removes the profile.
    pub(crate) fn remove(name: &ProfileName) -> anyhow::Result<()> {
        let path = path(&directory()?, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(name)),
            Err(error) => Err(error).with_context(|| format!("cannot remove `{}`", path.display())),
        }
    }
}

/// Returns the names of all profiles, sorted.
pub(crate) fn names() -> anyhow::Result<Vec<ProfileName>> {
    let directory = directory()?;
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", directory.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_profile = path.extension().is_some_and(|extension| extension == EXTENSION);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(stem.filter(|_| is_profile).and_then(|stem| stem.parse().ok()));
    }
    names.sort();
    Ok(names)
}

fn missing(name: &ProfileName) -> anyhow::Error {
    anyhow!("there is no profile `{name}`: `portcullis login --profile {name} --url URL` makes it")
}

fn path(directory: &Path, name: &ProfileName) -> PathBuf {
    directory.join(format!("{name}.{EXTENSION}"))
}

/// Returns the directory of profiles: by the XDG specification, and on Windows in `%APPDATA%`.
fn directory() -> anyhow::Result<PathBuf> {
    let absolute =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let configuration = match cfg!(windows) {
        true => absolute(std::env::var_os("APPDATA")),
        false => absolute(std::env::var_os("XDG_CONFIG_HOME"))
            .or_else(|| absolute(std::env::var_os("HOME")).map(|home| home.join(".config"))),
    };
    let Some(configuration) = configuration else {
        bail!("there is no directory for profiles: set HOME, or give --url and --token-file");
    };
    Ok(configuration.join("portcullis").join("profiles"))
}

#[cfg(unix)]
fn create_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn create_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(unix)]
fn refuse_open_to_others(file: &File) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        bail!("other users can read or change it: `chmod 600` it, and replace its API token");
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same interface as on Unix")]
fn refuse_open_to_others(_: &File) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(token: &str) -> Profile {
        let url = "https://db:8087".to_owned();
        Profile { url, ca_file: None, allow_http: false, token: TokenSecret::new(token) }
    }

    #[test]
    fn a_profile_is_replaced_as_a_whole_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let name = ProfileName::default();
        assert!(Profile::read_in(&directory, &name).is_err());
        for token in ["pcl_1", "pcl_2"] {
            profile(token).store_in(&directory, &name).unwrap();
            assert_eq!(Profile::read_in(&directory, &name).unwrap().token.expose(), token);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file is left");
    }

    /// [REM-5]
    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_a_profile() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("portcullis/profiles");
        let name = ProfileName::default();
        profile("pcl_s3cret").store_in(&directory, &name).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&home.path().join("portcullis")), 0o700);
        let path = path(&directory, &name);
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Profile::read_in(&directory, &name).err().unwrap();
        let error = crate::failure::describe(&error);
        assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{\"token\": \"pcl_s3cret\", x").unwrap();
        let error = crate::failure::describe(&Profile::read_in(&directory, &name).err().unwrap());
        assert!(error.contains("damaged") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn the_name_of_a_profile_is_no_path() {
        for name in ["default", "eu-1", "A_b"] {
            assert!(name.parse::<ProfileName>().is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../x", "a.b", "a b", "ä", &"x".repeat(65)] {
            assert!(name.parse::<ProfileName>().is_err(), "{name}");
        }
    }
}
