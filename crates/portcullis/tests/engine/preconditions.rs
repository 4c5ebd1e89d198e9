//! Changes with a precondition: the revision that a record has.

use portcullis::store::Revision;
use portcullis::{
    AuthorizationUpdate, BucketUpdate, DbrpFilter, DbrpUpdate, Error, ErrorKind, Id, NewDbrp,
    OnBehalfOf, Permission, Precondition, Principal, Status, TenantUpdate,
};

use crate::management::caller;
use crate::support::{World, name, permission};

/// The changes of a record.
#[derive(Clone, Copy, Debug)]
enum Change {
    Authorization,
    Permissions,
    Password,
    ApiToken,
    Org,
    User,
    Bucket,
    Dbrp,
    DeleteDbrp,
    DeleteApiToken,
    DeleteAuthorization,
    DeleteBucket,
    DeleteUser,
    DeleteOrg,
}

impl Change {
    /// In an order in which each record still exists.
    const ALL: [Self; 14] = [
        Self::Authorization,
        Self::Permissions,
        Self::Password,
        Self::ApiToken,
        Self::Org,
        Self::User,
        Self::Bucket,
        Self::Dbrp,
        Self::DeleteDbrp,
        Self::DeleteApiToken,
        Self::DeleteAuthorization,
        Self::DeleteBucket,
        Self::DeleteUser,
        Self::DeleteOrg,
    ];

    fn deletes(self) -> bool {
        matches!(
            self,
            Self::DeleteDbrp
                | Self::DeleteApiToken
                | Self::DeleteAuthorization
                | Self::DeleteBucket
                | Self::DeleteUser
                | Self::DeleteOrg
        )
    }
}

/// A world with a record of each kind.
struct Records {
    world: World,
    authorization: portcullis::AuthorizationId,
    token: portcullis::ApiTokenId,
    mapping: portcullis::DbrpId,
}

impl Records {
    async fn new() -> Self {
        let world = World::new().await;
        let authorization = world.credential("telegraf").await.id;
        let token = world.operator_token().await.0.id;
        let mapping = NewDbrp {
            org: world.org.id,
            database: "db".to_owned(),
            retention_policy: "autogen".to_owned(),
            is_default: false,
            bucket: world.bucket.id,
        };
        let mapping = world.engine.create_dbrp(mapping).await.unwrap().id;
        Self { world, authorization, token, mapping }
    }

    async fn revision(&self, change: Change) -> Option<Revision> {
        let host = self.world.engine.on_behalf_of_host();
        match change {
            Change::Authorization
            | Change::Permissions
            | Change::Password
            | Change::DeleteAuthorization => {
                host.authorization(self.authorization).await.ok()?.revision
            }
            Change::ApiToken | Change::DeleteApiToken => {
                host.api_token(self.token).await.ok()?.revision
            }
            Change::Org | Change::DeleteOrg => host.org(self.world.org.id).await.ok()?.revision,
            Change::User | Change::DeleteUser => host.user(self.world.user.id).await.ok()?.revision,
            Change::Bucket | Change::DeleteBucket => {
                host.bucket(self.world.bucket.id).await.ok()?.revision
            }
            Change::Dbrp | Change::DeleteDbrp => {
                host.dbrp(self.world.org.id, self.mapping).await.ok()?.revision
            }
        }
    }

    /// Makes the change, and returns the new revision where the change shows the record.
    async fn make(&self, change: Change, on: OnBehalfOf<'_>) -> Result<Option<Revision>, Error> {
        let world = &self.world;
        let status = Status::Active;
        match change {
            Change::Authorization => {
                let update = AuthorizationUpdate::description("changed");
                Ok(on.update_authorization(self.authorization, update).await?.revision)
            }
            Change::Permissions => {
                let read = vec![Permission::read(world.resource())];
                Ok(on.set_permissions(self.authorization, read).await?.revision)
            }
            Change::Password => {
                on.set_password(self.authorization, "another-password").await.map(|()| None)
            }
            Change::ApiToken => {
                let update = AuthorizationUpdate::description("changed").into();
                Ok(on.update_api_token(self.token, update).await?.revision)
            }
            Change::Org => {
                let update = TenantUpdate { status: Some(status), name: Some(name("other")) };
                Ok(on.update_org(world.org.id, update).await?.revision)
            }
            Change::User => {
                let update = TenantUpdate { status: Some(status), name: Some(name("other")) };
                Ok(on.update_user(world.user.id, update).await?.revision)
            }
            Change::Bucket => {
                let update = BucketUpdate { name: Some(name("other")) };
                Ok(on.update_bucket(world.bucket.id, update).await?.revision)
            }
            Change::Dbrp => {
                let retention_policy = Some("weekly".to_owned());
                let update = DbrpUpdate { retention_policy, ..DbrpUpdate::default() };
                Ok(on.update_dbrp(world.org.id, self.mapping, update).await?.revision)
            }
            Change::DeleteDbrp => on.delete_dbrp(world.org.id, self.mapping).await.map(|()| None),
            Change::DeleteApiToken => on.delete_api_token(self.token).await.map(|()| None),
            Change::DeleteAuthorization => {
                on.delete_authorization(self.authorization).await.map(|()| None)
            }
            Change::DeleteBucket => on.delete_bucket(world.bucket.id).await.map(|()| None),
            Change::DeleteUser => on.delete_user(world.user.id).await.map(|()| None),
            Change::DeleteOrg => on.delete_org(world.org.id).await.map(|()| None),
        }
    }
}

