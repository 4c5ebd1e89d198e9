//! A filter finds what a check of every record finds, in every combination, page by page.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use portcullis::snapshot::Snapshot;
use portcullis::store::{Batch, Entity, Expect, Kind, Lookup, Operation, Record, Revision};
use portcullis::{
    Action, Authorization, AuthorizationFilter, AuthorizationId, AuthorizationUpdate, Id, OrgId,
    Permission, PermissionSet, Principal, Resource, ResourceType, Status, UserId, Username,
};
use portcullis_testkit::{Counts, InstrumentedStore, Method};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{World, builder, permission};

const ALL: NonZeroUsize = NonZeroUsize::MAX;

/// Sixty authorizations of three orgs and three users with overlapping permissions.
async fn crowd() -> (World, Vec<Authorization>) {
    let world = World::new().await;
    let grants = [
        "read:buckets/000000000000000b",
        "write:buckets/000000000000000b",
        "write:orgs/0000000000000001/buckets",
        "write:orgs/0000000000000002/buckets/000000000000000b",
        "write:buckets",
        "write:instance",
        "read:users",
    ];
    let mut lines = String::new();
    for i in 1..=60_usize {
        let permissions: Vec<String> = (0..i % 4)
            .map(|k| {
                let permission = permission(grants[(i * 5 + k * 3) % grants.len()]);
                let resource = permission.resource;
                let id = resource.id.map(|id| format!(",\"id\":\"{id}\"")).unwrap_or_default();
                let org = resource.org.map(|o| format!(",\"orgID\":\"{o}\"")).unwrap_or_default();
                format!(
                    r#"{{"action":"{}","resource":{{"type":"{}"{id}{org}}}}}"#,
                    permission.action, resource.resource_type
                )
            })
            .collect();
        let status = if i % 5 == 0 { "inactive" } else { "active" };
        lines.push_str(&format!(
            "{{\"type\":\"authorization\",\"id\":\"{:016x}\",\"token\":\"name-{i}\",\"orgID\":\"{:016x}\",\"userID\":\"{:016x}\",\"status\":\"{status}\",\"permissions\":[{}]}}\n",
            i * 3, 1 + i % 3, 1 + i / 7 % 3, permissions.join(",")
        ));
    }
    let snapshot = Snapshot::read(lines.as_bytes()).unwrap();
    world.engine.import(snapshot, false).await.unwrap();
    let all = world.engine.list_authorizations(&AuthorizationFilter::all(), None, ALL).await;
    (world, all.unwrap().items)
}

fn filters() -> impl Strategy<Value = AuthorizationFilter> {
    let permits = prop::sample::select(vec![
        "write:orgs/0000000000000001/buckets/000000000000000b",
        "write:orgs/0000000000000003/buckets/000000000000000c",
        "read:buckets/000000000000000b",
        "write:buckets",
        "write:instance",
        "write:tasks",
    ]);
    (
        prop::option::weighted(0.2, (0..200_u64).prop_map(AuthorizationId::from_u64)),
        prop::option::weighted(0.2, (0..70).prop_map(|i| format!("name-{i}"))),
        prop::option::of((1..5_u64).prop_map(OrgId::from_u64)),
        prop::option::of((1..5_u64).prop_map(UserId::from_u64)),
        prop::option::of(prop::sample::select(vec![Status::Active, Status::Inactive])),
        prop::option::of(permits.prop_map(permission)),
    )
        .prop_map(|(id, username, org, user, status, permits)| {
            let mut filter = AuthorizationFilter::all();
            (filter.id, filter.username, filter.org) = (id, username, org);
            (filter.user, filter.status, filter.permits) = (user, status, permits);
            filter
        })
}

/// [LIST-2]
#[test]
fn every_filter_finds_what_checking_every_record_finds_page_by_page() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, all) = runtime.block_on(crowd());
    assert_eq!(all.len(), 60);
    let mut runner = TestRunner::new(Config::with_cases(500));
    let result = runner.run(&(filters(), 1..9_usize), |(filter, limit)| {
        let oracle: Vec<_> = all.iter().filter(|a| filter.matches(a)).map(|a| a.id).collect();
        let limit = NonZeroUsize::new(limit).unwrap();
        let found = runtime.block_on(page_by_page(&world, &filter, limit));
        prop_assert_eq!(found, oracle);
        Ok(())
    });
    result.unwrap();
}

/// Grants and requests over few types, ids and orgs, so that they often concern the same resource.
fn permissions() -> impl Strategy<Value = Permission> {
    let types = prop::sample::select(vec![
        ResourceType::Buckets,
        ResourceType::Buckets,
        ResourceType::Orgs,
        ResourceType::Users,
        ResourceType::Instance,
    ]);
    let action = prop::sample::select(Action::ALL.to_vec());
    let id = prop::option::weighted(0.7, 1..6_u64);
    let org = prop::option::of(1..4_u64);
    (action, types, id, org).prop_map(|(action, resource_type, id, org)| {
        let mut resource = Resource::all(resource_type);
        resource.id = id.map(Id::from_u64);
        resource.org = org.map(OrgId::from_u64);
        Permission::new(action, resource)
    })
}

