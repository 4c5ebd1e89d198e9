//! Records for the operations, and how they are compared and restored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use portcullis::store::{Batch, Expect, Index, Kind, Operation, Record, Store, grants_of};
use portcullis::{
    ApiTokenId, AuthorizationId, BucketId, BuildError, Clock, Credentials, DbrpId, Engine, Error,
    Id, NewApiToken, NewAuthorization, NewDbrp, OrgId, Permission, Random, RandomUnavailable,
    Resource, Timestamp, TokenSecret, UserId, Username, presets,
};

use crate::access::{ALL, list};
use crate::random::Dice;
use crate::world::{builder, cheap_hashing, name};

/// The same bytes in every run, so that an operation is repeated exactly.
#[derive(Debug)]
struct SameBytes(Mutex<Dice>);

impl Random for SameBytes {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        let mut dice = self.0.lock().expect("the dice");
        for some in buffer.chunks_mut(8) {
            some.copy_from_slice(&dice.roll().to_be_bytes()[..some.len()]);
        }
        Ok(())
    }
}

/// A clock that does not move.
#[derive(Debug)]
struct SameTime;

impl Clock for SameTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000).expect("a time")
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Starts an engine with the randomness of the seed and cheap hashes.
pub(super) async fn engine_on(store: Arc<dyn Store>, seed: u64) -> Result<Engine, Error> {
    let random = SameBytes(Mutex::new(Dice::new(seed)));
    let builder = builder(store).hashing(cheap_hashing().threads(1)).random(random);
    builder.clock(SameTime).no_throttle().build().await.map_err(|error| match error {
        BuildError::Store(error) => error,
        error => panic!("{error:?}"),
    })
}

/// Starts an engine with the same configuration as every other one here.
pub(super) async fn the_same_engine_on(store: Arc<dyn Store>) -> Result<Engine, Error> {
    engine_on(store, 2).await
}

/// The records before an operation.
pub(super) struct World {
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) bucket: BucketId,
    /// The database `fleet` leads to the bucket.
    pub(super) mapping: DbrpId,
    pub(super) authorization: AuthorizationId,
    pub(super) token: ApiTokenId,
    pub(super) secret: TokenSecret,
    /// All of them, as a snapshot.
    pub(super) snapshot: Vec<u8>,
}

impl World {
    /// Creates two orgs with a user, a bucket and credentials each. The operation must not change one of
    /// them.
    pub(super) async fn build(store: &Arc<dyn Store>) -> Self {
        let engine = engine_on(Arc::clone(store), 1).await.expect("an engine");
        let witness = Self::part(&engine, "witness").await;
        let mut world = Self::part(&engine, "telegraf").await;
        for number in 0..3 {
            world.authorize(&engine, &format!("telegraf-{number}")).await;
        }
        engine.export(&mut world.snapshot).await.expect("an export");
        for (name, part) in [("witness", &witness), ("telegraf", &world)] {
            let password = format!("{name}-password");
            let login = engine.authenticate(Credentials::password(name, password.as_str())).await;
            assert!(login.is_ok(), "{login:?}");
            let login = engine.authenticate(Credentials::token(part.secret.expose())).await;
            assert!(login.is_ok(), "{login:?}");
        }
        world
    }

    async fn part(engine: &Engine, text: &str) -> Self {
        let org = engine.create_org(name(text)).await.expect("an org").id;
        let user = engine.create_user(name(text)).await.expect("a user").id;
        let bucket = engine.create_bucket(org, name(text)).await.expect("a bucket").id;
        let permissions = presets::operator();
        let new = NewApiToken::new(org, user, permissions).with_description(text);
        let (token, secret) = engine.create_api_token(new).await.expect("an API token");
        let (token, snapshot) = (token.id, Vec::new());
        let (authorization, mapping) = (AuthorizationId::from_u64(1), DbrpId::from_u64(1));
        let part = Self { org, user, bucket, mapping, authorization, token, secret, snapshot };
        let mapping = engine.create_dbrp(part.new_dbrp("daily")).await.expect("a mapping").id;
        let authorization = part.authorize(engine, text).await;
        let password = format!("{text}-password");
        let login = Credentials::password(text, &password);
        engine.authenticate(login).await.expect("a login");
        let login = Credentials::token(part.secret.expose());
        engine.authenticate_caller(login).await.expect("a login");
        engine.flush_last_uses().await;
        Self { mapping, authorization, ..part }
    }

    async fn authorize(&self, engine: &Engine, username: &str) -> AuthorizationId {
        let new = self.new_authorization(username);
        let id = engine.create_authorization(new).await.expect("an authorization").id;
        engine.set_password(id, format!("{username}-password")).await.expect("a password");
        id
    }

    pub(super) fn resource(&self) -> Resource {
        Resource::bucket(self.org, self.bucket)
    }

    pub(super) fn new_dbrp(&self, policy: &str) -> NewDbrp {
        let (database, retention_policy) = ("fleet".to_owned(), policy.to_owned());
        NewDbrp { org: self.org, database, retention_policy, is_default: true, bucket: self.bucket }
    }

    pub(super) fn new_authorization(&self, username: &str) -> NewAuthorization {
        let username = Username::new(username).expect("a username");
        NewAuthorization::new(username, self.org, [Permission::write(self.resource())])
            .for_user(self.user)
    }
}

/// All records.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct State(BTreeMap<(Kind, Id), Record>);

impl State {
    pub(super) async fn of(store: &dyn Store) -> Self {
        let mut records = BTreeMap::new();
        for kind in Kind::ALL {
            let all = list(store, Index::All(kind), ALL).await;
            records.extend(all.into_iter().map(|record| ((kind, record.id), record)));
        }
        Self(records)
    }

    pub(super) fn has(&self, kind: Kind, id: Id) -> bool {
        self.0.contains_key(&(kind, id))
    }

    /// Restores exactly these records in the store.
    pub(super) async fn restore(&self, store: &dyn Store) {
        let there = Self::of(store).await;
        let mut batch = Batch::new();
        // Deletes first: a restored record may need a name that one of them has.
        for ((kind, id), record) in &there.0 {
            if self.0.get(&(*kind, *id)) != Some(record) {
                let expect = record.revision;
                batch.push(Operation::Delete { kind: *kind, id: *id, expect });
            }
        }
        for (test, record) in &self.0 {
            if there.0.get(test) != Some(record) {
                let grants = grants_of(record).expect("a valid record");
                batch.push(Operation::Put {
                    record: record.clone(),
                    grants,
                    expect: Expect::Absent,
                });
            }
        }
        if !batch.is_empty() {
            store.commit(batch).await.expect("the earlier records");
        }
    }

    /// Names the records that differ, without their bodies.
    pub(super) fn compare(&self, other: &Self) -> String {
        let places = self.0.keys().chain(other.0.keys());
        let mut differ: Vec<_> = places
            .filter(|test| self.0.get(test) != other.0.get(test))
            .map(|(kind, id)| format!("{kind} {id}"))
            .collect();
        differ.sort();
        differ.dedup();
        format!("{} differ from the result without failures", differ.join(", "))
    }
}
