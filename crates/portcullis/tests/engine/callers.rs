//! The permissions that each operation for callers needs, and that no caller can gain more.

use portcullis::store::{Kind, Lookup};
use portcullis::{
    Action, ApiTokenDraft, ApiTokenFilter, ApiTokenId, AuthorizationFilter, AuthorizationId,
    AuthorizationUpdate, AuthorizationUpdateDraft, BucketId, BucketUpdate, DbrpFilter, DbrpId,
    DbrpUpdate, Deletion, Error, NewAuthorization, NewDbrp, Permission, Principal, Resource,
    ResourceType, Status, TenantUpdate, UncheckedPermission, Username,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::management::{caller, owner};
use crate::support::{World, name, permission};

/// Every operation of `OnBehalfOf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    ApiToken,
    Bucket,
    Create,
    CreateApiToken,
    CreateBucket,
    CreateDbrp,
    CreateOrg,
    CreateUser,
    Dbrp,
    Delete,
    DeleteApiToken,
    DeleteBucket,
    DeleteDbrp,
    DeleteOrg,
    DeleteUser,
    EndPreviousPassword,
    Get,
    List,
    ListApiTokens,
    ListApiTokenPages,
    ListDbrps,
    ListPages,
    Me,
    Org,
    PreviewDeletion,
    RotatePassword,
    SetPassword,
    SetPermissions,
    Update,
    UpdateApiToken,
    UpdateBucket,
    UpdateDbrp,
    UpdateOrg,
    UpdateUser,
    User,
}

/// What an operation does without a permission that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// It names the permission.
    IsRefused,
    /// It leaves the record out, or reports that there is none.
    FindsNothing,
}

impl Operation {
    const ALL: [Self; 35] = [
        Self::ApiToken,
        Self::Bucket,
        Self::Create,
        Self::CreateApiToken,
        Self::CreateBucket,
        Self::CreateDbrp,
        Self::CreateOrg,
        Self::CreateUser,
        Self::Dbrp,
        Self::Delete,
        Self::DeleteApiToken,
        Self::DeleteBucket,
        Self::DeleteDbrp,
        Self::DeleteOrg,
        Self::DeleteUser,
        Self::EndPreviousPassword,
        Self::Get,
        Self::List,
        Self::ListApiTokens,
        Self::ListApiTokenPages,
        Self::ListDbrps,
        Self::ListPages,
        Self::Me,
        Self::Org,
        Self::PreviewDeletion,
        Self::RotatePassword,
        Self::SetPassword,
        Self::SetPermissions,
        Self::Update,
        Self::UpdateApiToken,
        Self::UpdateBucket,
        Self::UpdateDbrp,
        Self::UpdateOrg,
        Self::UpdateUser,
        Self::User,
    ];

