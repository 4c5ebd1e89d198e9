//! API tokens for callers: created, listed, changed and deleted with the rules of authorizations.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use portcullis::{
    ApiTokenDraft, ApiTokenFilter, ApiTokenId, AuthorizationUpdateDraft, Credentials, ErrorKind,
    NewApiToken, Permission, Resource, ResourceType, Status, Timestamp, TokenSecret,
    UncheckedPermission, presets,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::management::{caller, owner};
use crate::support::{World, name, permission};

fn unchecked(permission: Permission) -> UncheckedPermission {
    let Permission { action, resource } = permission;
    let (id, org) = (resource.id, resource.org);
    UncheckedPermission::new(action.as_str(), resource.resource_type.as_str(), id, org)
}

fn draft(world: &World, permissions: &[Permission]) -> ApiTokenDraft {
    ApiTokenDraft {
        org: Some(world.org.id),
        permissions: permissions.iter().copied().map(unchecked).collect(),
        ..ApiTokenDraft::default()
    }
}

/// [TOKEN-1] [TOKEN-2]
#[tokio::test]
async fn a_secret_is_shown_once_and_works_while_the_token_is_active() {
    let world = World::new().await;
    let owner = caller(&world, &owner(&world));
    let on_behalf = world.engine.on_behalf_of(&owner);
    let new = ApiTokenDraft {
        description: Some("agents".to_owned()),
        ..draft(&world, &[Permission::write(world.resource())])
    };
    let (created, secret) = on_behalf.create_api_token(new).await.unwrap();
    assert_eq!((created.org.as_str(), created.user.as_str()), ("acme", "ada"));
    assert_eq!(created.resources[0].name, Some(name("telemetry")));
    let (id, login) = (created.token.id, Credentials::token(secret.expose()));
    let principal = world.engine.authenticate(login).await.unwrap();
    assert_eq!((principal.org(), principal.user()), (world.org.id, world.user.id));

    let update = |status: &str| AuthorizationUpdateDraft {
        status: Some(status.to_owned()),
        ..AuthorizationUpdateDraft::default()
    };
    let off = on_behalf.update_api_token(id, update("inactive")).await.unwrap();
    assert_eq!(off.token.status, Status::Inactive);
    assert_eq!(off.token.description, "agents");
    assert!(world.engine.authenticate(login).await.is_err(), "cached");
    let unknown = on_behalf.update_api_token(id, update("")).await.unwrap_err();
    assert_eq!(unknown.message(), "unknown authorization status");
    on_behalf.update_api_token(id, update("active")).await.unwrap();
    assert!(world.engine.authenticate(login).await.is_ok());
    assert_eq!(on_behalf.api_token(id).await.unwrap().token.status, Status::Active);
    on_behalf.delete_api_token(id).await.unwrap();
    assert!(world.engine.authenticate(login).await.is_err());
    assert_eq!(on_behalf.api_token(id).await.unwrap_err().kind(), ErrorKind::NotFound);

    let inactive = ApiTokenDraft {
        status: Some("inactive".to_owned()),
        ..draft(&world, &[permission("read:buckets")])
    };
    let operator = caller(&world, &presets::operator());
    let on_behalf = world.engine.on_behalf_of(&operator);
    let (_, secret) = on_behalf.create_api_token(inactive).await.unwrap();
    assert!(world.engine.authenticate(Credentials::token(secret.expose())).await.is_err());
}

/// [TOKEN-1] [CALLER-3]
#[tokio::test]
async fn what_cannot_be_created_is_refused_in_the_order_of_the_api() {
    let world = World::new().await;
    let operator = caller(&world, &presets::operator());
    let (everything, none) = (presets::operator(), []);
    let other = world.engine.create_org(name("globex")).await.unwrap();
    let foreign = world.engine.create_bucket(other.id, name("foreign")).await.unwrap();
    let good = draft(&world, &[permission("read:buckets")]);
    let owner = caller(&world, &owner(&world));
    let under_own_org = Permission::read(Resource::bucket(world.org.id, foreign.id));
    let (foreign_token, _) = {
        let new = NewApiToken::new(other.id, world.user.id, []);
        world.engine.create_api_token(new).await.unwrap()
    };
    let of_token = Resource::all(ResourceType::Authorizations).in_org(world.org.id);
    let of_token = Permission::write(of_token.with_id(foreign_token.id));
    let bad_status = Some("on".to_owned());
    for (who, draft, kind, message) in [
        (
            &operator,
            draft(&world, &none),
            ErrorKind::Invalid,
            "authorization must include".to_owned(),
        ),
        (
            &operator,
            ApiTokenDraft { org: None, status: bad_status.clone(), ..good.clone() },
            ErrorKind::Invalid,
            "org id required: invalid ID".to_owned(),
        ),
        (
            &operator,
            ApiTokenDraft { status: bad_status, ..good.clone() },
            ErrorKind::Invalid,
            "invalid status: must be active or inactive".to_owned(),
        ),
        (
            &owner,
            draft(&world, &everything),
            ErrorKind::Forbidden,
            "permission read:authorizations is not allowed".to_owned(),
        ),
        (
            &owner,
            draft(&world, &[under_own_org]),
            ErrorKind::Forbidden,
            format!("permission {under_own_org} is not allowed"),
        ),
        (
            &owner,
            draft(&world, &[of_token]),
            ErrorKind::Forbidden,
            format!("permission {of_token} is not allowed"),
        ),
        (
            &operator,
            draft(&world, &[permission("read:instance")]),
            ErrorKind::Forbidden,
            "permission read:instance is not allowed".to_owned(),
        ),
        (
            &operator,
            draft(&world, &[Permission::read(Resource::bucket(other.id, foreign.id))]),
            ErrorKind::Invalid,
            format!("permission read:orgs/{}/buckets/{} is not for org id", other.id, foreign.id),
        ),
        (
            &operator,
            ApiTokenDraft { user: Some(portcullis::UserId::from_u64(5)), ..good.clone() },
            ErrorKind::Invalid,
            "unable to create token".to_owned(),
        ),
        (
            &operator,
            ApiTokenDraft { org: Some(portcullis::OrgId::from_u64(5)), ..good },
            ErrorKind::Invalid,
            "unable to create token".to_owned(),
        ),
    ] {
        let error = world.engine.on_behalf_of(who).create_api_token(draft).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().starts_with(&message), "{error} instead of {message}");
    }
    let all = world.engine.list_api_tokens(None, NonZeroUsize::MAX).await.unwrap();
    assert_eq!(all.len(), 1, "the foreign one");
}

