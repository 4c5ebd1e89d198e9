//! The operations of the engine.

use std::num::NonZeroUsize;
use std::sync::Arc;

use portcullis::snapshot::Snapshot;
use portcullis::store::{Batch, Entity, Expect, Operation as Change, Store};
use portcullis::{
    AuthorizationFilter, AuthorizationUpdate, BucketUpdate, Credentials, DbrpFilter, DbrpUpdate,
    Deletion, Engine, Error, ExportError, Id, ImportError, NewApiToken, Permission, Precondition,
    Setup, Status, TenantUpdate, Timestamp, presets,
};

use super::world::{World, engine_on};
use crate::world::name;

/// An operation of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    AuthenticateCaller,
    AuthenticateCallerWrong,
    CreateApiToken,
    CreateAuthorization,
    CreateBucket,
    CreateDbrp,
    CreateOrg,
    CreateUser,
    DatabaseBucket,
    DeleteAuthorization,
    DeleteBucket,
    DeleteDbrp,
    DeleteOrg,
    DeleteUser,
    DescribeForCaller,
    Export,
    FindByUsername,
    Import,
    ListApiTokens,
    ListAuthorizations,
    ListDbrps,
    ListUnused,
    Login,
    LoginOfInactiveUser,
    LoginUnknown,
    LoginWithToken,
    LoginWithTokenOfInactiveOrg,
    LoginWithWrongToken,
    LoginWrong,
    Patch,
    PatchIfUnchanged,
    PreviewDeletion,
    RenameBucket,
    RenameOrg,
    Resolve,
    RevokeApiToken,
    SetPassword,
    SetPermissions,
    Setup,
    StartAfterABrokenDeletion,
    SwitchApiToken,
    SwitchOrg,
    SwitchUser,
    UpdateDbrp,
}

impl Operation {
    pub(super) const ALL: [Self; 44] = [
        Self::AuthenticateCaller,
        Self::AuthenticateCallerWrong,
        Self::CreateApiToken,
        Self::CreateAuthorization,
        Self::CreateBucket,
        Self::CreateDbrp,
        Self::CreateOrg,
        Self::CreateUser,
        Self::DatabaseBucket,
        Self::DeleteAuthorization,
        Self::DeleteBucket,
        Self::DeleteDbrp,
        Self::DeleteOrg,
        Self::DeleteUser,
        Self::DescribeForCaller,
        Self::Export,
        Self::FindByUsername,
        Self::Import,
        Self::ListApiTokens,
        Self::ListAuthorizations,
        Self::ListDbrps,
        Self::ListUnused,
        Self::Login,
        Self::LoginOfInactiveUser,
        Self::LoginUnknown,
        Self::LoginWithToken,
        Self::LoginWithTokenOfInactiveOrg,
        Self::LoginWithWrongToken,
        Self::LoginWrong,
        Self::Patch,
        Self::PatchIfUnchanged,
        Self::PreviewDeletion,
        Self::RenameBucket,
        Self::RenameOrg,
        Self::Resolve,
        Self::RevokeApiToken,
        Self::SetPassword,
        Self::SetPermissions,
        Self::Setup,
        Self::StartAfterABrokenDeletion,
        Self::SwitchApiToken,
        Self::SwitchOrg,
        Self::SwitchUser,
        Self::UpdateDbrp,
    ];

    /// Tells whether it needs a store without records.
    pub(super) fn starts_empty(self) -> bool {
        matches!(self, Self::Import | Self::Setup)
    }

    /// Tells whether it starts an engine.
    pub(super) fn is_the_start(self) -> bool {
        self == Self::StartAfterABrokenDeletion
    }

    /// Tells whether it may leave work for the next engine.
    pub(super) fn may_stop_half_way(self) -> bool {
        matches!(self, Self::DeleteOrg | Self::DeleteUser | Self::StartAfterABrokenDeletion)
    }