    fn method(self) -> &'static str {
        match self {
            Self::ApiToken => "api_token",
            Self::Bucket => "bucket",
            Self::Create => "create_authorization",
            Self::CreateApiToken => "create_api_token",
            Self::CreateBucket => "create_bucket",
            Self::CreateDbrp => "create_dbrp",
            Self::CreateOrg => "create_org",
            Self::CreateUser => "create_user",
            Self::Dbrp => "dbrp",
            Self::Delete => "delete_authorization",
            Self::DeleteApiToken => "delete_api_token",
            Self::DeleteBucket => "delete_bucket",
            Self::DeleteDbrp => "delete_dbrp",
            Self::DeleteOrg => "delete_org",
            Self::DeleteUser => "delete_user",
            Self::Get => "authorization",
            Self::List => "list_authorizations",
            Self::ListApiTokens => "list_api_tokens",
            Self::ListApiTokenPages => "list_api_token_pages",
            Self::ListDbrps => "list_dbrps",
            Self::ListPages => "list_authorization_pages",
            Self::Me => "me",
            Self::Org => "org",
            Self::PreviewDeletion => "preview_deletion",
            Self::EndPreviousPassword => "end_previous_password",
            Self::RotatePassword => "rotate_password",
            Self::SetPassword => "set_password",
            Self::SetPermissions => "set_permissions",
            Self::Update => "update_authorization",
            Self::UpdateApiToken => "update_api_token",
            Self::UpdateBucket => "update_bucket",
            Self::UpdateDbrp => "update_dbrp",
            Self::UpdateOrg => "update_org",
            Self::UpdateUser => "update_user",
            Self::User => "user",
        }
    }

    /// Whether it changes what is stored, or counts what a change would delete.
    fn changes(self) -> bool {
        match self {
            Self::Create
            | Self::CreateApiToken
            | Self::CreateBucket
            | Self::CreateDbrp
            | Self::CreateOrg
            | Self::CreateUser
            | Self::Delete
            | Self::DeleteApiToken
            | Self::DeleteBucket
            | Self::DeleteDbrp
            | Self::DeleteOrg
            | Self::DeleteUser
            | Self::PreviewDeletion
            | Self::EndPreviousPassword
            | Self::RotatePassword
            | Self::SetPassword
            | Self::SetPermissions
            | Self::Update
            | Self::UpdateApiToken
            | Self::UpdateBucket
            | Self::UpdateDbrp
            | Self::UpdateOrg
            | Self::UpdateUser => true,
            Self::ApiToken
            | Self::Bucket
            | Self::Dbrp
            | Self::Get
            | Self::List
            | Self::ListApiTokens
            | Self::ListApiTokenPages
            | Self::ListDbrps
            | Self::ListPages
            | Self::Me
            | Self::Org
            | Self::User => false,
        }
    }

    /// What it needs, in the order of the checks. For operations that grant, the last one is the
    /// grant.
    fn needs(self, on: &Target<'_>) -> Vec<Permission> {
        let (read, write) = (Permission::read, Permission::write);
        let (record, user) = (on.record(), Resource::user(on.world.user.id));
        let authorizations = Resource::all(ResourceType::Authorizations).in_org(on.world.org.id);
        let granted = write(on.world.resource());
        let bucket = on.world.resource();
        let dbrps = write(Resource::all(ResourceType::Dbrp).in_org(on.world.org.id));
        let org = Resource::org(on.world.org.id);
        let token = authorizations.with_id(on.token);
        match self {
            Self::ApiToken | Self::ListApiTokens | Self::ListApiTokenPages => {
                vec![read(token), read(user)]
            }
            Self::Bucket | Self::Dbrp | Self::ListDbrps => vec![read(bucket)],
            Self::CreateApiToken => vec![write(authorizations), write(user), granted],
            Self::CreateBucket => {
                vec![write(Resource::all(ResourceType::Buckets).in_org(on.world.org.id))]
            }
            Self::CreateOrg => vec![write(Resource::all(ResourceType::Orgs))],
            Self::CreateUser => vec![write(Resource::all(ResourceType::Users))],
            Self::DeleteApiToken => vec![write(token), write(user)],
            Self::DeleteBucket => vec![write(bucket)],
            Self::DeleteOrg | Self::PreviewDeletion | Self::UpdateOrg => vec![write(org)],
            Self::DeleteUser | Self::UpdateUser => vec![write(user)],
            Self::UpdateApiToken => vec![read(token), read(user), write(token), write(user)],
            Self::UpdateBucket => vec![read(bucket), write(bucket), dbrps],
            Self::CreateDbrp => vec![write(bucket), dbrps, read(bucket)],
            Self::DeleteDbrp => vec![write(bucket), dbrps],
            Self::UpdateDbrp => vec![read(bucket), write(bucket), dbrps],
            Self::Create => vec![write(authorizations), write(user), granted],
            Self::Delete => vec![write(record), write(user)],
            Self::Get | Self::List | Self::ListPages => vec![read(record), read(user)],
            Self::Me => vec![],
            Self::Org => vec![read(org)],
            Self::EndPreviousPassword | Self::RotatePassword | Self::SetPassword => {
                vec![write(user)]
            }
            Self::SetPermissions => {
                vec![read(record), read(user), write(record), write(user), granted]
            }
            Self::Update => vec![read(record), read(user), write(record), write(user)],
            Self::User => vec![read(user)],
        }
    }

    fn without(self, missing: Permission) -> Without {
        match self {
            Self::Bucket
            | Self::DeleteBucket
            | Self::List
            | Self::ListApiTokens
            | Self::ListApiTokenPages
            | Self::ListDbrps
            | Self::ListPages => Without::FindsNothing,
            Self::UpdateBucket if missing.action == Action::Read => Without::FindsNothing,
            Self::ApiToken
            | Self::Create
            | Self::CreateApiToken
            | Self::CreateBucket
            | Self::CreateDbrp
            | Self::CreateOrg
            | Self::CreateUser
            | Self::Dbrp
            | Self::Delete
            | Self::DeleteApiToken
            | Self::DeleteDbrp
            | Self::DeleteOrg
            | Self::DeleteUser
            | Self::Get
            | Self::Me
            | Self::Org
            | Self::PreviewDeletion
            | Self::EndPreviousPassword
            | Self::RotatePassword
            | Self::SetPassword
            | Self::SetPermissions
            | Self::Update
            | Self::UpdateApiToken
            | Self::UpdateBucket
            | Self::UpdateDbrp
            | Self::UpdateOrg
            | Self::UpdateUser
            | Self::User => Without::IsRefused,
        }
    }

    /// Runs it and returns the number of records in its result.
    async fn run(self, on: &Target<'_>, caller: &Principal) -> Result<usize, Error> {
        let (world, id) = (on.world, on.id);
        let on_behalf = world.engine.on_behalf_of(caller);
        let (all, limit) = (AuthorizationFilter::all(), 10.try_into().unwrap());
        match self {
            Self::ApiToken => on_behalf.api_token(on.token).await.map(|_| 1),
            Self::Bucket => on_behalf.bucket(world.bucket.id).await.map(|_| 1),
            Self::CreateApiToken => {
                on_behalf.create_api_token(on.new_token("write")).await.map(|_| 1)
            }
            Self::CreateBucket => {
                on_behalf.create_bucket(world.org.id, name("new")).await.map(|_| 1)
            }
            Self::CreateOrg => on_behalf.create_org(name("new"), Status::Active).await.map(|_| 1),
            Self::CreateUser => on_behalf.create_user(name("new"), Status::Active).await.map(|_| 1),
            Self::DeleteApiToken => on_behalf.delete_api_token(on.token).await.map(|()| 1),
            Self::DeleteBucket => on_behalf.delete_bucket(world.bucket.id).await.map(|()| 1),
            Self::DeleteOrg => on_behalf.delete_org(world.org.id).await.map(|()| 1),
            Self::DeleteUser => on_behalf.delete_user(world.user.id).await.map(|()| 1),
            Self::ListApiTokens => {
                let page = on_behalf.list_api_tokens(&ApiTokenFilter::all(), None, limit).await;
                page.map(|page| page.items.len())
            }
            Self::ListApiTokenPages => {
                let (tokens, mut names) = (ApiTokenFilter::all(), world.engine.name_resolver());
                let page = on_behalf.list_api_token_pages(&tokens, None, limit, &mut names).await;
                page.map(|page| page.items.len())
            }
            Self::PreviewDeletion => {
                let preview = on_behalf.preview_deletion(Deletion::Org(world.org.id)).await;
                preview.map(|preview| usize::try_from(preview.api_tokens).unwrap())
            }
            Self::UpdateApiToken => {
                let update = AuthorizationUpdateDraft {
                    description: Some("d".to_owned()),
                    ..AuthorizationUpdateDraft::default()
                };
                on_behalf.update_api_token(on.token, update).await.map(|_| 1)
            }
            Self::UpdateBucket => {
                let update = BucketUpdate::name(name("renamed"));
                on_behalf.update_bucket(world.bucket.id, update).await.map(|_| 1)
            }
            Self::UpdateOrg => {
                let update = TenantUpdate::name(name("renamed"));
                on_behalf.update_org(world.org.id, update).await.map(|_| 1)
            }
            Self::UpdateUser => {
                let update = TenantUpdate::name(name("renamed"));
                on_behalf.update_user(world.user.id, update).await.map(|_| 1)
            }
            Self::Create => {
                on_behalf.create_authorization(world.new_authorization("new")).await.map(|_| 1)
            }
            Self::CreateDbrp => on_behalf.create_dbrp(on.new_dbrp("new")).await.map(|_| 1),
            Self::Dbrp => {
                on_behalf.dbrp(world.org.id, world.bucket.id.untyped().into()).await.map(|_| 1)
            }
            Self::DeleteDbrp => {
                let mapping = on.mapping().await;
                on_behalf.delete_dbrp(world.org.id, mapping).await.map(|()| 1)
            }
            Self::Delete => on_behalf.delete_authorization(id).await.map(|()| 1),
            Self::Get => on_behalf.authorization(id).await.map(|_| 1),
            Self::List => {
                on_behalf.list_authorizations(&all, None, limit).await.map(|l| l.items.len())
            }
            Self::ListDbrps => {
                let filter = DbrpFilter { is_virtual: Some(true), ..DbrpFilter::all(world.org.id) };
                on_behalf.list_dbrps(&filter).await.map(|found| found.len())
            }
            Self::ListPages => {
                let mut names = world.engine.name_resolver();
                let page = on_behalf.list_authorization_pages(&all, None, limit, &mut names).await;
                page.map(|page| page.items.len())
            }
            Self::Me => on_behalf.me().await.map(|_| 1),
            Self::Org => on_behalf.org(world.org.id).await.map(|_| 1),
            Self::EndPreviousPassword => on_behalf.end_previous_password(id).await.map(|()| 1),
            Self::RotatePassword => {
                let keep = "1h".parse().unwrap();
                on_behalf.rotate_password(id, "long-enough", keep).await.map(|()| 1)
            }
            Self::SetPassword => on_behalf.set_password(id, "long-enough").await.map(|()| 1),
            Self::SetPermissions => {
                let permissions = vec![Permission::write(world.resource())];
                on_behalf.set_permissions(id, permissions).await.map(|_| 1)
            }
            Self::Update => {
                let update = AuthorizationUpdate::description("d");
                on_behalf.update_authorization(id, update).await.map(|_| 1)
            }
            Self::UpdateDbrp => {
                let update = DbrpUpdate { is_default: Some(true), retention_policy: None };
                let mapping = on.mapping().await;
                on_behalf.update_dbrp(world.org.id, mapping, update).await.map(|_| 1)
            }
            Self::User => on_behalf.user(world.user.id).await.map(|_| 1),
        }
    }
}

