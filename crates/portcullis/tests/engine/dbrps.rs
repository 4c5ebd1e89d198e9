//! DBRP mappings: what they lead to, and that each database keeps exactly one default.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::snapshot::Snapshot;
use portcullis::store::{Index, Kind, PageRequest, Store};
use portcullis::{
    Bucket, BucketId, DatabaseBucket, DbrpFilter, DbrpId, DbrpMapping, DbrpUpdate, Engine, Error,
    ErrorKind, NewDbrp, OrgId, Permission, Resource, StaticDirectory,
};
use portcullis_testkit::{Call, Counts, Fault, InstrumentedStore};

use crate::caching::Hesitant;
use crate::management::caller;
use crate::support::{World, builder, failing, name, permission};

fn new(org: OrgId, bucket: BucketId, database: &str, policy: &str) -> NewDbrp {
    let (database, retention_policy) = (database.to_owned(), policy.to_owned());
    NewDbrp { org, database, retention_policy, is_default: false, bucket }
}

/// Waits, so that the next id is higher than all before.
async fn next_millisecond() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

trait Databases {
    async fn map(&self, bucket: &Bucket, database: &str, policy: &str) -> DbrpMapping;
    async fn create(&self, text: &str) -> Bucket;
    async fn leads_to(&self, database: &str, policy: Option<&str>) -> DatabaseBucket;
    async fn shown(&self, change: impl FnOnce(&mut DbrpFilter)) -> Vec<String>;
    async fn set_default(&self, id: DbrpId, is_default: bool) -> Result<DbrpMapping, Error>;
}

impl Databases for World {
    async fn map(&self, bucket: &Bucket, database: &str, policy: &str) -> DbrpMapping {
        let new = new(self.org.id, bucket.id, database, policy);
        next_millisecond().await;
        self.engine.create_dbrp(new).await.unwrap()
    }

    async fn create(&self, text: &str) -> Bucket {
        next_millisecond().await;
        self.engine.create_bucket(self.org.id, name(text)).await.unwrap()
    }

    async fn leads_to(&self, database: &str, policy: Option<&str>) -> DatabaseBucket {
        self.engine.database_bucket(self.org.id, database, policy).await.unwrap()
    }

    /// The mappings that match: `DB.RP`, with `*` if it is the default and `~` if it is virtual.
    async fn shown(&self, change: impl FnOnce(&mut DbrpFilter)) -> Vec<String> {
        let mut filter = DbrpFilter::all(self.org.id);
        change(&mut filter);
        let found = self.engine.list_dbrps(&filter).await.unwrap();
        let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
        let shown = found.iter().map(|it| {
            let marks = (mark(it.is_default, "*"), mark(it.is_virtual, "~"));
            format!("{}.{}{}{}", it.database, it.retention_policy, marks.0, marks.1)
        });
        shown.collect()
    }

    async fn set_default(&self, id: DbrpId, is_default: bool) -> Result<DbrpMapping, Error> {
        let update = DbrpUpdate { is_default: Some(is_default), retention_policy: None };
        self.engine.update_dbrp(self.org.id, id, update).await
    }
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.message().to_owned())
}

/// [DBRP-2]
#[tokio::test]
async fn the_first_mapping_of_a_database_is_the_default_and_one_always_is() {
    let world = World::new().await;
    let (org, bucket) = (world.org.id, &world.bucket);
    let a = world.map(bucket, "db", "a").await;
    assert!(a.is_default && !a.is_virtual);
    let b = world.map(bucket, "db", "b").await;
    let c = NewDbrp { is_default: true, ..new(org, bucket.id, "db", "c") };
    next_millisecond().await;
    let c = world.engine.create_dbrp(c).await.unwrap();
    assert_eq!((b.is_default, c.is_default), (false, true));
    let explicit = |filter: &mut DbrpFilter| filter.is_virtual = Some(false);
    assert_eq!(world.shown(explicit).await, ["db.a", "db.b", "db.c*"]);
    assert!(!world.set_default(c.id, false).await.unwrap().is_default);
    assert_eq!(world.shown(explicit).await, ["db.a*", "db.b", "db.c"]);
    world.engine.delete_dbrp(org, a.id).await.unwrap();
    assert_eq!(world.shown(explicit).await, ["db.b*", "db.c"]);
    let rename = DbrpUpdate { retention_policy: Some("z".to_owned()), is_default: None };
    world.engine.update_dbrp(org, b.id, rename).await.unwrap();
    assert_eq!(world.shown(explicit).await, ["db.z*", "db.c"]);
    world.engine.delete_dbrp(org, b.id).await.unwrap();
    assert!(world.set_default(c.id, false).await.unwrap().is_default, "there is no other");
    world.engine.delete_dbrp(org, c.id).await.unwrap();
    assert_eq!(world.shown(explicit).await, [""; 0]);
    assert!(world.map(bucket, "db", "b").await.is_default);
}