    /// Tells whether its credentials are wrong, or of an inactive user or org.
    pub(super) fn is_refused(self) -> bool {
        matches!(
            self,
            Self::AuthenticateCallerWrong
                | Self::LoginOfInactiveUser
                | Self::LoginUnknown
                | Self::LoginWithTokenOfInactiveOrg
                | Self::LoginWithWrongToken
                | Self::LoginWrong
        )
    }

    /// Prepares the records that it begins with.
    pub(super) async fn prepare(self, store: &Arc<dyn Store>, world: &World) {
        match self {
            Self::LoginOfInactiveUser => return Self::SwitchUser.carry_out(store, world).await,
            Self::LoginWithTokenOfInactiveOrg => {
                return Self::SwitchOrg.carry_out(store, world).await;
            }
            Self::StartAfterABrokenDeletion => {}
            _ => return,
        }
        // The state of a deletion that broke off after its first commit.
        let (deletion, user) = (Id::from_u64(77), world.user.untyped());
        let there = portcullis::store::Lookup::Id(portcullis::store::Kind::User, user);
        let there = store.get(there).await.expect("get").expect("the user");
        let gone = portcullis::store::DeletedTenant::User(world.user);
        let deletion = portcullis::store::Tombstone { id: deletion, gone };
        let record = deletion.to_record(there.revision).expect("a record");
        let delete = Change::Delete { kind: there.kind, id: user, expect: there.revision };
        let put = Change::Put { record, grants: deletion.grants(), expect: Expect::Absent };
        store.commit(Batch::new().with(delete).with(put)).await.expect("a broken deletion");
    }

    async fn carry_out(self, store: &Arc<dyn Store>, world: &World) {
        let engine = engine_on(Arc::clone(store), 3).await.expect("an engine");
        self.run(&engine, world).await.expect("done");
    }

