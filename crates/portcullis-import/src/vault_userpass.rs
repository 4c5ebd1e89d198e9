//! Users of the auth method `userpass` of Vault and OpenBao: JSON of their raw storage.
//!
//! The file has one value after another, as a loop of `vault read -format=json` writes them. Each is a user, an
//! array of users, or a map of their names to them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::de::IoRead;
use serde_json::{Map, StreamDeserializer, Value};
use zeroize::Zeroizing;

use crate::item::{CredentialItem, GrantItem, Item, NotCarried, Secret, SourcePassword};
use crate::source::{Place, Source, SourceError};

/// The longest value in bytes: it is in memory as a whole.
const MAX_VALUE_BYTES: u64 = 64 * 1024 * 1024;
/// The objects around a hash: the response, its `data`, and the `value` in there.
const MAX_DEPTH: usize = 4;

/// Reads the values.
pub(crate) struct VaultUserpass<R: Read = File> {
    path: PathBuf,
    values: StreamDeserializer<'static, IoRead<Limited<BufReader<R>>>, Value>,
    max_value_bytes: u64,
    /// Bytes that may yet be read of the current value.
    bytes_left: Rc<Cell<u64>>,
    items: VecDeque<Item>,
    users: u64,
}

impl VaultUserpass {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|error| SourceError::io(path, Place::File, error))?;
        Ok(Self::read(path, file, MAX_VALUE_BYTES))
    }
}

impl<R: Read> VaultUserpass<R> {
    /// Reads the file. Its path is for messages, and is the name of a single user without one.
    fn read(path: &Path, file: R, max_value_bytes: u64) -> Self {
        let bytes_left = Rc::new(Cell::new(max_value_bytes));
        let file = Limited { file: BufReader::new(file), bytes_left: bytes_left.clone() };
        Self {
            path: path.to_owned(),
            values: serde_json::Deserializer::from_reader(file).into_iter(),
            max_value_bytes,
            bytes_left,
            items: VecDeque::new(),
            users: 0,
        }
    }

    /// Queues the users of a value.
    fn add(&mut self, value: Value) {
        match value {
            Value::Array(users) => users.into_iter().for_each(|user| self.add_user(None, &user)),
            Value::Object(users) if is_map_of_users(&users) => {
                users.into_iter().for_each(|(name, user)| self.add_user(Some(name), &user));
            }
            user => self.add_user(None, &user),
        }
    }

    fn add_user(&mut self, name: Option<String>, user: &Value) {
        self.users += 1;
        let number = self.users;
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name
            .or_else(|| user.as_object().and_then(name_of))
            .or_else(|| stem().filter(|_| number == 1));
        let shown = name.clone().unwrap_or_else(|| format!("user {number} of the file"));
        let mut entry = Entry::default();
        if let Value::Object(user) = user {
            entry.read(user, MAX_DEPTH);
        }
        self.items.push_back(match (name, entry.hash()) {
            (Some(name), Ok(hash)) => {
                let password = SourcePassword::Hash(hash);
                let grants = entry.policies.into_iter().map(|policy| GrantItem {
                    shown: format!("policy {policy}"),
                    permissions: Vec::new(),
                    lost: Some("permissions are on buckets here, without policies".to_owned()),
                });
                let changes =
                    entry.has_networks.then(|| "it may log in from every network here".to_owned());
                Item::Credential(CredentialItem {
                    grants: grants.collect(),
                    changes: changes.into_iter().collect(),
                    ..CredentialItem::bare(name, password)
                })
            }
            (None, Ok(_)) => skipped(shown, "it has no name: add a member `name`"),
            (_, Err(why)) => skipped(shown, why),
        });
    }
}

impl<R: Read> Source for VaultUserpass<R> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            self.bytes_left.set(self.max_value_bytes);
            match self.values.next() {
                Some(Ok(value)) => self.add(value),
                Some(Err(error)) => {
                    let place = Place::Line(error.line() as u64);
                    let reason = match error.classify() {
                        serde_json::error::Category::Io => {
                            return Err(SourceError::io(&self.path, place, error.into()));
                        }
                        serde_json::error::Category::Eof => "the file ends too early",
                        _ => "this is not JSON",
                    };
                    return Err(SourceError::new(&self.path, place, reason));
                }
                None => return Ok(None),
            }
        }
    }

    fn has_grants(&self) -> bool {
        false
    }
}