const NEVER: Revision = Revision::from_u128(1);

/// [ETAG-3] [ETAG-6]
#[tokio::test]
async fn a_change_is_made_only_at_an_expected_revision() {
    let records = Records::new().await;
    for change in Change::ALL {
        let host = records.world.engine.on_behalf_of_host();
        let before = records.revision(change).await.unwrap();
        for expected in [Precondition::revision(NEVER), Precondition::one_of([])] {
            let error = records.make(change, host.if_match(&expected)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{change:?}");
            assert_eq!(error.current_revision(), Some(before), "{change:?}");
            assert_eq!(records.revision(change).await, Some(before), "{change:?}");
        }
        let expected = Precondition::one_of([NEVER, before]);
        let shown = records.make(change, host.if_match(&expected)).await.unwrap();
        let after = records.revision(change).await;
        assert_eq!(after.is_none(), change.deletes(), "{change:?}");
        assert_ne!(after, Some(before), "{change:?}");
        if shown.is_some() {
            assert_eq!(shown, after, "{change:?}");
        }
    }
}

/// [ETAG-5]
#[tokio::test]
async fn a_change_that_is_not_permitted_is_refused_alike_with_a_precondition() {
    let records = Records::new().await;
    let reader = caller(&records.world, &[permission("read:buckets")]);
    let operator = caller(&records.world, &portcullis::presets::operator());
    let expected = Precondition::revision(NEVER);
    let message = async |change, caller: &Principal, expected: Option<&Precondition>| {
        let on = records.world.engine.on_behalf_of(caller);
        let on = expected.map_or(on, |expected| on.if_match(expected));
        let error = records.make(change, on).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    for change in Change::ALL {
        let without = message(change, &reader, None).await;
        assert_eq!(message(change, &reader, Some(&expected)).await, without, "{change:?}");
    }
    let (kind, _) = message(Change::Password, &operator, Some(&expected)).await;
    assert_eq!(kind, ErrorKind::PreconditionFailed);
    // What is wrong in itself is refused as such.
    let on = records.world.engine.on_behalf_of(&operator).if_match(&expected);
    let short = on.set_password(records.authorization, "short").await.unwrap_err();
    assert_eq!(short.kind(), ErrorKind::Invalid);
    let nowhere = on.delete_authorization(Id::from_u64(5).into()).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

/// [ETAG-6]
#[tokio::test]
async fn a_refused_password_costs_no_hash() {
    let records = Records::new().await;
    let expected = Precondition::revision(NEVER);
    let hashes = || records.world.engine.hash_pool().computations();
    let before = hashes();
    let on = records.world.engine.on_behalf_of_host().if_match(&expected);
    on.set_password(records.authorization, "another-password").await.unwrap_err();
    assert_eq!(hashes(), before);
}

/// [ETAG-2]
#[tokio::test]
async fn a_mapping_has_the_revision_of_its_database_and_a_virtual_one_has_none() {
    let records = Records::new().await;
    let (world, host) = (&records.world, records.world.engine.on_behalf_of_host());
    let first = records.revision(Change::Dbrp).await;
    let other = NewDbrp {
        org: world.org.id,
        database: "db".to_owned(),
        retention_policy: "monthly".to_owned(),
        is_default: true,
        bucket: world.bucket.id,
    };
    // The first mapping is no longer the default.
    let other = host.create_dbrp(other).await.unwrap();
    assert_ne!(other.revision, first);
    assert_eq!(records.revision(Change::Dbrp).await, other.revision);
    let mappings = host.list_dbrps(&DbrpFilter::all(world.org.id)).await.unwrap();
    let follows = mappings.iter().find(|mapping| mapping.is_virtual).unwrap();
    assert_eq!(host.dbrp(world.org.id, follows.id).await.unwrap().revision, None);
}
