//! API tokens for callers: `/api/v2/authorizations`.

use std::num::NonZeroUsize;

use futures_util::future::try_join;

use super::OnBehalfOf;
#[cfg(doc)]
use crate::ErrorKind;
#[cfg(doc)]
use crate::engine::Engine;
use crate::engine::manage::{ApiTokenPage, ApiTokenView, NameResolver, ResourceNames, Versioned};
use crate::store::{Kind, Page};
use crate::{
    Action, ApiTokenDraft, ApiTokenFilter, ApiTokenId, AuditAction, AuditRecord,
    AuthorizationUpdateDraft, Error, TokenSecret,
};

impl OnBehalfOf<'_> {
    /// Creates an API token, for the caller's own user unless another one is named. The secret is returned
    /// only here and never stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for an invalid part, in the order of
    /// [`AuthorizationDraft::validate`](crate::AuthorizationDraft::validate), for a permission of another
    /// org, and for a user or org that does not exist; [`ErrorKind::Unauthorized`] when the caller may not
    /// create credentials in the org or for the user; [`ErrorKind::Forbidden`] when it does not hold what it
    /// grants; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn create_api_token(
        &self,
        new: ApiTokenDraft,
    ) -> Result<(Versioned<ApiTokenView>, TokenSecret), Error> {
        let record = AuditRecord { kind: Some(Kind::ApiToken), ..AuditRecord::default() };
        let work = async { self.0.create_checked_token(new.validate()?).await };
        self.0.audited(AuditAction::Create, record, work).await
    }

    /// Returns the API token with the id, without its secret.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org does not exist; [`ErrorKind::Unauthorized`];
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn api_token(&self, id: ApiTokenId) -> Result<Versioned<ApiTokenView>, Error> {
        let (token, revision) = self.0.read_token(id).await?;
        let readable = self.0.require_on_token(Action::Read, &token);
        if readable.is_err() {
            let record = AuditRecord::new(Kind::ApiToken, id.untyped());
            self.0.report_result(AuditAction::Read, record, &readable);
        }
        readable?;
        let mut names = self.0.engine.name_resolver();
        let last_use = self.0.engine.api_token_last_use(id);
        let tokens = std::slice::from_ref(&token);
        let (last_use, ()) = try_join(last_use, names.prefetch_tokens(tokens)).await?;
        let view = ApiTokenView { last_use, ..names.view_token(token).await?? };
        Ok(Versioned::new(view, revision))
    }

    /// Lists the API tokens that match the filter and that the caller may read: exactly `limit` of them, or
    /// fewer at the end. Those whose user or org does not exist are left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when the caller's token is inactive; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn list_api_tokens(
        &self,
        filter: &ApiTokenFilter,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
    ) -> Result<ApiTokenPage, Error> {
        let mut names = self.0.engine.name_resolver();
        self.0.list_tokens(filter, after, limit, usize::MAX, self.1, &mut names).await
    }

    /// Lists as [`OnBehalfOf::list_api_tokens`] does, but ends a page early when its items take much
    /// memory: for a response that streams all pages. The resolver caches names from page to page.
    ///
    /// # Errors
    ///
    /// As [`OnBehalfOf::list_api_tokens`].
    pub async fn list_api_token_pages(
        &self,
        filter: &ApiTokenFilter,
        after: Option<ApiTokenId>,
        limit: NonZeroUsize,
        names: &mut NameResolver,
    ) -> Result<ApiTokenPage, Error> {
        self.0.list_tokens(filter, after, limit, Page::BYTES, self.1, names).await
    }

    /// Changes status or description. Needs read and write, as for an authorization.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], also when its user or org does not exist; [`ErrorKind::Unauthorized`];
    /// only then [`ErrorKind::Invalid`] for an unknown status or a description that is too long;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn update_api_token(
        &self,
        id: ApiTokenId,
        update: AuthorizationUpdateDraft,
    ) -> Result<Versioned<ApiTokenView>, Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        let work = async {
            let current = self.0.read_token(id).await?;
            self.0.require_on_token(Action::Read, &current.0)?;
            self.0.require_on_token(Action::Write, &current.0)?;
            let mut names = self.0.engine.name_resolver();
            let owner = names.owner_names(current.0.org, current.0.user).await??;
            // No operation replaces the permissions of a token, so these are still the same afterwards. An
            // import may replace them: names that cannot be resolved then are left out.
            let permissions = current.0.permissions.clone();
            let resources = names.resource_names(&permissions).await?;
            let (token, revision) = self.0.update_token(current, &update.validate()?).await?;
            let resources = match token.permissions == permissions {
                true => resources,
                false => vec![ResourceNames::default(); token.permissions.len()],
            };
            Ok(Versioned::new(owner.view_token(token, resources), revision))
        };
        self.0.audited(AuditAction::Update, record, work).await
    }

    /// Deletes the API token: it is refused from then on. Needs write; read is not needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unauthorized`]; [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::Internal`].
    pub async fn delete_api_token(&self, id: ApiTokenId) -> Result<(), Error> {
        let record = AuditRecord::new(Kind::ApiToken, id.untyped());
        self.0.audited(AuditAction::Delete, record, self.0.delete_token(id)).await
    }
}
