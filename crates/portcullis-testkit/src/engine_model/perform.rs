//! Performs actions on an engine.

use std::num::NonZeroUsize;

use portcullis::snapshot::{InvalidSnapshot, Snapshot};
use portcullis::{
    AuthorizationDraft, AuthorizationPage, AuthorizationUpdate, Credentials, Engine, Error,
    ImportError, Name, NewApiToken, OrgId, Permission, Principal, UncheckedPermission, UserId,
};

use super::action::{Action, Creation, DescribedRow, Query, Response};
use super::rows::{AuthorizationRow, Row, TokenRow, status};

/// Calls the engine, and returns its response, which may be a refusal.
pub(super) async fn perform(engine: &Engine, action: &Action) -> Response {
    call(engine, action).await.unwrap_or_else(Response::from)
}

async fn call(engine: &Engine, action: &Action) -> Result<Response, Error> {
    Ok(match action {
        Action::CreateOrg { name } => {
            Response::Org(engine.create_org(Name::new(name.as_str())?).await?)
        }
        Action::CreateUser { name } => {
            Response::User(engine.create_user(Name::new(name.as_str())?).await?)
        }
        Action::CreateBucket { org, name } => {
            Response::Bucket(engine.create_bucket(*org, Name::new(name.as_str())?).await?)
        }
        Action::SetOrgStatus { org, active } => {
            Response::Org(engine.set_org_status(*org, status(*active)).await?)
        }
        Action::SetUserStatus { user, active } => {
            Response::User(engine.set_user_status(*user, status(*active)).await?)
        }
        Action::DeleteOrg { org } => done(engine.delete_org(*org).await?),
        Action::DeleteUser { user } => done(engine.delete_user(*user).await?),
        Action::DeleteBucket { bucket } => done(engine.delete_bucket(*bucket).await?),
        Action::CreateToken { org, user, permissions } => {
            let new = NewApiToken::new(*org, *user, permissions.clone());
            let (token, secret) = engine.create_api_token(new).await?;
            Response::Token(TokenRow::from(&token), Some(secret.expose().to_owned()))
        }
        Action::SetTokenStatus { token, active } => {
            let changed = engine.set_api_token_status(*token, status(*active)).await?;
            Response::Token(TokenRow::from(&changed), None)
        }
        Action::RevokeToken { token } => done(engine.revoke_api_token(*token).await?),
        Action::Create(creation) => {
            let new = draft(creation).validate()?.for_user(creation.user);
            let created = engine.create_authorization(new).await?;
            Response::Authorization(AuthorizationRow::from(&created))
        }
        Action::Patch { authorization, active, description } => {
            let update = AuthorizationUpdate {
                status: active.map(status),
                description: description.clone(),
                ..AuthorizationUpdate::default()
            };
            let changed = engine.update_authorization(*authorization, update).await?;
            Response::Authorization(AuthorizationRow::from(&changed))
        }
        Action::SetPermissions { authorization, permissions } => {
            let changed = engine.set_permissions(*authorization, permissions.clone()).await?;
            Response::Authorization(AuthorizationRow::from(&changed))
        }
        Action::SetPassword { authorization, password } => {
            done(engine.set_password(*authorization, password).await?)
        }
        Action::Delete { authorization } => {
            done(engine.delete_authorization(*authorization).await?)
        }
        Action::Authenticate { username, password } => {
            let credentials = Credentials::password(username, password);
            Response::from(&engine.authenticate(credentials).await?)
        }
        Action::AuthenticateToken { secret } => {
            Response::from(&engine.authenticate(Credentials::token(secret)).await?)
        }
        Action::AuthenticateCaller { secret } => {
            Response::from(&engine.authenticate_caller(Credentials::token(secret)).await?)
        }
        Action::ResolveOrg { text } => Response::Org(engine.resolve_org(text).await?),
        Action::ResolveUser { text } => Response::User(engine.resolve_user(text).await?),
        Action::ResolveBucket { org, text } => {
            Response::Bucket(engine.resolve_bucket(*org, text).await?)
        }
        Action::List(query) => list(engine, query).await?,
        Action::Import { rows, dry_run } => import(engine, rows, *dry_run).await?,
    })
}

fn done((): ()) -> Response {
    Response::Done
}

fn draft(creation: &Creation) -> AuthorizationDraft {
    let unchecked = |Permission { action, resource }: &Permission| {
        let kind = resource.resource_type.as_str();
        UncheckedPermission::new(action.as_str(), kind, resource.id, resource.org)
    };
    AuthorizationDraft {
        username: Some(creation.username.clone()),
        org: creation.org,
        user: Some(creation.user),
        permissions: creation.permissions.iter().map(unchecked).collect(),
        status: Some(creation.status.clone()),
        description: Some(creation.description.clone()),
        ..AuthorizationDraft::default()
    }
}

pub(super) async fn list(engine: &Engine, query: &Query) -> Result<Response, Error> {
    let Query { filter, after, limit, caller } = query;
    let limit = NonZeroUsize::new(*limit).unwrap_or(NonZeroUsize::MIN);
    let Some(held) = caller else {
        let AuthorizationPage { items, next, .. } =
            engine.list_authorizations(filter, *after, limit).await?;
        return Ok(Response::Listed(items.iter().map(AuthorizationRow::from).collect(), next));
    };
    let (org, user) = (OrgId::from_u64(1), UserId::from_u64(1));
    let caller = Principal::trusted(org, user, held.iter().copied());
    let AuthorizationPage { items, next, .. } =
        engine.on_behalf_of(&caller).list_authorizations(filter, *after, limit).await?;
    Ok(Response::Described(items.iter().map(DescribedRow::from).collect(), next))
}

async fn import(engine: &Engine, rows: &[Row], dry_run: bool) -> Result<Response, Error> {
    let text: String = rows.iter().map(|row| row.to_line() + "\n").collect();
    let snapshot = match Snapshot::read(text.as_bytes()) {
        Ok(snapshot) => snapshot,
        Err(InvalidSnapshot::Lines(lines)) => {
            return Ok(Response::Contradicts(lines.first().map_or(0, |line| line.line)));
        }
        Err(error) => panic!("memory could not be read: {error}"),
    };
    match engine.import(snapshot, dry_run).await {
        Ok(new) => Ok(Response::Imported(new)),
        Err(ImportError::Lines(lines)) => {
            Ok(Response::Collides(lines.iter().map(|line| line.line).collect()))
        }
        Err(ImportError::Engine(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}
