//! `influxd.bolt` of InfluxDB 2.x: a file of bbolt whose buckets have records in JSON.
//!
//! The names and ids of orgs, users and buckets are kept while the rest is read, everything else is read record
//! by record.

mod passwords;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use portcullis::{Id, Permission, ResourceType, Status, TokenDigest};
use zeroize::Zeroizing;

use self::passwords::Passwords;
use self::records::{Authorization, Dbrp, Membership, Org, PermissionRecord, User, decode};
use crate::bolt::{Bolt, BoltError, Bucket, Cursor, Value};
use crate::item::{
    BucketItem, CredentialItem, DatabaseItem, GrantItem, Item, Key, NotCarried, OrgItem,
    PermissionItem, PermissionOrg, PolicyItem, Secret, SourcePassword, SourceToken, TokenItem,
    UserItem,
};
use crate::source::{Place, Source, SourceError};

/// What a bucket of the file holds, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Orgs,
    Users,
    Buckets,
    Defaults,
    Dbrps,
    Credentials,
    Tokens,
    Memberships,
    UserPasswords,
    /// Something else, of which only the number is reported.
    Others(&'static str),
}

/// The buckets that are read, and those that every InfluxDB 2.x has.
const PARTS: [(Part, &str, bool); 19] = [
    (Part::Orgs, "organizationsv1", true),
    (Part::Users, "usersv1", true),
    (Part::Buckets, "bucketsv1", true),
    (Part::Defaults, "dbrpdefaultv1", false),
    (Part::Dbrps, "dbrpv1", false),
    (Part::Credentials, "legacy/authorizationsv1", false),
    (Part::Tokens, "authorizationsv1", true),
    (Part::Memberships, "userresourcemappingsv1", false),
    (Part::UserPasswords, "userspasswordv1", false),
    (Part::Others("tasks"), "tasksv1", false),
    (Part::Others("dashboards"), "dashboardsv2", false),
    (Part::Others("variables"), "variablesv1", false),
    (Part::Others("labels"), "labelsv1", false),
    (Part::Others("checks"), "checksv1", false),
    (Part::Others("notification rules"), "notificationRulev1", false),
    (Part::Others("notification endpoints"), "notificationEndpointv1", false),
    (Part::Others("Telegraf configurations"), "telegrafv1", false),
    (Part::Others("scrapers"), "scraperv2", false),
    (Part::Others("secrets"), "secretsv1", false),
];
const PASSWORDS: &str = "legacy/authorizationPasswordv1";

/// The hashes of API tokens since 2.8, by their prefix.
const SHA256: &str = "$influxdb2-sha256$";
const SHA512: &str = "$influxdb2-sha512$";

/// Reads the file.
pub(crate) struct Influxdb2x<R = File> {
    path: PathBuf,
    file: Bolt<R>,
    /// The parts that are yet to be read.
    parts: VecDeque<(Part, Bucket)>,
    current: Option<(Part, Cursor)>,
    /// Records of the current [`Part::Others`].
    others: u64,
    queue: VecDeque<Item>,
    passwords: Passwords,
    /// Names of the orgs and users.
    orgs: HashMap<Id, String>,
    users: HashMap<Id, String>,
    buckets: HashSet<Id>,
    /// The default mappings, by org and database.
    defaults: HashMap<Vec<u8>, Vec<u8>>,
    databases: BTreeMap<(Id, String), Vec<PolicyItem>>,
}

impl Influxdb2x {
    /// Opens and locks the file.
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(path, Place::File, error);
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            let reason = "this is a directory: the file in it is `influxd.bolt`";
            return Err(SourceError::new(path, Place::File, reason));
        }
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "a program, probably influxd, has it open: stop it, or import a copy of \
                              the file";
                return Err(SourceError::new(path, Place::File, reason));
            }
            // File systems without locks have none to respect.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        Self::read(path, file)
    }
}

impl<R: Read + Seek> Influxdb2x<R> {
    /// Reads the file, whose path is for messages.
    fn read(path: &Path, file: R) -> Result<Self, SourceError> {
        let failed = |error| failed(path, error);
        let mut file = Bolt::open(file).map_err(failed)?;
        let mut found = HashMap::new();
        let mut root = Cursor::new(file.root());
        while let Some((name, value)) = root.next(&mut file).map_err(failed)? {
            let name = PARTS
                .iter()
                .map(|(_, part, _)| *part)
                .chain([PASSWORDS])
                .find(|part| part.as_bytes() == name);
            if let (Some(name), Value::Bucket(bucket)) = (name, value) {
                found.insert(name, bucket);
            }
        }
        let mut parts = VecDeque::new();
        for (part, name, is_required) in PARTS {
            match found.remove(name) {
                Some(bucket) => parts.push_back((part, bucket)),
                None if is_required => {
                    let reason = format!(
                        "the file is of bbolt, but not of InfluxDB 2.x: it has no bucket `{name}`"
                    );
                    return Err(SourceError::new(path, Place::File, reason));
                }
                None => {}
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            parts,
            current: None,
            others: 0,
            queue: VecDeque::new(),
            passwords: Passwords::new(found.remove(PASSWORDS)),
            orgs: HashMap::new(),
            users: HashMap::new(),
            buckets: HashSet::new(),
            defaults: HashMap::new(),
            databases: BTreeMap::new(),
        })
    }

