//! What core costs: checking a permission, hashing a password, reading a record.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::password::{HashPool, HashPoolConfig, Password};
use portcullis::store::{Entity, Record, Revision};
use portcullis::{
    Action, Authorization, AuthorizationFilter, Engine, Id, Name, NewAuthorization, OrgId,
    Permission, PermissionSet, Resource, ResourceType, SystemRandom, Username,
};

fn bucket(id: u64) -> Resource {
    Resource::all(ResourceType::Buckets).in_org(OrgId::from_u64(1)).with_id(Id::from_u64(id))
}

fn permissions(count: u64) -> Vec<Permission> {
    (1..=count).map(|id| Permission::read(bucket(id * 7))).collect()
}

/// A check costs the same few nanoseconds with many permissions as with few; the rule, applied to
/// one permission after the other, does not.
fn permission_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("permission check, half hit and half miss");
    for count in [1, 8, 64, 512] {
        let permissions = permissions(count);
        let set = PermissionSet::new(permissions.iter().copied());
        let asked: Vec<Resource> = (1..=64).map(|i| bucket(i * count * 7 / 32)).collect();
        group.bench_with_input(BenchmarkId::new("compiled", count), &count, |b, _| {
            let mut asked = asked.iter().cycle();
            b.iter(|| asked.next().map(|asked| set.check(Action::Read, black_box(asked))));
        });
        group.bench_with_input(BenchmarkId::new("one by one", count), &count, |b, _| {
            let mut asked = asked.iter().cycle();
            b.iter(|| {
                asked.next().map(|asked| {
                    let asked = Permission::read(*black_box(asked));
                    permissions.iter().any(|held| held.allows(&asked))
                })
            });
        });
    }
    group.finish();
}

/// Verifying through the pool costs what the hash costs: the way to the thread and back and the
/// memory that is reused add nothing that shows.
fn hashing(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("hashing, Argon2id m=19456 t=2 p=1");
    group.sample_size(20);
    let pool = HashPool::start(HashPoolConfig::default(), Arc::new(SystemRandom)).unwrap();
    let password = Password::new("grafana-pass-1").unwrap();
    let hash = runtime.block_on(pool.hash(&password)).unwrap();
    group.bench_function("verify through the pool", |b| {
        b.iter(|| runtime.block_on(pool.verify(&password, &hash)).unwrap());
    });
    group.bench_function("what an unknown name costs", |b| {
        b.iter(|| runtime.block_on(pool.dummy(&password)).unwrap());
    });
    group.finish();
}

/// Reading a record back costs a microsecond or two, and a filter next to nothing.
fn records(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let authorization: Authorization = runtime.block_on(async {
        let store = portcullis::store::MemoryStore::new().unwrap();
        let engine = Engine::builder(store).build().await.unwrap();
        let org = engine.create_org(Name::new("acme").unwrap()).await.unwrap();
        let user = engine.create_user(Name::new("ada").unwrap()).await.unwrap();
        let permissions =
            (0..8).map(|i| Permission::read(Resource::all(ResourceType::ALL[i]).in_org(org.id)));
        let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org.id, permissions);
        engine.create_authorization(new.for_user(user.id)).await.unwrap()
    });
    let record: Record = authorization.to_record(Revision::from_u128(1)).unwrap();
    let mut group = c.benchmark_group("record with 8 permissions");
    group.bench_function("encode", |b| {
        b.iter(|| authorization.to_record(Revision::from_u128(1)).unwrap());
    });
    group.bench_function("decode", |b| {
        b.iter(|| Authorization::from_record(black_box(&record)).unwrap());
    });
    let mut filter = AuthorizationFilter::all();
    filter.org = Some(authorization.org);
    filter.permits =
        Some(Permission::read(Resource::all(ResourceType::Tasks).in_org(authorization.org)));
    group.bench_function("filter", |b| b.iter(|| filter.matches(black_box(&authorization))));
    group.finish();
}

criterion_group!(benches, permission_check, hashing, records);
criterion_main!(benches);
