//! What commands do with records, in a store and on a server alike.
//!
//! In a store these are the engine's trusted operations; on a server, the operations of its management
//! API, for which the API token needs the permissions.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use portcullis::store::{Revision, StoreExt as _};
use portcullis::{
    AllowedNetworks, ApiTokenId, Authorization, AuthorizationFilter, AuthorizationId,
    AuthorizationUpdate, Bucket, BucketId, DbrpFilter, DbrpId, DbrpMapping, DbrpUpdate, Deletion,
    DeletionPreview, Engine, Error, KeepPrevious, Name, NewApiToken, NewAuthorization, NewDbrp,
    Org, OrgId, Permission, Precondition, Status, Timestamp, TokenSecret, User, UserId,
};

use super::{ApiTokenRecord, AuthorizationRecord, Names};
use crate::remote::Client;

/// The records on which a command works.
pub(crate) enum Session {
    /// Those of a store.
    Store(Engine),
    /// Those of a server.
    Server(Box<Client>),
}

/// An authorization to create, without its password.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationParts {
    pub(crate) username: portcullis::Username,
    pub(crate) org: OrgId,
    pub(crate) user: UserId,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) status: Status,
    pub(crate) description: String,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) allowed_networks: AllowedNetworks,
}

/// A page of authorizations, ascending by id.
pub(crate) struct AuthorizationsPage {
    pub(crate) items: Vec<AuthorizationRecord>,
    /// The id after which the next page begins; `None` on the last page.
    pub(crate) next: Option<AuthorizationId>,
}

/// Calls the same operation of the engine or of the client.
macro_rules! either {
    ($session:expr, $data:ident => $call:expr) => {
        match $session {
            Session::Store($data) => $call.await,
            Session::Server($data) => $call.await,
        }
    };
}

impl Session {
    /// Begins a result that shows names.
    pub(crate) fn names(&self) -> Names<'_> {
        match self {
            Self::Store(engine) => Names::Store(Box::new(engine.name_resolver())),
            Self::Server(client) => Names::Server(client),
        }
    }

    /// Returns an engine that decides on queries of the org.
    pub(crate) async fn decision_engine(&self, org: OrgId) -> anyhow::Result<Engine> {
        match self {
            Self::Store(engine) => Ok(engine.clone()),
            Self::Server(client) => client.decision_engine(org).await,
        }
    }

    /// Counts what a deletion would delete.
    pub(crate) async fn preview_deletion(
        &self,
        deletion: Deletion,
    ) -> Result<DeletionPreview, Error> {
        either!(self, data => data.preview_deletion(deletion))
    }

    /// Returns the engine, for what only a store can do.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        match self {
            Self::Store(engine) => Some(engine),
            Self::Server(_) => None,
        }
    }
}

/// Orgs.
impl Session {
    pub(crate) async fn create_org(&self, name: Name) -> Result<Org, Error> {
        either!(self, data => data.create_org(name))
    }

    pub(crate) async fn resolve_org(&self, id_or_name: &str) -> Result<Org, Error> {
        either!(self, data => data.resolve_org(id_or_name))
    }

    pub(crate) async fn org(&self, id: OrgId) -> Result<Option<Org>, Error> {
        match self {
            Self::Store(engine) => engine.directory().org(id).await,
            Self::Server(client) => client.org(id).await,
        }
    }

    pub(crate) async fn orgs(
        &self,
        after: Option<OrgId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Org>, Error> {
        match self {
            Self::Store(engine) => engine.directory().orgs(after, limit).await,
            Self::Server(client) => client.orgs(after, limit).await,
        }
    }

    pub(crate) async fn set_org_status(&self, id: OrgId, status: Status) -> Result<Org, Error> {
        either!(self, data => data.set_org_status(id, status))
    }

    pub(crate) async fn delete_org(&self, id: OrgId) -> Result<(), Error> {
        either!(self, data => data.delete_org(id))
    }
}

/// Users.
impl Session {
    pub(crate) async fn create_user(&self, name: Name) -> Result<User, Error> {
        either!(self, data => data.create_user(name))
    }

    pub(crate) async fn resolve_user(&self, id_or_name: &str) -> Result<User, Error> {
        either!(self, data => data.resolve_user(id_or_name))
    }

    pub(crate) async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        match self {
            Self::Store(engine) => engine.directory().user(id).await,
            Self::Server(client) => client.user(id).await,
        }
    }

    pub(crate) async fn users(
        &self,
        after: Option<UserId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<User>, Error> {
        match self {
            Self::Store(engine) => engine.directory().users(after, limit).await,
            Self::Server(client) => client.users(after, limit).await,
        }
    }

    pub(crate) async fn set_user_status(&self, id: UserId, status: Status) -> Result<User, Error> {
        either!(self, data => data.set_user_status(id, status))
    }

    pub(crate) async fn delete_user(&self, id: UserId) -> Result<(), Error> {
        either!(self, data => data.delete_user(id))
    }
}

/// Buckets.
impl Session {
    pub(crate) async fn create_bucket(&self, org: OrgId, name: Name) -> Result<Bucket, Error> {
        either!(self, data => data.create_bucket(org, name))
    }

