//! The options that choose a server in place of a store.

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use portcullis::TokenSecret;
use zeroize::Zeroizing;

use crate::profiles::{Profile, ProfileName};
use crate::remote::{Address, Client, Connection};

/// The heading of these options.
const HEADING: &str = "Server";

/// The variable with the secret of the API token.
pub(crate) const TOKEN_VARIABLE: &str = "PORTCULLIS_TOKEN";

/// The longest API token in bytes.
const MAX_TOKEN: usize = 4_096;

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServerArgs {
    // Not a comment of documentation, where it would have to be a link.
    #[arg(
        help = "Work on this server in place of a store, such as https://portcullis.example.com:8087",
        long,
        global = true,
        help_heading = HEADING,
        env = "PORTCULLIS_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,

    /// The file with an API token for the server, as its only line; or the variable PORTCULLIS_TOKEN
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Work on the server of this profile, which `login` has stored with its API token
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "PORTCULLIS_PROFILE",
        value_name = "NAME"
    )]
    profile: Option<ProfileName>,

    /// Trust these certificates for the server, a PEM file, in place of those that the system trusts
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Send the API token also to an http URL of another host, where it can be read on the way
    #[arg(long, global = true, help_heading = HEADING)]
    allow_http: bool,
}

/// Where the value of an option comes from. A later one comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// It is not given.
    None,
    /// From the environment.
    Environment,
    /// From the command line.
    CommandLine,
}

/// Where the options that exclude each other come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    pub(crate) store: Source,
    pub(crate) url: Source,
    pub(crate) profile: Source,
}

impl Sources {
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let source = |id| match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::CommandLine,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => Source::None,
        };
        Self { store: source("store"), url: source("url"), profile: source("profile") }
    }

    /// Returns whether a command works on a server: what the command line says, or else the environment.
    ///
    /// # Errors
    ///
    /// The message for two that exclude each other.
    pub(crate) fn choose(self) -> Result<Target, String> {
        let Self { store, url, profile } = self;
        let server = url.max(profile);
        if server == Source::None || store > server {
            return Ok(Target::Store);
        }
        if store == server {
            return Err(excluded(server, "--store", "PORTCULLIS_STORE", url >= profile));
        }
        if url == profile {
            return Err(excluded(server, "--profile", "PORTCULLIS_PROFILE", true));
        }
        Ok(if url > profile { Target::Url } else { Target::Profile })
    }
}

fn excluded(source: Source, option: &str, variable: &str, is_url: bool) -> String {
    let (other, other_variable) = match is_url {
        true => ("--url", "PORTCULLIS_URL"),
        false => ("--profile", "PORTCULLIS_PROFILE"),
    };
    match source {
        Source::CommandLine => format!("{option} and {other} exclude each other"),
        _ => format!("{variable} and {other_variable} are both set: give one as an option"),
    }
}

/// What a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The store of `--store`.
    Store,
    /// The server of `--url`.
    Url,
    /// The server of `--profile`.
    Profile,
}

