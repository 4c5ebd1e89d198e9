//! Managing API tokens, the credentials of callers of the management API: the rules of each operation, for
//! callers and for the embedding program alike.

use std::num::NonZeroUsize;

use super::access::{Access, authorizations_of, refuse_instance};
use super::authorizations::{
    check_description, check_end, check_ends, check_permissions,
    not_found as authorization_not_found, refuse_other_orgs, unable_to_create,
};
use super::{ApiTokenView, NameResolver, Versioned};
#[cfg(doc)]
use crate::ErrorKind;
use crate::directory::{log_corrupt, next_entities};
use crate::engine::Engine;
use crate::engine::last_use::{UsesById, read_uses};
use crate::engine::records::WriteError;
use crate::model::CheckedApiToken;
use crate::store::{
    Entity, Index, Kind, Lookup, Operation, Page, PageRequest, Revision, StoreError, StoreExt,
    modify_versioned,
};
use crate::{
    Action, AllowedNetworks, ApiToken, ApiTokenFilter, ApiTokenId, AuditAction, AuditRecord,
    AuthorizationUpdate, Error, Id, OrgId, Permission, Resource, Status, Timestamp, TokenSecret,
    UserId,
};

/// An API token to create.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewApiToken {
    /// The org it belongs to.
    pub org: OrgId,
    /// The user it belongs to.
    pub user: UserId,
    /// The permissions it holds.
    pub permissions: Vec<Permission>,
    /// Free text.
    pub description: String,
    /// From when on it is refused, which must be in the future at creation; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used.
    pub allowed_networks: AllowedNetworks,
}

impl NewApiToken {
    /// Makes an API token of the user in the org, with the permissions ([`presets`](crate::presets) has
    /// usual ones), and without a description.
    pub fn new(
        org: OrgId,
        user: UserId,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        let permissions = permissions.into_iter().collect();
        Self {
            org,
            user,
            permissions,
            description: String::new(),
            expires_at: None,
            allowed_networks: AllowedNetworks::default(),
        }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Sets from when on it is refused, which must be in the future at creation. Default: never.
    #[must_use]
    pub fn with_expires_at(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// Sets from where it may be used. Default: from everywhere.
    #[must_use]
    pub fn with_allowed_networks(self, allowed_networks: AllowedNetworks) -> Self {
        Self { allowed_networks, ..self }
    }
}

/// A page of a list of API tokens, ascending by id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiTokenPage {
    /// The API tokens.
    pub items: Vec<ApiTokenView>,
    /// The id after which the next page begins; `None` on the last page.
    pub next: Option<ApiTokenId>,
}

/// The most records that are read at once.
const MAX_CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

/// An API token as it was read, and the revision that a change replaces.
type CurrentToken = (ApiToken, Revision);

fn not_found() -> Error {
    Error::not_found("API token not found")
}

impl Access<'_> {
    /// Stores an API token of the user with a new secret. Its user and org must still exist at the commit.
    async fn insert_token(
        &self,
        new: CheckedApiToken,
        user: UserId,
    ) -> Result<(CurrentToken, TokenSecret), WriteError> {
        let engine = self.engine;
        let CheckedApiToken { org, permissions, status, description, .. } = new;
        let (expires_at, allowed_networks) = (new.expires_at, new.allowed_networks);
        let secret = TokenSecret::generate(engine.0.random.as_ref()).map_err(Error::from)?;
        let token = |id: Id| ApiToken {
            id: id.into(),
            digest: secret.digest(),
            status,
            description: description.clone(),
            org,
            user,
            permissions: permissions.clone(),
            expires_at,
            allowed_networks: allowed_networks.clone(),
        };
        let mut requirements = Vec::new();
        if engine.0.owns_directory {
            requirements.push(Operation::Require { kind: Kind::User, id: user.untyped() });
            requirements.push(Operation::Require { kind: Kind::Org, id: org.untyped() });
        }
        let token = engine.insert(token, &requirements).await?;
        Ok((token, secret))
    }

