//! Listing the authorizations that match a filter, page by page.

use std::num::NonZeroUsize;

use crate::directory::log_corrupt;
use crate::engine::Engine;
use crate::engine::last_use::{UsesById, read_uses};
use crate::filter::Plan;
use crate::store::{Entity, Index, Kind, Lookup, Page, PageRequest, Record, Store, StoreError};
use crate::{Authorization, AuthorizationFilter, AuthorizationId, Error, GrantKey, Id, LastUse};

/// A page of a list, ascending by id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthorizationPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// The id after which the next page begins; `None` on the last page.
    pub next: Option<AuthorizationId>,
}

impl<T> AuthorizationPage<T> {
    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

/// The most records that are read at once.
const MAX_CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

impl Engine {
    /// Lists authorizations with higher ids than `after`: exactly `limit` of them, or fewer at the
    /// end.
    ///
    /// An unreadable record is logged and left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal).
    pub async fn list_authorizations(
        &self,
        filter: &AuthorizationFilter,
        after: Option<AuthorizationId>,
        limit: NonZeroUsize,
    ) -> Result<AuthorizationPage<Authorization>, Error> {
        let mut page = AuthorizationPage::empty();
        let mut scan = Scan::new(self.store(), filter, after, limit);
        while let Some(found) = scan.next().await? {
            if page.items.is_empty() && found.len() <= limit.get() {
                // Taken whole, because moving a thousand items one by one is slow.
                page.items = found;
                continue;
            }
            for authorization in found {
                if !page.push(authorization, |authorization| authorization.id, limit) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }
}

impl<T> AuthorizationPage<T> {
    /// Adds the item if there is room. Otherwise notes that there is a next page and returns `false`.
    pub(super) fn push(
        &mut self,
        item: T,
        id: impl Fn(&T) -> AuthorizationId,
        limit: NonZeroUsize,
    ) -> bool {
        if self.items.len() < limit.get() {
            self.items.push(item);
            return true;
        }
        self.next = self.items.last().map(id);
        false
    }
}

/// Reads the authorizations that match a filter, in the order of their ids.
pub(super) struct Scan<'a> {
    store: &'a dyn Store,
    filter: &'a AuthorizationFilter,
    plan: Plan<'a>,
    /// Whether last uses are read.
    reads_uses: bool,
    /// The last uses of the authorizations that were found last, if they are read.
    uses: UsesById,
    after: Option<Id>,
    /// How many more the caller is likely to take.
    missing: usize,
    /// How many records to read at once.
    chunk: NonZeroUsize,
    began: bool,
    done: bool,
}

impl<'a> Scan<'a> {
    /// Begins after the id. `wanted` is how many the caller is likely to take.
    pub(super) fn new(
        store: &'a dyn Store,
        filter: &'a AuthorizationFilter,
        after: Option<AuthorizationId>,
        wanted: NonZeroUsize,
    ) -> Self {
        // One more tells whether there is a next page.
        let wanted = wanted.saturating_add(1);
        let (missing, chunk) = (wanted.get(), wanted.min(MAX_CHUNK));
        let after = after.map(AuthorizationId::untyped);
        Self {
            store,
            filter,
            plan: filter.plan(),
            reads_uses: filter.unused_since.is_some(),
            uses: UsesById::new(),
            after,
            missing,
            chunk,
            began: false,
            done: false,
        }
    }

    /// Reads the last uses of what is found, whatever the filter.
    pub(super) fn with_uses(self, reads_uses: bool) -> Self {
        Self { reads_uses: self.reads_uses || reads_uses, ..self }
    }

    /// Returns the last use of an authorization of those that [`Scan::next`] has returned last, if last
    /// uses are read.
    pub(super) fn last_use(&self, authorization: &Authorization) -> Option<LastUse> {
        self.uses.get(&authorization.id.untyped()).copied()
    }

    /// Returns the next matches, possibly an empty list; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Authorization>>, Error> {
        if self.done {
            return Ok(None);
        }
        if self.began {
            // Lets other tasks run, even if every read is ready at once.
            tokio::task::yield_now().await;
        }
        self.began = true;
        let Page { records, next, .. } = self.read().await?;
        self.done = next.is_none();
        self.after = next;
        let mut found = Vec::with_capacity(records.len());
        let candidates = records.iter().filter(|record| !self.filter.excludes(record));
        found.extend(
            candidates
                .filter_map(|record| Authorization::from_record(record).map_err(log_corrupt).ok())
                .filter(|authorization| self.filter.matches(authorization)),
        );
        if self.reads_uses {
            let ids: Vec<Id> = found.iter().map(|it| it.id.untyped()).collect();
            self.uses = read_uses(self.store, Kind::Authorization, self.index(), &ids).await?;
            found.retain(|it| self.filter.matches_use(it, self.last_use(it).as_ref()));
        }
        self.missing = self.missing.saturating_sub(found.len());
        self.chunk = match NonZeroUsize::new(self.missing) {
            Some(missing) if found.len() > records.len() / 2 => missing,
            // Few records match, or the caller takes few of them: read more at once.
            _ => self.chunk.saturating_mul(TWO),
        };
        self.chunk = self.chunk.min(MAX_CHUNK);
        Ok(Some(found))
    }

    /// The list that is read, if it is not a merged one.
    fn index(&self) -> Option<Index> {
        match &self.plan {
            Plan::ByUser(user) => Some(Index::User(Kind::Authorization, *user)),
            Plan::ByOrg(org) => Some(Index::Org(Kind::Authorization, *org)),
            Plan::All => Some(Index::All(Kind::Authorization)),
            Plan::ById(_) | Plan::ByUsername(_) | Plan::ByGrant(_) => None,
        }
    }

    async fn read(&self) -> Result<Page, StoreError> {
        const KIND: Kind = Kind::Authorization;
        match &self.plan {
            Plan::ById(id) => self.read_one(Lookup::Id(KIND, id.untyped())).await,
            Plan::ByUsername(name) => self.read_one(Lookup::UniqueKey(KIND, name)).await,
            Plan::ByUser(user) => self.read_index(Index::User(KIND, *user)).await,
            Plan::ByOrg(org) => self.read_index(Index::Org(KIND, *org)).await,
            Plan::ByGrant(keys) => self.read_merged(keys).await,
            Plan::All => self.read_index(Index::All(KIND)).await,
        }
    }

    async fn read_one(&self, lookup: Lookup<'_>) -> Result<Page, StoreError> {
        let record = self.store.get(lookup).await?;
        let is_later = |record: &Record| self.after.is_none_or(|after| record.id > after);
        let records = record.into_iter().filter(is_later).collect();
        Ok(Page { records, ..Page::default() })
    }

    async fn read_index(&self, index: Index) -> Result<Page, StoreError> {
        self.store.list(index, PageRequest { after: self.after, limit: self.chunk }).await
    }

    /// Reads a page of each key's list, and returns the range of ids that all pages cover, each record
    /// once.
    async fn read_merged(&self, keys: &[GrantKey]) -> Result<Page, StoreError> {
        let mut records: Vec<Record> = Vec::new();
        let mut complete_until: Option<Id> = None;
        for key in keys {
            let page = self.read_index(Index::Grant(Kind::Authorization, *key)).await?;
            records.extend(page.records);
            complete_until = match (complete_until, page.next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        records.sort_unstable_by_key(|record| record.id);
        records.dedup_by_key(|record| record.id);
        if let Some(last) = complete_until {
            records.retain(|record| record.id <= last);
        }
        Ok(Page { records, next: complete_until, ..Page::default() })
    }
}