    pub(crate) async fn resolve_bucket(
        &self,
        org: OrgId,
        id_or_name: &str,
    ) -> Result<Bucket, Error> {
        either!(self, data => data.resolve_bucket(org, id_or_name))
    }

    pub(crate) async fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, Error> {
        match self {
            Self::Store(engine) => engine.directory().bucket(id).await,
            Self::Server(client) => client.bucket(id).await,
        }
    }

    pub(crate) async fn buckets(
        &self,
        org: Option<OrgId>,
        after: Option<BucketId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<Bucket>, Error> {
        match self {
            Self::Store(engine) => engine.directory().buckets(org, after, limit).await,
            Self::Server(client) => client.buckets(org, after, limit).await,
        }
    }

    pub(crate) async fn delete_bucket(&self, id: BucketId) -> Result<(), Error> {
        either!(self, data => data.delete_bucket(id))
    }
}

/// DBRP mappings.
impl Session {
    pub(crate) async fn create_dbrp(&self, new: NewDbrp) -> Result<DbrpMapping, Error> {
        either!(self, data => data.create_dbrp(new))
    }

    pub(crate) async fn dbrp(&self, org: OrgId, id: DbrpId) -> Result<Option<DbrpMapping>, Error> {
        either!(self, data => data.dbrp(org, id))
    }

    pub(crate) async fn list_dbrps(&self, filter: &DbrpFilter) -> Result<Vec<DbrpMapping>, Error> {
        either!(self, data => data.list_dbrps(filter))
    }

    pub(crate) async fn update_dbrp(
        &self,
        org: OrgId,
        id: DbrpId,
        update: DbrpUpdate,
    ) -> Result<DbrpMapping, Error> {
        either!(self, data => data.update_dbrp(org, id, update))
    }

    pub(crate) async fn delete_dbrp(&self, org: OrgId, id: DbrpId) -> Result<(), Error> {
        either!(self, data => data.delete_dbrp(org, id))
    }
}

/// Authorizations.
impl Session {
    pub(crate) async fn create_authorization(
        &self,
        parts: AuthorizationParts,
    ) -> Result<AuthorizationRecord, Error> {
        match self {
            Self::Store(engine) => {
                let new = NewAuthorization::new(parts.username, parts.org, parts.permissions)
                    .for_user(parts.user)
                    .with_status(parts.status)
                    .with_description(parts.description)
                    .with_allowed_networks(parts.allowed_networks);
                let new = match parts.expires_at {
                    Some(end) => new.with_expires_at(end),
                    None => new,
                };
                engine.create_authorization(new).await.map(Into::into)
            }
            Self::Server(client) => client.create_authorization(&parts).await,
        }
    }

    pub(crate) async fn authorization(
        &self,
        id: AuthorizationId,
    ) -> Result<Option<AuthorizationRecord>, Error> {
        match self {
            Self::Store(engine) => with_last_use(engine, engine.authorization(id).await?).await,
            Self::Server(client) => client.authorization(id).await,
        }
    }

    pub(crate) async fn authorization_by_username(
        &self,
        username: &str,
    ) -> Result<Option<AuthorizationRecord>, Error> {
        match self {
            Self::Store(engine) => {
                let found = engine.authorization_by_username(username).await?;
                with_last_use(engine, found).await
            }
            Self::Server(client) => client.authorization_by_username(username).await,
        }
    }

    /// Lists those that match every given part of the filter, with their last uses if these are a part
    /// of it.
    pub(crate) async fn list_authorizations(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
    ) -> Result<AuthorizationsPage, Error> {
        match self {
            Self::Store(engine) => {
                let page = engine.list_authorizations(filter, after, limit).await?;
                let mut uses = HashMap::new();
                if filter.unused_since.is_some() {
                    let ids: Vec<AuthorizationId> = page.items.iter().map(|it| it.id).collect();
                    uses = engine.last_uses(&ids).await?;
                }
                let items = page.items.into_iter().map(|authorization| {
                    let last_use = uses.get(&authorization.id).copied();
                    AuthorizationRecord::from(authorization).with_last_use(last_use)
                });
                Ok(AuthorizationsPage { items: items.collect(), next: page.next })
            }
            Self::Server(client) => client.list_authorizations(filter, after, limit).await,
        }
    }

    pub(crate) async fn update_authorization(
        &self,
        id: AuthorizationId,
        update: AuthorizationUpdate,
        expected: Option<Revision>,
    ) -> Result<AuthorizationRecord, Error> {
        match (self, expected) {
            (Self::Store(engine), None) => {
                engine.update_authorization(id, update).await.map(Into::into)
            }
            (Self::Store(engine), Some(revision)) => {
                let unchanged = Precondition::revision(revision);
                let host = engine.on_behalf_of_host().if_match(&unchanged);
                let changed = host.update_authorization(id, update).await?;
                Ok(changed.into_value().authorization.into())
            }
            (Self::Server(client), _) => client.update_authorization(id, &update, expected).await,
        }
    }

