//! Passwords: from a prompt, standard input, a file or the environment, never from an argument, which
//! every user of the machine can read.

use std::env;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis::password::{BlockList, Password, PasswordPolicy};
use zeroize::Zeroizing;

use crate::{duration, generated_password};

/// The bytes of a password.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

const VARIABLE: &str = "PORTCULLIS_PASSWORD";

/// One byte more than the longest password, and a line end.
const LIMIT: usize = Password::MAX_BYTES + 3;

/// The source of the password.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct PasswordArgs {
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,

    /// Read the password from this file, which holds it as its only line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// Returns the password from an option or the environment, `None` without either.
    pub(crate) fn given(&self) -> anyhow::Result<Option<Secret>> {
        if self.password_stdin {
            let stdin = first_line(io::stdin().lock());
            return Ok(Some(stdin.context("cannot read the password from standard input")?));
        }
        if let Some(path) = &self.password_file {
            return read_secret(path).map(Some);
        }
        of_variable(VARIABLE)
    }

    /// Returns the password from an option, the environment, or a prompt, where it is entered twice.
    pub(crate) fn given_or_prompted(&self, username: &str) -> anyhow::Result<Secret> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        if !io::stdin().is_terminal() {
            bail!(
                "there is no password, and no terminal to prompt for it: give --password-stdin, \
                 --password-file FILE or {VARIABLE}"
            );
        }
        let username = crate::table::escape(username);
        let password = prompt(&format!("New password for {username}: "))?;
        if password != prompt("The same again: ")? {
            bail!("the two passwords differ");
        }
        Ok(password)
    }
}

/// The source of a password that is to be set.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NewPasswordArgs {
    #[command(flatten)]
    given: PasswordArgs,

    /// Generate the password and show it once, with the result
    #[arg(long, conflicts_with = "PasswordArgs")]
    generate: bool,
}

impl NewPasswordArgs {
    /// Returns the password: generated, or from an option, the environment, or a prompt.
    pub(crate) fn password(&self, username: &str) -> anyhow::Result<NewPassword> {
        match self.generate {
            true => Ok(NewPassword::Generated(generated_password::generate()?)),
            false => Ok(NewPassword::Given(self.given.given_or_prompted(username)?)),
        }
    }
}

/// A password that is to be set.
pub(crate) enum NewPassword {
    /// From the operator.
    Given(Secret),
    /// Generated, so that it has to be shown.
    Generated(Zeroizing<String>),
}

impl NewPassword {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Given(password) => password.as_slice(),
            Self::Generated(password) => password.as_bytes(),
        }
    }

    /// Returns the password if it was generated.
    pub(crate) fn generated(&self) -> Option<&str> {
        match self {
            Self::Given(_) => None,
            Self::Generated(password) => Some(password),
        }
    }
}

/// The rules for passwords, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PolicyArgs {
    /// The rules for new passwords: those of InfluxDB (8 to 72 bytes), with three of upper case, lower
    /// case, digits and special characters, also at login (strong), or NIST's (15 to 256 characters)
    #[arg(long, value_name = "RULES", default_value = "influxdb", hide_default_value = true)]
    password_policy: Rules,

    /// The same as --password-policy strong
    #[arg(long, conflicts_with = "password_policy")]
    strong_passwords: bool,

    /// Refuse new passwords that are in this file, one a line, in any case of letters
    #[arg(long, value_name = "FILE", value_parser = read_block_list)]
    password_block_list: Option<Arc<BlockList>>,

    /// Let each new password expire after this time, such as 365d
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    password_max_age: Option<Duration>,

    /// Refuse a new password that is one of the last so many of its authorization: 1 to 24
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=24))]
    password_history: Option<u8>,

    /// Bring passwords into Unicode's form NFC, when they are set and at login. Choose it before
    /// passwords are set
    #[arg(long)]
    password_nfc: bool,
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Rules {
    #[default]
    Influxdb,
    Strong,
    Nist,
}

fn read_block_list(path: &str) -> Result<Arc<BlockList>, String> {
    let read = || BlockList::read(BufReader::new(File::open(path)?));
    read().map(Arc::new).map_err(|error| format!("cannot read `{path}`: {error}"))
}

fn parse_age(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a password must not expire at once".to_owned()),
        age => Ok(age),
    }
}

