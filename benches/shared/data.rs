//! The authorizations that stores are measured with: the same ones in every run.
//!
//! Every user has about a hundred of them and every org, of ten users, about a thousand: a million
//! are those of 1,000 orgs and 10,000 users. How many permissions each has, and which of its org's
//! buckets they are for, follows Zipf: most have one or two, a few have dozens, and a few buckets
//! are in most of them. Ids ascend in the order of creation, in which users take turns.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use portcullis::store::{Batch, Entity, Expect, Operation, Record, Revision};
use portcullis::{
    Authorization, AuthorizationId, Bucket, BucketId, GrantKey, Org, OrgId, Permission, Resource,
    Status, Timestamp, User, UserId,
};
use serde_json::json;

/// Counts up whenever the records, or the way a store is filled with them, change.
const VERSION: u32 = 2;

/// The most permissions that an authorization has.
const MOST_PERMISSIONS: f64 = 64.0;

/// How many buckets an org has.
const BUCKETS: u64 = 100;

/// How many authorizations belong to a user, and how many users to an org.
const OF_USER: usize = 100;
const USERS_OF_ORG: usize = 10;

/// How many records are put at a time.
const BATCH: usize = 2_000;

/// A number of authorizations, each by its number.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    count: usize,
}

impl Data {
    /// `count` of them; at least a thousand, which are one org's.
    pub fn new(count: usize) -> Self {
        Self { count: count.max(OF_USER * USERS_OF_ORG) }
    }

    /// Returns how many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Returns how many users they belong to.
    pub fn users(self) -> usize {
        self.count / OF_USER
    }

    /// Returns how many orgs they belong to.
    pub fn orgs(self) -> usize {
        self.users() / USERS_OF_ORG
    }

    /// Returns the id of a user.
    pub fn user(self, number: usize) -> UserId {
        UserId::from_u64(0x0a5e_0000_0000_0000 + spread(number % self.users()))
    }

    /// Returns the id of an org.
    pub fn org(self, number: usize) -> OrgId {
        OrgId::from_u64(0x0a11_0000_0000_0000 + spread(number % self.orgs()))
    }

    /// Returns the id of the authorization with the number.
    pub fn id(self, number: usize) -> AuthorizationId {
        AuthorizationId::from_u64(0x0c0d_0000_0000_0000 + spread(number))
    }

    /// Returns the username of the authorization with the number.
    pub fn username(self, number: usize) -> String {
        format!("telegraf-{number:07}")
    }

    /// Returns a bucket of an org: the first ones are in the most permissions.
    pub fn bucket(self, org: usize, rank: u64) -> Resource {
        let number = (org % self.orgs()) as u64 * BUCKETS + rank % BUCKETS;
        let id = BucketId::from_u64(0x0b0c_0000_0000_0000 + (number << 12) + 1);
        Resource::bucket(self.org(org), id)
    }

