//! The first org, user, buckets and operator token of a new store.

use std::num::NonZeroUsize;

use crate::engine::Engine;
use crate::store::{
    Batch, Duplicate, Entity, Expect, Index, Kind, Operation, PageRequest, StoreError, StoreExt,
    put,
};
use crate::{
    ApiToken, AuditAction, AuditRecord, Authorization, Bucket, Error, ErrorKind, Name, Org, Status,
    TokenSecret, User, presets,
};

/// The first records of a store.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name of the org.
    pub org: Name,
    /// Name of the user.
    pub user: Name,
    /// Names of the org's buckets.
    pub buckets: Vec<Name>,
}

/// The result of a [`Engine::setup`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SetupDone {
    /// The org.
    pub org: Org,
    /// The user.
    pub user: User,
    /// The buckets, in the order given.
    pub buckets: Vec<Bucket>,
    /// The operator token.
    pub token: ApiToken,
    /// The secret of the token. It is never stored.
    pub secret: TokenSecret,
}

impl Engine {
    /// Sets up a store that is not set up yet, in one commit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when there is an org, a user, an API token or an authorization, or
    /// when two buckets have the same name; [`ErrorKind::Invalid`] when the engine uses the host's
    /// directory; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn setup(&self, setup: Setup) -> Result<SetupDone, Error> {
        let name = setup.org.clone();
        let record = AuditRecord::named(Kind::Org, name.as_str());
        let work = async {
            if !self.0.owns_directory {
                return Err(Error::invalid("the embedding server manages users and organizations"));
            }
            if self.is_set_up().await? {
                return Err(Error::new(ErrorKind::Conflict, "this store has been set up already"));
            }
            let Setup { org, user, buckets } = setup;
            let org = Org { id: self.generate_id()?.into(), name: org, status: Status::Active };
            let user = User { id: self.generate_id()?.into(), name: user, status: Status::Active };
            let buckets = buckets
                .into_iter()
                .map(|name| Ok(Bucket { id: self.generate_id()?.into(), org: org.id, name }))
                .collect::<Result<Vec<_>, Error>>()?;
            let secret = TokenSecret::generate(self.0.random.as_ref())?;
            let token = ApiToken {
                id: self.generate_id()?.into(),
                digest: secret.digest(),
                status: Status::Active,
                description: format!("{}'s operator token", user.name),
                org: org.id,
                user: user.id,
                permissions: presets::operator(),
            };

            let mut batch = Batch::new();
            batch.push(self.put_new(&org)?);
            batch.push(self.put_new(&user)?);
            for bucket in &buckets {
                batch.push(self.put_new(bucket)?);
            }
            batch.push(self.put_new(&token)?);
            self.0.store.commit_resolving(batch).await.map_err(|error| match error {
                StoreError::AlreadyExists { duplicate: Duplicate::UniqueKey, kind, .. } => {
                    Error::new(
                        ErrorKind::Conflict,
                        format!("there is a {kind} of that name already"),
                    )
                }
                error => error.into(),
            })?;
            Ok(SetupDone { org, user, buckets, token, secret })
        };
        self.trusted().audited(AuditAction::Create, record, work).await
    }

    /// Tells whether the store holds anything that setup creates, an org, a user, an API token
    /// or an authorization; an unreadable record counts too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn is_set_up(&self) -> Result<bool, Error> {
        let one = PageRequest { after: None, limit: NonZeroUsize::MIN };
        for kind in [Kind::Org, Kind::User, Kind::ApiToken, Authorization::KIND] {
            let page = self.0.store.list(Index::All(kind), one).await?;
            if !page.records.is_empty() || page.unreadable > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn put_new<E: Entity>(&self, entity: &E) -> Result<Operation, Error> {
        Ok(put(entity, self.revision()?, Expect::Absent)?)
    }
}
