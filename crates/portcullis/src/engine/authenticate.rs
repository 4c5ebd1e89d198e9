//! Who is this?

use std::net::IpAddr;

use super::Engine;
use crate::password::{Password, PasswordHash};
use crate::store::StoreExt;
use crate::{
    ApiToken, Authorization, Credentials, Error, ErrorKind, OrgId, Principal, Refusal, Status,
    TokenSecret, UserId,
};

impl Engine {
    /// Lets a v1 client in, or refuses (`docs/behaviour.md`, "Logging in").
    ///
    /// A username that does not exist, is inactive or has no password costs exactly one hash like
    /// any other, so that time tells nothing about it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] with the message `Unauthorized` for every refusal, whose reason
    /// is [`Error::refusal`]; [`ErrorKind::TooManyRequests`] when too many log in at once;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`] when nothing is known.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Principal, Error> {
        self.authenticate_from(credentials, None).await
    }

    /// Does what [`Engine::authenticate`] does for a client at an address.
    ///
    /// # Errors
    ///
    /// As [`Engine::authenticate`].
    pub async fn authenticate_from(
        &self,
        credentials: Credentials<'_>,
        _source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        match credentials {
            Credentials::Token(token) => match self.api_token_by_secret(token).await? {
                Some(token) => self.admit_api_token(&token).await,
                None => Err(Error::refused(Refusal::UnknownToken)),
            },
            Credentials::Password { username, password } => {
                match self.authorization_by_username(username).await? {
                    Some(authorization) => self.log_in(&authorization, password).await,
                    None => self.token_as_password(password).await,
                }
            }
        }
    }

    /// Lets the caller of the management API in, who presents an API token.
    ///
    /// A caller whose token is inactive is let in and may do nothing: every check says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] `unauthorized access` when no token has the secret;
    /// [`ErrorKind::Forbidden`] when its user or org is gone or inactive;
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`] when nothing is known.
    pub async fn authenticate_caller(&self, secret: &str) -> Result<Principal, Error> {
        self.authenticate_caller_from(secret, None).await
    }

    /// Does what [`Engine::authenticate_caller`] does for a caller at an address.
    ///
    /// # Errors
    ///
    /// As [`Engine::authenticate_caller`].
    pub async fn authenticate_caller_from(
        &self,
        secret: &str,
        _source: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        let Some(token) = self.api_token_by_secret(secret).await? else {
            return Err(Error::new(ErrorKind::Unauthorized, "unauthorized access")
                .with_source(Refusal::UnknownToken));
        };
        match self.standing(token.user, token.org).await? {
            None => Ok(Principal::of_api_token(&token)),
            Some(refusal) => {
                let message = match refusal {
                    Refusal::Org => "Organization is inactive",
                    _ => "User is inactive",
                };
                Err(Error::new(ErrorKind::Forbidden, message).with_source(refusal))
            }
        }
    }

    async fn api_token_by_secret(&self, secret: &str) -> Result<Option<ApiToken>, Error> {
        if secret.is_empty() {
            return Ok(None);
        }
        let digest = TokenSecret::new(secret).digest().to_text();
        Ok(self.0.store.find_by_key(&digest).await?.map(|(token, _)| token))
    }

    async fn admit_api_token(&self, token: &ApiToken) -> Result<Principal, Error> {
        if !token.status.is_active() {
            return Err(Error::refused(Refusal::Inactive));
        }
        match self.standing(token.user, token.org).await? {
            None => Ok(Principal::of_api_token(token)),
            Some(refusal) => Err(Error::refused(refusal)),
        }
    }

    /// No authorization has the username: is the password an API token?
    async fn token_as_password(&self, password: &[u8]) -> Result<Principal, Error> {
        if let Ok(secret) = std::str::from_utf8(password)
            && let Some(token) = self.api_token_by_secret(secret).await?
        {
            return self.admit_api_token(&token).await;
        }
        self.hash_in_vain(password).await?;
        Err(Error::refused(Refusal::UnknownUsername))
    }

    /// The authorization exists: the password is its, or nothing.
    async fn log_in(
        &self,
        authorization: &Authorization,
        password: &[u8],
    ) -> Result<Principal, Error> {
        let refuse = |refusal| Err(Error::refused(refusal));
        let hash = match (authorization.status, &authorization.password_hash) {
            (Status::Active, Some(hash)) => hash,
            (status, _) => {
                self.hash_in_vain(password).await?;
                let inactive = !status.is_active();
                return refuse(if inactive { Refusal::Inactive } else { Refusal::NoPassword });
            }
        };
        let Some(password) = self.verify(hash, password).await? else {
            return refuse(Refusal::WrongPassword);
        };
        if !self.0.policy.allows_login(&password) {
            return refuse(Refusal::PasswordChangeRequired);
        }
        match self.standing(authorization.user, authorization.org).await? {
            None => Ok(Principal::of_authorization(authorization)),
            Some(refusal) => refuse(refusal),
        }
    }

    /// Returns the password if the hash is its.
    async fn verify(
        &self,
        hash: &PasswordHash,
        password: &[u8],
    ) -> Result<Option<Password>, Error> {
        let Ok(password) = Password::new(password) else {
            self.hash_in_vain(password).await?;
            return Ok(None);
        };
        let matches = self.0.hashes.verify(&password, hash).await?;
        Ok(matches.then_some(password))
    }

    /// Takes as long as a comparison would.
    async fn hash_in_vain(&self, password: &[u8]) -> Result<(), Error> {
        // A password too long to be looked at costs the same as any other.
        let looked_at = password.get(..Password::MAX_BYTES).unwrap_or(password);
        let password = Password::new(looked_at).map_err(Error::internal)?;
        self.0.hashes.dummy(&password).await
    }

    /// Tells what stands against a credential of the user in the org.
    async fn standing(&self, user: UserId, org: OrgId) -> Result<Option<Refusal>, Error> {
        let user = self.0.directory.user(user).await?;
        if !user.is_some_and(|user| user.status.is_active()) {
            return Ok(Some(Refusal::User));
        }
        let org = self.0.directory.org(org).await?;
        if !org.is_some_and(|org| org.status.is_active()) {
            return Ok(Some(Refusal::Org));
        }
        Ok(None)
    }
}