/// The record that the operations run on.
struct Target<'a> {
    world: &'a World,
    id: AuthorizationId,
    token: ApiTokenId,
}

impl<'a> Target<'a> {
    /// The authorization, and an API token of its own.
    async fn new(world: &'a World, id: AuthorizationId) -> Self {
        let new = world.new_token(vec![permission("read:tasks")]);
        let (token, _) = world.engine.create_api_token(new).await.unwrap();
        Self { world, id, token: token.id }
    }

    /// An API token for the bucket.
    fn new_token(&self, action: &str) -> ApiTokenDraft {
        let (org, bucket) = (self.world.org.id, self.world.bucket.id);
        ApiTokenDraft {
            org: Some(org),
            user: Some(self.world.user.id),
            permissions: vec![UncheckedPermission::new(
                action,
                "buckets",
                Some(bucket.untyped()),
                Some(org),
            )],
            ..ApiTokenDraft::default()
        }
    }

    fn record(&self) -> Resource {
        Resource::all(ResourceType::Authorizations).in_org(self.world.org.id).with_id(self.id)
    }

    fn new_dbrp(&self, database: &str) -> NewDbrp {
        NewDbrp {
            org: self.world.org.id,
            database: database.to_owned(),
            retention_policy: "autogen".to_owned(),
            is_default: false,
            bucket: self.world.bucket.id,
        }
    }

