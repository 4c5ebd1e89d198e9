//! Stores, against each other. The input is a list of steps over few ids, keys and revisions, so that
//! they collide: batches of operations, lookups, lists over every index. Every store must return the
//! same results: records, errors by kind and by what they name, and the content of a list from its first
//! page to its last. Each page by itself must be one that the contract allows. In the end every index
//! that a record was put into lists the same in all of them.
//!
//! To compare one more store, add a line to `STORES`.

#![no_main]

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portcullis::store::{
    Batch, Duplicate, Expect, Index, Kind, Lookup, MemoryStore, Operation, PageRequest, Record,
    Revision, Store, StoreError, UniqueKey,
};
use portcullis::{GrantKey, Id, OrgId, Permission, Status, UserId};
use portcullis_fuzz::world;
use portcullis_redb::RedbStore;
use portcullis_sled::SledStore;
use portcullis_sqlite::SqliteStore;
use tokio::runtime::Runtime;

/// The stores that are compared; the first is the reference.
const STORES: [(&str, Open); 4] = [
    ("memory", |_| Arc::new(MemoryStore::new().expect("a store"))),
    ("sqlite", |dir| Arc::new(SqliteStore::open(dir.join("store.db")).expect("a store"))),
    ("redb", |dir| Arc::new(RedbStore::open(dir.join("store.redb")).expect("a store"))),
    ("sled", |dir| Arc::new(SledStore::open(dir.join("store.sled")).expect("a store"))),
];

type Open = fn(&Path) -> Arc<dyn Store>;