/// [DBRP-4]
#[tokio::test]
async fn virtual_mappings_follow_the_names_of_buckets_and_yield_to_mappings() {
    let world = World::new().await;
    let year = world.create("telemetry/year").await;
    let all = ["telemetry.autogen*~", "telemetry.year~"];
    assert_eq!(world.shown(|_| {}).await, all);
    world.map(&year, "telemetry", "month").await;
    let all = ["telemetry.month*", "telemetry.autogen~", "telemetry.year~"];
    assert_eq!(world.shown(|_| {}).await, all);
    let mapped = world.map(&world.bucket, "telemetry", "year").await;
    assert_eq!(
        world.shown(|_| {}).await,
        ["telemetry.month*", "telemetry.year", "telemetry.autogen~"]
    );

    // Every filter, alone and with another one.
    let of_database = |filter: &mut DbrpFilter| filter.database = Some("telemetry".to_owned());
    assert_eq!(world.shown(of_database).await.len(), 3);
    assert_eq!(world.shown(|it| it.database = Some("telemetr".to_owned())).await, [""; 0]);
    let by_policy = |filter: &mut DbrpFilter| filter.retention_policy = Some("year".to_owned());
    assert_eq!(world.shown(by_policy).await, ["telemetry.year"]);
    assert_eq!(world.shown(|it| it.is_default = Some(true)).await, ["telemetry.month*"]);
    let both = ["telemetry.year", "telemetry.autogen~"];
    assert_eq!(world.shown(|it| it.is_default = Some(false)).await, both);
    assert_eq!(world.shown(|it| it.bucket = Some(world.bucket.id)).await, both);
    assert_eq!(world.shown(|it| it.bucket = Some(year.id)).await, ["telemetry.month*"]);
    assert_eq!(world.shown(|it| it.id = Some(mapped.id)).await, ["telemetry.year"]);
    let virtual_id = world.bucket.id.untyped().into();
    assert_eq!(world.shown(|it| it.id = Some(virtual_id)).await, ["telemetry.autogen~"]);
    assert_eq!(
        world
            .shown(|it| {
                of_database(it);
                it.bucket = Some(year.id);
                it.is_default = Some(true);
            })
            .await,
        ["telemetry.month*"]
    );
    let elsewhere = DbrpFilter::all(OrgId::from_u64(9));
    assert_eq!(world.engine.list_dbrps(&elsewhere).await.unwrap(), []);

    let refused = "a virtual DBRP mapping follows from the name of its bucket: create a mapping, \
                   which takes its place";
    let invalid = (ErrorKind::Invalid, refused.to_owned());
    assert_eq!(message(world.set_default(virtual_id, true).await), invalid);
    assert_eq!(message(world.engine.delete_dbrp(world.org.id, virtual_id).await), invalid);
}