    /// Reads a record of the current part and queues what it is. `false` after the last record of the last
    /// part.
    fn advance(&mut self) -> Result<bool, SourceError> {
        let Some((part, cursor)) = &mut self.current else {
            let Some((part, bucket)) = self.parts.pop_front() else { return Ok(false) };
            self.current = Some((part, Cursor::new(bucket)));
            return Ok(true);
        };
        let part = *part;
        let entry = cursor.next(&mut self.file).map_err(|error| failed(&self.path, error))?;
        let Some((key, value)) = entry else {
            self.current = None;
            self.finish(part)?;
            return Ok(true);
        };
        // An empty value counts as absent.
        let Value::Bytes(value) = value else { return Ok(true) };
        if !value.is_empty() {
            let (key, value) = (key.to_vec(), Zeroizing::new(value.to_vec()));
            self.record(part, key, &value)?;
        }
        Ok(true)
    }

    fn record(&mut self, part: Part, key: Vec<u8>, value: &[u8]) -> Result<(), SourceError> {
        let kind = match part {
            Part::Orgs => "org",
            Part::Users => "user",
            Part::Buckets => "bucket",
            Part::Dbrps => "database mapping",
            Part::Credentials => "credential",
            Part::Tokens => "API token",
            Part::Defaults => {
                self.defaults.insert(key, value.to_vec());
                return Ok(());
            }
            Part::Memberships => {
                self.membership(value);
                return Ok(());
            }
            Part::UserPasswords => {
                self.user_password(&key);
                return Ok(());
            }
            Part::Others(_) => {
                self.others += 1;
                return Ok(());
            }
        };
        let Some(id) = Id::from_digits(&key).filter(|id| !id.is_zero()) else {
            self.skip(kind, &key, "its key is not an id".to_owned());
            return Ok(());
        };
        let item = match part {
            Part::Orgs => self.org(id, value),
            Part::Users => self.user(id, value),
            Part::Buckets => self.bucket(id, value),
            Part::Dbrps => self.dbrp(id, &key, value),
            Part::Credentials => {
                let password = self.passwords.take(&mut self.file, &key);
                let password = password.map_err(|error| failed(&self.path, error))?;
                self.credential(id, password, value)
            }
            _ => self.token(id, value),
        };
        match item {
            Ok(item) => self.queue.extend(item),
            Err(why) => self.skip(kind, &key, why),
        }
        Ok(())
    }

