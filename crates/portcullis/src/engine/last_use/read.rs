//! Reading last uses beside the credentials that they are of.

use std::collections::HashMap;

use super::flush::last_use_of;
use crate::engine::Engine;
use crate::model::LastUse;
use crate::store::{Index, Kind, Lookup, Lookups, PageRequest, Record, Store, StoreError};
use crate::{ApiTokenId, AuthorizationId, Error, Id};

/// Up to so many last uses are looked up, and not read from a list.
const FEW: usize = 8;

/// How many are looked up at once.
const AT_ONCE: usize = 1_000;

/// The last uses of credentials, by their ids.
pub(in crate::engine) type UsesById = HashMap<Id, LastUse>;

/// Reads the last uses of these credentials, whose ids ascend. `index` is the list that they are of, if
/// it is one by org or user, or of all: the list of last uses by the same index is read beside it.
pub(in crate::engine) async fn read_uses(
    store: &dyn Store,
    kind: Kind,
    index: Option<Index>,
    ids: &[Id],
) -> Result<UsesById, StoreError> {
    let mut uses = HashMap::with_capacity(ids.len());
    let Some((of, first, last)) = kind
        .of_last_use()
        .zip(ids.first())
        .zip(ids.last())
        .map(|((of, first), last)| (of, first.as_u64(), *last))
    else {
        return Ok(uses);
    };
    let index = match index {
        Some(Index::Org(_, org)) => Index::Org(of, org),
        Some(Index::User(_, user)) => Index::User(of, user),
        Some(Index::All(_)) => Index::All(of),
        Some(Index::Grant(..)) | None => return read_each(store, of, ids).await,
    };
    if ids.len() <= FEW {
        return read_each(store, of, ids).await;
    }
    let limit = ids.len().try_into().unwrap_or(std::num::NonZeroUsize::MIN);
    let mut after = first.checked_sub(1).map(Id::from_u64);
    loop {
        let page = store.list(index, PageRequest { after, limit }).await?;
        uses.extend(page.records.iter().filter_map(|it| last_use_of(it).map(|last| (it.id, last))));
        after = page.next;
        if after.is_none_or(|after| after >= last) {
            return Ok(uses);
        }
    }
}

async fn read_each(store: &dyn Store, of: Kind, ids: &[Id]) -> Result<UsesById, StoreError> {
    let mut uses = HashMap::with_capacity(ids.len());
    for some in ids.chunks(AT_ONCE) {
        let records = match store.get_many(Lookups::Ids(of, some)).await {
            Err(StoreError::Corrupt { .. }) => read_one_by_one(store, of, some).await?,
            records => records?,
        };
        let records = records.iter().flatten();
        uses.extend(records.filter_map(|it| last_use_of(it).map(|last| (it.id, last))));
    }
    Ok(uses)
}

/// Reads the records without those that cannot be read: a credential is shown all the same.
async fn read_one_by_one(
    store: &dyn Store,
    of: Kind,
    ids: &[Id],
) -> Result<Vec<Option<Record>>, StoreError> {
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.push(match store.get(Lookup::Id(of, *id)).await {
            Err(StoreError::Corrupt { .. }) => None,
            record => record?,
        });
    }
    Ok(records)
}

impl Engine {
    /// Returns when the authorization was last used; `None` if it was not, as far as is recorded.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal).
    pub async fn last_use(&self, id: AuthorizationId) -> Result<Option<LastUse>, Error> {
        self.last_use_of(Kind::AuthorizationUse, id.untyped()).await
    }

    /// Returns the last uses of these authorizations, without those that have none.
    ///
    /// # Errors
    ///
    /// As [`Engine::last_use`].
    pub async fn last_uses(
        &self,
        ids: &[AuthorizationId],
    ) -> Result<HashMap<AuthorizationId, LastUse>, Error> {
        let ids: Vec<Id> = ids.iter().map(|id| id.untyped()).collect();
        let uses = read_each(self.store(), Kind::AuthorizationUse, &ids).await?;
        Ok(uses.into_iter().map(|(id, last)| (id.into(), last)).collect())
    }

    /// Returns when the API token was last used, as [`Engine::last_use`] does.
    ///
    /// # Errors
    ///
    /// As [`Engine::last_use`].
    pub async fn api_token_last_use(&self, id: ApiTokenId) -> Result<Option<LastUse>, Error> {
        self.last_use_of(Kind::ApiTokenUse, id.untyped()).await
    }

    async fn last_use_of(&self, kind: Kind, id: Id) -> Result<Option<LastUse>, Error> {
        let records = read_one_by_one(self.store(), kind, &[id]).await?;
        Ok(records.iter().flatten().find_map(last_use_of))
    }
}