/// An engine with one authorization for each set of grants.
async fn world_of(grants: &[Vec<Permission>]) -> World {
    let world = World::new().await;
    let lines: String = (1..)
        .zip(grants)
        .map(|(i, grants)| {
            let permissions: Vec<_> = grants.iter().map(as_json).collect();
            let line = serde_json::json!({
                "type": "authorization",
                "id": format!("{i:016x}"),
                "token": format!("name-{i}"),
                "orgID": format!("{:016x}", 1 + i % 3),
                "userID": format!("{:016x}", 1 + i % 2),
                "status": if i % 4 == 0 { "inactive" } else { "active" },
                "permissions": permissions,
            });
            format!("{line}\n")
        })
        .collect();
    world.engine.import(Snapshot::read(lines.as_bytes()).unwrap(), false).await.unwrap();
    world
}

fn as_json(permission: &Permission) -> serde_json::Value {
    let Permission { action, resource } = permission;
    let mut of = serde_json::json!({ "type": resource.resource_type.as_str() });
    if let Some(id) = resource.id {
        of["id"] = id.to_string().into();
    }
    if let Some(org) = resource.org {
        of["orgID"] = org.to_string().into();
    }
    serde_json::json!({ "action": action.as_str(), "resource": of })
}

/// A lookup of the authorizations that may write a bucket finds exactly those that a check allows.
/// [LIST-10]
#[test]
fn a_reverse_lookup_agrees_with_the_check() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worlds = prop::collection::vec(prop::collection::vec(permissions(), 0..6), 0..25);
    let requests = prop::collection::vec(permissions(), 1..30);
    let mut runner = TestRunner::new(Config::with_cases(60));
    let result = runner.run(&(worlds, requests, 1..5_usize), |(grants, requests, limit)| {
        let world = runtime.block_on(world_of(&grants));
        let every = AuthorizationFilter::all();
        let all = runtime.block_on(world.engine.list_authorizations(&every, None, ALL));
        let all = all.unwrap().items;
        prop_assert_eq!(all.len(), grants.len());
        let sets: Vec<(AuthorizationId, PermissionSet)> =
            all.iter().map(|a| (a.id, a.permissions.iter().copied().collect())).collect();
        for requested in requests {
            let mut filter = AuthorizationFilter::all();
            filter.permits = Some(requested);
            let limit = NonZeroUsize::new(limit).unwrap();
            let listed = runtime.block_on(page_by_page(&world, &filter, limit));
            let may = sets
                .iter()
                .filter(|(_, set)| set.check(requested.action, &requested.resource).is_allowed());
            let may: Vec<_> = may.map(|(id, _)| *id).collect();
            prop_assert_eq!(&listed, &may, "{}", requested);
            // And conversely: the lookup finds an authorization if and only if a check allows it.
            for (id, set) in &sets {
                prop_assert_eq!(
                    listed.contains(id),
                    set.allows(&requested),
                    "{} {}",
                    id,
                    requested
                );
            }
        }
        Ok(())
    });
    result.unwrap();
}

