//! What the file wants, checked as far as that is possible without the records: names, statuses,
//! permissions, and no record twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use portcullis::password::PasswordHash;
use portcullis::{Action, DbrpName, Id, Name, Status, Username};

use super::file::{
    Buckets, Content, CredentialEntry, DbrpEntry, Mistake, OrgEntry, Place, Text, UserEntry,
};
use crate::permissions::PermissionArg;

/// The retention policy of a mapping without one.
const DEFAULT_POLICY: &str = "autogen";

/// What the file wants. What it does not state stays as it is.
#[derive(Debug, Default)]
pub(super) struct Desired {
    pub(super) users: Vec<DesiredUser>,
    pub(super) orgs: Vec<DesiredOrg>,
}

#[derive(Debug)]
pub(super) struct DesiredUser {
    pub(super) name: Name,
    pub(super) status: Option<Status>,
}

#[derive(Debug)]
pub(super) struct DesiredOrg {
    pub(super) name: Name,
    pub(super) status: Option<Status>,
    /// Whether the file alone decides what is in the org.
    pub(super) is_managed: bool,
    pub(super) buckets: Option<Vec<Name>>,
    pub(super) dbrps: Option<Vec<DesiredDbrp>>,
    pub(super) credentials: Option<Vec<DesiredCredential>>,
}

#[derive(Debug)]
pub(super) struct DesiredDbrp {
    pub(super) place: Place,
    pub(super) database: String,
    pub(super) retention_policy: String,
    pub(super) bucket: String,
    pub(super) is_default: bool,
}

#[derive(Debug)]
pub(super) struct DesiredCredential {
    pub(super) place: Place,
    pub(super) username: Username,
    pub(super) user: Text,
    pub(super) status: Option<Status>,
    pub(super) description: Option<String>,
    pub(super) grants: Vec<Grant>,
    pub(super) password: Option<(Place, PasswordSource)>,
}

/// A permission, with names.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) place: Place,
    pub(super) what: Granted,
}

#[derive(Debug)]
pub(super) enum Granted {
    /// On a bucket of the org, by name.
    Bucket(Action, String),
    /// On all buckets of the org.
    AllBuckets(Action),
    /// In the text form.
    Text(PermissionArg),
}

/// Where a password comes from.
#[derive(Debug)]
pub(super) enum PasswordSource {
    File(PathBuf),
    Variable(String),
    Hash(PasswordHash),
}

/// Checks the file. Paths in it are relative to `directory`.
///
/// # Errors
///
/// Every mistake.
pub(super) fn check(content: Content, directory: &Path) -> Result<Desired, Vec<Mistake>> {
    let mut check = Check { directory, mistakes: Vec::new() };
    let Content { users, orgs } = content;
    let mut desired = Desired::default();
    let mut names = Once::new("the user");
    for UserEntry { name, status } in users.unwrap_or_default() {
        check.once(&mut names, &name);
        let status = check.status(status);
        desired.users.extend(check.name(&name).map(|name| DesiredUser { name, status }));
    }
    let (mut names, mut usernames) = (Once::new("the org"), Once::new("the credential"));
    for entry in orgs.unwrap_or_default() {
        check.once(&mut names, &entry.name);
        desired.orgs.extend(check.org(entry, &mut usernames));
    }
    match check.mistakes.is_empty() {
        true => Ok(desired),
        false => Err(check.mistakes),
    }
}

/// Names of one kind, each of which is in the file once.
struct Once {
    kind: &'static str,
    seen: HashMap<String, u64>,
}

impl Once {
    fn new(kind: &'static str) -> Self {
        Self { kind, seen: HashMap::new() }
    }
}

