//! The first org, user, buckets and operator token of a new store.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::access::Access;
use crate::engine::Engine;
use crate::store::{
    Batch, DeletedTenant, Duplicate, Entity, Expect, Index, Kind, Operation, PageRequest,
    StoreError, StoreExt, Tombstone, put,
};
use crate::{
    AllowedNetworks, ApiToken, AuditAction, AuditRecord, Authorization, Bucket, Error, ErrorKind,
    Id, Name, Org, Status, Timestamp, TokenSecret, User, presets,
};

/// The id of the mark that a setup writes: a tombstone of an org that never existed. A setup commits
/// only if the mark is as it was before it found the store empty, so that of two setups at the same time
/// one succeeds, on any node.
const MARK: Id = Id::from_u64(1);

/// How long the mark is kept: longer than any setup takes. Later, a start deletes it.
const MARK_TIME: Duration = Duration::from_secs(60 * 60);

/// The shortest and the longest secret that a client may choose for the operator token, in bytes.
const CHOSEN_SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

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

impl Access<'_> {
    async fn setup(&self, setup: Setup, secret: Option<TokenSecret>) -> Result<SetupDone, Error> {
        let name = setup.org.clone();
        let record = AuditRecord::named(Kind::Org, name.as_str());
        self.audited(AuditAction::Create, record, self.engine.set_up(setup, secret)).await
    }
}

impl Engine {
    async fn set_up(&self, setup: Setup, secret: Option<TokenSecret>) -> Result<SetupDone, Error> {
        if !self.0.owns_directory {
            return Err(Error::invalid("the embedding server manages users and organizations"));
        }
        // Read before the store is found empty: a setup that comes in between changes it.
        let mark = self.setup_mark().await?;
        if self.is_set_up().await? {
            return Err(Error::new(ErrorKind::Conflict, "this store has been set up already"));
        }
        let secret = match secret {
            Some(chosen) => checked(chosen)?,
            None => TokenSecret::generate(self.0.random.as_ref())?,
        };
        let Setup { org, user, buckets } = setup;
        let org = Org { id: self.generate_id()?.into(), name: org, status: Status::Active };
        let user = User { id: self.generate_id()?.into(), name: user, status: Status::Active };
        let buckets = buckets
            .into_iter()
            .map(|name| Ok(Bucket { id: self.generate_id()?.into(), org: org.id, name }))
            .collect::<Result<Vec<_>, Error>>()?;
        let token = ApiToken {
            id: self.generate_id()?.into(),
            digest: secret.digest(),
            status: Status::Active,
            description: format!("{}'s operator token", user.name),
            org: org.id,
            user: user.id,
            permissions: presets::operator(),
            expires_at: None,
            allowed_networks: AllowedNetworks::default(),
        };

        let mut batch = Batch::new();
        batch.push(self.put_new(&org)?);
        batch.push(self.put_new(&user)?);
        for bucket in &buckets {
            batch.push(self.put_new(bucket)?);
        }
        batch.push(self.put_new(&token)?);
        batch.push(mark);
        self.0.store.commit_resolving(batch).await.map_err(|error| match error {
            StoreError::AlreadyExists { kind: Kind::Tombstone, .. }
            | StoreError::Conflict { kind: Kind::Tombstone, .. }
            | StoreError::Missing { kind: Kind::Tombstone, .. } => Error::new(
                ErrorKind::Conflict,
                "this store is being set up by another request or command",
            ),
            StoreError::AlreadyExists { duplicate: Duplicate::UniqueKey, kind, .. } => {
                Error::new(ErrorKind::Conflict, format!("there is a {kind} of that name already"))
            }
            error => error.into(),
        })?;
        Ok(SetupDone { org, user, buckets, token, secret })
    }

    /// Makes the operation that writes the mark in place of the present one, if there is one.
    async fn setup_mark(&self) -> Result<Operation, Error> {
        let present = self.0.store.find::<Tombstone>(MARK).await?;
        let expect = match present {
            Some((_, revision)) => Expect::Revision(revision),
            None => Expect::Absent,
        };
        let gone = DeletedTenant::Org(self.generate_id()?.into());
        Ok(put(&Tombstone { id: MARK, gone }, self.revision()?, expect)?)
    }
}

/// Tells whether this is the mark of a setup that another one may not have seen yet.
pub(super) fn is_recent_setup(tombstone: &Tombstone, now: Timestamp) -> bool {
    let DeletedTenant::Org(org) = tombstone.gone else { return false };
    let age = now.as_unix_millis().saturating_sub(org.untyped().drawn_at_millis());
    tombstone.id == MARK && u128::try_from(age).unwrap_or(0) < MARK_TIME.as_millis()
}

/// Checks a secret that a client has chosen. It must fit into a header, and not be guessed.
fn checked(secret: TokenSecret) -> Result<TokenSecret, Error> {
    let text = secret.expose();
    if CHOSEN_SECRET_BYTES.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Ok(secret);
    }
    Err(Error::invalid(
        "a token must have 16 to 512 visible ASCII characters: leave it out, and one is generated",
    ))
}

impl Engine {
    /// Sets up a store that is not set up yet, in one commit. Of several setups at the same time, one
    /// succeeds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when there is an org, a user, an API token or an authorization, when another
    /// setup is made at the same time, or when two buckets have the same name; [`ErrorKind::Invalid`] when
    /// the engine uses the host's directory; [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn setup(&self, setup: Setup) -> Result<SetupDone, Error> {
        self.trusted().setup(setup, None).await
    }

    /// Sets up a store for a client that is not authenticated: there is no credential yet. `source` is its
    /// address, which an [`AuditSink`](crate::AuditSink) receives. The client may choose the secret of the
    /// operator token.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a secret that is not 16 to 512 bytes of visible ASCII; otherwise as
    /// [`Engine::setup`].
    pub async fn setup_by_client(
        &self,
        setup: Setup,
        secret: Option<TokenSecret>,
        source: Option<IpAddr>,
    ) -> Result<SetupDone, Error> {
        self.anonymous(source).setup(setup, secret).await
    }

    /// Tells whether [`Engine::setup`] is possible: the store is not set up, and its users and orgs are
    /// records of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Internal`].
    pub async fn is_setup_allowed(&self) -> Result<bool, Error> {
        Ok(self.0.owns_directory && !self.is_set_up().await?)
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