    /// A DBRP mapping, which is created if need be.
    async fn mapping(&self) -> DbrpId {
        let filter = DbrpFilter { is_virtual: Some(false), ..DbrpFilter::all(self.world.org.id) };
        match self.world.engine.list_dbrps(&filter).await.unwrap().first() {
            Some(mapping) => mapping.id,
            None => self.world.engine.create_dbrp(self.new_dbrp("db")).await.unwrap().id,
        }
    }

    /// The authorization as it is stored.
    async fn stored(&self) -> Option<portcullis::store::Record> {
        let lookup = Lookup::Id(Kind::Authorization, self.id.untyped());
        self.world.store.get(lookup).await.unwrap()
    }
}

/// [CALLER-1]
#[test]
fn every_operation_for_callers_is_in_the_table() {
    let sources = [
        include_str!("../../src/engine/manage/on_behalf_of.rs"),
        include_str!("../../src/engine/manage/on_behalf_of/api_tokens.rs"),
        include_str!("../../src/engine/manage/on_behalf_of/tenants.rs"),
    ];
    let mut methods: Vec<_> = sources
        .iter()
        .flat_map(|source| source.split("pub async fn ").skip(1))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next())
        .collect();
    methods.sort_unstable();
    let mut table = Operation::ALL.map(Operation::method);
    table.sort_unstable();
    assert_eq!(methods, table);
}

