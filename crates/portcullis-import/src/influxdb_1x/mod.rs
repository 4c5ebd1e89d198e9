//! `meta.db` of InfluxDB 1.x: one protobuf message, the `Data` of its package `meta`.
//!
//! The file is read twice, first its databases, then its users. In between there is one database or user in
//! memory.

mod fields;
mod messages;

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use portcullis::{Action, ResourceType, Status};
use prost::Message;

use self::fields::{Field, Fields, Value};
use self::messages::{DatabaseInfo, UserInfo, UserPrivilege};
use crate::item::{
    BucketItem, CredentialItem, DatabaseItem, GrantItem, Item, Key, NotCarried, PermissionItem,
    PermissionOrg, PolicyItem, SourcePassword,
};
use crate::source::{Place, Source, SourceError};

const DATABASES: u32 = 5;
const USERS: u32 = 6;

/// The required fields that are numbers: without them it is another file, or one that was cut off.
const REQUIRED: [(u32, &str); 6] = [
    (1, "Term"),
    (2, "Index"),
    (3, "ClusterID"),
    (7, "MaxNodeID"),
    (8, "MaxShardGroupID"),
    (9, "MaxShardID"),
];

/// The most bytes of a database. Its shard groups take most of them, about 40 bytes for each.
const MAX_DATABASE_BYTES: u64 = 256 * 1024 * 1024;

/// The most bytes of a user.
const MAX_USER_BYTES: u64 = 16 * 1024 * 1024;

/// What a `meta.db` holds.
pub(crate) struct Influxdb1x {
    fields: Fields,
    pass: Pass,
    /// Items of the database that was read last.
    queue: VecDeque<Item>,
    /// The buckets of each database.
    buckets: HashMap<String, Vec<Key>>,
    next_key: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Databases,
    Users,
    Done,
}