struct Check<'a> {
    directory: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn mistake(&mut self, place: Place, text: impl Into<String>) {
        self.mistakes.push(Mistake::new(place, text));
    }

    /// Keeps the value, or the mistake that there is none.
    fn valid<T>(&mut self, place: Place, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|error| self.mistake(place, error.to_string())).ok()
    }

    fn once(&mut self, names: &mut Once, Text { place, text }: &Text) {
        if let Some(line) = names.seen.insert(text.clone(), place.line) {
            let kind = names.kind;
            self.mistake(*place, format!("{kind} `{text}` is in line {line} already"));
        }
    }

    /// Checks a name of a user, an org or a bucket.
    fn name(&mut self, Text { place, text }: &Text) -> Option<Name> {
        if text.parse::<Id>().is_ok() {
            self.mistake(
                *place,
                format!("`{text}` has the form of an id: records have names here"),
            );
            return None;
        }
        self.valid(*place, Name::new(text.as_str()))
    }

    fn status(&mut self, status: Option<Text>) -> Option<Status> {
        let Text { place, text } = status?;
        self.valid(place, text.parse().map_err(|_| "a status is `active` or `inactive`"))
    }

    fn org(&mut self, entry: OrgEntry, usernames: &mut Once) -> Option<DesiredOrg> {
        let OrgEntry { name, status, managed, buckets, dbrps, credentials } = entry;
        let status = self.status(status);
        let mut names = Once::new("the bucket");
        let buckets = buckets.map(|buckets| {
            let mut valid = Vec::new();
            for bucket in buckets {
                self.once(&mut names, &bucket);
                valid.extend(self.name(&bucket));
            }
            valid
        });
        let dbrps = dbrps.map(|dbrps| self.dbrps(dbrps));
        let credentials = credentials.map(|credentials| {
            let mut valid = Vec::new();
            for credential in credentials {
                self.once(usernames, &credential.username);
                valid.extend(self.credential(credential));
            }
            valid
        });
        let name = self.name(&name)?;
        Some(DesiredOrg { name, status, is_managed: managed, buckets, dbrps, credentials })
    }

    fn dbrps(&mut self, entries: Vec<DbrpEntry>) -> Vec<DesiredDbrp> {
        let mut names = Once::new("the mapping");
        let mut defaults = Once::new("the default mapping of");
        let mut valid = Vec::new();
        for DbrpEntry { database, retention_policy, bucket, default } in entries {
            let place = database.place;
            let policy =
                retention_policy.unwrap_or(Text { place, text: DEFAULT_POLICY.to_owned() });
            let pair = format!("{}/{}", database.text, policy.text);
            self.once(&mut names, &Text { place, text: pair });
            if default {
                self.once(&mut defaults, &database);
            }
            self.valid(place, DbrpName::new(database.text.as_str()));
            self.valid(policy.place, DbrpName::new(policy.text.as_str()));
            self.name(&bucket);
            valid.push(DesiredDbrp {
                place: bucket.place,
                database: database.text,
                retention_policy: policy.text,
                bucket: bucket.text,
                is_default: default,
            });
        }
        valid
    }

    fn credential(&mut self, entry: CredentialEntry) -> Option<DesiredCredential> {
        let password = self.password(&entry);
        let CredentialEntry { username, user, status, description, read, write, .. } = entry;
        let status = self.status(status);
        self.name(&user);
        let place = username.place;
        let mut grants = Vec::new();
        self.buckets(&mut grants, place, Action::Read, read);
        self.buckets(&mut grants, place, Action::Write, write);
        for Text { place, text } in entry.permissions.unwrap_or_default() {
            let what = self.valid(place, text.parse().map(Granted::Text));
            grants.extend(what.map(|what| Grant { place, what }));
        }
        if grants.is_empty() {
            self.mistake(place, "it has no permissions: give `read`, `write` or `permissions`");
        }
        Some(DesiredCredential {
            place,
            username: self.valid(place, Username::new(username.text))?,
            user,
            status,
            description: description.map(|description| description.text),
            grants,
            password,
        })
    }

    fn buckets(
        &mut self,
        grants: &mut Vec<Grant>,
        place: Place,
        action: Action,
        buckets: Option<Buckets>,
    ) {
        match buckets {
            None => {}
            Some(Buckets::All) => grants.push(Grant { place, what: Granted::AllBuckets(action) }),
            Some(Buckets::Listed(names)) => {
                for name in names {
                    let valid = self.name(&name);
                    let what = valid.map(|_| Granted::Bucket(action, name.text));
                    grants.extend(what.map(|what| Grant { place: name.place, what }));
                }
            }
        }
    }

    fn password(&mut self, entry: &CredentialEntry) -> Option<(Place, PasswordSource)> {
        let mut sources = Vec::new();
        if let Some(Text { place, text }) = &entry.password_file {
            sources.push((*place, PasswordSource::File(self.directory.join(text))));
        }
        if let Some(Text { place, text }) = &entry.password_env {
            // It may be a password that is in the wrong place, so that no message shows it.
            let is_name = !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            match is_name {
                true => sources.push((*place, PasswordSource::Variable(text.clone()))),
                false => self.mistake(*place, "`passwordEnv` is the name of a variable"),
            }
        }
        if let Some(Text { place, text }) = &entry.password_hash {
            let hash = self.valid(*place, PasswordHash::parse(text));
            sources.extend(hash.map(|hash| (*place, PasswordSource::Hash(hash))));
        }
        if let [_, (place, _), ..] = &*sources {
            self.mistake(
                *place,
                "a credential has one of `passwordFile`, `passwordEnv` and `passwordHash`",
            );
        }
        sources.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let content = serde_saphyr::from_str(text).unwrap();
        let mistakes = check(content, Path::new("")).map(|_| Vec::new()).unwrap_or_else(|all| all);
        let shown = |Mistake { place, text }| format!("{}:{}: {text}", place.line, place.column);
        mistakes.into_iter().map(shown).collect()
    }

    /// [APPLY-2]
    #[test]
    fn every_mistake_is_reported_with_its_place() {
        assert_eq!(
            mistakes(
                "users:
- name: ada
  status: enabled
- name: ada
orgs:
- name: ''
  buckets: [one, one, 0000000000000001]
  dbrps:
  - {database: a/b, bucket: one}
  - {database: db, bucket: one, default: true}
  - {database: db, retentionPolicy: autogen, bucket: one}
  - {database: db, retentionPolicy: year, bucket: one, default: true}
  credentials:
  - username: x
    user: ada
  - username: x
    user: ada
    permissions: ['fly:buckets', 'read:orgs/acme/tasks']
  - username: y
    user: ada
    read: all
    passwordEnv: pa$$word
  - username: z
    user: ada
    read: all
    passwordEnv: SET
    passwordFile: also
"
            ),
            [
                "3:11: a status is `active` or `inactive`",
                "4:9: the user `ada` is in line 2 already",
                "7:18: the bucket `one` is in line 7 already",
                "7:23: `0000000000000001` has the form of an id: records have names here",
                "9:16: the name of a database or retention policy has 1 to 1024 bytes of printable characters, without slashes and backslashes, and is not `.` or `..`",
                "11:16: the mapping `db/autogen` is in line 10 already",
                "12:16: the default mapping of `db` is in line 10 already",
                "14:15: it has no permissions: give `read`, `write` or `permissions`",
                "16:15: the credential `x` is in line 14 already",
                "18:19: permission `fly:buckets`: invalid action type for permission: unknown action for permission",
                "22:18: `passwordEnv` is the name of a variable",
                "26:18: a credential has one of `passwordFile`, `passwordEnv` and `passwordHash`",
                "6:9: a name must be between 1 and 4096 bytes long, not 0",
            ]
        );
    }

    /// [APPLY-6]
    #[test]
    fn no_mistake_quotes_a_hash() {
        let shown = mistakes(
            "orgs:\n- name: acme\n  credentials:\n  - {username: x, user: y, read: all, passwordHash: s3cret}\n",
        );
        assert!(shown.len() == 1 && !shown[0].contains("s3cret"), "{shown:?}");
    }
}