/// [CALLER-1] [CALLER-2]
#[tokio::test]
async fn an_operation_needs_exactly_its_permissions() {
    for operation in Operation::ALL {
        let world = World::new().await;
        let id = world.authorization("telegraf").await.id;
        let on = Target::new(&world, id).await;
        let needs = operation.needs(&on);
        for missing in &needs {
            let held: Vec<_> = needs.iter().filter(|p| *p != missing).copied().collect();
            let refused = operation.run(&on, &caller(&world, &held)).await;
            let refused = refused.map_err(|error| error.to_string());
            let granted = *missing == Permission::write(world.resource());
            let is_of_bucket = matches!(
                operation,
                Operation::Bucket | Operation::DeleteBucket | Operation::UpdateBucket
            );
            let grants = matches!(
                operation,
                Operation::Create | Operation::CreateApiToken | Operation::SetPermissions
            );
            let expected = match operation.without(*missing) {
                Without::FindsNothing if is_of_bucket => Err("bucket not found".to_owned()),
                Without::FindsNothing => Ok(0),
                Without::IsRefused if granted && grants => {
                    Err(format!("permission {missing} is not allowed: {missing} is unauthorized"))
                }
                Without::IsRefused => Err(format!("{missing} is unauthorized")),
            };
            assert_eq!(refused, expected, "{operation:?} without {missing}");
        }
        let done = operation.run(&on, &caller(&world, &needs)).await.unwrap();
        assert_eq!(done, 1, "{operation:?}");
    }
}

#[tokio::test]
async fn a_credential_that_only_reads_changes_and_deletes_nothing() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    let on = Target::new(&world, id).await;
    let before = on.stored().await;
    // Read on everything, in every form, and write on an unrelated resource.
    let everything = ResourceType::ALL.into_iter().map(|of| Permission::read(Resource::all(of)));
    let all = everything.chain([permission("write:tasks")]).collect::<Vec<_>>();
    let instance = vec![permission("read:instance")];
    for held in [all, instance] {
        for operation in Operation::ALL {
            let result = operation.run(&on, &caller(&world, &held)).await;
            assert_eq!(result.is_err(), operation.changes(), "{operation:?}: {result:?}");
        }
    }
    assert_eq!(on.stored().await, before);
    assert_eq!(world.engine.authorization_by_username("new").await.unwrap(), None);
    assert!(world.login("telegraf", "telegraf-password").await.is_ok());
}

/// [CALLER-2] [CALLER-5]
#[tokio::test]
async fn what_does_not_exist_is_not_found_for_every_caller() {
    let world = World::new().await;
    let id = AuthorizationId::from_u64(5);
    let on = Target { world: &world, id, token: ApiTokenId::from_u64(5) };
    for operation in [
        Operation::ApiToken,
        Operation::UpdateApiToken,
        Operation::DeleteApiToken,
        Operation::Get,
        Operation::Update,
        Operation::SetPermissions,
        Operation::SetPassword,
        Operation::RotatePassword,
        Operation::EndPreviousPassword,
        Operation::Delete,
    ] {
        let error = operation.run(&on, &caller(&world, &[])).await.unwrap_err();
        assert_eq!(error.message(), "authorization not found", "{operation:?}");
    }
}

/// [MATCH-1]
#[tokio::test]
async fn an_org_scoped_grant_never_reaches_another_orgs_record() {
    let world = World::new().await;
    let other = world.engine.create_org(name("globex")).await.unwrap();
    let foreign = NewAuthorization::new(
        Username::new("foreign").unwrap(),
        other.id,
        [permission("read:users")],
    );
    let foreign = world.engine.create_authorization(foreign.for_user(world.user.id)).await.unwrap();
    let on = Target::new(&world, foreign.id).await;
    let owner = caller(&world, &owner(&world));
    for operation in
        [Operation::Get, Operation::Update, Operation::SetPermissions, Operation::Delete]
    {
        let error = operation.run(&on, &owner).await.unwrap_err();
        assert!(error.message().ends_with("is unauthorized"), "{operation:?}");
    }
    assert_eq!(Operation::List.run(&on, &owner).await.unwrap(), 0);
}

/// Two orgs with a bucket each, and permissions on all of them in every form, under the right org and
/// the wrong one.
struct Grants {
    world: World,
    /// The permissions to hold and grant.
    all: Vec<Permission>,
    /// The permissions to request.
    requests: Vec<Permission>,
}

