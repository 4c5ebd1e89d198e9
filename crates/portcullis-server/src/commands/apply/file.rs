//! The file: YAML in which every record has its name, and every mistake its line and column.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned};
use zeroize::Zeroizing;

use crate::nearest::nearest;

/// The longest file in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Where something is in the file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// A mistake in the file. It quotes names and keys, and no other value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Mistake {
    pub(super) fn new(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into() }
    }
}

/// Returns the error for the mistakes of the file, a line for each.
pub(super) fn refused(path: &Path, mut mistakes: Vec<Mistake>) -> anyhow::Error {
    mistakes.sort();
    let line = |Mistake { place, text }: &Mistake| {
        format!("{}:{}:{}: {text}", path.display(), place.line, place.column)
    };
    let lines: Vec<String> = mistakes.iter().map(line).collect();
    anyhow::anyhow!("{}\nnothing was changed", lines.join("\n"))
}

/// A text with its place.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) place: Place,
    pub(super) text: String,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { place: spanned.referenced.into(), text: spanned.value })
    }
}

/// The content of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Content {
    pub(super) users: Option<Vec<UserEntry>>,
    pub(super) orgs: Option<Vec<OrgEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserEntry {
    pub(super) name: Text,
    pub(super) status: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OrgEntry {
    pub(super) name: Text,
    pub(super) status: Option<Text>,
    #[serde(default)]
    pub(super) managed: bool,
    pub(super) buckets: Option<Vec<Text>>,
    pub(super) dbrps: Option<Vec<DbrpEntry>>,
    pub(super) credentials: Option<Vec<CredentialEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DbrpEntry {
    pub(super) database: Text,
    pub(super) retention_policy: Option<Text>,
    pub(super) bucket: Text,
    #[serde(default)]
    pub(super) default: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CredentialEntry {
    pub(super) username: Text,
    pub(super) user: Text,
    pub(super) status: Option<Text>,
    pub(super) description: Option<Text>,
    pub(super) read: Option<Buckets>,
    pub(super) write: Option<Buckets>,
    pub(super) permissions: Option<Vec<Text>>,
    pub(super) password_file: Option<Text>,
    pub(super) password_env: Option<Text>,
    pub(super) password_hash: Option<Text>,
}

/// The buckets of an org on which a permission is granted.
#[derive(Debug)]
pub(super) enum Buckets {
    /// All that it has, also later ones.
    All,
    Listed(Vec<Text>),
}

impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllOrList;

        impl<'de> Visitor<'de> for AllOrList {
            type Value = Buckets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of buckets")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Buckets, E> {
                match text {
                    "all" => Ok(Buckets::All),
                    _ => Err(E::invalid_value(Unexpected::Other("another text"), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Buckets, A::Error> {
                let mut buckets = Vec::new();
                while let Some(bucket) = list.next_element()? {
                    buckets.push(bucket);
                }
                Ok(Buckets::Listed(buckets))
            }
        }

        deserializer.deserialize_any(AllOrList)
    }
}

/// Reads the file; `-` is standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<Content> {
    let text = read_text(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&text).map_err(|mistake| refused(path, vec![mistake]))
}

fn read_text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path)?),
    };
    let mut text = Zeroizing::new(String::new());
    input.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        bail!("it has more than {} MiB", MAX_BYTES / 1024 / 1024);
    }
    Ok(text)
}

/// Returns the directory to which paths in the file are relative.
pub(super) fn directory(path: &Path) -> PathBuf {
    match path == Path::new("-") {
        true => PathBuf::new(),
        false => path.parent().map(Path::to_owned).unwrap_or_default(),
    }
}

fn parse(text: &str) -> Result<Content, Mistake> {
    let mut options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            // A second one has an error of its own.
            max_documents: 2,
            max_events: 5_000_000,
            max_nodes: 2_000_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = 1_000_000;
    let content = serde_saphyr::from_str_with_options::<Option<Content>>(text, options);
    match content {
        Ok(content) => Ok(content.unwrap_or_default()),
        Err(error) => Err(mistake(&error)),
    }
}

/// Describes an error without the value that it is about, which may be a secret.
fn mistake(error: &Error) -> Mistake {
    let place = error.location().map(Place::from).unwrap_or_default();
    Mistake::new(place, reason(error))
}

fn reason(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => reason(error),
        Error::SerdeUnknownField { field, .. } if is_inline_secret(field) => format!(
            "`{field}`: no secret is in this file: name its file with `passwordFile`, its variable \
             with `passwordEnv`, or give a hash as `passwordHash`"
        ),
        Error::SerdeUnknownField { field, expected, .. } => unknown(field, expected),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is there twice"),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        Error::Unexpected { expected, .. } => format!("expected {expected}"),
        Error::InvalidScalar { ty, .. } => format!("expected {ty}"),
        Error::NullIntoString { .. } => "expected a text".to_owned(),
        Error::MultipleDocuments { .. } => "a file has one document".to_owned(),
        Error::AliasReplayLimitExceeded { .. } | Error::Budget { .. } => {
            "this is larger than such a file may be".to_owned()
        }
        _ => "this is not YAML".to_owned(),
    }
}

fn is_inline_secret(key: &str) -> bool {
    ["password", "pass", "secret", "token"].iter().any(|name| key.eq_ignore_ascii_case(name))
}