    /// Queues what can be said only after the last record of a part.
    fn finish(&mut self, part: Part) -> Result<(), SourceError> {
        match part {
            Part::Dbrps => {
                for ((org, name), policies) in std::mem::take(&mut self.databases) {
                    let org = Some(Key(org.as_u64()));
                    let item = DatabaseItem { org, name, policies, notes: Vec::new() };
                    self.queue.push_back(Item::Database(item));
                }
                self.defaults = HashMap::new();
            }
            Part::Credentials => {
                let left_over = self.passwords.left_over(&mut self.file);
                let left_over = left_over.map_err(|error| failed(&self.path, error))?;
                if left_over > 0 {
                    let why = "InfluxDB kept them after their credentials were deleted";
                    self.leave("passwords without credential", left_over.to_string(), why);
                }
            }
            Part::Others(kind) => {
                let count = std::mem::take(&mut self.others);
                if count > 0 {
                    self.leave(kind, count.to_string(), "InfluxDB keeps them");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn org(&mut self, id: Id, record: &[u8]) -> Result<Option<Item>, String> {
        let Org { name } = decode(record)?;
        self.orgs.insert(id, name.clone());
        let key = Key(id.as_u64());
        Ok(Some(Item::Org(OrgItem { key, id: Some(id), name, status: Status::Active })))
    }

    fn user(&mut self, id: Id, record: &[u8]) -> Result<Option<Item>, String> {
        let User { name, status } = decode(record)?;
        self.users.insert(id, name.clone());
        Ok(Some(Item::User(UserItem { key: Key(id.as_u64()), id: Some(id), name, status })))
    }

    fn bucket(&mut self, id: Id, record: &[u8]) -> Result<Option<Item>, String> {
        let records::Bucket { org, name, bucket_type } = decode(record)?;
        self.buckets.insert(id);
        if bucket_type != 0 {
            let why = "it is a system bucket, in which InfluxDB keeps its own data";
            self.leave("system bucket", name, why);
            return Ok(None);
        }
        if !self.orgs.contains_key(&org) {
            let why = format!("its org {org} was deleted");
            self.leave("bucket", name, &why);
            return Ok(None);
        }
        let (key, org) = (Key(id.as_u64()), Some(Key(org.as_u64())));
        Ok(Some(Item::Bucket(BucketItem { key, id: Some(id), org, name })))
    }

    fn dbrp(&mut self, id: Id, key: &[u8], record: &[u8]) -> Result<Option<Item>, String> {
        let Dbrp { org, database, retention_policy: name, bucket, default } = decode(record)?;
        let deleted = [
            (!self.orgs.contains_key(&org)).then(|| format!("its org {org} was deleted")),
            (!self.buckets.contains(&bucket)).then(|| format!("its bucket {bucket} was deleted")),
        ];
        if let Some(why) = deleted.into_iter().flatten().next() {
            self.leave("database mapping", format!("{database}/{name}"), &why);
            return Ok(None);
        }
        // The record keeps `default` as it was when the mapping was created.
        let index = [org.to_string().as_bytes(), database.as_bytes()].concat();
        let is_default = self.defaults.get(&index).map_or(default, |default| default == key);
        let policy = PolicyItem { id: Some(id), name, bucket: Key(bucket.as_u64()), is_default };
        self.databases.entry((org, database)).or_default().push(policy);
        Ok(None)
    }

    fn credential(
        &mut self,
        id: Id,
        password: Option<Zeroizing<Vec<u8>>>,
        record: &[u8],
    ) -> Result<Option<Item>, String> {
        let record: Authorization = decode(record)?;
        let grants = self.grants(record.permissions.unwrap_or_default());
        let password = match password.as_deref().map(|hash| String::from_utf8_lossy(hash)) {
            Some(hash) => SourcePassword::Hash(hash.into_owned().into()),
            None => SourcePassword::None,
        };
        let item = CredentialItem {
            id: Some(id),
            username: record.token.expose().to_owned(),
            org: Some(Key(record.org.as_u64())),
            user: record.user.map(|user| Key(user.as_u64())),
            status: record.status,
            description: record.description,
            password,
            grants,
            is_admin: false,
            created_at: record.created_at,
            updated_at: record.updated_at,
            changes: Vec::new(),
        };
        if let Some(why) = self.without_tenant(record.org, record.user) {
            self.leave("credential", item.username, &why);
            return Ok(None);
        }
        Ok(Some(Item::Credential(item)))
    }

    fn token(&mut self, id: Id, record: &[u8]) -> Result<Option<Item>, String> {
        let record: Authorization = decode(record)?;
        let grants = self.grants(record.permissions.unwrap_or_default());
        let item = TokenItem {
            id: Some(id),
            org: Some(Key(record.org.as_u64())),
            user: record.user.map(|user| Key(user.as_u64())),
            status: record.status,
            description: record.description,
            secret: secret(record.token, record.hashed_token.expose()),
            grants,
        };
        if let Some(why) = self.without_tenant(record.org, record.user) {
            self.leave("API token", item.description, &why);
            return Ok(None);
        }
        Ok(Some(Item::Token(item)))
    }

    /// Returns why a credential or API token works no more in InfluxDB, if its org or user was deleted.
    fn without_tenant(&self, org: Id, user: Option<Id>) -> Option<String> {
        if !self.orgs.contains_key(&org) {
            return Some(format!("its org {org} was deleted"));
        }
        let user = user.filter(|user| !self.users.contains_key(user))?;
        Some(format!("its user {user} was deleted"))
    }

    /// Returns a grant for each resource: read and write on the same one are usually beside each other.
    fn grants(&self, records: Vec<PermissionRecord>) -> Vec<GrantItem> {
        let mut grants: Vec<(Option<Permission>, GrantItem)> = Vec::new();
        for record in records {
            let permission = match record.parse() {
                Ok(permission) => permission,
                Err(why) => {
                    let (shown, permissions) = (record.to_string(), Vec::new());
                    grants.push((None, GrantItem { shown, permissions, lost: Some(why) }));
                    continue;
                }
            };
            let resource = permission.resource;
            let item = PermissionItem {
                action: permission.action,
                resource_type: resource.resource_type,
                id: resource.id.map(|id| Key(id.as_u64())),
                org: resource
                    .org
                    .map_or(PermissionOrg::Any, |org| PermissionOrg::Key(Key(org.as_u64()))),
            };
            match grants.last_mut() {
                Some((Some(last), grant))
                    if last.resource == resource && last.action != permission.action =>
                {
                    grant.shown = format!("{},{record}", last.action.as_str());
                    if grant.lost.is_none() {
                        grant.permissions.push(item);
                    }
                    *last = permission;
                }
                _ => {
                    let lost = self.deleted(&permission);
                    let permissions = if lost.is_none() { vec![item] } else { Vec::new() };
                    let grant = GrantItem { shown: record.to_string(), permissions, lost };
                    grants.push((Some(permission), grant));
                }
            }
        }
        grants.into_iter().map(|(_, grant)| grant).collect()
    }

    /// Returns what a permission is for, if it was deleted.
    fn deleted(&self, permission: &Permission) -> Option<String> {
        let resource = &permission.resource;
        if let Some(org) = resource.org
            && !self.orgs.contains_key(&org.untyped())
        {
            return Some(format!("the org {org} was deleted"));
        }
        let id = resource.id?;
        let (what, exists) = match resource.resource_type {
            ResourceType::Orgs => ("org", self.orgs.contains_key(&id)),
            ResourceType::Users => ("user", self.users.contains_key(&id)),
            ResourceType::Buckets => ("bucket", self.buckets.contains(&id)),
            _ => return None,
        };
        (!exists).then(|| format!("the {what} {id} was deleted"))
    }

    fn membership(&mut self, record: &[u8]) {
        let Ok(Membership { user, user_type, resource_type, resource }) = decode(record) else {
            return;
        };
        if resource_type != "orgs" {
            return;
        }
        let name_of = |names: &HashMap<Id, String>, id: Id| {
            names.get(&id).map_or_else(|| id.to_string(), String::clone)
        };
        let name = format!(
            "{} is {user_type} of {}",
            name_of(&self.users, user),
            name_of(&self.orgs, resource)
        );
        let why = "it is for InfluxDB's user interface: here permissions are those of API tokens";
        self.leave("membership", name, why);
    }

    fn user_password(&mut self, key: &[u8]) {
        let id = Id::from_digits(key);
        let name = id.and_then(|id| self.users.get(&id)).cloned();
        let name = name.unwrap_or_else(|| String::from_utf8_lossy(key).into_owned());
        self.leave("password of a user", name, "it is for InfluxDB's user interface");
    }

    /// Queues something that stays in InfluxDB.
    fn leave(&mut self, kind: &str, name: String, why: &str) {
        let (kind, why) = (kind.to_owned(), why.to_owned());
        self.queue.push_back(Item::NotCarried(NotCarried { kind, name, why, is_skipped: false }));
    }

    /// Queues a record that cannot be read.
    fn skip(&mut self, kind: &str, key: &[u8], why: String) {
        let name = String::from_utf8_lossy(key).into_owned();
        let item = NotCarried { kind: kind.to_owned(), name, why, is_skipped: true };
        self.queue.push_back(Item::NotCarried(item));
    }
}

impl<R: Read + Seek> Source for Influxdb2x<R> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Ok(Some(item));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }
}

/// Returns the secret of an API token. If there is also a hash, InfluxDB compares the secret alone.
fn secret(token: Secret, hash: &str) -> SourceToken {
    if !token.expose().is_empty() {
        return SourceToken::Plain(token);
    }
    if hash.is_empty() {
        return SourceToken::Unusable("InfluxDB has no secret of it".to_owned());
    }
    if let Some(digest) = hash.strip_prefix(SHA256) {
        let digest = URL_SAFE.decode(digest).ok().filter(|digest| digest.len() == 32);
        let text = digest.map(|digest| {
            digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        });
        let digest: Option<TokenDigest> = text.and_then(|text| text.parse().ok());
        return match digest {
            Some(digest) => SourceToken::Digest(digest),
            None => SourceToken::Unusable("its hash is damaged".to_owned()),
        };
    }
    SourceToken::Unusable(match hash.starts_with(SHA512) {
        true => "its secret is kept as a SHA-512 hash, and Portcullis compares SHA-256: create \
                 another one"
            .to_owned(),
        false => "its secret is kept as a hash of an unknown kind".to_owned(),
    })
}

fn failed(path: &Path, error: BoltError) -> SourceError {
    match error {
        BoltError::Io(error) => SourceError::io(path, Place::File, error),
        BoltError::Page { page, damage } => {
            let place = Place::Part(format!("page {page}"));
            SourceError::new(path, place, format!("the page is damaged: {damage}"))
        }
        other => SourceError::new(path, Place::File, format!("the file {other}")),
    }
}