    pub(super) async fn run(self, engine: &Engine, world: &World) -> Result<(), Error> {
        let login = async |username, password| {
            engine.authenticate(Credentials::password(username, password)).await.map(drop)
        };
        let with_token = async |secret| engine.authenticate(Credentials::token(secret)).await;
        let all = NonZeroUsize::new(100).expect("a limit");
        match self {
            Self::AuthenticateCaller => engine
                .authenticate_caller(Credentials::token(world.secret.expose()))
                .await
                .map(drop),
            Self::AuthenticateCallerWrong => {
                engine.authenticate_caller(Credentials::token("wrong")).await.map(drop)
            }
            Self::CreateApiToken => {
                let (org, user) = (world.org, world.user);
                let new = NewApiToken::new(org, user, presets::operator()).with_description("new");
                engine.create_api_token(new).await.map(drop)
            }
            Self::CreateAuthorization => {
                engine.create_authorization(world.new_authorization("new")).await.map(drop)
            }
            Self::CreateBucket => engine.create_bucket(world.org, name("new")).await.map(drop),
            Self::CreateDbrp => engine.create_dbrp(world.new_dbrp("weekly")).await.map(drop),
            Self::CreateOrg => engine.create_org(name("new")).await.map(drop),
            Self::CreateUser => engine.create_user(name("new")).await.map(drop),
            Self::DatabaseBucket => {
                let found = engine.database_bucket(world.org, "fleet", None).await?;
                assert_eq!(found.bucket(), Some(world.bucket));
                Ok(())
            }
            Self::DeleteAuthorization => engine.delete_authorization(world.authorization).await,
            Self::DeleteBucket => engine.delete_bucket(world.bucket).await,
            Self::DeleteDbrp => engine.delete_dbrp(world.org, world.mapping).await,
            Self::DeleteOrg => engine.delete_org(world.org).await,
            Self::DeleteUser => engine.delete_user(world.user).await,
            Self::DescribeForCaller => {
                let caller =
                    engine.authenticate_caller(Credentials::token(world.secret.expose())).await?;
                let id = world.authorization;
                engine.on_behalf_of(&caller).authorization(id).await.map(drop)
            }
            Self::Export => match engine.export(std::io::sink()).await {
                Ok(_) => Ok(()),
                Err(ExportError::Engine(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            },
            Self::FindByUsername => {
                let found = engine.authorization_by_username("telegraf").await?;
                assert_eq!(found.map(|it| it.id), Some(world.authorization));
                Ok(())
            }
            Self::Import => {
                let snapshot = Snapshot::read(&*world.snapshot).expect("a snapshot");
                match engine.import(snapshot, false).await {
                    Ok(_) => Ok(()),
                    Err(ImportError::Engine(error)) => Err(error),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Self::ListApiTokens => {
                assert_eq!(engine.list_api_tokens(None, all).await?.len(), 2);
                Ok(())
            }
            Self::ListAuthorizations => {
                let filter = AuthorizationFilter::all();
                assert_eq!(engine.list_authorizations(&filter, None, all).await?.items.len(), 5);
                Ok(())
            }
            Self::ListDbrps => {
                // One is virtual.
                assert_eq!(engine.list_dbrps(&DbrpFilter::all(world.org)).await?.len(), 2);
                Ok(())
            }
            Self::ListUnused => {
                let mut filter = AuthorizationFilter::all();
                filter.unused_since = Some(Timestamp::now());
                let unused = engine.list_authorizations(&filter, None, all).await?.items;
                assert!(unused.len() <= 5);
                Ok(())
            }
            Self::Login | Self::LoginOfInactiveUser => login("telegraf", "telegraf-password").await,
            Self::LoginUnknown => login("missing", "telegraf-password").await,
            Self::LoginWithToken | Self::LoginWithTokenOfInactiveOrg => {
                with_token(world.secret.expose()).await.map(drop)
            }
            Self::LoginWithWrongToken => with_token("wrong").await.map(drop),
            Self::LoginWrong => login("telegraf", "witness-password").await,
            Self::Patch => {
                let update = AuthorizationUpdate::status(Status::Inactive);
                engine.update_authorization(world.authorization, update).await.map(drop)
            }
            Self::PatchIfUnchanged => {
                let host = engine.on_behalf_of_host();
                let read = host.authorization(world.authorization).await?;
                let unchanged = Precondition::revision(read.revision.expect("a revision"));
                let update = AuthorizationUpdate::status(Status::Inactive);
                let host = host.if_match(&unchanged);
                host.update_authorization(world.authorization, update).await.map(drop)
            }
            Self::PreviewDeletion => {
                let preview = engine.preview_deletion(Deletion::Org(world.org)).await?;
                assert_eq!((preview.authorizations, preview.api_tokens), (4, 1));
                Ok(())
            }
            Self::RenameBucket => {
                engine.update_bucket(world.bucket, BucketUpdate::name(name("new"))).await.map(drop)
            }
            Self::RenameOrg => {
                engine.update_org(world.org, TenantUpdate::name(name("new"))).await.map(drop)
            }
            Self::Resolve => {
                engine.resolve_org("telegraf").await?;
                engine.resolve_user("telegraf").await?;
                engine.resolve_bucket(world.org, "telegraf").await.map(drop)
            }
            Self::RevokeApiToken => engine.revoke_api_token(world.token).await,
            Self::SetPassword => engine.set_password(world.authorization, "another-one").await,
            Self::SetPermissions => {
                let read = vec![Permission::read(world.resource())];
                engine.set_permissions(world.authorization, read).await.map(drop)
            }
            Self::Setup => {
                let buckets = vec![name("first"), name("second")];
                let setup = Setup { org: name("first"), user: name("first"), buckets };
                engine.setup(setup).await.map(drop)
            }
            // Done by the start.
            Self::StartAfterABrokenDeletion => Ok(()),
            Self::SwitchApiToken => {
                engine.set_api_token_status(world.token, Status::Inactive).await.map(drop)
            }
            Self::SwitchOrg => engine.set_org_status(world.org, Status::Inactive).await.map(drop),
            Self::SwitchUser => {
                engine.set_user_status(world.user, Status::Inactive).await.map(drop)
            }
            Self::UpdateDbrp => {
                let retention_policy = Some("weekly".to_owned());
                let update = DbrpUpdate { retention_policy, ..DbrpUpdate::default() };
                engine.update_dbrp(world.org, world.mapping, update).await.map(drop)
            }
        }
    }
}