    /// Creates an API token for a caller, with the rules of an authorization: it grants no more than it
    /// holds.
    pub(super) async fn create_checked_token(
        &self,
        new: CheckedApiToken,
    ) -> Result<(Versioned<ApiTokenView>, TokenSecret), Error> {
        let user = self.owner(new.user)?;
        check_permissions(&new.permissions)?;
        let mut names = self.engine.name_resolver();
        self.require(Permission::write(authorizations_of(new.org)))?;
        self.require(Permission::write(Resource::user(user)))?;
        self.require_grants(&new.permissions, &mut names).await?;
        check_description(&new.description)?;
        check_end("expiresAt", new.expires_at, self.engine.now())?;
        refuse_other_orgs(&new.permissions, new.org)?;
        // Names are resolved before the write: nothing may fail after it.
        let owner = names.owner_names(new.org, user).await?.map_err(|_| unable_to_create())?;
        let resources = names.resource_names(&new.permissions).await?;
        let ((token, revision), secret) =
            self.insert_token(new, user).await.map_err(|error| match error {
                WriteError::Store(StoreError::Missing { .. }) => unable_to_create(),
                error => error.into(),
            })?;
        Ok((Versioned::new(owner.view_token(token, resources), revision), secret))
    }

    /// Reads an API token for a caller.
    pub(super) async fn read_token(&self, id: ApiTokenId) -> Result<CurrentToken, Error> {
        let found = self.engine.0.store.find(id.untyped()).await?;
        found.ok_or_else(authorization_not_found)
    }

    /// Changes status, description, end and networks, beginning with what was read. A caller needs read and write.
    pub(super) async fn update_token(
        &self,
        current: CurrentToken,
        update: &AuthorizationUpdate,
    ) -> Result<CurrentToken, Error> {
        check_description(update.description.as_deref().unwrap_or_default())?;
        check_ends(update, self.engine.now())?;
        let change = |token: &mut ApiToken, revision| {
            self.require_on_token(Action::Read, token)?;
            self.require_on_token(Action::Write, token)?;
            token.status = update.status.unwrap_or(token.status);
            token.expires_at = update.expires_at.unwrap_or(token.expires_at);
            if let Some(networks) = &update.allowed_networks {
                token.allowed_networks.clone_from(networks);
            }
            if let Some(description) = &update.description {
                token.description.clone_from(description);
            }
            self.check_revision(revision)
        };
        let new_revision = || self.engine.revision();
        let store = &*self.engine.0.store;
        let changed = modify_versioned(store, current, change, &[], new_revision).await?;
        changed.ok_or_else(authorization_not_found)
    }

    /// Deletes an API token. A caller needs write, not read.
    pub(super) async fn delete_token(&self, id: ApiTokenId) -> Result<(), Error> {
        let require = |token: &ApiToken, revision| {
            self.require_on_token(Action::Write, token)?;
            self.check_revision(revision)
        };
        match self.engine.remove(id.untyped(), require, &[]).await? {
            true => Ok(()),
            false => Err(authorization_not_found()),
        }
    }

    /// Lists the API tokens that match and that a caller may read. A page ends early when its items take
    /// `max_bytes`. Those whose user or org does not exist are left out.
    pub(super) async fn list_tokens(
        &self,
        filter: &ApiTokenFilter,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
        max_bytes: usize,
        reads_uses: bool,
        names: &mut NameResolver,
    ) -> Result<ApiTokenPage, Error> {
        self.require_active()?;
        let mut page = ApiTokenPage { items: Vec::new(), next: None };
        let mut after = after.map(ApiTokenId::untyped);
        let mut bytes = 0;
        loop {
            let read = self.read_tokens(filter, after, limit).await?;
            let decoded = read
                .records
                .iter()
                .filter_map(|record| ApiToken::from_record(record).map_err(log_corrupt).ok());
            let mut found: Vec<ApiToken> = decoded
                .filter(|token| {
                    filter.matches(token) && self.require_on_token(Action::Read, token).is_ok()
                })
                .collect();
            let uses = if reads_uses || filter.unused_since.is_some() {
                let ids: Vec<Id> = found.iter().map(|token| token.id.untyped()).collect();
                let index = filter.list_index();
                read_uses(self.engine.store(), Kind::ApiToken, index, &ids).await?
            } else {
                UsesById::new()
            };
            found.retain(|it| filter.matches_use(it, uses.get(&it.id.untyped())));
            let room = limit.get() - page.items.len();
            names.prefetch_tokens(found.get(..room).unwrap_or(&found)).await?;
            for token in found {
                if page.items.len() == limit.get() {
                    page.next = page.items.last().map(|view| view.token.id);
                    return Ok(page);
                }
                bytes += weight(&token);
                let last_use = uses.get(&token.id.untyped()).copied();
                let Ok(view) = names.view_token(token).await? else { continue };
                let view = ApiTokenView { last_use, ..view };
                let id = view.token.id;
                page.items.push(view);
                if bytes >= max_bytes {
                    page.next = Some(id);
                    return Ok(page);
                }
            }
            match read.next {
                Some(next) => after = Some(next),
                None => return Ok(page),
            }
            // Lets other tasks run, even if every read is ready at once.
            tokio::task::yield_now().await;
        }
    }

