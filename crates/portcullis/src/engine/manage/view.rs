//! Credentials with the names of what they refer to, as the API shows them.

use super::names::NameResolver;
use crate::{
    ApiToken, Authorization, Error, LastUse, Name, OrgId, Permission, ResourceType, UserId,
};

/// An authorization with the names of what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthorizationView {
    /// The authorization.
    pub authorization: Authorization,
    /// Name of its org.
    pub org: Name,
    /// Name of its user.
    pub user: Name,
    /// The names in each of its permissions, in their order.
    pub resources: Vec<ResourceNames>,
    /// When it was last used, if that is recorded and was read ([`OnBehalfOf::show_last_use`]).
    ///
    /// [`OnBehalfOf::show_last_use`]: crate::OnBehalfOf::show_last_use
    pub last_use: Option<LastUse>,
}

/// An API token with the names of what it refers to, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiTokenView {
    /// The API token.
    pub token: ApiToken,
    /// Name of its org.
    pub org: Name,
    /// Name of its user.
    pub user: Name,
    /// The names in each of its permissions, in their order.
    pub resources: Vec<ResourceNames>,
    /// When it was last used, as [`AuthorizationView::last_use`].
    pub last_use: Option<LastUse>,
}

/// The names in a permission. What does not exist has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceNames {
    /// Name of the bucket, org or user that the permission names by id.
    pub name: Option<Name>,
    /// Name of the org that the permission names.
    pub org: Option<Name>,
}

/// The names of the org and the user of a credential.
pub(super) struct OwnerNames {
    pub(super) org: Name,
    pub(super) user: Name,
}

impl OwnerNames {
    pub(super) fn view(
        self,
        authorization: Authorization,
        resources: Vec<ResourceNames>,
    ) -> AuthorizationView {
        let Self { org, user } = self;
        AuthorizationView { authorization, org, user, resources, last_use: None }
    }

    pub(super) fn view_token(self, token: ApiToken, resources: Vec<ResourceNames>) -> ApiTokenView {
        let Self { org, user } = self;
        ApiTokenView { token, org, user, resources, last_use: None }
    }
}

/// What a credential refers to and does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dangling {
    Org,
    User,
}

impl From<Dangling> for Error {
    fn from(dangling: Dangling) -> Self {
        Self::not_found(match dangling {
            Dangling::Org => "organization not found",
            Dangling::User => "user not found",
        })
    }
}

impl NameResolver {
    /// Adds the names to an authorization. It is dangling when its org or user does not exist.
    pub(super) async fn view(
        &mut self,
        authorization: Authorization,
    ) -> Result<Result<AuthorizationView, Dangling>, Error> {
        let owner = match self.owner_names(authorization.org, authorization.user).await? {
            Ok(owner) => owner,
            Err(dangling) => return Ok(Err(dangling)),
        };
        let resources = self.resource_names(&authorization.permissions).await?;
        Ok(Ok(owner.view(authorization, resources)))
    }

    /// Adds the names to an API token, as [`NameResolver::view`] does.
    pub(super) async fn view_token(
        &mut self,
        token: ApiToken,
    ) -> Result<Result<ApiTokenView, Dangling>, Error> {
        let owner = match self.owner_names(token.org, token.user).await? {
            Ok(owner) => owner,
            Err(dangling) => return Ok(Err(dangling)),
        };
        let resources = self.resource_names(&token.permissions).await?;
        Ok(Ok(owner.view_token(token, resources)))
    }

    pub(super) async fn owner_names(
        &mut self,
        org: OrgId,
        user: UserId,
    ) -> Result<Result<OwnerNames, Dangling>, Error> {
        let Some(org) = self.org(org).await?.map(|org| org.name.clone()) else {
            return Ok(Err(Dangling::Org));
        };
        let Some(user) = self.user(user).await?.map(|user| user.name.clone()) else {
            return Ok(Err(Dangling::User));
        };
        Ok(Ok(OwnerNames { org, user }))
    }

    pub(super) async fn resource_names(
        &mut self,
        permissions: &[Permission],
    ) -> Result<Vec<ResourceNames>, Error> {
        let mut names = Vec::with_capacity(permissions.len());
        let mut last: Option<(OrgId, Option<Name>)> = None;
        for Permission { resource, .. } in permissions {
            let name = match (resource.resource_type, resource.id) {
                (ResourceType::Buckets, Some(id)) => {
                    self.bucket(id.into()).await?.map(|bucket| bucket.name.clone())
                }
                (ResourceType::Orgs, Some(id)) => {
                    self.org(id.into()).await?.map(|org| org.name.clone())
                }
                (ResourceType::Users, Some(id)) => {
                    self.user(id.into()).await?.map(|user| user.name.clone())
                }
                _ => None,
            };
            let org = match (resource.org, &last) {
                (None, _) => None,
                // It is nearly always the org of the previous permission.
                (Some(org), Some((of, name))) if *of == org => name.clone(),
                (Some(org), _) => {
                    let name = self.org(org).await?.map(|org| org.name.clone());
                    last = Some((org, name.clone()));
                    name
                }
            };
            names.push(ResourceNames { name, org });
        }
        Ok(names)
    }
}