impl Grants {
    async fn new() -> Self {
        let world = World::new().await;
        let other = world.engine.create_org(name("globex")).await.unwrap();
        let foreign = world.engine.create_bucket(other.id, name("foreign")).await.unwrap();
        let there = [(world.org.id, world.bucket.id), (other.id, foreign.id)];
        let buckets = Resource::all(ResourceType::Buckets);
        let mut resources = vec![buckets, Resource::all(ResourceType::Instance)];
        let by_id = |bucket: BucketId| buckets.with_id(bucket);
        for (org, bucket) in there {
            resources.extend([buckets.in_org(org), by_id(bucket), Resource::bucket(org, bucket)]);
        }
        // Named under the wrong org.
        resources.push(Resource::bucket(world.org.id, foreign.id));
        let both = |resource| [Permission::read(resource), Permission::write(resource)];
        let requests = there.map(|(org, bucket)| Resource::bucket(org, bucket));
        let requests = requests.into_iter().chain(there.map(|(org, _)| buckets.in_org(org)));
        Self {
            all: resources.into_iter().flat_map(both).collect(),
            requests: requests.chain([buckets]).flat_map(both).collect(),
            world,
        }
    }

    /// Asserts that the grant allows nothing that the caller may not do.
    async fn judge(&self, caller: &Principal, id: AuthorizationId) {
        let given = self.world.engine.authorization(id).await.unwrap().unwrap().permissions;
        self.judge_permissions(caller, &given);
    }

    fn judge_permissions(&self, caller: &Principal, given: &[Permission]) {
        for request in &self.requests {
            let allows = given.iter().any(|permission| permission.allows(request));
            let may = caller.check(request.action, &request.resource).is_allowed();
            assert!(may || !allows, "{request} was granted by a caller that may not: {given:?}");
        }
    }
}

/// [CALLER-3] [CALLER-4]
#[test]
fn a_grant_at_creation_or_edit_allows_no_more_than_its_caller_holds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let grants = runtime.block_on(Grants::new());
    let (world, given) = (&grants.world, std::cell::Cell::new(0));
    let subsets = (
        prop::sample::subsequence(grants.all.clone(), 0..8),
        prop::sample::subsequence(grants.all.clone(), 1..4),
    );
    let mut runner = TestRunner::new(Config::with_cases(400));
    let outcome = runner.run(&subsets, |(mut held, granted)| {
        held.extend(
            owner(world)
                .into_iter()
                .filter(|permission| permission.resource.resource_type != ResourceType::Buckets),
        );
        let caller = Principal::trusted(world.org.id, world.user.id, held);
        let instance = granted
            .iter()
            .any(|permission| permission.resource.resource_type == ResourceType::Instance);
        runtime.block_on(async {
            let on_behalf = world.engine.on_behalf_of(&caller);
            let username = Username::new("telegraf").unwrap();
            let new = NewAuthorization::new(username, world.org.id, granted.clone());
            let created = on_behalf.create_authorization(new).await;
            assert!(created.is_err() || !instance, "instance was granted");
            if let Ok(created) = created {
                let id = created.authorization.id;
                grants.judge(&caller, id).await;
                given.set(given.get() + 1);
                world.engine.delete_authorization(id).await.unwrap();
            }
            let unchecked = |permission: &Permission| {
                let Permission { action, resource } = permission;
                let Resource { resource_type, id, org, .. } = *resource;
                UncheckedPermission::new(action.as_str(), resource_type.as_str(), id, org)
            };
            let draft = ApiTokenDraft {
                org: Some(world.org.id),
                permissions: granted.iter().map(unchecked).collect(),
                ..ApiTokenDraft::default()
            };
            if let Ok((created, _)) = on_behalf.create_api_token(draft).await {
                assert!(!instance, "instance was granted");
                grants.judge_permissions(&caller, &created.token.permissions);
                given.set(given.get() + 1);
                world.engine.revoke_api_token(created.token.id).await.unwrap();
            }
            let there = world.authorization("grafana").await;
            if on_behalf.set_permissions(there.id, granted).await.is_ok() {
                assert!(!instance, "instance was granted");
                grants.judge(&caller, there.id).await;
                given.set(given.get() + 1);
            }
            world.engine.delete_authorization(there.id).await.unwrap();
        });
        Ok(())
    });
    outcome.unwrap();
    assert!(given.get() > 20, "{} grants were made", given.get());
}