/// [DBRP-1] [DBRP-5]
#[tokio::test]
async fn a_mapping_that_cannot_be_is_refused() {
    let world = World::new().await;
    let other = world.engine.create_org(name("globex")).await.unwrap();
    let foreign = world.engine.create_bucket(other.id, name("foreign")).await.unwrap();
    let there = world.map(&world.bucket, "db", "rp").await;
    let second = world.map(&world.bucket, "db", "second").await;
    let create = async |bucket: &Bucket, database: &str, policy: &str| {
        message(world.engine.create_dbrp(new(world.org.id, bucket.id, database, policy)).await)
    };
    let conflict = "another DBRP mapping with same orgID, db, and rp exists";
    let conflict = (ErrorKind::Conflict, conflict.to_owned());
    assert_eq!(create(&world.bucket, "db", "rp").await, conflict);
    let rename = DbrpUpdate { retention_policy: Some("rp".to_owned()), is_default: None };
    let renamed = world.engine.update_dbrp(world.org.id, second.id, rename).await;
    assert_eq!(message(renamed), conflict);
    let not_found = |message: &str| (ErrorKind::NotFound, message.to_owned());
    assert_eq!(create(&foreign, "db", "x").await, not_found("bucket not found"));
    let gone = Bucket { id: BucketId::from_u64(5), ..world.bucket.clone() };
    assert_eq!(create(&gone, "db", "x").await, not_found("bucket not found"));
    for (database, policy, member) in
        [("", "x", "database"), ("a/b", "x", "database"), ("db", "..", "retentionPolicy")]
    {
        let (kind, message) = create(&world.bucket, database, policy).await;
        assert_eq!(kind, ErrorKind::Invalid);
        let expected = format!("DBRP provided is invalid: {member} must contain at least one");
        assert!(message.starts_with(&expected), "{message}");
    }
    // Of another org.
    let update = world.engine.update_dbrp(other.id, there.id, DbrpUpdate::default()).await;
    assert_eq!(message(update), not_found("unable to find DBRP"));
    let delete = world.engine.delete_dbrp(other.id, there.id).await;
    assert_eq!(message(delete), not_found("unable to find DBRP"));
    assert_eq!(world.engine.dbrp(other.id, there.id).await.unwrap(), None);
    // Another org may have a database of the name.
    world.engine.create_dbrp(new(other.id, foreign.id, "db", "rp")).await.unwrap();
}

/// [DBRP-6]
#[tokio::test]
async fn a_mapping_comes_before_a_bucket_of_the_name_and_a_change_counts_at_once() {
    use DatabaseBucket::{Dangling, Mapped, Named, None};

    let world = World::new().await;
    assert_eq!(world.leads_to("db", Option::None).await, None);
    assert_eq!(world.leads_to("db", Some("rp")).await, None);
    let plain = world.create("db").await;
    let scoped = world.create("db/rp").await;
    assert_eq!(world.leads_to("db", Option::None).await, Named(plain.id));
    assert_eq!(world.leads_to("db", Some("rp")).await, Named(scoped.id));
    assert_eq!(world.leads_to("db", Some("other")).await, None);

    let mapped = world.map(&world.bucket, "db", "other").await;
    assert_eq!(world.leads_to("db", Some("other")).await, Mapped(world.bucket.id));
    assert_eq!(world.leads_to("db", Option::None).await, Mapped(world.bucket.id), "the default");
    assert_eq!(world.leads_to("db", Some("rp")).await, Named(scoped.id));
    assert_eq!(world.leads_to("DB", Option::None).await, None);
    let elsewhere = OrgId::from_u64(9);
    assert_eq!(world.engine.database_bucket(elsewhere, "db", Option::None).await.unwrap(), None);

    let second = world.map(&scoped, "db", "second").await;
    world.set_default(second.id, true).await.unwrap();
    assert_eq!(world.leads_to("db", Option::None).await, Mapped(scoped.id));
    world.engine.delete_dbrp(world.org.id, second.id).await.unwrap();
    assert_eq!(world.leads_to("db", Option::None).await, Mapped(world.bucket.id));
    world.engine.delete_dbrp(world.org.id, mapped.id).await.unwrap();
    assert_eq!(world.leads_to("db", Option::None).await, Named(plain.id));
    world.engine.delete_bucket(plain.id).await.unwrap();
    assert_eq!(world.leads_to("db", Option::None).await, None);

    // As an import may leave it: the bucket of a mapping is in another org.
    let text = format!(
        concat!(
            r#"{{"type":"dbrp","id":"0000000000000041","orgID":"{}","database":"db","mappings":["#,
            r#"{{"id":"0000000000000042","retentionPolicy":"rp","bucketID":"0000000000000043","#,
            r#""default":true}}]}}"#
        ),
        world.org.id
    );
    let snapshot = Snapshot::read(text.as_bytes()).unwrap();
    assert_eq!(world.engine.import(snapshot, false).await.unwrap(), 1);
    assert_eq!(world.leads_to("db", Some("rp")).await, Dangling, "although a bucket has the name");
    assert_eq!(world.leads_to("db", Option::None).await, Dangling);
}

