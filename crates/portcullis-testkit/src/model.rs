//! What a store should hold, in the plainest way, to compare with what it does hold.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::store::{Expect, Index, Kind, Operation, Record, Store, Taken};
use portcullis::{GrantKey, Id, OrgId, UserId};

use crate::access::{ALL, Refusal, get, get_by_key, list, shown};
use crate::fixtures::Sample;

/// A store without indexes, durability and concurrency.
#[derive(Clone, Default)]
pub(crate) struct Model {
    rows: Vec<(Record, Vec<GrantKey>)>,
}

impl Model {
    /// The rows with which a store should have these records.
    pub(crate) fn of(rows: impl IntoIterator<Item = (Record, Vec<GrantKey>)>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|(record, _)| (record.kind, record.id));
        Self { rows }
    }

    /// Carries out the batch, or says with which refusals it may be answered.
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
                    (Expect::Absent, Some(_)) => vec![Refusal::Taken(kind, id, Taken::Id)],
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
                    // Of two reasons within one operation, either may be told.
                    refusals.push(Refusal::Taken(kind, id, Taken::UniqueKey));
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
            other => panic!("the suite does not know {other:?} yet"),
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

/// Under what a test has put records, and so where to look for them.
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

    /// Everything that can be seen of the store.
    pub(crate) async fn look(&self, store: &dyn Store) -> Sight {
        let mut sight = Sight::default();
        for (kind, id) in &self.ids {
            let found = get(store, *kind, *id).await;
            sight.see(format!("{kind} {id}"), found);
        }
        for (kind, key) in &self.keys {
            let found = get_by_key(store, *kind, key).await;
            sight.see(format!("{kind} {}", shown(key)), found);
        }
        for index in self.indexes() {
            sight.see(format!("{index:?}"), list(store, index, ALL).await);
        }
        sight
    }

    /// What should be seen of it.
    pub(crate) fn expect(&self, model: &Model) -> Sight {
        let mut sight = Sight::default();
        for (kind, id) in &self.ids {
            sight.see(format!("{kind} {id}"), model.find(*kind, *id).cloned());
        }
        for (kind, key) in &self.keys {
            let mut all = model.list(Index::All(*kind)).into_iter();
            let found = all.find(|record| record.unique_key.as_str() == key);
            sight.see(format!("{kind} {}", shown(key)), found);
        }
        for index in self.indexes() {
            sight.see(format!("{index:?}"), model.list(index));
        }
        sight
    }
}

/// What can be seen of a store: answers by the question.
#[derive(Default)]
pub(crate) struct Sight(BTreeMap<String, Vec<Record>>);

impl Sight {
    fn see(&mut self, question: String, found: impl IntoIterator<Item = Record>) {
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