struct Stores {
    runtime: Runtime,
    opened: Vec<(&'static str, Arc<dyn Store>)>,
}

/// Opened once and emptied after each input: opening takes longer than most inputs do.
static OPENED: LazyLock<Stores> = LazyLock::new(|| {
    let process = std::process::id();
    let dir = std::env::temp_dir().join(format!("portcullis-fuzz-stores-{process}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let opened = STORES.iter().map(|(name, open)| (*name, open(&dir))).collect();
    Stores { runtime: world::runtime(), opened }
});

#[derive(Arbitrary, Debug)]
enum Step {
    Commit(Vec<Change>),
    Get(AKind, AnId),
    GetByKey(AKind, Key),
    List(AnIndex, Option<AnId>, u8),
}

#[derive(Arbitrary, Debug)]
enum Change {
    Put(Content, Option<ARevision>),
    Delete(AKind, AnId, ARevision),
    Require(AKind, AnId),
}

#[derive(Arbitrary, Debug)]
struct Content {
    kind: AKind,
    id: AnId,
    revision: ARevision,
    key: Key,
    org: Option<AnId>,
    user: Option<AnId>,
    inactive: bool,
    body: String,
    grants: Vec<AGrant>,
}

#[derive(Arbitrary, Debug)]
enum AnIndex {
    All(AKind),
    Org(AKind, AnId),
    User(AKind, AnId),
    Grant(AKind, AGrant),
}

#[derive(Arbitrary, Debug)]
enum Key {
    Known(u8),
    Any(String),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct AKind(u8);

#[derive(Arbitrary, Clone, Copy, Debug)]
struct AnId(u8);

#[derive(Arbitrary, Clone, Copy, Debug)]
struct ARevision(u8);

#[derive(Arbitrary, Clone, Copy, Debug)]
struct AGrant(u8);

/// Ids, orgs and users; some differ from others only as signed numbers.
const IDS: [u64; 8] = [1, 2, 3, 0x7fff_ffff_ffff_ffff, 1 << 63, 1 << 32, u64::MAX - 1, u64::MAX];

/// Unique keys that a careless comparison would confuse.
const KEYS: [&str; 12] = [
    "a",
    "A",
    "a ",
    " a",
    "a\0",
    "a\0b",
    "\0",
    "\u{e9}",
    "e\u{301}",
    "%",
    "\u{10ffff}",
    "\u{fffd}",
];

const GRANTS: [&str; 8] = [
    "read:instance",
    "write:instance",
    "read:buckets",
    "read:orgs/ffffffffffffffff/buckets",
    "write:orgs/ffffffffffffffff/buckets",
    "read:buckets/ffffffffffffffff",
    "read:buckets/8000000000000000",
    "read:subscriptions/0000000000000001",
];

impl AKind {
    fn kind(self) -> Kind {
        Kind::ALL[usize::from(self.0) % Kind::ALL.len()]
    }
}

impl AnId {
    fn number(self) -> u64 {
        IDS[usize::from(self.0) % IDS.len()]
    }

    fn id(self) -> Id {
        Id::from_u64(self.number())
    }
}

impl ARevision {
    /// Each with bits in both halves, and the first bit of one of them set.
    fn revision(self) -> Revision {
        let number = u128::from(self.0 % 4) + 1;
        Revision::from_u128(number << 126 | number << 62 | number)
    }
}

impl AGrant {
    fn key(self) -> GrantKey {
        let permission = GRANTS[usize::from(self.0) % GRANTS.len()];
        GrantKey::of(permission.parse::<Permission>().expect("a permission"))
    }
}

impl Key {
    fn as_str(&self) -> &str {
        match self {
            Self::Known(number) => KEYS[usize::from(*number) % KEYS.len()],
            Self::Any(text) => text,
        }
    }
}

impl AnIndex {
    fn index(&self) -> Index {
        match self {
            Self::All(kind) => Index::All(kind.kind()),
            Self::Org(kind, org) => Index::Org(kind.kind(), OrgId::from_u64(org.number())),
            Self::User(kind, user) => Index::User(kind.kind(), UserId::from_u64(user.number())),
            Self::Grant(kind, grant) => Index::Grant(kind.kind(), grant.key()),
        }
    }
}

impl Change {
    /// `None` for a record that cannot be built.
    fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::Put(content, expect) => Operation::Put {
                record: content.record()?,
                grants: content.grants.iter().map(|grant| grant.key()).collect(),
                expect: expect.map_or(Expect::Absent, |old| Expect::Revision(old.revision())),
            },
            Self::Delete(kind, id, old) => {
                Operation::Delete { kind: kind.kind(), id: id.id(), expect: old.revision() }
            }
            Self::Require(kind, id) => Operation::Require { kind: kind.kind(), id: id.id() },
        })
    }
}

impl Content {
    fn record(&self) -> Option<Record> {
        Some(Record {
            kind: self.kind.kind(),
            id: self.id.id(),
            revision: self.revision.revision(),
            unique_key: UniqueKey::new(self.key.as_str()).ok()?,
            org: self.org.map(|org| OrgId::from_u64(org.number())),
            user: self.user.map(|user| UserId::from_u64(user.number())),
            status: if self.inactive { Status::Inactive } else { Status::Active },
            body: self.body.as_str().into(),
        })
    }
}

/// The result of a store, as far as all stores return the same.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Found(Option<Shown>),
    Listed(Vec<Shown>),
    AlreadyExists(Kind, Id, Duplicate),
    Conflict(Kind, Id),
    Missing(Kind, Id),
}

/// A record with its body, which the record itself does not show.
#[derive(Debug, PartialEq, Eq)]
struct Shown(Record, String);

impl From<Record> for Shown {
    fn from(record: Record) -> Self {
        let body = format!("{:?} {}", record.unique_key.as_str(), &*record.body);
        Self(record, body)
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let stores = &*OPENED;
    stores.runtime.block_on(async {
        let mut committed = false;
        for step in &steps {
            committed |= compare(step).await == Outcome::Committed;
        }
        if !committed {
            return;
        }
        // Also those from which records were removed.
        let touched = touched(&steps);
        for index in &touched {
            compare_list(*index).await;
        }
        let mut kinds: Vec<Kind> = touched.iter().map(Index::kind).collect();
        kinds.dedup();
        for (_, store) in &stores.opened {
            world::empty(&**store, &kinds).await;
        }
    });
});

