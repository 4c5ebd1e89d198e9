//! Managing API tokens, the credentials of callers of the management API. These operations are
//! trusted.

use std::num::NonZeroUsize;

use super::access::refuse_instance;
#[cfg(doc)]
use crate::ErrorKind;
use crate::directory::next_entities;
use crate::engine::Engine;
use crate::engine::records::WriteError;
use crate::store::{Index, Kind, Operation, StoreError};
use crate::{
    ApiToken, ApiTokenId, AuditAction, AuditRecord, Error, OrgId, Permission, Status, TokenSecret,
    UserId,
};

/// An API token to create.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// The org it belongs to.
    pub org: OrgId,
    /// The user it belongs to.
    pub user: UserId,
    /// The permissions it holds; see [`presets`](crate::presets).
    pub permissions: Vec<Permission>,
    /// Free text.
    pub description: String,
}

fn not_found() -> Error {
    Error::not_found("API token not found")
}

impl Engine {
    /// Creates an API token. The secret is returned only here and never stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for an invalid permission, [`ErrorKind::Forbidden`] for one on the instance,
    /// [`ErrorKind::NotFound`] for a user or org that does not exist;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_api_token(
        &self,
        new: NewApiToken,
    ) -> Result<(ApiToken, TokenSecret), Error> {
        let record = AuditRecord { kind: Some(Kind::ApiToken), ..AuditRecord::default() };
        let work = async {
            let NewApiToken { org, user, permissions, description } = new;
            permissions.iter().try_for_each(Permission::validate)?;
            refuse_instance(&permissions)?;
            if self.directory().user(user).await?.is_none() {
                return Err(Error::not_found("user not found"));
            }
            if self.directory().org(org).await?.is_none() {
                return Err(Error::not_found("organization not found"));
            }
            let secret = TokenSecret::generate(self.0.random.as_ref())?;
            let token = |id: crate::Id| ApiToken {
                id: id.into(),
                digest: secret.digest(),
                status: Status::Active,
                description: description.clone(),
                org,
                user,
                permissions: permissions.clone(),
            };
            let mut requirements = Vec::new();
            if self.0.owns_directory {
                requirements.push(Operation::Require { kind: Kind::User, id: user.untyped() });
                requirements.push(Operation::Require { kind: Kind::Org, id: org.untyped() });
            }
            let token = self.insert(token, &requirements).await.map_err(|error| match error {
                WriteError::Store(StoreError::Missing { kind, .. }) => {
                    Error::not_found(format!("{kind} not found"))
                }
                error => error.into(),
            })?;
            Ok((token, secret))
        };
        self.trusted().audited(AuditAction::Create, record, work).await
    }

    /// Lists API tokens with a higher id than `after`, at most `limit`; fewer only at the end.
    ///
    /// An unreadable record is logged and left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn list_api_tokens(
        &self,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
    ) -> Result<Vec<ApiToken>, Error> {
        let index = Index::All(Kind::ApiToken);
        next_entities(self.store(), index, after.map(ApiTokenId::untyped), limit).await
    }

    /// Switches the API token on or off.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn set_api_token_status(
        &self,
        id: ApiTokenId,
        status: Status,
    ) -> Result<ApiToken, Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        let work = async {
            let change = |token: &mut ApiToken| token.status = status;
            self.modify(id.untyped(), change).await?.ok_or_else(not_found)
        };
        self.trusted().audited(AuditAction::Update, record, work).await
    }

    /// Deletes the API token. It no longer works once this has returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn revoke_api_token(&self, id: ApiTokenId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        let work = async {
            match self.remove::<ApiToken>(id.untyped(), |_| Ok(()), &[]).await? {
                true => Ok(()),
                false => Err(not_found()),
            }
        };
        self.trusted().audited(AuditAction::Delete, record, work).await
    }
}
