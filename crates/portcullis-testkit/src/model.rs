//! A plain model of a store's content, to compare with the store.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::store::{Duplicate, Expect, Index, Kind, Operation, Record, Store};
use portcullis::{GrantKey, Id, OrgId, UserId};

use crate::access::{ALL, Refusal, get, get_by_key, list, shown};
use crate::fixtures::Sample;

/// A store without indexes, durability and concurrency.
#[derive(Clone, Default)]
pub(crate) struct Model {
    rows: Vec<(Record, Vec<GrantKey>)>,
}

impl Model {
    /// Returns a model with these records.
    pub(crate) fn of(rows: impl IntoIterator<Item = (Record, Vec<GrantKey>)>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|(record, _)| (record.kind, record.id));
        Self { rows }
    }

    /// Applies the batch, or returns the refusals that are allowed.
    pub(crate) fn commit(&mut self, batch: &[Operation]) -> Result<(), Vec<Refusal>> {
        let mut after = self.clone();
        for operation in batch {
            after.apply(operation)?;
        }
        *self = after;
        Ok(())
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Vec<Refusal>> {
        match operation {
            Operation::Put { record, grants, expect } => {
                let (kind, id) = (record.kind, record.id);
                let there = self.find(kind, id);
                let mut refusals = match (expect, there) {
                    (Expect::Absent, Some(_)) => vec![Refusal::Taken(kind, id, Duplicate::Id)],
                    (Expect::Revision(_), None) => vec![Refusal::Missing(kind, id)],
                    (Expect::Revision(expected), Some(row)) if row.revision != *expected => {
                        vec![Refusal::Conflict(kind, id)]
                    }
                    _ => Vec::new(),
                };
                let taken = self.rows.iter().any(|(row, _)| {
                    row.kind == kind && row.id != id && row.unique_key == record.unique_key
                });
                if taken {
                    // Of two reasons within one operation, either may be reported.
                    refusals.push(Refusal::Taken(kind, id, Duplicate::UniqueKey));
                }
                if !refusals.is_empty() {
                    return Err(refusals);
                }
                self.remove(kind, id);
                self.rows.push((record.clone(), grants.clone()));
                self.rows.sort_by_key(|(record, _)| (record.kind, record.id));
            }
            Operation::Delete { kind, id, expect } => match self.find(*kind, *id) {
                None => return Err(vec![Refusal::Missing(*kind, *id)]),
                Some(row) if row.revision != *expect => {
                    return Err(vec![Refusal::Conflict(*kind, *id)]);
                }
                Some(_) => self.remove(*kind, *id),
            },
            Operation::Require { kind, id } => {
                if self.find(*kind, *id).is_none() {
                    return Err(vec![Refusal::Missing(*kind, *id)]);
                }
            }
            other => panic!("the suite does not support {other:?} yet"),
        }
        Ok(())
    }

    pub(crate) fn find(&self, kind: Kind, id: Id) -> Option<&Record> {
        let mut rows = self.rows.iter().map(|(record, _)| record);
        rows.find(|row| (row.kind, row.id) == (kind, id))
    }

    fn remove(&mut self, kind: Kind, id: Id) {
        self.rows.retain(|(row, _)| (row.kind, row.id) != (kind, id));
    }

    fn list(&self, index: Index) -> Vec<Record> {
        let listed = |record: &Record, grants: &[GrantKey]| match index {
            Index::All(_) => true,
            Index::Org(_, org) => record.org == Some(org),
            Index::User(_, user) => record.user == Some(user),
            Index::Grant(_, grant) => grants.contains(&grant),
        };
        self.rows
            .iter()
            .filter(|(record, grants)| record.kind == index.kind() && listed(record, grants))
            .map(|(record, _)| record.clone())
            .collect()
    }
}

/// The ids, keys and indexes under which a test has put records.
#[derive(Clone, Default)]
pub(crate) struct Universe {
    ids: BTreeSet<(Kind, Id)>,
    keys: BTreeSet<(Kind, String)>,
    orgs: BTreeSet<OrgId>,
    users: BTreeSet<UserId>,
    grants: BTreeSet<GrantKey>,
}

impl Universe {
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut universe = Self::default();
        for sample in samples {
            universe.add(sample);
        }
        universe
    }

    pub(crate) fn add(&mut self, sample: &Sample) {
        self.ids.insert((sample.kind, sample.id));
        self.keys.insert((sample.kind, String::from(&*sample.key)));
        self.orgs.extend(sample.org);
        self.users.extend(sample.user);
        self.grants.extend(&sample.grants);
    }

    fn indexes(&self) -> impl Iterator<Item = Index> {
        Kind::ALL.into_iter().flat_map(move |kind| {
            let all = [Index::All(kind)].into_iter();
            all.chain(self.orgs.iter().map(move |org| Index::Org(kind, *org)))
                .chain(self.users.iter().map(move |user| Index::User(kind, *user)))
                .chain(self.grants.iter().map(move |grant| Index::Grant(kind, *grant)))
        })
    }

    /// Reads everything that the store finds and lists.
    pub(crate) async fn read(&self, store: &dyn Store) -> StoreView {
        let mut view = StoreView::default();
        for (kind, id) in &self.ids {
            let found = get(store, *kind, *id).await;
            view.insert(format!("{kind} {id}"), found);
        }
        for (kind, key) in &self.keys {
            let found = get_by_key(store, *kind, key).await;
            view.insert(format!("{kind} {}", shown(key)), found);
        }
        for index in self.indexes() {
            view.insert(format!("{index:?}"), list(store, index, ALL).await);
        }
        view
    }

    /// Returns what it should find and list.
    pub(crate) fn expect(&self, model: &Model) -> StoreView {
        let mut view = StoreView::default();
        for (kind, id) in &self.ids {
            view.insert(format!("{kind} {id}"), model.find(*kind, *id).cloned());
        }
        for (kind, key) in &self.keys {
            let mut all = model.list(Index::All(*kind)).into_iter();
            let found = all.find(|record| record.unique_key.as_str() == key);
            view.insert(format!("{kind} {}", shown(key)), found);
        }
        for index in self.indexes() {
            view.insert(format!("{index:?}"), model.list(index));
        }
        view
    }
}

/// The results of all lookups and lists of a store.
#[derive(Default)]
pub(crate) struct StoreView(BTreeMap<String, Vec<Record>>);

impl StoreView {
    fn insert(&mut self, question: String, found: impl IntoIterator<Item = Record>) {
        self.0.insert(question, found.into_iter().collect());
    }

    #[track_caller]
    pub(crate) fn assert_same(&self, expected: &Self, when: &str) {
        for (question, expected) in &expected.0 {
            let found = &self.0[question];
            assert!(
                found == expected,
                "{when}: {question} finds {found:?} instead of {expected:?}"
            );
        }
    }
}