/// Every index that a record may have come into, by kind.
fn touched(steps: &[Step]) -> Vec<Index> {
    let changes = steps.iter().filter_map(|step| match step {
        Step::Commit(changes) => Some(changes),
        _ => None,
    });
    let mut touched = Vec::new();
    for change in changes.flatten() {
        if let Change::Put(Content { kind, org, user, grants, .. }, _) = change {
            let kind = kind.kind();
            touched.push(Index::All(kind));
            touched.extend(org.map(|org| Index::Org(kind, OrgId::from_u64(org.number()))));
            touched.extend(user.map(|user| Index::User(kind, UserId::from_u64(user.number()))));
            touched.extend(grants.iter().map(|grant| Index::Grant(kind, grant.key())));
        }
    }
    touched.sort_by_key(|index| (index.kind(), format!("{index:?}")));
    touched.dedup();
    touched
}

async fn compare(step: &Step) -> Outcome {
    same(step, async |store| respond(store, step).await).await
}

async fn compare_list(index: Index) {
    same(&index, async |store| list(store, index, None, u8::MAX).await).await;
}

/// Runs a step on every store and compares the results with the first one's.
async fn same(request: &impl Debug, call: impl AsyncFn(&dyn Store) -> Outcome) -> Outcome {
    let mut first = None;
    for (name, store) in &OPENED.opened {
        let outcome = call(&**store).await;
        match &first {
            None => first = Some(outcome),
            Some(first) => assert_eq!(&outcome, first, "{name}: {request:?}"),
        }
    }
    first.expect("one store at least")
}

async fn respond(store: &dyn Store, step: &Step) -> Outcome {
    let result = match step {
        Step::Commit(changes) => {
            let batch: Batch = changes.iter().filter_map(Change::operation).collect();
            store.commit(batch).await.map(|_| Outcome::Committed)
        }
        Step::Get(kind, id) => get(store, Lookup::Id(kind.kind(), id.id())).await,
        Step::GetByKey(kind, key) => get(store, Lookup::UniqueKey(kind.kind(), key.as_str())).await,
        Step::List(index, after, limit) => {
            return list(store, index.index(), after.map(AnId::id), *limit).await;
        }
    };
    result.unwrap_or_else(|error| match error {
        StoreError::AlreadyExists { kind, id, duplicate } => {
            Outcome::AlreadyExists(kind, id, duplicate)
        }
        StoreError::Conflict { kind, id } => Outcome::Conflict(kind, id),
        StoreError::Missing { kind, id } => Outcome::Missing(kind, id),
        other => panic!("{other:?}"),
    })
}

async fn get(store: &dyn Store, lookup: Lookup<'_>) -> Result<Outcome, StoreError> {
    Ok(Outcome::Found(store.get(lookup).await?.map(Shown::from)))
}

/// Reads all pages. Each store chooses their ends, within the contract.
async fn list(store: &dyn Store, index: Index, after: Option<Id>, limit: u8) -> Outcome {
    let limit = NonZeroUsize::MIN.saturating_add(usize::from(limit));
    let mut request = PageRequest { after, limit };
    let mut listed = Vec::new();
    loop {
        let page = store.list(index, request).await.expect("a page");
        assert!(page.records.len() <= limit.get());
        assert_eq!(page.unreadable, 0);
        for record in page.records {
            assert_eq!(record.kind, index.kind());
            assert!(request.after.is_none_or(|after| after < record.id), "ascending");
            request.after = Some(record.id);
            listed.push(record.into());
        }
        match page.next {
            None => return Outcome::Listed(listed),
            next => {
                assert!(next >= request.after, "the cursor goes on");
                request.after = next;
            }
        }
    }
}