    /// Returns the authorization with the number; a number of [`count`](Self::count) or more gives a new one.
    pub fn authorization(self, number: usize) -> Authorization {
        let mut random = Rng::with_seed(number as u64);
        // In an order that jumps: neighbours by id are not neighbours by user.
        let user = number.wrapping_mul(7_919) % self.users();
        let org = user % self.orgs();
        let mut permissions = Vec::new();
        let count = zipf(&mut random, 2.0, MOST_PERMISSIONS);
        while permissions.len() < count as usize {
            let resource = self.bucket(org, zipf(&mut random, 1.3, BUCKETS as f64) - 1);
            let permission = match random.bool() {
                true => Permission::read(resource),
                false => Permission::write(resource),
            };
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        }
        let text = |random: &mut Rng, length| -> String {
            (0..length).map(|_| random.alphanumeric()).collect()
        };
        // 22 and 43 digits of base 64, of which the last ones have bits that are not used.
        let (salt, hash) = (text(&mut random, 21), text(&mut random, 42));
        let phc = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}A${hash}A");
        let time = |seconds: i64| Timestamp::from_unix_millis(seconds * 1_000).unwrap();
        let created = 1_700_000_000 + number as i64;
        let body = json!({
            "v": 1,
            "id": self.id(number),
            "token": self.username(number),
            "status": if random.u32(..10) == 0 { Status::Inactive } else { Status::Active },
            "description": format!("agents of site {}", random.u32(..500)),
            "orgID": self.org(org),
            "userID": self.user(user),
            "permissions": permissions,
            "passwordHash": phc,
            "createdAt": time(created),
            "updatedAt": time(created + 86_400),
        });
        Authorization::from_body(serde_json::from_value(body).unwrap())
    }

    /// Returns its record and grant keys.
    pub fn record(self, number: usize) -> (Record, Vec<GrantKey>) {
        let authorization = self.authorization(number);
        let revision = Revision::from_u128(number as u128 + 1);
        (authorization.to_record(revision).unwrap(), authorization.grants())
    }

    /// Returns the operation that creates it.
    pub fn create(self, number: usize) -> Operation {
        let (record, grants) = self.record(number);
        Operation::Put { record, grants, expect: Expect::Absent }
    }

    /// Returns what creates all of them, in batches.
    pub fn batches(self) -> impl Iterator<Item = Batch> {
        (0..self.count).step_by(BATCH).map(move |from| {
            let numbers = from..self.count.min(from + BATCH);
            numbers.map(|number| self.create(number)).collect()
        })
    }

    /// Returns what creates the orgs, the users and the buckets that they refer to, in batches.
    pub fn tenants(self) -> impl Iterator<Item = Batch> {
        let orgs = (0..self.orgs()).map(move |number| {
            let body = json!({
                "v": 1,
                "id": self.org(number),
                "name": format!("org-{number:04}"),
                "status": Status::Active,
            });
            put(Org::from_body(serde_json::from_value(body).unwrap()))
        });
        let users = (0..self.users()).map(move |number| {
            let body = json!({
                "v": 1,
                "id": self.user(number),
                "name": format!("user-{number:05}"),
                "status": Status::Active,
            });
            put(User::from_body(serde_json::from_value(body).unwrap()))
        });
        let buckets = (0..self.orgs()).flat_map(move |org| {
            (0..BUCKETS).map(move |rank| {
                let body = json!({
                    "v": 1,
                    "id": self.bucket(org, rank).id,
                    "orgID": self.org(org),
                    "name": format!("bucket-{rank:02}"),
                });
                put(Bucket::from_body(serde_json::from_value(body).unwrap()))
            })
        });
        let mut all = orgs.chain(users).chain(buckets).peekable();
        std::iter::from_fn(move || {
            all.peek()?;
            Some(all.by_ref().take(BATCH).collect())
        })
    }

    /// Returns a directory under `target` with these records in it; `name` identifies the form. A
    /// directory that is missing is made by `fill`, and gets its name when it is complete.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn cached(self, name: &str, fill: impl FnOnce(&Path)) -> io::Result<PathBuf> {
        let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench-data");
        let place = std::env::var_os("PORTCULLIS_BENCH_DATA").map_or(place, PathBuf::from);
        let path = place.join(format!("v{VERSION}-{}-{name}", self.count));
        if !path.is_dir() {
            eprintln!("making {} …", path.display());
            let unfinished = path.with_extension("unfinished");
            match fs::remove_dir_all(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir_all(&unfinished)?,
            }
            fill(&unfinished);
            fs::rename(&unfinished, &path)?;
        }
        Ok(path)
    }
}

/// What creates it.
fn put(entity: impl Entity) -> Operation {
    let record = entity.to_record(Revision::from_u128(1)).unwrap();
    Operation::Put { record, grants: entity.grants(), expect: Expect::Absent }
}

/// Ids have gaps between them.
fn spread(number: usize) -> u64 {
    ((number as u64 + 1) << 16) | (number as u64).wrapping_mul(0x9e37_79b9) & 0xffff
}

/// A number from 1 to the highest; each is the rarer the higher it is, by the power.
fn zipf(random: &mut Rng, power: f64, highest: f64) -> u64 {
    // The inverse of the distribution of the continuous law, cut off.
    let below = 1.0 - (highest + 1.0).powf(1.0 - power);
    let drawn = (1.0 - random.f64() * below).powf(1.0 / (1.0 - power));
    drawn.clamp(1.0, highest) as u64
}

/// How many records there are to be measured with: `PORTCULLIS_BENCH_RECORDS`, numbers with commas
/// between them, or else ten thousand and a hundred thousand.
pub fn sizes() -> Vec<usize> {
    let given = std::env::var("PORTCULLIS_BENCH_RECORDS").unwrap_or_default();
    let sizes: Vec<usize> = given.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    if sizes.is_empty() { vec![10_000, 100_000] } else { sizes }
}

/// Reads the body of a record with `serde_json`, as code would that has nothing but the text.
///
/// # Panics
///
/// When it is no authorization.
pub fn parse(body: &str) -> Authorization {
    type Body = <Authorization as Entity>::Body;
    Authorization::from_body(serde_json::from_str::<Body>(body).unwrap())
}

/// Copies the files of a directory, and of those in it.
///
/// # Errors
///
/// When one cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => fs::copy(entry.path(), &to).map(drop)?,
        }
    }
    Ok(())
}