/// [TOKEN-3] [EXP-9]
#[test]
fn every_filter_finds_what_checking_every_token_finds_page_by_page() {
    let day = |day: u32| format!("2034-01-{day:02}T00:00:00Z").parse::<Timestamp>().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, tokens) = runtime.block_on(async {
        let world = World::new().await;
        let other_org = world.engine.create_org(name("globex")).await.unwrap();
        let other_user = world.engine.create_user(name("bob")).await.unwrap();
        let mut tokens = Vec::new();
        for number in 0..24_u32 {
            let org = if number % 2 == 0 { world.org.id } else { other_org.id };
            let user = if number % 3 == 0 { world.user.id } else { other_user.id };
            let new = NewApiToken::new(org, user, [permission("read:tasks")]);
            let new = if number % 4 == 0 { new.with_expires_at(day(number + 1)) } else { new };
            let (token, _) = world.engine.create_api_token(new).await.unwrap();
            let token = match number % 5 {
                0 => {
                    let off = Status::Inactive;
                    world.engine.set_api_token_status(token.id, off).await.unwrap()
                }
                _ => token,
            };
            tokens.push(token);
        }
        tokens.sort_by_key(|token| token.id);
        (world, tokens)
    });
    let reader = caller(&world, &presets::read_all());
    // Reads the tokens of one org alone.
    let narrow = caller(
        &world,
        &[
            Permission::read(Resource::all(ResourceType::Authorizations).in_org(world.org.id)),
            permission("read:users"),
        ],
    );
    let some = prop::option::of(0..tokens.len());
    let parts = (some.clone(), some.clone(), some.clone(), some.clone(), some);
    let cases = (parts, prop::option::of(1..26_u32), 1_usize..9, any::<bool>());
    let mut runner = TestRunner::new(Config::with_cases(200));
    let outcome = runner.run(&cases, |((id, digest, org, user, status), before, limit, all)| {
        let filter = ApiTokenFilter {
            unused_since: None,
            id: id.map(|at| tokens[at].id),
            digest: digest.map(|at| tokens[at].digest),
            org: org.map(|at| tokens[at].org),
            user: user.map(|at| tokens[at].user),
            status: status.map(|at| tokens[at].status),
            expires_before: before.map(day),
        };
        let who = if all { &reader } else { &narrow };
        let expected: Vec<ApiTokenId> = tokens
            .iter()
            .filter(|token| filter.matches(token) && (all || token.org == world.org.id))
            .map(|token| token.id)
            .collect();
        let found = runtime.block_on(async {
            let on_behalf = world.engine.on_behalf_of(who);
            let limit = NonZeroUsize::new(limit).unwrap();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = on_behalf.list_api_tokens(&filter, after, limit).await.unwrap();
                assert!(page.next.is_none() || page.items.len() == limit.get());
                found.extend(page.items.iter().map(|view| view.token.id));
                match page.next {
                    Some(next) => after = Some(next),
                    None => return found,
                }
            }
        });
        prop_assert_eq!(found, expected);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(tokens.iter().map(|token| token.org).collect::<BTreeSet<_>>().len(), 2);
}

/// [TOKEN-3]
#[tokio::test]
async fn a_token_whose_user_or_org_is_gone_is_in_no_list() {
    let world = World::new().await;
    let lines = r#"{"type":"apiToken","id":"00000000000000ff","orgID":"0000000000000009","userID":"0000000000000009","status":"active","description":"","permissions":[],"token":"orphan-secret-of-an-import"}"#;
    let snapshot = portcullis::snapshot::Snapshot::read(lines.as_bytes()).unwrap();
    world.engine.import(snapshot, false).await.unwrap();
    let operator = caller(&world, &presets::operator());
    let on_behalf = world.engine.on_behalf_of(&operator);
    let digest = TokenSecret::new("orphan-secret-of-an-import").digest();
    for filter in
        [ApiTokenFilter::all(), ApiTokenFilter { digest: Some(digest), ..ApiTokenFilter::all() }]
    {
        let page = on_behalf.list_api_tokens(&filter, None, NonZeroUsize::MAX).await.unwrap();
        assert!(page.items.is_empty() && page.next.is_none());
    }
    let id = ApiTokenId::from_u64(0xff);
    let gone = on_behalf.api_token(id).await.unwrap_err();
    assert_eq!(gone.message(), "organization not found");
    on_behalf.delete_api_token(id).await.unwrap();
    assert_eq!(world.engine.api_token(id).await.unwrap(), None);
}
