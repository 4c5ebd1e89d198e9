//! What core costs: checking a permission, hashing a password, reading a record.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{env, fs};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use portcullis::password::{HashPool, HashPoolConfig, Password};
use portcullis::store::{Entity, Record, Revision};
use portcullis::{
    Action, Authorization, AuthorizationFilter, BucketId, Engine, Id, Name, NewAuthorization,
    OrgId, Permission, PermissionSet, Resource, ResourceType, SystemRandom, Username,
};
use portcullis_benches::data;
use portcullis_benches::parts::Parts;
use portcullis_benches::results::{self, Results};
use portcullis_benches::table::{self, Row};
use serde_json::Value;

/// A permission as cheap to compare as can be.
struct Held {
    action: Action,
    resource_type: ResourceType,
    id: Option<u64>,
    org: Option<u64>,
}

impl Held {
    fn new(permission: Permission) -> Self {
        let Permission { action, resource } = permission;
        let (id, org) = (resource.id.map(Id::as_u64), resource.org.map(OrgId::as_u64));
        Self { action, resource_type: resource.resource_type, id, org }
    }

    fn allows(&self, action: Action, resource: &Resource) -> bool {
        if self.action != action {
            return false;
        }
        if self.resource_type == ResourceType::Instance {
            return true;
        }
        self.resource_type == resource.resource_type
            && match (self.id, self.org) {
                (Some(id), _) => resource.id.is_some_and(|asked| asked.as_u64() == id),
                (None, Some(org)) => resource.org.is_some_and(|asked| asked.as_u64() == org),
                (None, None) => true,
            }
    }
}

/// A check costs the same few nanoseconds with many permissions as with few, and with few not more
/// than the loop that one would write by hand. A pass is 1,024 checks.
fn permission_check(c: &mut Criterion) {
    const REQUESTS: usize = 1_024;
    let mut group = c.benchmark_group("permission check, half hit and half miss");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for count in [1, 8, 64, 512] {
        let mut random = fastrand::Rng::with_seed(count as u64);
        let org = OrgId::from_u64(1);
        let mut bucket = || Resource::bucket(org, BucketId::from_u64(random.u64(1..)));
        let held: Vec<Permission> = (0..count).map(|_| Permission::read(bucket())).collect();
        let hits = held.iter().map(|held| held.resource).cycle().take(REQUESTS / 2);
        let mut asked: Vec<Resource> = hits.collect();
        asked.extend((0..REQUESTS / 2).map(|_| bucket()));
        random.shuffle(&mut asked);

        let set = PermissionSet::new(held.iter().copied());
        group.bench_with_input(BenchmarkId::new("compiled", count), &asked, |b, asked| {
            b.iter(|| {
                for asked in asked {
                    let decision = black_box(&set).check(Action::Read, black_box(asked));
                    let _ = black_box(&decision);
                }
            });
        });
        let held: Vec<Held> = held.into_iter().map(Held::new).collect();
        group.bench_with_input(BenchmarkId::new("linear scan", count), &asked, |b, asked| {
            b.iter(|| {
                for asked in asked {
                    let asked = black_box(asked);
                    black_box(black_box(&held).iter().any(|held| held.allows(Action::Read, asked)));
                }
            });
        });
    }
    group.finish();
}

/// Verifying through the pool costs what the hash costs: crossing to the thread and back and reusing
/// memory add nothing measurable.
fn hashing(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
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

/// Reading a record back costs less than a parser of JSON takes, and a filter next to nothing.
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
    group.bench_function("decode, with a parser of JSON", |b| {
        b.iter(|| data::parse(black_box(&record.body)));
    });
    let mut filter = AuthorizationFilter::all();
    filter.org = Some(authorization.org);
    filter.permits =
        Some(Permission::read(Resource::all(ResourceType::Tasks).in_org(authorization.org)));
    group.bench_function("filter", |b| b.iter(|| filter.matches(black_box(&authorization))));
    group.finish();
}

criterion_group!(benches, permission_check, hashing, records);

fn main() {
    if Parts::from_arguments().is_none() {
        benches();
        return;
    }
    let results = Results::begin("core");
    let begun = SystemTime::now();
    benches();
    Criterion::default().configure_from_args().final_summary();
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| results::root().join("target"));
    let mut rows = Vec::new();
    measured(&target.join("criterion"), begun, &mut rows);
    rows.sort_by(|one, other| one.what.cmp(&other.what));
    table::finish(results, &rows);
}

/// Criterion's medians of this run in this directory and its subdirectories, for one element each.
fn measured(directory: &Path, begun: SystemTime, rows: &mut Vec<Row>) {
    let read = |name: &str| -> Option<Value> {
        serde_json::from_slice(&fs::read(directory.join(name)).ok()?).ok()
    };
    if directory.ends_with("new") {
        let written = fs::metadata(directory.join("estimates.json")).and_then(|of| of.modified());
        if written.is_ok_and(|written| written >= begun)
            && let (Some(bench), Some(estimates)) = (read("benchmark.json"), read("estimates.json"))
            && let Some(what) = bench["full_id"].as_str()
            && let Some(median) = estimates["median"]["point_estimate"].as_f64()
        {
            let elements = bench["throughput"]["Elements"].as_f64().unwrap_or(1.0);
            rows.push(Row::alone(&what.replace('/', ", "), table::nanos(median / elements)));
        }
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            measured(&entry.path(), begun, rows);
        }
    }
}