impl PolicyArgs {
    pub(crate) fn policy(&self) -> PasswordPolicy {
        let rules = if self.strong_passwords { Rules::Strong } else { self.password_policy };
        let policy = match rules {
            Rules::Influxdb => PasswordPolicy::default(),
            Rules::Strong => PasswordPolicy::strong(),
            Rules::Nist => PasswordPolicy::nist(),
        };
        let policy =
            policy.history(self.password_history.unwrap_or(0).into()).nfc(self.password_nfc);
        let policy = match self.password_max_age {
            Some(age) => policy.max_age(age),
            None => policy,
        };
        match &self.password_block_list {
            Some(list) => policy.block_list(Arc::clone(list)),
            None => policy,
        }
    }
}

fn prompt(text: &str) -> anyhow::Result<Secret> {
    let password = rpassword::prompt_password(text).context("cannot prompt for the password")?;
    let mut password = Zeroizing::new(password.into_bytes());
    strip_line_end(&mut password);
    Ok(password)
}

/// Reads up to the first line end, and no further.
fn first_line(mut input: impl Read) -> io::Result<Secret> {
    // A vector that grows leaves copies in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(LIMIT));
    let mut byte = Zeroizing::new([0]);
    while line.len() < LIMIT {
        match input.read_exact(&mut *byte) {
            Ok(()) => line.extend_from_slice(&*byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !line.is_empty() => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::new(error.kind(), "it is empty"));
            }
            Err(error) => return Err(error),
        }
        if line.ends_with(b"\n") {
            break;
        }
    }
    strip_line_end(&mut line);
    refuse_mark(&line)?;
    Ok(line)
}

/// Reads a file that holds a password, or another secret, as its only line.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    let cannot_read = || format!("cannot read the password from `{}`", path.display());
    let mut content = Zeroizing::new(Vec::with_capacity(LIMIT));
    File::open(path)
        .and_then(|file| file.take(LIMIT as u64).read_to_end(&mut content))
        .with_context(cannot_read)?;
    strip_line_end(&mut content);
    refuse_mark(&content).with_context(cannot_read)?;
    if content.contains(&b'\n') {
        bail!("{}: it has more than one line", cannot_read());
    }
    Ok(content)
}

/// Returns the password in a variable of the environment, `None` if it is not set.
pub(crate) fn of_variable(name: &str) -> anyhow::Result<Option<Secret>> {
    let variable = env::var_os(name).filter(|password| !password.is_empty());
    let Some(variable) = variable else { return Ok(None) };
    let mut password = Zeroizing::new(variable.into_encoded_bytes());
    strip_line_end(&mut password);
    refuse_mark(&password).with_context(|| format!("cannot use the password in {name}"))?;
    Ok(Some(password))
}

/// Refuses a byte order mark, which some editors write invisibly: it would be a part of the password.
fn refuse_mark(password: &[u8]) -> io::Result<()> {
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if marks.iter().any(|mark| password.starts_with(mark)) {
        let why = "it begins with a byte order mark: save it as UTF-8 without one";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(())
}

/// Removes one line end, as everywhere a password is read.
fn strip_line_end(line: &mut Secret) {
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// [CLI-5]
    #[test]
    fn exactly_one_line_end_is_stripped() {
        for (input, password) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\r", "secret\r"),
            (" secret \nrest\n", " secret "),
            ("\n", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap().as_slice(), password.as_bytes());
        }
        assert!(first_line(io::empty()).is_err());
    }

    /// [CLI-5]
    #[test]
    fn a_byte_order_mark_is_refused_with_an_explanation() {
        for text in [&b"\xef\xbb\xbfsecret\n"[..], b"\xff\xfes\0", b"\xfe\xff\0s"] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text).unwrap();
            let errors = [
                crate::failure::describe(&read_secret(file.path()).unwrap_err()),
                first_line(text).unwrap_err().to_string(),
            ];
            for error in errors {
                assert!(error.contains("byte order mark") && !error.contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn an_input_longer_than_any_password_stays_longer() {
        let endless = io::repeat(b'x');
        assert!(first_line(endless).unwrap().len() > Password::MAX_BYTES);
    }

    #[test]
    fn a_file_holds_one_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"first\r\n").unwrap();
        assert_eq!(read_secret(file.path()).unwrap().as_slice(), b"first");
        file.write_all(b"second").unwrap();
        let error = read_secret(file.path()).unwrap_err().to_string();
        assert!(error.contains("more than one line"), "{error}");
        assert!(!error.contains("first") && !error.contains("second"), "{error}");
    }
}