/// [DBRP-7]
#[tokio::test]
async fn what_was_found_is_found_again_without_a_read() {
    let world = World::new().await;
    let counts = Counts::new();
    let store = Arc::new(InstrumentedStore::new(Arc::clone(&world.store), &counts));
    let engine = builder(store).build().await.unwrap();
    world.map(&world.bucket, "db", "rp").await;
    let requests = [
        ("db", None),
        ("db", Some("rp")),
        ("db", Some("none")),
        ("telemetry", None),
        ("telemetry", Some("none")),
        ("none", None),
    ];
    let find = async || {
        let found = requests.map(|(name, rp)| engine.database_bucket(world.org.id, name, rp));
        join_all(found).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let cold = find().await;
    counts.reset();
    assert_eq!(find().await, cold);
    assert_eq!(counts.total(), 0);
}

#[tokio::test]
async fn an_outage_is_never_a_bucket() {
    let world = World::new().await;
    world.map(&world.bucket, "db", "rp").await;
    for call in 1..=2 {
        for fault in [Fault::Unavailable, Fault::Backend] {
            let store = failing(&world.store, Call::nth(call).and_later(), fault);
            let Ok(engine) = builder(store).build().await else { continue };
            for policy in [None, Some("rp"), Some("none")] {
                let found = engine.database_bucket(world.org.id, "db", policy).await;
                assert!(found.is_err(), "{call} {policy:?}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn mappings_of_a_host_whose_bucket_is_gone_lead_to_nothing() {
    let world = World::new().await;
    let directory = |buckets: &[&Bucket]| {
        let directory = StaticDirectory::new().with_org(world.org.clone());
        buckets.iter().fold(directory, |directory, bucket| directory.with_bucket((*bucket).clone()))
    };
    let host = builder(Arc::clone(&world.store)).directory(directory(&[&world.bucket]));
    let host = host.build().await.unwrap();
    host.create_dbrp(new(world.org.id, world.bucket.id, "db", "rp")).await.unwrap();
    let found = host.database_bucket(world.org.id, "db", None).await.unwrap();
    assert_eq!(found, DatabaseBucket::Mapped(world.bucket.id));
    let later = builder(Arc::clone(&world.store)).directory(directory(&[])).build().await.unwrap();
    let found = later.database_bucket(world.org.id, "db", None).await.unwrap();
    assert_eq!(found, DatabaseBucket::Dangling);
}

/// [DBRP-5]
#[tokio::test]
async fn mappings_go_with_their_bucket_and_with_their_org() {
    let world = World::new().await;
    let other = world.create("other").await;
    let explicit = |filter: &mut DbrpFilter| filter.is_virtual = Some(false);
    for (database, policy) in [("one", "a"), ("one", "b"), ("two", "a")] {
        world.map(&world.bucket, database, policy).await;
    }
    world.map(&other, "one", "c").await;
    world.engine.delete_bucket(world.bucket.id).await.unwrap();
    assert_eq!(world.shown(explicit).await, ["one.c*"]);
    world.engine.delete_org(world.org.id).await.unwrap();
    let all = PageRequest { after: None, limit: 10.try_into().unwrap() };
    let left = world.store.list(Index::All(Kind::Dbrp), all).await.unwrap();
    assert_eq!(left.records, []);
}

/// [DBRP-3]
#[tokio::test]
async fn concurrent_changes_of_a_database_lose_no_mapping_and_keep_one_default() {
    let world = World::new().await;
    let store = Hesitant::over(&world.store);
    let engines: Vec<Engine> =
        join_all((0..3).map(|_| async { builder(Arc::clone(&store)).build().await.unwrap() }))
            .await;
    for round in 0..20 {
        let database = format!("db-{round}");
        let create = |number: usize| {
            let policy = format!("rp-{}", number % 6);
            let is_default = number.is_multiple_of(2);
            let new =
                NewDbrp { is_default, ..new(world.org.id, world.bucket.id, &database, &policy) };
            engines[number % 3].create_dbrp(new)
        };
        let created = join_all((0..12).map(create)).await;
        let done: Vec<_> = created.into_iter().filter_map(Result::ok).collect();
        assert_eq!(done.len(), 6, "each retention policy once");
        let ids: Vec<_> = done.iter().map(|mapping| mapping.id).collect();
        let changes = ids.iter().enumerate().map(async |(number, id)| {
            let engine = &engines[number % 3];
            match number % 3 {
                0 => engine.delete_dbrp(world.org.id, *id).await.unwrap(),
                _ => {
                    let is_default = Some(number % 3 == 1);
                    let update = DbrpUpdate { is_default, retention_policy: None };
                    drop(engine.update_dbrp(world.org.id, *id, update).await.unwrap());
                }
            }
        });
        join_all(changes).await;
        let mut filter = DbrpFilter { database: Some(database), ..DbrpFilter::all(world.org.id) };
        assert_eq!(world.engine.list_dbrps(&filter).await.unwrap().len(), 4);
        filter.is_default = Some(true);
        assert_eq!(world.engine.list_dbrps(&filter).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn no_mapping_survives_a_deletion_of_its_bucket_at_the_same_time() {
    let world = World::new().await;
    let store = Hesitant::over(&world.store);
    let engine = builder(Arc::clone(&store)).build().await.unwrap();
    for round in 0..20 {
        let bucket = world.create(&format!("bucket-{round}")).await;
        let database = format!("db-{round}");
        world.map(&bucket, &database, "first").await;
        let create = async |wait: usize| {
            for _ in 0..wait {
                tokio::task::yield_now().await;
            }
            engine.create_dbrp(new(world.org.id, bucket.id, &database, &format!("rp-{wait}"))).await
        };
        let (deleted, _) =
            futures_util::join!(engine.delete_bucket(bucket.id), join_all((0..12).map(create)));
        deleted.unwrap();
        let filter = DbrpFilter { database: Some(database), ..DbrpFilter::all(world.org.id) };
        assert_eq!(engine.list_dbrps(&filter).await.unwrap(), []);
    }
}

/// [DBRP-12]
///
/// With a mapping to its own bucket, a caller would permit each credential for that bucket to write a database
/// in an InfluxDB 1.x, whatever is in it.
#[tokio::test]
async fn write_on_a_bucket_alone_is_not_enough_for_a_mapping_to_it() {
    let world = World::new().await;
    let bucket = world.resource();
    let own = [Permission::read(bucket), Permission::write(bucket)];
    let create = async |permissions: &[Permission], database: &str| {
        let caller = caller(&world, permissions);
        let new = new(world.org.id, world.bucket.id, database, "autogen");
        world.engine.on_behalf_of(&caller).create_dbrp(new).await
    };
    let refused = format!("write:orgs/{}/dbrp is unauthorized", world.org.id);
    assert_eq!(message(create(&own, "production").await), (ErrorKind::Unauthorized, refused));
    for (database, more) in [
        ("one", format!("write:orgs/{}/dbrp", world.org.id)),
        ("two", format!("write:orgs/{}/buckets", world.org.id)),
        ("three", "write:buckets".to_owned()),
        ("four", "write:dbrp".to_owned()),
    ] {
        create(&[own[0], own[1], permission(&more)], database).await.unwrap();
    }
    let elsewhere = permission("write:orgs/0000000000000009/dbrp");
    assert!(create(&[own[0], own[1], elsewhere], "five").await.is_err());
    let read = caller(&world, &[Permission::read(Resource::bucket(world.org.id, world.bucket.id))]);
    let found = world.engine.on_behalf_of(&read).list_dbrps(&DbrpFilter::all(world.org.id)).await;
    assert_eq!(found.unwrap().len(), 5);
    let none = caller(&world, &[permission("write:dbrp")]);
    let found = world.engine.on_behalf_of(&none).list_dbrps(&DbrpFilter::all(world.org.id)).await;
    assert_eq!(found.unwrap(), []);
}