fn unknown(key: &str, keys: &[&'static str]) -> String {
    match nearest(key, keys.iter().copied()) {
        Some(nearest) => format!("there is no key `{key}` here: did you mean `{nearest}`?"),
        None => {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            format!("there is no key `{key}` here, only {}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u64, u64, String) {
        let Mistake { place, text } = parse(text).unwrap_err();
        (place.line, place.column, text)
    }

    /// [APPLY-2]
    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_column_and_the_nearest_name() {
        for (text, line, column, expected) in [
            ("org:\n", 1, 1, "there is no key `org` here: did you mean `orgs`?"),
            (
                "orgs:\n- name: acme\n  bukets: []\n",
                3,
                3,
                "there is no key `bukets` here: did you mean `buckets`?",
            ),
            (
                "orgs:\n- name: acme\n  credentials:\n  - {username: a, user: b, passwordfile: x}\n",
                4,
                28,
                "there is no key `passwordfile` here: did you mean `passwordFile`?",
            ),
            (
                "users:\n- name: ada\n  zzz: 1\n",
                3,
                3,
                "there is no key `zzz` here, only `name`, `status`",
            ),
        ] {
            assert_eq!(refused(text), (line, column, expected.to_owned()), "{text}");
        }
    }

    /// [APPLY-2]
    #[test]
    fn a_mistake_has_its_place_and_quotes_no_value() {
        let credential = "orgs:\n- name: acme\n  credentials:\n  - username: x\n    user: y\n";
        for (text, line, part) in [
            ("orgs: s3cret\n".to_owned(), 1, "expected"),
            ("- s3cret\n".to_owned(), 1, "expected"),
            ("orgs:\n- buckets: []\n".to_owned(), 2, "`name` is missing"),
            ("orgs:\n- name: acme\n  name: s3cret\n".to_owned(), 3, "`name` is there twice"),
            ("orgs:\n- name: acme\n  managed: s3cret\n".to_owned(), 3, "expected"),
            ("orgs:\n- name: {s3cret: 1}\n".to_owned(), 2, "expected"),
            ("orgs:\n- name: ~\n".to_owned(), 2, "expected a text"),
            ("orgs:\n- name: 'acme s3cret\n".to_owned(), 2, "this is not YAML"),
            (format!("{credential}    password: s3cret\n"), 6, "no secret is in this file"),
            (format!("{credential}    read: s3cret\n"), 6, "expected `all` or a list of buckets"),
            (
                format!("{credential}    read: {{s3cret: 1}}\n"),
                6,
                "expected `all` or a list of buckets",
            ),
            (format!("{credential}    passwordEnv: [s3cret]\n"), 6, "expected"),
            ("orgs: []\n---\norgs: []\n".to_owned(), 2, "a file has one document"),
        ] {
            let (at, _, reason) = refused(&text);
            assert!(reason.contains(part) && !reason.contains("s3cret"), "{text}: {reason}");
            assert!(at.abs_diff(line) <= 1, "{text}: {at}");
        }
    }

    /// [APPLY-1]
    #[test]
    fn names_are_texts_also_where_they_look_like_numbers() {
        let content = parse(
            "orgs:\n- name: 0123\n  buckets: [7, yes, \"null\"]\n  credentials:\n\
             \x20 - username: 1e3\n    user: 0x10\n    read: [0123]\n    write: all\n",
        );
        let org = content.unwrap().orgs.unwrap().remove(0);
        assert_eq!(org.name.text, "0123");
        let buckets: Vec<_> = org.buckets.unwrap().into_iter().map(|b| b.text).collect();
        assert_eq!(buckets, ["7", "yes", "null"]);
        let credential = org.credentials.unwrap().remove(0);
        assert_eq!((&*credential.username.text, &*credential.user.text), ("1e3", "0x10"));
        assert!(matches!(&credential.read, Some(Buckets::Listed(b)) if b[0].text == "0123"));
        assert!(matches!(&credential.write, Some(Buckets::All)));
    }

    #[test]
    fn an_empty_file_and_empty_keys_state_nothing() {
        for text in ["", "# nothing\n", "orgs:\nusers:\n", "{}"] {
            let content = parse(text).unwrap();
            assert!(
                content.orgs.unwrap_or_default().is_empty() && content.users.is_none(),
                "{text}"
            );
        }
        let content = parse("orgs:\n- name: acme\n  buckets:\n  dbrps: []\n").unwrap();
        let org = content.orgs.unwrap().remove(0);
        assert!(org.buckets.is_none() && org.dbrps.is_some_and(|dbrps| dbrps.is_empty()));
    }

    /// [APPLY-2]
    #[test]
    fn aliases_are_resolved_within_bounds() {
        let text = "orgs:\n- name: acme\n  credentials:\n  - {username: a, user: ada, read: &all [x, y]}\n\
                    \x20 - {username: b, user: ada, read: *all}\n";
        let org = parse(text).unwrap().orgs.unwrap().remove(0);
        for credential in org.credentials.unwrap() {
            assert!(matches!(credential.read, Some(Buckets::Listed(b)) if b.len() == 2));
        }
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (new, old) in "bcdefgh".chars().zip("abcdefg".chars()) {
            let list = vec![format!("*{old}"); 10].join(", ");
            bomb += &format!("{new}: &{new} [{list}]\n");
        }
        assert!(parse(&bomb).is_err());
    }
}
