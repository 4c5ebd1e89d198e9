//! Orgs, users, buckets and databases.

use std::collections::BTreeMap;

use portcullis::store::{Kind, Lookup};
use portcullis::{
    Action, BucketId, DatabaseMappings, DbrpName, ErrorKind, Id, Name, OrgId, Permission, Resource,
    Status, UserId,
};

use super::{Options, PlanError, Planner, kept, taken_or_changed};
use crate::item::{BucketItem, DatabaseItem, Key, OrgItem, UserItem};
use crate::line::{Line, Mapping};
use crate::report::{Entry, Outcome};

impl Planner<'_> {
    pub(super) async fn add_org(&mut self, item: OrgItem) -> Result<(), PlanError> {
        const KIND: &str = "org";
        let OrgItem { key, id, name, status } = item;
        if let Err(error) = Name::new(name.as_str()) {
            return self.report(&Entry::new(Outcome::Skipped, KIND, &name).note(error.to_string()));
        }
        if self.new_orgs.contains_key(&name) {
            let entry = Entry::new(Outcome::Skipped, KIND, &name);
            return self.report(&entry.note("another org has the name"));
        }
        let directory = self.engine.directory();
        let mut there = None;
        if let Some(id) = id {
            there = directory.org(id.into()).await?;
        }
        if there.is_none() {
            there = directory.org_by_name(&name).await?;
        }
        if let Some(org) = there {
            self.orgs.insert(key, org.id);
            let entry = Entry::new(Outcome::AlreadyThere, KIND, &name).id(org.id);
            let notes = differences(id, org.id.untyped(), &name, &org.name, status, org.status);
            return self.report(&entry.notes(notes));
        }
        let (id, changed) = self.keep(Kind::Org, id).await?;
        let id = OrgId::from(id);
        let outcome = taken_or_changed(&changed);
        self.record(&Line::Org { id, name: &name, status })?;
        let notes = changed.into_iter().chain(self.note_of_name(KIND, &name));
        let entry = Entry::new(outcome, KIND, &name).id(id).notes(notes);
        self.orgs.insert(key, id);
        self.new_orgs.insert(name, id);
        self.report(&entry)
    }

    pub(super) async fn add_user(&mut self, item: UserItem) -> Result<(), PlanError> {
        const KIND: &str = "user";
        let UserItem { key, id, name, status } = item;
        if let Err(error) = Name::new(name.as_str()) {
            return self.report(&Entry::new(Outcome::Skipped, KIND, &name).note(error.to_string()));
        }
        if self.new_users.contains_key(&name) {
            let entry = Entry::new(Outcome::Skipped, KIND, &name);
            return self.report(&entry.note("another user has the name"));
        }
        let directory = self.engine.directory();
        let mut there = None;
        if let Some(id) = id {
            there = directory.user(id.into()).await?;
        }
        if there.is_none() {
            there = directory.user_by_name(&name).await?;
        }
        if let Some(user) = there {
            self.users.insert(key, user.id);
            let entry = Entry::new(Outcome::AlreadyThere, KIND, &name).id(user.id);
            let notes = differences(id, user.id.untyped(), &name, &user.name, status, user.status);
            return self.report(&entry.notes(notes));
        }
        let (id, changed) = self.keep(Kind::User, id).await?;
        let id = UserId::from(id);
        let outcome = taken_or_changed(&changed);
        self.record(&Line::User { id, name: &name, status })?;
        let notes = changed.into_iter().chain(self.note_of_name(KIND, &name));
        let entry = Entry::new(outcome, KIND, &name).id(id).notes(notes);
        self.users.insert(key, id);
        self.new_users.insert(name, id);
        self.report(&entry)
    }

    pub(super) async fn add_bucket(&mut self, item: BucketItem) -> Result<(), PlanError> {
        const KIND: &str = "bucket";
        let BucketItem { key, id, org, name } = item;
        let skipped = Entry::new(Outcome::Skipped, KIND, &name);
        let Some(org) = self.org_of(org).await? else {
            return self.report(&skipped.note("its org is not carried"));
        };
        if let Err(error) = Name::new(name.as_str()) {
            return self.report(&skipped.of(org.to_string()).note(error.to_string()));
        }
        if self.new_buckets.contains(&(org, name.clone())) {
            let skipped = skipped.of(org.to_string());
            return self.report(&skipped.note("another bucket of the org has the name"));
        }
        let directory = self.engine.directory();
        let mut there = None;
        if let Some(id) = id {
            there = directory.bucket(id.into()).await?.filter(|bucket| bucket.org == org);
        }
        if there.is_none() {
            there = directory.bucket_by_name(org, &name).await?;
        }
        if let Some(bucket) = there {
            self.buckets.insert(key, (org, bucket.id));
            let entry = Entry::new(Outcome::AlreadyThere, KIND, &name).of(org.to_string());
            let active = Status::Active;
            let here = bucket.id.untyped();
            let notes = differences(id, here, &name, &bucket.name, active, active);
            return self.report(&entry.id(here).notes(notes));
        }
        let (id, changed) = self.keep(Kind::Bucket, id).await?;
        let id = BucketId::from(id);
        let outcome = taken_or_changed(&changed);
        self.record(&Line::Bucket { id, org, name: &name })?;
        let notes = changed.into_iter().chain(self.note_of_name(KIND, &name));
        let entry = Entry::new(outcome, KIND, &name).of(org.to_string()).id(id).notes(notes);
        self.buckets.insert(key, (org, id));
        self.new_buckets.insert((org, name));
        self.report(&entry)
    }

    pub(super) async fn add_database(&mut self, item: DatabaseItem) -> Result<(), PlanError> {
        const KIND: &str = "database";
        let DatabaseItem { org, name, policies, notes } = item;
        let skipped = Entry::new(Outcome::Skipped, KIND, &name);
        let Some(org) = self.org_of(org).await? else {
            return self.report(&skipped.note("its org is not carried"));
        };
        let skipped = skipped.of(org.to_string());
        if policies.is_empty() {
            // Its bucket has its name, so that there is nothing to map.
            let entry = Entry::new(Outcome::Changed, KIND, &name).of(org.to_string());
            return self.report(&entry.notes(notes));
        }
        if let Err(error) = DbrpName::new(name.as_str()) {
            return self.report(&skipped.note(error.to_string()));
        }
        if self.new_databases.contains(&(org, name.clone())) {
            return self.report(&skipped.note("the org has another database of the name"));
        }
        let mut changes = notes;
        // By name, because a policy has one mapping.
        let mut wanted: BTreeMap<&str, (Option<Id>, BucketId, bool)> = BTreeMap::new();
        for policy in &policies {
            let lost = match (DbrpName::new(policy.name.as_str()), self.buckets.get(&policy.bucket))
            {
                (Err(error), _) => error.to_string(),
                (_, None) => "its bucket is not carried".to_owned(),
                (_, Some((other, _))) if *other != org => "its bucket is in another org".to_owned(),
                (Ok(_), Some((_, bucket))) => {
                    let mapping = (policy.id, *bucket, policy.is_default);
                    if wanted.insert(&policy.name, mapping).is_none() {
                        continue;
                    }
                    "it has two mappings".to_owned()
                }
            };
            changes.push(format!("the retention policy `{}` is not mapped: {lost}", policy.name));
        }
        if wanted.len() > DatabaseMappings::MAX_POLICIES {
            let most = DatabaseMappings::MAX_POLICIES;
            return self.report(&skipped.note(format!(
                "it has {} retention policies, and at most {most} have mappings",
                wanted.len()
            )));
        }
        if wanted.is_empty() {
            return self.report(&skipped.notes(changes));
        }
        make_one_default(&mut wanted, &mut changes);
        if let Some(there) = self.engine.database_mappings(org, &name).await? {
            let mut here: Vec<_> = there
                .mappings()
                .map(|mapping| {
                    (mapping.retention_policy.to_string(), mapping.bucket, mapping.is_default)
                })
                .collect();
            here.sort();
            let same =
                here.iter().map(|(name, bucket, default)| (&**name, *bucket, *default)).eq(wanted
                    .iter()
                    .map(|(name, (_, bucket, is_default))| (*name, *bucket, *is_default)));
            if same {
                let entry = Entry::new(Outcome::AlreadyThere, KIND, &name).of(org.to_string());
                return self.report(&entry.notes(changes));
            }
            return self.report(&skipped.note("it has other mappings here: see `portcullis dbrp`"));
        }
        let mut mappings = Vec::with_capacity(wanted.len());
        for (policy, (id, bucket, is_default)) in wanted {
            let (id, changed) = self.keep(Kind::Dbrp, id).await?;
            changes.extend(changed.map(|note| format!("the mapping of `{policy}`: {note}")));
            let id = id.into();
            mappings.push(Mapping { id, retention_policy: policy, bucket, is_default });
        }
        let id = self.ids.next();
        self.record(&Line::Dbrp { id, org, database: &name, mappings })?;
        let outcome = taken_or_changed(&changes);
        let notes = changes.into_iter().chain(self.note_of_name(KIND, &name));
        let entry = Entry::new(outcome, KIND, &name).of(org.to_string()).notes(notes);
        self.new_databases.insert((org, name));
        self.report(&entry)
    }

    /// Returns the id of a new record, which is the one of the source if it is free.
    pub(super) async fn keep(
        &mut self,
        kind: Kind,
        id: Option<Id>,
    ) -> Result<(Id, Option<String>), PlanError> {
        let is_free = match id {
            Some(id) => self.engine.store().get(Lookup::Id(kind, id)).await?.is_none(),
            None => true,
        };
        Ok(kept(id, is_free, &mut self.ids))
    }

    /// Returns the org of the key, or the one that the operator named. `None` if it is not carried.
    pub(super) async fn org_of(&mut self, key: Option<Key>) -> Result<Option<OrgId>, PlanError> {
        match key {
            Some(key) => Ok(self.orgs.get(&key).copied()),
            None => self.named_org().await.map(Some),
        }
    }

    /// Returns the user of the key, or the one that the operator named. `None` if it is not carried.
    pub(super) async fn user_of(&mut self, key: Option<Key>) -> Result<Option<UserId>, PlanError> {
        match key {
            Some(key) => Ok(self.users.get(&key).copied()),
            None => self.named_user().await.map(Some),
        }
    }

    async fn named_org(&mut self) -> Result<OrgId, PlanError> {
        if let Some(id) = self.named_org {
            return Ok(id);
        }
        let name = self.options.org.as_deref().ok_or(PlanError::OrgRequired)?;
        let id = match (self.new_orgs.get(name), self.engine.resolve_org(name).await) {
            (Some(id), _) => *id,
            (None, Ok(org)) => {
                self.report(&Entry::new(Outcome::AlreadyThere, "org", name).id(org.id))?;
                org.id
            }
            (None, Err(error)) if error.kind() == ErrorKind::NotFound => {
                check_name(name)?;
                let id = OrgId::from(self.ids.next());
                self.record(&Line::Org { id, name, status: Status::Active })?;
                self.new_orgs.insert(name.to_owned(), id);
                let entry = Entry::new(Outcome::Taken, "org", name).id(id);
                self.report(&entry.note("created: there was none of the name"))?;
                id
            }
            (None, Err(error)) => return Err(error.into()),
        };
        self.named_org = Some(id);
        Ok(id)
    }

    /// Reads the buckets that the operator named, and creates those that do not exist.
    pub(super) async fn name_buckets(&mut self, has_grants: bool) -> Result<(), PlanError> {
        let Options { read_buckets, write_buckets, .. } = self.options;
        let read = read_buckets.iter().map(|bucket| (Action::Read, bucket));
        let write = write_buckets.iter().map(|bucket| (Action::Write, bucket));
        let mut buckets: BTreeMap<&str, BucketId> = BTreeMap::new();
        for (action, name) in read.chain(write) {
            if has_grants {
                return Err(PlanError::HasGrants);
            }
            let org = self.named_org().await?;
            let bucket = match buckets.get(name.as_str()) {
                Some(bucket) => *bucket,
                None => self.named_bucket(org, name).await?,
            };
            buckets.insert(name, bucket);
            let permission = Permission::new(action, Resource::bucket(org, bucket));
            if !self.named_permissions.contains(&permission) {
                self.named_permissions.push(permission);
            }
        }
        Ok(())
    }

    async fn named_bucket(&mut self, org: OrgId, name: &str) -> Result<BucketId, PlanError> {
        match self.engine.resolve_bucket(org, name).await {
            Ok(bucket) => {
                let entry = Entry::new(Outcome::AlreadyThere, "bucket", name).id(bucket.id);
                self.report(&entry.of(org.to_string()))?;
                Ok(bucket.id)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                check_name(name)?;
                let id = BucketId::from(self.ids.next());
                self.record(&Line::Bucket { id, org, name })?;
                self.new_buckets.insert((org, name.to_owned()));
                let entry = Entry::new(Outcome::Taken, "bucket", name).of(org.to_string()).id(id);
                self.report(&entry.note("created: there was none of the name"))?;
                Ok(id)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn named_user(&mut self) -> Result<UserId, PlanError> {
        if let Some(id) = self.named_user {
            return Ok(id);
        }
        let name = self.options.user.as_deref().ok_or(PlanError::UserRequired)?;
        let id = match (self.new_users.get(name), self.engine.resolve_user(name).await) {
            (Some(id), _) => *id,
            (None, Ok(user)) => {
                self.report(&Entry::new(Outcome::AlreadyThere, "user", name).id(user.id))?;
                user.id
            }
            (None, Err(error)) if error.kind() == ErrorKind::NotFound => {
                check_name(name)?;
                let id = UserId::from(self.ids.next());
                self.record(&Line::User { id, name, status: Status::Active })?;
                self.new_users.insert(name.to_owned(), id);
                let entry = Entry::new(Outcome::Taken, "user", name).id(id);
                self.report(&entry.note("created: there was none of the name"))?;
                id
            }
            (None, Err(error)) => return Err(error.into()),
        };
        self.named_user = Some(id);
        Ok(id)
    }
}

fn check_name(name: &str) -> Result<(), PlanError> {
    let invalid = |reason: String| PlanError::Name { name: name.to_owned(), reason };
    Name::new(name).map(drop).map_err(|error| invalid(error.to_string()))
}

/// Leaves exactly one default: the first of several, and the first mapping if there is none.
fn make_one_default(
    wanted: &mut BTreeMap<&str, (Option<Id>, BucketId, bool)>,
    changes: &mut Vec<String>,
) {
    let defaults = wanted.values().filter(|(_, _, is_default)| *is_default).count();
    if defaults == 1 {
        return;
    }
    let chosen = wanted
        .iter()
        .find(|(_, (_, _, is_default))| *is_default || defaults == 0)
        .map(|(name, _)| *name);
    for (name, (_, _, is_default)) in wanted.iter_mut() {
        *is_default = Some(*name) == chosen;
    }
    let chosen = chosen.unwrap_or_default();
    changes.push(format!("it has {defaults} default mappings: `{chosen}` is the default here"));
}

/// Describes how the record that is there differs.
fn differences(
    id: Option<Id>,
    id_here: Id,
    name: &str,
    name_here: &Name,
    status: Status,
    status_here: Status,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(id) = id.filter(|id| *id != id_here) {
        notes.push(format!("its id {id} is {id_here} here"));
    }
    if name != name_here.as_str() {
        notes.push(format!("its name here is `{name_here}`"));
    }
    if status != status_here {
        notes.push(format!("it is {status} in the file and {status_here} here"));
    }
    notes
}