    pub(crate) async fn set_permissions(
        &self,
        id: AuthorizationId,
        permissions: Vec<Permission>,
        expected: Option<Revision>,
    ) -> Result<AuthorizationRecord, Error> {
        match (self, expected) {
            (Self::Store(engine), None) => {
                engine.set_permissions(id, permissions).await.map(Into::into)
            }
            (Self::Store(engine), Some(revision)) => {
                let unchanged = Precondition::revision(revision);
                let host = engine.on_behalf_of_host().if_match(&unchanged);
                let changed = host.set_permissions(id, permissions).await?;
                Ok(changed.into_value().authorization.into())
            }
            (Self::Server(client), _) => client.set_permissions(id, &permissions, expected).await,
        }
    }

    pub(crate) async fn set_password(
        &self,
        id: AuthorizationId,
        password: &[u8],
        keep: Option<KeepPrevious>,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        match self {
            Self::Store(engine) => {
                let unchanged = expected.map_or_else(Precondition::none, Precondition::revision);
                let host = engine.on_behalf_of_host().if_match(&unchanged);
                match keep {
                    Some(keep) => host.rotate_password(id, password, keep).await,
                    None => host.set_password(id, password).await,
                }
            }
            Self::Server(client) => client.set_password(id, password, keep, expected).await,
        }
    }

    pub(crate) async fn end_previous_password(
        &self,
        id: AuthorizationId,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        match self {
            Self::Store(engine) => {
                let unchanged = expected.map_or_else(Precondition::none, Precondition::revision);
                engine.on_behalf_of_host().if_match(&unchanged).end_previous_password(id).await
            }
            Self::Server(client) => client.end_previous_password(id, expected).await,
        }
    }

    pub(crate) async fn delete_authorization(
        &self,
        id: AuthorizationId,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        match self {
            Self::Store(engine) => {
                let unchanged = expected.map_or_else(Precondition::none, Precondition::revision);
                engine.on_behalf_of_host().if_match(&unchanged).delete_authorization(id).await
            }
            Self::Server(client) => client.delete_authorization(id, expected).await,
        }
    }

    /// Returns the revision of an authorization, if it exists.
    pub(crate) async fn revision_of_authorization(
        &self,
        id: AuthorizationId,
    ) -> Result<Option<Revision>, Error> {
        match self {
            Self::Store(engine) => {
                let found = engine.store().find::<Authorization>(id.untyped()).await?;
                Ok(found.map(|(_, revision)| revision))
            }
            Self::Server(client) => client.revision_of_authorization(id).await,
        }
    }
}

/// Returns the authorization as a record, with its last use.
async fn with_last_use(
    engine: &Engine,
    authorization: Option<Authorization>,
) -> Result<Option<AuthorizationRecord>, Error> {
    let Some(authorization) = authorization else { return Ok(None) };
    let last_use = engine.last_use(authorization.id).await?;
    Ok(Some(AuthorizationRecord::from(authorization).with_last_use(last_use)))
}

/// API tokens.
impl Session {
    /// Creates an API token, and returns it with its secret.
    pub(crate) async fn create_api_token(
        &self,
        new: NewApiToken,
    ) -> Result<(ApiTokenRecord, TokenSecret), Error> {
        match self {
            Self::Store(engine) => {
                let (token, secret) = engine.create_api_token(new).await?;
                Ok((token.into(), secret))
            }
            Self::Server(client) => client.create_api_token(&new).await,
        }
    }

    pub(crate) async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiTokenRecord>, Error> {
        match self {
            Self::Store(engine) => Ok(engine.api_token(id).await?.map(Into::into)),
            Self::Server(client) => client.api_token(id).await,
        }
    }

    pub(crate) async fn list_api_tokens(
        &self,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<ApiTokenRecord>, Error> {
        match self {
            Self::Store(engine) => {
                let tokens = engine.list_api_tokens(after, limit).await?;
                Ok(tokens.into_iter().map(Into::into).collect())
            }
            Self::Server(client) => client.list_api_tokens(after, limit).await,
        }
    }

    pub(crate) async fn update_api_token(
        &self,
        id: ApiTokenId,
        update: AuthorizationUpdate,
    ) -> Result<ApiTokenRecord, Error> {
        match self {
            Self::Store(engine) => engine.update_api_token(id, update).await.map(Into::into),
            Self::Server(client) => client.update_api_token(id, &update).await,
        }
    }

    pub(crate) async fn revoke_api_token(&self, id: ApiTokenId) -> Result<(), Error> {
        either!(self, data => data.revoke_api_token(id))
    }
}