fn skipped(name: String, why: &str) -> Item {
    let (kind, why) = ("credential".to_owned(), why.to_owned());
    Item::NotCarried(NotCarried { kind, name, why, is_skipped: true })
}

/// What is read of a user.
#[derive(Default)]
struct Entry {
    hash: Option<Secret>,
    policies: Vec<String>,
    has_networks: bool,
    /// Whether it is the response of a path that hides the hash.
    is_response: bool,
}

impl Entry {
    /// Reads the members of the user, which are in the object or in one of its members.
    fn read(&mut self, object: &Map<String, Value>, depth: usize) {
        for (name, value) in object {
            match (name.as_str(), value) {
                ("PasswordHash" | "password_hash", Value::String(hash)) if !hash.is_empty() => {
                    self.hash = Some(hash.clone().into());
                }
                ("token_policies" | "Policies" | "policies", Value::Array(policies)) => {
                    self.is_response = true;
                    for policy in policies.iter().filter_map(Value::as_str) {
                        if !self.policies.iter().any(|other| other == policy) {
                            self.policies.push(policy.to_owned());
                        }
                    }
                }
                ("token_bound_cidrs" | "BoundCIDRs" | "bound_cidrs", Value::Array(networks)) => {
                    self.has_networks |= !networks.is_empty();
                }
                ("data" | "value", Value::Object(inner)) if depth > 0 => {
                    self.read(inner, depth - 1);
                }
                ("data" | "value", Value::String(text)) if depth > 0 => {
                    if let Ok(inner) = serde_json::from_str(text) {
                        self.read(&inner, depth - 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the hash, which Vault keeps in base64, or why there is none.
    fn hash(&self) -> Result<Secret, &'static str> {
        let Some(hash) = &self.hash else {
            return Err(match self.is_response {
                true => {
                    "Vault shows no hash here: read the user from the raw storage, as \
                     docs/moving-in.md describes"
                }
                false => "it has no `PasswordHash`",
            });
        };
        if hash.expose().starts_with("$2") {
            return Ok(hash.clone());
        }
        let decoded = STANDARD.decode(hash.expose()).ok().map(Zeroizing::new);
        let decoded = decoded.as_deref().and_then(|hash| std::str::from_utf8(hash).ok());
        let bcrypt = decoded.filter(|hash| hash.starts_with("$2"));
        bcrypt.map(|hash| hash.to_owned().into()).ok_or("its hash is not bcrypt")
    }
}

/// Members that name a user.
const NAMES: [&str; 4] = ["name", "username", "key", "path"];

/// Returns the name of a user, which is the last part of its path.
fn name_of(user: &Map<String, Value>) -> Option<String> {
    let name = NAMES.into_iter().find_map(|member| user.get(member)?.as_str())?;
    name.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Returns whether the members are users: a user has members that are no objects.
fn is_map_of_users(object: &Map<String, Value>) -> bool {
    !object.is_empty() && !object.contains_key("data") && object.values().all(Value::is_object)
}

/// Fails when a value is too long.
struct Limited<R> {
    file: R,
    bytes_left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        match self.bytes_left.get().checked_sub(read as u64) {
            Some(left) => self.bytes_left.set(left),
            None => {
                return Err(io::Error::other("a value is too long to be read"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2a$10$abcdefghijklmnopqrstuuFx4nD3bVsjf8eZ1Vh2XqPU1RTrR4QkC";

    fn read(file: &str) -> Result<Vec<Item>, SourceError> {
        let mut source = VaultUserpass::read(Path::new("/tmp/ada.json"), file.as_bytes(), 10_000);
        std::iter::from_fn(|| source.next().transpose()).collect()
    }

    fn shown(file: &str) -> Vec<String> {
        let show = |item| match item {
            Item::Credential(item) => {
                let SourcePassword::Hash(hash) = &item.password else { panic!() };
                assert_eq!(hash.expose(), BCRYPT);
                let grants: Vec<_> = item.grants.iter().map(|grant| &*grant.shown).collect();
                format!("{} [{}]{}", item.username, grants.join(" "), item.changes.join(","))
            }
            Item::NotCarried(item) if item.is_skipped => format!("{}: {}", item.name, item.why),
            other => panic!("{other:?}"),
        };
        read(file).unwrap().into_iter().map(show).collect()
    }

    /// What Vault stores.
    fn stored() -> String {
        let hash = STANDARD.encode(BCRYPT);
        format!(
            r#"{{"token_bound_cidrs":[],"token_policies":["default","team"],"Password":"","PasswordHash":"{hash}","Policies":["default"],"TTL":0,"BoundCIDRs":null}}"#
        )
    }

    /// [IMP-30]
    #[test]
    fn users_are_read_from_every_form_of_their_raw_storage() {
        let stored = stored();
        let grants = "[policy default policy team]";
        let escaped = serde_json::to_string(&stored).unwrap();
        let response = format!(r#"{{"request_id":"x","data":{{"value":{escaped}}}}}"#);
        // One user, with the name of the file.
        assert_eq!(shown(&response), [format!("ada {grants}")]);
        assert_eq!(shown(&stored), [format!("ada {grants}")]);
        // Several, with names of their own.
        let named = format!(
            "{{\"name\":\"bob\",\"value\":{escaped}}}\n{{\"path\":\"auth/userpass/users/cy\",\"data\":{stored}}}\n"
        );
        assert_eq!(shown(&named), [format!("bob {grants}"), format!("cy {grants}")]);
        let array = format!("[{}]", named.trim().replace("}\n{", "},{"));
        assert_eq!(shown(&array), [format!("bob {grants}"), format!("cy {grants}")]);
        let map = format!(r#"{{"bob": {stored}, "cy": {response}}}"#);
        assert_eq!(shown(&map), [format!("bob {grants}"), format!("cy {grants}")]);
        let plain = format!(r#"[{{"username":"dee","password_hash":"{BCRYPT}"}}]"#);
        assert_eq!(shown(&plain), ["dee []"]);
        let networks =
            format!(r#"{{"password_hash":"{BCRYPT}","token_bound_cidrs":["10.0.0.0/8"]}}"#);
        assert_eq!(shown(&networks), ["ada []it may log in from every network here"]);
    }

    /// [IMP-30]
    #[test]
    fn a_user_without_a_hash_or_a_name_is_skipped() {
        let response = r#"{"request_id":"x","data":{"token_policies":["a"]}}"#;
        assert!(shown(response)[0].starts_with("ada: Vault shows no hash here"));
        for (file, part) in [
            (r#"{"data":{}}"#, "ada: it has no `PasswordHash`"),
            (r#"{"password_hash":"aHVudGVyMg=="}"#, "ada: its hash is not bcrypt"),
            (r#"{"password_hash":"hunter2"}"#, "ada: its hash is not bcrypt"),
            ("[1]", "ada: it has no"),
            ("3", "ada: it has no"),
        ] {
            assert!(shown(file)[0].starts_with(part), "{file}");
        }
        let two = format!("{0}\n{0}", stored());
        assert!(shown(&two)[1].starts_with("user 2 of the file: it has no name"));
    }

    /// [IMP-31]
    #[test]
    fn a_file_that_is_not_json_is_refused_with_its_line_and_without_its_secrets() {
        for (file, line) in [
            ("{\n\"password_hash\": hunter2}", "line 2: this is not JSON"),
            ("{\"password_hash\":\n\"hunter2", "line 2: the file ends too early"),
            ("hunter2", "line 1: this is not JSON"),
        ] {
            let error = read(file).unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("").unwrap().is_empty());
    }

    /// [IMP-31]
    #[test]
    fn a_value_that_is_too_long_is_refused_and_many_values_are_read() {
        const MAX: u64 = 1_000;
        let long = io::repeat(b' ').take(MAX + 2);
        let mut source = VaultUserpass::read(Path::new("x"), long, MAX);
        assert!(source.next().unwrap_err().to_string().contains("too long"));
        let (stored, count) = (stored() + "\n", 20);
        let file = io::Cursor::new(stored.into_bytes().repeat(count));
        let mut source = VaultUserpass::read(Path::new("x"), file, MAX);
        let items = std::iter::from_fn(|| source.next().unwrap()).count();
        assert_eq!(items, count);
    }
}
