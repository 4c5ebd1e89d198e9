//! Engines with as many authorizations as a bench needs.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use portcullis::password::{HashParams, HashPoolConfig, Password};
use portcullis::store::{
    Batch, Entity, Expect, Kind, Lookup, MemoryStore, Operation, Record, Revision, Store,
};
use portcullis::{
    Action, Authorization, BucketId, CacheConfig, Credentials, Engine, EngineBuilder, Name,
    NewAuthorization, OrgId, Permission, Principal, Resource, Setup, SetupDone, Username,
};
use tokio::runtime::Runtime;

/// The cheapest parameters there may be: for engines in which hashing is not what is measured.
pub(crate) fn cheap() -> HashParams {
    HashParams::new(8, 1, 1).unwrap()
}

/// How passwords are hashed, with room in the queue for every login of a bench.
pub(crate) fn hashing(params: HashParams) -> HashPoolConfig {
    HashPoolConfig::default().params(params).queue(2_048)
}

/// Presented credentials, and the resource that is asked for.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) resource: Resource,
}

/// An engine, its records, and its runtime, which runs on threads of its own.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    pub(crate) setup: SetupDone,
    pub(crate) authorizations: Vec<Authorization>,
}

/// The permissions of the authorization with the number: four buckets to read and to write.
pub(crate) fn permissions(org: OrgId, number: usize) -> impl Iterator<Item = Permission> {
    (0..4).flat_map(move |i| {
        let bucket = Resource::bucket(org, bucket(number, i));
        [Permission::read(bucket), Permission::write(bucket)]
    })
}

fn bucket(number: usize, i: usize) -> BucketId {
    BucketId::from_u64((number * 8 + i + 1) as u64)
}

pub(crate) fn username(number: usize) -> String {
    format!("telegraf-{number:06}")
}

pub(crate) fn password(number: usize) -> String {
    format!("s3cret-{:013x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12)
}

impl World {
    /// An engine in memory with `count` authorizations of 8 permissions. A cache entry is valid for
    /// as long as the bench runs, and there is room for all of them.
    pub(crate) fn in_memory(count: usize, params: HashParams) -> Self {
        Self::new(Arc::new(MemoryStore::new().unwrap()), count, params, |engine| engine)
    }

    pub(crate) fn new(
        store: Arc<dyn Store>,
        count: usize,
        params: HashParams,
        settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let runtime = runtime();
        let (engine, setup, authorizations) = runtime.block_on(async {
            let day = std::time::Duration::from_secs(24 * 60 * 60);
            // Enough sets that none of them gets more entries than it has slots.
            let cache = CacheConfig::default().max_bytes(512 << 20).time_to_live(day);
            let builder = Engine::builder(store).hashing(hashing(params)).cache(cache);
            let engine = settings(builder.no_throttle()).build().await.unwrap();
            let name = |text| Name::new(text).unwrap();
            let setup =
                Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
            let setup = engine.setup(setup).await.unwrap();
            let authorizations = fill(&engine, &setup, count).await;
            (engine, setup, authorizations)
        });
        Self { runtime, engine, setup, authorizations }
    }

    /// Requests of the first `count` authorizations, in random order.
    pub(crate) fn requests(&self, count: usize) -> Vec<Request> {
        self.requests_of(&in_no_order(count))
    }

    /// A request of each of these authorizations.
    pub(crate) fn requests_of(&self, numbers: &[usize]) -> Vec<Request> {
        let request = |&number: &usize| Request {
            username: username(number),
            password: password(number),
            resource: self.requested(number),
        };
        numbers.iter().map(request).collect()
    }

    /// The resource that the authorization with the number asks for: every second one is not permitted.
    pub(crate) fn requested(&self, number: usize) -> Resource {
        let permitted = fastrand::usize(0..4);
        let requested = if number.is_multiple_of(2) { permitted } else { permitted + 4 };
        Resource::bucket(self.setup.org.id, bucket(number, requested))
    }

    /// Logs all of them in, so that they are cached.
    pub(crate) fn warm_up(&self, requests: &[Request]) {
        self.runtime.block_on(async {
            let logins = stream::iter(requests).map(|request| self.login(request));
            logins.buffer_unordered(64).collect::<Vec<_>>().await;
        });
    }

    pub(crate) async fn login(&self, request: &Request) -> Principal {
        login(&self.engine, request).await
    }
}

pub(crate) async fn login(engine: &Engine, request: &Request) -> Principal {
    let credentials = Credentials::password(&request.username, request.password.as_bytes());
    engine.authenticate(credentials).await.unwrap()
}

/// A request on a cache hit: authenticates, and checks the permission.
pub(crate) fn warm(engine: &Engine, request: &Request) -> bool {
    let credentials = Credentials::password(&request.username, request.password.as_bytes());
    // A cache hit is ready at once; a runtime would be measured, too.
    let login = engine.authenticate(credentials).now_or_never();
    let principal = login.expect("not warm").unwrap();
    principal.check(Action::Write, &request.resource).is_allowed()
}

/// The numbers of the first `count` authorizations, shuffled.
pub(crate) fn in_no_order(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut numbers);
    numbers
}

/// A runtime with a thread of its own: the change feed must go on while the bench measures.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Puts authorizations directly into the store; the engine would take a commit for each.
async fn fill(engine: &Engine, setup: &SetupDone, count: usize) -> Vec<Authorization> {
    let org = setup.org.id;
    let exists = Permission::write(Resource::bucket(org, setup.buckets[0].id));
    let new = NewAuthorization::new(Username::new("template").unwrap(), org, [exists]);
    let template = engine.create_authorization(new.for_user(setup.user.id)).await.unwrap();
    let numbered = stream::iter(0..count).map(|number| {
        let mut authorization = template.clone();
        async move {
            authorization.id = portcullis::AuthorizationId::from_u64(number as u64 + 1);
            authorization.username = Username::new(username(number)).unwrap();
            authorization.permissions = permissions(org, number).collect();
            let password = Password::new(password(number).as_bytes()).unwrap();
            let hash = engine.hash_pool().hash(&password).await.unwrap();
            authorization.password_hash = Some(hash);
            authorization
        }
    });
    let authorizations: Vec<_> = numbered.buffered(64).collect().await;
    for chunk in authorizations.chunks(1_000) {
        let puts = chunk.iter().map(|authorization| Operation::Put {
            record: record(authorization),
            grants: authorization.grants(),
            expect: Expect::Absent,
        });
        engine.store().commit(puts.collect::<Batch>()).await.unwrap();
    }
    authorizations
}

fn record(authorization: &Authorization) -> Record {
    authorization.to_record(Revision::from_u128(1)).unwrap()
}

/// Reads an authorization as the store has it, by its username.
pub(crate) async fn read(store: &dyn Store, username: &str) -> Record {
    store.get(Lookup::UniqueKey(Kind::Authorization, username)).await.unwrap().unwrap()
}
