//! Doing to an engine what an action says.

use std::num::NonZeroUsize;

use portcullis::snapshot::{InvalidSnapshot, Snapshot};
use portcullis::{
    AuthorizationDraft, AuthorizationPage, AuthorizationUpdate, Credentials, Engine, Error,
    ImportError, Name, NewApiToken, OrgId, Permission, Principal, UncheckedPermission, UserId,
};

use super::action::{Action, Answer, Creation, DescribedRow, Query, Somebody};
use super::rows::{AuthorizationRow, BucketRow, OrgRow, Row, TokenRow, UserRow, status};

/// Asks the engine, and returns its answer, a refusal too.
pub(super) async fn perform(engine: &Engine, action: &Action) -> Answer {
    match ask(engine, action).await {
        Ok(answer) => answer,
        Err(error) => error.into(),
    }
}

async fn ask(engine: &Engine, action: &Action) -> Result<Answer, Error> {
    Ok(match action {
        Action::CreateOrg { name } => {
            let name = Name::new(name.as_str())?;
            Answer::Org(OrgRow::from(&engine.create_org(name).await?))
        }
        Action::CreateUser { name } => {
            let name = Name::new(name.as_str())?;
            Answer::User(UserRow::from(&engine.create_user(name).await?))
        }
        Action::CreateBucket { org, name } => {
            let name = Name::new(name.as_str())?;
            Answer::Bucket(BucketRow::from(&engine.create_bucket(*org, name).await?))
        }
        Action::SetOrgStatus { org, active } => {
            let changed = engine.set_org_status(*org, status(*active)).await?;
            Answer::Org(OrgRow::from(&changed))
        }
        Action::SetUserStatus { user, active } => {
            let changed = engine.set_user_status(*user, status(*active)).await?;
            Answer::User(UserRow::from(&changed))
        }
        Action::DeleteOrg { org } => done(engine.delete_org(*org).await?),
        Action::DeleteUser { user } => done(engine.delete_user(*user).await?),
        Action::DeleteBucket { bucket } => done(engine.delete_bucket(*bucket).await?),
        Action::CreateToken { org, user, permissions } => {
            let new = NewApiToken {
                org: *org,
                user: *user,
                permissions: permissions.clone(),
                description: String::new(),
            };
            let (token, secret) = engine.create_api_token(new).await?;
            Answer::Token(TokenRow::from(&token), Some(secret.expose().to_owned()))
        }
        Action::SetTokenStatus { token, active } => {
            let changed = engine.set_api_token_status(*token, status(*active)).await?;
            Answer::Token(TokenRow::from(&changed), None)
        }
        Action::RevokeToken { token } => done(engine.revoke_api_token(*token).await?),
        Action::Create(creation) => {
            let new = draft(creation).validate()?.for_user(creation.user);
            let created = engine.create_authorization(new).await?;
            Answer::Authorization(AuthorizationRow::from(&created))
        }
        Action::Patch { authorization, active, description } => {
            let update = AuthorizationUpdate {
                status: active.map(status),
                description: description.clone(),
            };
            let changed = engine.update_authorization(*authorization, update).await?;
            Answer::Authorization(AuthorizationRow::from(&changed))
        }
        Action::SetPermissions { authorization, permissions } => {
            let changed = engine.set_permissions(*authorization, permissions.clone()).await?;
            Answer::Authorization(AuthorizationRow::from(&changed))
        }
        Action::SetPassword { authorization, password } => {
            done(engine.set_password(*authorization, password).await?)
        }
        Action::Delete { authorization } => {
            done(engine.delete_authorization(*authorization).await?)
        }
        Action::Authenticate { username, password } => {
            somebody(&engine.authenticate(Credentials::password(username, password)).await?)
        }
        Action::AuthenticateToken { secret } => {
            somebody(&engine.authenticate(Credentials::token(secret)).await?)
        }
        Action::AuthenticateCaller { secret } => {
            somebody(&engine.authenticate_caller(Credentials::token(secret)).await?)
        }
        Action::ResolveOrg { text } => Answer::Org(OrgRow::from(&engine.resolve_org(text).await?)),
        Action::ResolveUser { text } => {
            Answer::User(UserRow::from(&engine.resolve_user(text).await?))
        }
        Action::ResolveBucket { org, text } => {
            Answer::Bucket(BucketRow::from(&engine.resolve_bucket(*org, text).await?))
        }
        Action::List(query) => list(engine, query).await?,
        Action::Import { rows, dry_run } => import(engine, rows, *dry_run).await?,
    })
}

fn done((): ()) -> Answer {
    Answer::Done
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
    }
}

fn somebody(principal: &Principal) -> Answer {
    Answer::Principal(Somebody {
        identity: principal.identity().clone(),
        org: principal.org(),
        user: principal.user(),
        permissions: principal.permissions().clone(),
    })
}

pub(super) async fn list(engine: &Engine, query: &Query) -> Result<Answer, Error> {
    let Query { filter, after, limit, caller } = query;
    let limit = NonZeroUsize::new(*limit).unwrap_or(NonZeroUsize::MIN);
    let Some(held) = caller else {
        let AuthorizationPage { items, next, .. } =
            engine.list_authorizations(filter, *after, limit).await?;
        return Ok(Answer::Listed(items.iter().map(AuthorizationRow::from).collect(), next));
    };
    let (org, user) = (OrgId::from_u64(1), UserId::from_u64(1));
    let caller = Principal::trusted(org, user, held.iter().copied());
    let AuthorizationPage { items, next, .. } =
        engine.on_behalf_of(&caller).list_authorizations(filter, *after, limit).await?;
    let row = |described: &portcullis::AuthorizationView| DescribedRow {
        row: AuthorizationRow::from(&described.authorization),
        org: described.org.to_string(),
        user: described.user.to_string(),
        resources: described
            .resources
            .iter()
            .map(|names| {
                let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
                (text(&names.name), text(&names.org))
            })
            .collect(),
    };
    Ok(Answer::Described(items.iter().map(row).collect(), next))
}

async fn import(engine: &Engine, rows: &[Row], dry_run: bool) -> Result<Answer, Error> {
    let text: String = rows.iter().map(|row| row.to_line() + "\n").collect();
    let snapshot = match Snapshot::read(text.as_bytes()) {
        Ok(snapshot) => snapshot,
        Err(InvalidSnapshot::Lines(lines)) => {
            return Ok(Answer::Contradicts(lines.first().map_or(0, |line| line.line)));
        }
        Err(error) => panic!("memory could not be read: {error}"),
    };
    match engine.import(snapshot, dry_run).await {
        Ok(new) => Ok(Answer::Imported(new)),
        Err(ImportError::Lines(lines)) => {
            Ok(Answer::Collides(lines.iter().map(|line| line.line).collect()))
        }
        Err(ImportError::Engine(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}