impl ServerArgs {
    /// Returns the option, if there is one, that has no meaning for a store.
    pub(crate) fn without_server(&self) -> Option<&'static str> {
        let options = [
            (self.token_file.is_some(), "--token-file"),
            (self.ca_file.is_some(), "--ca-file"),
            (self.allow_http, "--allow-http"),
        ];
        options.into_iter().find(|(is_given, _)| *is_given).map(|(_, name)| name)
    }

    /// Returns a client of the server.
    pub(crate) fn connect(&self, target: Target) -> anyhow::Result<Client> {
        Client::new(match target {
            Target::Profile => self.profile_connection()?,
            Target::Store | Target::Url => self.url_connection()?,
        })
    }

    fn url_connection(&self) -> anyhow::Result<Connection> {
        let token = match self.token()? {
            Some(token) => token,
            None => bail!(
                "there is no API token for the server: give --token-file FILE, {TOKEN_VARIABLE} or \
                 --profile NAME"
            ),
        };
        Ok(Connection {
            address: self.address()?,
            token,
            ca: read_ca(self.ca_file.as_deref())?,
            allow_http: self.allow_http,
        })
    }

    fn profile_connection(&self) -> anyhow::Result<Connection> {
        let name = self.profile_name();
        let profile = Profile::read(&name)?;
        let token = match &self.token_file {
            Some(path) => read_token(path)?,
            None => TokenSecret::new(profile.token.expose()),
        };
        Ok(Connection {
            address: Address::parse(&profile.url)
                .with_context(|| format!("the URL of the profile `{name}`"))?,
            token,
            ca: read_ca(self.ca_file.as_deref().or(profile.ca_file.as_deref()))?,
            allow_http: self.allow_http || profile.allow_http,
        })
    }

    /// Returns the name of the profile that is given, or else `default`.
    pub(crate) fn profile_name(&self) -> ProfileName {
        self.profile.clone().unwrap_or_default()
    }

    /// Returns the URL.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        let url = self.url.as_deref().ok_or_else(|| anyhow!("give the server with --url URL"))?;
        Address::parse(url).context("--url")
    }

    /// Returns the certificates to trust, as an absolute path and as PEM.
    pub(crate) fn ca(&self) -> anyhow::Result<(Option<PathBuf>, Option<Vec<u8>>)> {
        let path = self.ca_file.as_deref().map(std::path::absolute).transpose();
        let path = path.context("--ca-file")?;
        let pem = read_ca(path.as_deref())?;
        Ok((path, pem))
    }

    pub(crate) fn allow_http(&self) -> bool {
        self.allow_http
    }

    /// Returns the API token of the file or of the environment.
    pub(crate) fn token(&self) -> anyhow::Result<Option<TokenSecret>> {
        if let Some(path) = &self.token_file {
            return read_token(path).map(Some);
        }
        let variable = env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty());
        let Some(variable) = variable else { return Ok(None) };
        let token = Zeroizing::new(variable.into_encoded_bytes());
        token_of(&token)
            .with_context(|| format!("cannot use the API token in {TOKEN_VARIABLE}"))
            .map(Some)
    }
}

fn read_ca(path: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = path else { return Ok(None) };
    let pem =
        fs::read(path).with_context(|| format!("--ca-file: cannot read `{}`", path.display()))?;
    Ok(Some(pem))
}

/// Reads a file that holds an API token as its only line.
fn read_token(path: &Path) -> anyhow::Result<TokenSecret> {
    let cannot_read =
        || format!("--token-file: cannot read an API token from `{}`", path.display());
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 3));
    File::open(path)
        .and_then(|file| file.take(MAX_TOKEN as u64 + 3).read_to_end(&mut content))
        .with_context(cannot_read)?;
    token_of(&content).with_context(cannot_read)
}

/// Takes the text of an API token, with one line end after it.
pub(crate) fn token_of(text: &[u8]) -> anyhow::Result<TokenSecret> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        bail!("it is empty");
    }
    if text.len() > MAX_TOKEN || !text.iter().all(u8::is_ascii_graphic) {
        bail!("it is no API token: one is a line of visible ASCII characters");
    }
    Ok(TokenSecret::new(String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [REM-1]
    #[test]
    fn the_command_line_comes_before_the_environment_and_two_of_the_same_are_refused() {
        use Source::{CommandLine as Cli, Environment as Env, None as No};
        for (store, url, profile, expected) in [
            (No, No, No, Ok(Target::Store)),
            (Env, No, No, Ok(Target::Store)),
            (Cli, Env, Env, Ok(Target::Store)),
            (No, Env, No, Ok(Target::Url)),
            (Env, Cli, No, Ok(Target::Url)),
            (Env, Cli, Env, Ok(Target::Url)),
            (Env, Env, Cli, Ok(Target::Profile)),
            (No, No, Env, Ok(Target::Profile)),
            (Cli, Cli, No, Err("--store and --url exclude each other")),
            (Cli, No, Cli, Err("--store and --profile exclude each other")),
            (No, Cli, Cli, Err("--profile and --url exclude each other")),
            (
                Env,
                Env,
                No,
                Err("PORTCULLIS_STORE and PORTCULLIS_URL are both set: give one as an option"),
            ),
            (
                No,
                Env,
                Env,
                Err("PORTCULLIS_PROFILE and PORTCULLIS_URL are both set: give one as an option"),
            ),
        ] {
            let chosen = Sources { store, url, profile }.choose();
            assert_eq!(chosen.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
        }
    }

    #[test]
    fn a_token_is_one_line_of_visible_characters() {
        for text in ["pcl_x", "pcl_x\n", "pcl_x\r\n"] {
            assert_eq!(token_of(text.as_bytes()).unwrap().expose(), "pcl_x");
        }
        for text in ["", "\n", "s3cret x", "s3cret\nx\n", "s3cret\u{e9}", "\u{feff}s3cret"] {
            let error = token_of(text.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