impl Influxdb1x {
    /// Opens the file, and checks that it is complete.
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let mut fields = Fields::open(path)?;
        check(&mut fields)?;
        fields.rewind()?;
        Ok(Self {
            fields,
            pass: Pass::Databases,
            queue: VecDeque::new(),
            buckets: HashMap::new(),
            next_key: 0,
        })
    }

    fn queue_database(&mut self, database: DatabaseInfo) {
        let DatabaseInfo { name, default_retention_policy: default, retention_policies, .. } =
            database;
        let mut notes = Vec::new();
        let has_default = retention_policies.iter().any(|policy| policy.name == default);
        if let (false, Some(first)) = (has_default, retention_policies.first()) {
            notes.push(format!(
                "its default retention policy `{default}` does not exist: `{}` is the default here",
                first.name
            ));
        }
        let mut keys = Vec::new();
        let mut policies = Vec::new();
        let mut shard_groups = 0;
        let mut not_carried = Vec::new();
        for (number, policy) in retention_policies.into_iter().enumerate() {
            let bucket = self.key();
            keys.push(bucket);
            shard_groups += policy.shard_groups.len();
            let bucket_name = format!("{name}/{}", policy.name);
            for subscription in policy.subscriptions {
                not_carried.push(NotCarried {
                    kind: "subscription".to_owned(),
                    name: format!("{bucket_name}/{}", subscription.name),
                    why: "InfluxDB keeps it".to_owned(),
                    is_skipped: false,
                });
            }
            let is_default = if has_default { policy.name == default } else { number == 0 };
            policies.push(PolicyItem { id: None, name: policy.name, bucket, is_default });
            let bucket = BucketItem { key: bucket, id: None, org: None, name: bucket_name };
            self.queue.push_back(Item::Bucket(bucket));
        }
        if policies.is_empty() {
            // A database without retention policies holds no points. Its bucket is for those of later.
            let bucket = self.key();
            keys.push(bucket);
            notes.push(format!("it has no retention policy: the bucket `{name}` stands for it"));
            let bucket = BucketItem { key: bucket, id: None, org: None, name: name.clone() };
            self.queue.push_back(Item::Bucket(bucket));
        }
        for query in database.continuous_queries {
            not_carried.push(NotCarried {
                kind: "continuous query".to_owned(),
                name: format!("{name}/{}", query.name),
                why: "InfluxDB keeps it and runs it with all rights, as before".to_owned(),
                is_skipped: false,
            });
        }
        if shard_groups > 0 {
            not_carried.push(NotCarried {
                kind: "shard groups".to_owned(),
                name: name.clone(),
                why: format!("{shard_groups}, with the points: InfluxDB keeps them"),
                is_skipped: false,
            });
        }
        let item = DatabaseItem { org: None, name: name.clone(), policies, notes };
        self.queue.push_back(Item::Database(item));
        self.queue.extend(not_carried.into_iter().map(Item::NotCarried));
        self.buckets.insert(name, keys);
    }

    fn credential(&self, mut user: UserInfo) -> CredentialItem {
        // InfluxDB writes them in any order.
        user.privileges.sort_by(|one, other| one.database.cmp(&other.database));
        let grants = user.privileges.iter().filter_map(|privilege| self.grant(privilege));
        CredentialItem {
            id: None,
            org: None,
            user: None,
            status: Status::Active,
            description: String::new(),
            grants: grants.collect(),
            username: user.name,
            password: SourcePassword::Hash(user.hash.into()),
            is_admin: user.admin,
            created_at: None,
            updated_at: None,
            changes: Vec::new(),
        }
    }

    /// Returns `None` for a privilege that was revoked.
    fn grant(&self, UserPrivilege { database, privilege }: &UserPrivilege) -> Option<GrantItem> {
        let (name, actions): (_, &[Action]) = match privilege {
            0 => return None,
            1 => ("READ", &[Action::Read]),
            2 => ("WRITE", &[Action::Write]),
            3 => ("ALL", &Action::ALL),
            other => {
                return Some(GrantItem {
                    shown: format!("privilege {other} on {database}"),
                    permissions: Vec::new(),
                    lost: Some("InfluxDB has no such privilege".to_owned()),
                });
            }
        };
        let buckets = self.buckets.get(database);
        let permission = |(bucket, action): (&Key, &Action)| PermissionItem {
            action: *action,
            resource_type: ResourceType::Buckets,
            id: Some(*bucket),
            org: PermissionOrg::Own,
        };
        let pairs = buckets.into_iter().flatten();
        let pairs = pairs.flat_map(|bucket| actions.iter().map(move |action| (bucket, action)));
        let lost = buckets.is_none().then(|| "there is no such database".to_owned());
        let permissions = pairs.map(permission).collect();
        Some(GrantItem { shown: format!("{name} on {database}"), permissions, lost })
    }

    fn key(&mut self) -> Key {
        self.next_key += 1;
        Key(self.next_key)
    }

    fn decode<M: Message + Default>(&self, field: &Field, what: &str) -> Result<M, SourceError> {
        let Value::Bytes(bytes) = &field.value else {
            return Err(self.damaged(field, format!("the field is not a {what}")));
        };
        let decoded = M::decode(bytes.as_slice());
        decoded.map_err(|error| self.damaged(field, format!("the {what} cannot be read: {error}")))
    }

    fn damaged(&self, field: &Field, reason: String) -> SourceError {
        SourceError::new(self.fields.path(), Place::Byte(field.at), reason)
    }
}

impl Source for Influxdb1x {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Ok(Some(item));
            }
            let (wanted, max_bytes) = match self.pass {
                Pass::Databases => (DATABASES, MAX_DATABASE_BYTES),
                Pass::Users => (USERS, MAX_USER_BYTES),
                Pass::Done => return Ok(None),
            };
            let Some(field) = self.fields.next(wanted, max_bytes)? else {
                if self.pass == Pass::Databases {
                    self.fields.rewind()?;
                    self.pass = Pass::Users;
                } else {
                    self.pass = Pass::Done;
                }
                continue;
            };
            if field.number != wanted {
                continue;
            }
            if self.pass == Pass::Databases {
                let database = self.decode(&field, "database")?;
                self.queue_database(database);
            } else {
                let user = self.decode(&field, "user")?;
                return Ok(Some(Item::Credential(self.credential(user))));
            }
        }
    }
}

/// Checks that the file has the fields that every `meta.db` has.
fn check(fields: &mut Fields) -> Result<(), SourceError> {
    let mut missing = REQUIRED.to_vec();
    let mut is_empty = true;
    while let Some(field) = fields.next(0, 0)? {
        is_empty = false;
        if matches!(field.value, Value::Varint) {
            missing.retain(|(number, _)| *number != field.number);
        }
    }
    let reason = match missing.first() {
        _ if is_empty => "the file is empty".to_owned(),
        Some((_, name)) => format!(
            "the field `{name}` is missing: this is not the meta.db of an InfluxDB 1.x, or it was cut \
             off"
        ),
        None => return Ok(()),
    };
    Err(SourceError::new(fields.path(), Place::File, reason))
}