/// The ids of all matches; every page except the last is full.
async fn page_by_page(
    world: &World,
    filter: &AuthorizationFilter,
    limit: NonZeroUsize,
) -> Vec<AuthorizationId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = world.engine.list_authorizations(filter, after, limit).await.unwrap();
        let full = page.items.len() == limit.get();
        assert!(full || page.next.is_none(), "a short page before the last");
        found.extend(page.items.iter().map(|a| a.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_page_costs_one_list_and_each_name_once() {
    let world = World::new().await;
    for i in 0..50 {
        world.authorization(&format!("name-{i}")).await;
    }
    let counts = Counts::new();
    let counting = InstrumentedStore::new(Arc::clone(&world.store), &counts);
    let engine = builder(Arc::new(counting)).build().await.unwrap();
    let caller = Principal::trusted(world.org.id, world.user.id, portcullis::presets::operator());
    counts.reset();
    let mut filter = AuthorizationFilter::all();
    filter.org = Some(world.org.id);
    let limit = NonZeroUsize::new(40).unwrap();
    let page = engine.on_behalf_of(&caller).list_authorizations(&filter, None, limit).await;
    assert_eq!(page.unwrap().items.len(), 40);
    // The list, the org, the user, the bucket.
    assert_eq!(counts.total(), 4);
}

/// [LIST-7] [GET-4] [SNAP-10]
#[tokio::test]
async fn a_corrupt_record_is_left_out_of_lists_an_error_by_id_and_fails_the_export() {
    let (world, all) = crowd().await;
    let id = all[30].id;
    let lookup = Lookup::Id(Kind::Authorization, id.untyped());
    let record = world.store.get(lookup).await.unwrap().unwrap();
    let expect = Expect::Revision(record.revision);
    let broken = Record { body: "{\"v\":1,".into(), ..record };
    let put = Operation::Put { record: broken, grants: Vec::new(), expect };
    world.store.commit(Batch::new().with(put)).await.unwrap();

    let listed = world.engine.list_authorizations(&AuthorizationFilter::all(), None, ALL).await;
    let listed: Vec<_> = listed.unwrap().items.iter().map(|a| a.id).collect();
    assert_eq!(listed.len(), 59);
    assert!(!listed.contains(&id));
    let error = world.engine.authorization(id).await.unwrap_err();
    assert_eq!(error.kind(), portcullis::ErrorKind::Internal);
    assert_eq!(error.message(), "an internal error has occurred");
    assert!(world.engine.export(std::io::sink()).await.is_err());
}

/// Counts what is logged as an error by this thread.
#[derive(Clone, Default)]
struct Errors(Arc<std::sync::atomic::AtomicUsize>);

impl Errors {
    fn take(&self) -> usize {
        self.0.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// An unreadable body is logged when it is decoded, so the log shows what was decoded.
#[tokio::test]
async fn a_record_is_decoded_only_if_its_columns_may_match() {
    let (world, all) = crowd().await;
    let mut batch = Batch::new();
    for authorization in &all {
        let lookup = Lookup::Id(Kind::Authorization, authorization.id.untyped());
        let record = world.store.get(lookup).await.unwrap().unwrap();
        let expect = Expect::Revision(record.revision);
        let grants = portcullis::store::grants_of(&record).unwrap();
        let record = Record { body: "{".into(), ..record };
        batch.push(Operation::Put { record, grants, expect });
    }
    world.store.commit(batch).await.unwrap();

    let errors = Errors::default();
    let _guard = tracing::subscriber::set_default(errors.clone());
    let one = &all[29];
    type Choose = fn(&mut AuthorizationFilter, &Authorization);
    let fields: [Choose; 5] = [
        |filter, one| filter.id = Some(one.id),
        |filter, one| filter.username = Some(one.username.as_str().to_owned()),
        |filter, one| filter.org = Some(one.org),
        |filter, one| filter.user = Some(one.user),
        |filter, one| filter.status = Some(one.status),
    ];
    for combination in 0..1 << fields.len() {
        let mut filter = AuthorizationFilter::all();
        for (number, choose) in fields.iter().enumerate() {
            if combination >> number & 1 == 1 {
                choose(&mut filter, one);
            }
        }
        let meant = all.iter().filter(|authorization| filter.matches(authorization)).count();
        let listed = world.engine.list_authorizations(&filter, None, ALL).await.unwrap();
        assert!(listed.items.is_empty());
        assert_eq!(errors.take(), meant, "{filter:?}");
    }
}

/// Other tasks on the thread of a list of thousands make progress meanwhile.
#[tokio::test]
async fn a_long_list_lets_other_tasks_run() {
    const RECORDS: usize = 1_000;
    let world = World::new().await;
    let one = world.authorization("telegraf").await;
    let copies = (1..RECORDS).map(|number| {
        let mut copy = one.clone();
        copy.id = AuthorizationId::from_u64(one.id.as_u64() + number as u64);
        copy.username = Username::new(format!("telegraf-{number}")).unwrap();
        let record = copy.to_record(Revision::from_u128(number as u128)).unwrap();
        Operation::Put { record, grants: copy.grants(), expect: Expect::Absent }
    });
    world.store.commit(copies.collect()).await.unwrap();

    let (done, turns) = (Cell::new(false), Cell::new(0));
    let list = async {
        let filter = AuthorizationFilter::all();
        let listed = world.engine.list_authorizations(&filter, None, ALL).await.unwrap();
        assert_eq!(listed.items.len(), RECORDS);
        done.set(true);
    };
    let others = async {
        while !done.get() {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(biased; list, others);
    assert!(turns.get() >= RECORDS / 128 - 1, "{}", turns.get());
}

#[tokio::test]
async fn a_change_reads_its_record_once_and_is_one_commit() {
    let world = World::new().await;
    let authorization = world.authorization("telegraf").await;
    let counts = Counts::new();
    let counting = InstrumentedStore::new(Arc::clone(&world.store), &counts);
    let engine = builder(Arc::new(counting)).build().await.unwrap();
    // How often records were read, and how often something was committed.
    let calls = || {
        let calls = (counts.of(Method::Get), counts.of(Method::Commit));
        counts.reset();
        calls
    };
    counts.reset();
    let update = AuthorizationUpdate::status(Status::Inactive);
    engine.update_authorization(authorization.id, update).await.unwrap();
    assert_eq!(calls(), (1, 1));
    engine.set_password(authorization.id, "telegraf-password").await.unwrap();
    assert_eq!(calls(), (1, 1));
    let permissions = vec![Permission::read(world.resource())];
    engine.set_permissions(authorization.id, permissions).await.unwrap();
    assert_eq!(calls(), (2, 1), "the record and the bucket");
    engine.delete_authorization(authorization.id).await.unwrap();
    assert_eq!(calls(), (2, 1), "the record and its last use");
    engine.create_authorization(world.new_authorization("telegraf")).await.unwrap();
    assert_eq!(calls(), (4, 1), "the user, the org, the username and the bucket");
}