    /// Reads records that may match.
    async fn read_tokens(
        &self,
        filter: &ApiTokenFilter,
        after: Option<Id>,
        limit: NonZeroUsize,
    ) -> Result<Page, Error> {
        let store = self.engine.store();
        let lookup = match filter {
            ApiTokenFilter { id: Some(id), .. } => {
                store.get(Lookup::Id(Kind::ApiToken, id.untyped())).await?
            }
            ApiTokenFilter { digest: Some(digest), .. } => {
                let key = digest.to_text();
                store.get(Lookup::UniqueKey(Kind::ApiToken, &key)).await?
            }
            _ => {
                // One more tells whether there is a next page.
                let limit = limit.saturating_add(1).min(MAX_CHUNK);
                return Ok(store.list(filter.index(), PageRequest { after, limit }).await?);
            }
        };
        let records = lookup.into_iter().filter(|it| after.is_none_or(|after| it.id > after));
        Ok(Page { records: records.collect(), ..Page::default() })
    }
}

/// About how many bytes an API token takes in memory.
fn weight(token: &ApiToken) -> usize {
    token.description.len() + token.permissions.len() * 2 * size_of::<Permission>()
}

impl Engine {
    /// Creates an API token. The secret is returned only here and never stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for an invalid permission and an end that is not in the future,
    /// [`ErrorKind::Forbidden`] for a permission on the instance,
    /// [`ErrorKind::NotFound`] for a user or org that does not exist;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_api_token(
        &self,
        new: NewApiToken,
    ) -> Result<(ApiToken, TokenSecret), Error> {
        let record = AuditRecord { kind: Some(Kind::ApiToken), ..AuditRecord::default() };
        let access = self.trusted();
        let work = async {
            let NewApiToken { org, user, .. } = new;
            new.permissions.iter().try_for_each(Permission::validate)?;
            refuse_instance(&new.permissions)?;
            check_end("expiresAt", new.expires_at, self.now())?;
            if self.directory().user(user).await?.is_none() {
                return Err(Error::not_found("user not found"));
            }
            if self.directory().org(org).await?.is_none() {
                return Err(Error::not_found("organization not found"));
            }
            let new = CheckedApiToken {
                org,
                user: Some(user),
                permissions: new.permissions,
                status: Status::Active,
                description: new.description,
                expires_at: new.expires_at,
                allowed_networks: new.allowed_networks,
            };
            let inserted = access.insert_token(new, user).await;
            let ((token, _), secret) = inserted.map_err(|error| match error {
                WriteError::Store(StoreError::Missing { kind, .. }) => {
                    Error::not_found(format!("{kind} not found"))
                }
                error => Error::from(error),
            })?;
            Ok((token, secret))
        };
        access.audited(AuditAction::Create, record, work).await
    }

    /// Returns the API token with the id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Internal`], also when it cannot be read.
    pub async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiToken>, Error> {
        Ok(self.0.store.find(id.untyped()).await?.map(|(token, _)| token))
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

    /// Changes status, description, end or networks of the API token. It has no password.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Invalid`] for a description that is too long and an end that is
    /// not in the future; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn update_api_token(
        &self,
        id: ApiTokenId,
        update: AuthorizationUpdate,
    ) -> Result<ApiToken, Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        let access = self.trusted();
        let work = async {
            let current = self.0.store.find(id.untyped()).await?.ok_or_else(not_found)?;
            Ok(access.update_token(current, &update).await?.0)
        };
        access.audited(AuditAction::Update, record, work).await
    }

    /// Deletes the API token. It no longer works once this has returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn revoke_api_token(&self, id: ApiTokenId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        let work = async {
            match self.remove::<ApiToken>(id.untyped(), |_, _| Ok(()), &[]).await? {
                true => Ok(()),
                false => Err(not_found()),
            }
        };
        self.trusted().audited(AuditAction::Delete, record, work).await
    }
}
