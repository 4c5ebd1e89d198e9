//! What has to change, in an order in which an interruption leaves nothing wider than before or wanted.

use std::collections::{BTreeSet, HashMap};

use portcullis::password::PasswordPolicy;
use portcullis::{
    AuthorizationId, AuthorizationUpdate, BucketId, DbrpId, DbrpMapping, Name, OrgId, Permission,
    Status, UserId, Username,
};

use super::desired::{Desired, DesiredCredential, DesiredDbrp, DesiredOrg, DesiredUser};
use super::file::Mistake;
use super::state::{CredentialState, OrgState, PasswordState, SecretValue, State};
use super::wanted::{BucketNames, Ids, Wanted};

/// What the command line decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// Deletes what managed orgs have and the file does not list.
    pub(super) prune: bool,
    /// Sets passwords also where they cannot be compared.
    pub(super) set_passwords: bool,
    pub(super) policy: PasswordPolicy,
}

/// What has to change.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For people: a line for each record that changes.
    pub(super) changes: Vec<Change>,
    /// In the order in which they are made.
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<String>,
    /// How many records are as the file wants them.
    pub(super) unchanged: u64,
    /// How many records of managed orgs are not in the file and stay, since nothing is pruned.
    pub(super) unlisted: u64,
    pub(super) deletions: Deletions,
}

/// How many records are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deletions {
    pub(super) credentials: u64,
    pub(super) dbrps: u64,
    pub(super) buckets: u64,
}

/// A record that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) kind: Kind,
    /// The org in which it is.
    pub(super) org: Option<String>,
    pub(super) name: String,
    pub(super) details: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Org,
    Bucket,
    Dbrp,
    Credential,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Org => "org",
            Self::Bucket => "bucket",
            Self::Dbrp => "dbrp",
            Self::Credential => "credential",
        }
    }
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    SetUserStatus { id: UserId, name: String, status: Status },
    SetOrgStatus { id: OrgId, name: String, status: Status },
    CreateUser { name: Name, status: Status },
    CreateOrg { name: Name, status: Status },
    CreateBucket { org: String, name: Name },
    DeleteBucket { id: BucketId, name: String },
    CreateDbrp { org: String, database: String, policy: String, bucket: String, is_default: bool },
    MakeDefault { org: OrgId, id: DbrpId, name: String },
    DeleteDbrp { org: OrgId, id: DbrpId, name: String },
    CreateCredential { org: String, new: NewCredential },
    UpdateCredential { id: AuthorizationId, username: String, update: AuthorizationUpdate },
    SetPermissions { id: AuthorizationId, username: String, org: String, wanted: Vec<Wanted> },
    SetPassword { username: String },
    DeleteCredential { id: AuthorizationId, username: String },
}

/// A credential to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewCredential {
    pub(super) username: Username,
    pub(super) user: String,
    pub(super) status: Status,
    pub(super) description: String,
    pub(super) wanted: Vec<Wanted>,
}

/// The order of steps. What takes something away comes first: a step that gives something is made once
/// all that is narrower is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Disable,
    DeleteCredentials,
    Narrow,
    CreateTenants,
    CreateBuckets,
    Mappings,
    DeleteMappings,
    DeleteBuckets,
    Credentials,
    Enable,
}

/// Makes the plan.
///
/// # Errors
///
/// What the file wants and is not possible.
pub(super) fn plan(
    desired: &Desired,
    state: &State,
    wanted: &HashMap<String, Vec<Wanted>>,
    options: Options,
) -> Result<Plan, Vec<Mistake>> {
    let ids = Ids::of(state);
    let mut planner = Planner {
        desired,
        state,
        wanted,
        options,
        ids,
        plan: Plan::default(),
        steps: Vec::new(),
        mistakes: Vec::new(),
    };
    for user in &desired.users {
        planner.user(user);
    }
    for org in &desired.orgs {
        planner.org(org);
    }
    let Planner { mut plan, mut steps, mistakes, .. } = planner;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    // Steps of one phase stay in the order of the file.
    steps.sort_by_key(|(phase, _)| *phase);
    plan.steps = steps.into_iter().map(|(_, step)| step).collect();
    Ok(plan)
}

struct Planner<'a> {
    desired: &'a Desired,
    state: &'a State,
    wanted: &'a HashMap<String, Vec<Wanted>>,
    options: Options,
    ids: Ids,
    plan: Plan,
    steps: Vec<(Phase, Step)>,
    mistakes: Vec<Mistake>,
}

impl Planner<'_> {
    fn step(&mut self, phase: Phase, step: Step) {
        self.steps.push((phase, step));
    }

    fn change(
        &mut self,
        action: Action,
        kind: Kind,
        org: Option<&str>,
        name: &str,
        details: Vec<String>,
    ) {
        let (org, name) = (org.map(str::to_owned), name.to_owned());
        self.plan.changes.push(Change { action, kind, org, name, details });
    }

    fn user(&mut self, DesiredUser { name, status }: &DesiredUser) {
        let Some(user) = self.state.users.get(name.as_str()) else {
            let status = status.unwrap_or_default();
            self.change(Action::Create, Kind::User, None, name.as_str(), inactive(status));
            let step = Step::CreateUser { name: name.clone(), status };
            return self.step(Phase::CreateTenants, step);
        };
        match status.filter(|status| *status != user.status) {
            None => self.plan.unchanged += 1,
            Some(status) => {
                let details = vec![status_change(user.status, status)];
                self.change(Action::Update, Kind::User, None, name.as_str(), details);
                let step = Step::SetUserStatus { id: user.id, name: name.to_string(), status };
                self.step(phase_of(status), step);
            }
        }
    }

    fn org(&mut self, wanted: &DesiredOrg) {
        let name = wanted.name.as_str();
        let state = self.state.orgs.get(name);
        match (state, wanted.status) {
            (None, status) => {
                let status = status.unwrap_or_default();
                self.change(Action::Create, Kind::Org, None, name, inactive(status));
                let step = Step::CreateOrg { name: wanted.name.clone(), status };
                self.step(Phase::CreateTenants, step);
            }
            (Some(OrgState { org, .. }), Some(status)) if status != org.status => {
                let details = vec![status_change(org.status, status)];
                self.change(Action::Update, Kind::Org, None, name, details);
                let step = Step::SetOrgStatus { id: org.id, name: name.to_owned(), status };
                self.step(phase_of(status), step);
            }
            (Some(_), _) => self.plan.unchanged += 1,
        }
        self.buckets(wanted, state);
        self.dbrps(wanted, state);
        self.credentials(wanted, state);
    }

    fn buckets(&mut self, wanted: &DesiredOrg, state: Option<&OrgState>) {
        let org = wanted.name.as_str();
        let Some(listed) = &wanted.buckets else { return };
        for name in listed {
            if self.ids.bucket(org, name.as_str()).is_some() {
                self.plan.unchanged += 1;
            } else {
                self.change(Action::Create, Kind::Bucket, Some(org), name.as_str(), Vec::new());
                let step = Step::CreateBucket { org: org.to_owned(), name: name.clone() };
                self.step(Phase::CreateBuckets, step);
            }
        }
        let listed: BTreeSet<&str> = listed.iter().map(Name::as_str).collect();
        let existing = state.into_iter().flat_map(|state| &state.buckets);
        for (name, id) in existing.filter(|(name, _)| !listed.contains(name.as_str())) {
            if self.prunes(wanted) {
                self.change(Action::Delete, Kind::Bucket, Some(org), name, Vec::new());
                self.plan.deletions.buckets += 1;
                let step = Step::DeleteBucket { id: *id, name: name.clone() };
                self.step(Phase::DeleteBuckets, step);
            }
        }
    }

    /// Returns whether what the file does not list in the org is deleted, and counts it otherwise.
    fn prunes(&mut self, org: &DesiredOrg) -> bool {
        if org.is_managed && !self.options.prune {
            self.plan.unlisted += 1;
        }
        org.is_managed && self.options.prune
    }

    fn dbrps(&mut self, wanted: &DesiredOrg, state: Option<&OrgState>) {
        let org = wanted.name.as_str();
        let Some(listed) = &wanted.dbrps else { return };
        let existing = state.map(|state| &*state.dbrps).unwrap_or_default();
        for mapping in listed {
            if let Err(text) = wanted.bucket(&mapping.bucket, self.state) {
                self.mistakes.push(Mistake::new(mapping.place, text));
            }
            let found = existing.iter().find(|found| is_of(found, mapping));
            // Only one of a database is the default.
            let other_is_default =
                listed.iter().any(|other| other.database == mapping.database && other.is_default);
            self.dbrp(org, mapping, found, other_is_default);
        }
        for found in existing {
            if !listed.iter().any(|mapping| is_of(found, mapping)) && self.prunes(wanted) {
                let name = format!("{}/{}", found.database, found.retention_policy);
                self.change(Action::Delete, Kind::Dbrp, Some(org), &name, Vec::new());
                self.plan.deletions.dbrps += 1;
                let step = Step::DeleteDbrp { org: found.org, id: found.id, name };
                self.step(Phase::DeleteMappings, step);
            }
        }
    }

    fn dbrp(
        &mut self,
        org: &str,
        mapping: &DesiredDbrp,
        found: Option<&DbrpMapping>,
        file_has_default: bool,
    ) {
        let DesiredDbrp { database, retention_policy, bucket, is_default, .. } = mapping;
        let name = format!("{database}/{retention_policy}");
        let create = |is_default| Step::CreateDbrp {
            org: org.to_owned(),
            database: database.clone(),
            policy: retention_policy.clone(),
            bucket: bucket.clone(),
            is_default,
        };
        let default = |is_default: bool| is_default.then(|| "default".to_owned());
        let Some(found) = found else {
            let details = std::iter::once(format!("bucket: {bucket}")).chain(default(*is_default));
            self.change(Action::Create, Kind::Dbrp, Some(org), &name, details.collect());
            return self.step(Phase::Mappings, create(*is_default));
        };
        let becomes_default = *is_default && !found.is_default;
        if self.ids.bucket(org, bucket) != Some(found.bucket) {
            // The bucket of a mapping never changes. The former default stays it.
            let details = std::iter::once(format!("bucket: {bucket}"));
            let details = details.chain(default(becomes_default)).collect();
            self.change(Action::Update, Kind::Dbrp, Some(org), &name, details);
            let delete = Step::DeleteDbrp { org: found.org, id: found.id, name };
            self.step(Phase::Mappings, delete);
            let is_default = *is_default || (found.is_default && !file_has_default);
            self.step(Phase::Mappings, create(is_default));
        } else if becomes_default {
            let details = default(true).into_iter().collect();
            self.change(Action::Update, Kind::Dbrp, Some(org), &name, details);
            let step = Step::MakeDefault { org: found.org, id: found.id, name };
            self.step(Phase::Mappings, step);
        } else {
            self.plan.unchanged += 1;
        }
    }

    fn credentials(&mut self, wanted: &DesiredOrg, state: Option<&OrgState>) {
        let org = wanted.name.as_str();
        let Some(listed) = &wanted.credentials else { return };
        let names = BucketNames::of(state);
        for credential in listed {
            self.owner(credential);
            let username = credential.username.as_str();
            match state.and_then(|state| state.credentials.get(username)) {
                Some(found) => self.update_credential(org, credential, found, &names),
                None => self.create_credential(org, credential, &names),
            }
        }
        let listed: BTreeSet<&str> = listed.iter().map(|c| c.username.as_str()).collect();
        let existing = state.into_iter().flat_map(|state| &state.credentials);
        for (username, found) in existing.filter(|(name, _)| !listed.contains(name.as_str())) {
            if self.prunes(wanted) {
                self.change(Action::Delete, Kind::Credential, Some(org), username, Vec::new());
                self.plan.deletions.credentials += 1;
                let (id, username) = (found.record.id, username.clone());
                self.step(Phase::DeleteCredentials, Step::DeleteCredential { id, username });
            }
        }
    }

    /// Checks that the user of the credential exists, or is created.
    fn owner(&mut self, credential: &DesiredCredential) {
        let name = credential.user.text.as_str();
        let is_listed = self.desired.users.iter().any(|user| user.name.as_str() == name);
        if !is_listed && !self.state.users.contains_key(name) {
            let text = format!("there is no user `{name}`: add it to `users`");
            self.mistakes.push(Mistake::new(credential.user.place, text));
        }
    }

    fn permissions_of(&self, credential: &DesiredCredential) -> Vec<Wanted> {
        self.wanted.get(credential.username.as_str()).cloned().unwrap_or_default()
    }

    fn create_credential(
        &mut self,
        org: &str,
        credential: &DesiredCredential,
        names: &BucketNames,
    ) {
        let username = credential.username.as_str();
        if let Some(other) = self.state.elsewhere.get(username)
            && !self.is_pruned(*other)
        {
            let other =
                self.state.orgs.iter().find(|(_, state)| state.org.id == *other).map_or_else(
                    || format!("org with the id {other}"),
                    |(name, _)| format!("org `{name}`"),
                );
            let text = format!("the credential `{username}` is in the {other} already");
            return self.mistakes.push(Mistake::new(credential.place, text));
        }
        let status = credential.status.unwrap_or_default();
        let wanted = self.permissions_of(credential);
        let mut details = inactive(status);
        details.extend(wanted.iter().map(|wanted| format!("+{}", wanted.shown(org, names))));
        let has_password = self.sets_password(credential, PasswordState::Differs);
        match has_password {
            true => details.push("password".to_owned()),
            false => self.plan.notes.push(format!(
                "`{username}` gets no password, so no login with it is accepted: the file states none"
            )),
        }
        self.change(Action::Create, Kind::Credential, Some(org), username, details);
        let new = NewCredential {
            username: credential.username.clone(),
            user: credential.user.text.clone(),
            status,
            description: credential.description.clone().unwrap_or_default(),
            wanted,
        };
        self.step(Phase::Credentials, Step::CreateCredential { org: org.to_owned(), new });
        if has_password {
            let username = username.to_owned();
            self.step(Phase::Credentials, Step::SetPassword { username });
        }
    }

    /// Returns whether credentials of the org that the file does not list are deleted.
    fn is_pruned(&self, org: OrgId) -> bool {
        let of_file = |wanted: &DesiredOrg| {
            let state = self.state.orgs.get(wanted.name.as_str());
            state.is_some_and(|state| state.org.id == org)
                && wanted.is_managed
                && wanted.credentials.is_some()
        };
        self.options.prune && self.desired.orgs.iter().any(of_file)
    }

    /// Returns whether the password is set, and checks one that is.
    fn sets_password(&mut self, credential: &DesiredCredential, password: PasswordState) -> bool {
        let Some(secret) = self.state.secrets.get(credential.username.as_str()) else {
            return false;
        };
        match password {
            PasswordState::Differs => {}
            PasswordState::NotCompared if self.options.set_passwords => {}
            _ => return false,
        }
        if let SecretValue::Password(password) = &secret.value
            && let Err(error) = self.options.policy.check_new(password)
        {
            self.mistakes.push(Mistake::new(secret.place, error.to_string()));
        }
        true
    }

    fn update_credential(
        &mut self,
        org: &str,
        credential: &DesiredCredential,
        found: &CredentialState,
        names: &BucketNames,
    ) {
        let CredentialState { record, password } = found;
        let username = record.username.to_string();
        let owner = self.state.users.get(credential.user.text.as_str());
        if owner.is_none_or(|owner| owner.id != record.user) {
            let text = format!(
                "`{username}` belongs to another user, and that cannot be changed: delete the \
                 credential first"
            );
            return self.mistakes.push(Mistake::new(credential.user.place, text));
        }
        let mut details = Vec::new();
        let sets_password = self.sets_password(credential, *password);
        if *password == PasswordState::NotCompared && !sets_password {
            self.plan.notes.push(format!(
                "the password of `{username}` cannot be compared, and stays: --set-passwords sets it"
            ));
        }
        if *password == PasswordState::NotStated && !record.has_password {
            self.plan.notes.push(format!(
                "`{username}` has no password, so no login with it is accepted: the file states none"
            ));
        }
        let id = record.id;
        if sets_password {
            details.push("password".to_owned());
            let username = username.clone();
            self.step(Phase::Credentials, Step::SetPassword { username });
        }
        self.permissions(org, credential, found, sets_password, names, &mut details);

        let status = credential.status.filter(|status| *status != record.status);
        let description = credential.description.clone();
        let description = description.filter(|text| *text != record.description);
        details.extend(status.map(|status| status_change(record.status, status)));
        details.extend(description.as_ref().map(|_| "description".to_owned()));
        let mut update =
            AuthorizationUpdate { status, description, ..AuthorizationUpdate::default() };
        if status == Some(Status::Inactive) {
            let disable = AuthorizationUpdate::status(Status::Inactive);
            let username = username.clone();
            self.step(Phase::Disable, Step::UpdateCredential { id, username, update: disable });
            update.status = None;
        }
        if update != AuthorizationUpdate::default() {
            let username = username.clone();
            self.step(Phase::Credentials, Step::UpdateCredential { id, username, update });
        }
        match details.is_empty() {
            true => self.plan.unchanged += 1,
            false => {
                self.change(Action::Update, Kind::Credential, Some(org), &username, details);
            }
        }
    }

    /// Plans the steps from the permissions that a credential has to those that the file wants.
    fn permissions(
        &mut self,
        org: &str,
        credential: &DesiredCredential,
        found: &CredentialState,
        sets_password: bool,
        names: &BucketNames,
        details: &mut Vec<String>,
    ) {
        let has = &found.record.permissions;
        let wanted = self.permissions_of(credential);
        let now: Vec<Option<Permission>> =
            wanted.iter().map(|wanted| wanted.permission(org, &self.ids)).collect();
        let added = wanted.iter().zip(&now);
        let added = added.filter(|(_, now)| now.is_none_or(|now| !has.contains(&now)));
        details.extend(added.map(|(wanted, _)| format!("+{}", wanted.shown(org, names))));
        let removed = has.iter().filter(|has| !now.contains(&Some(**has)));
        details.extend(removed.map(|has| format!("-{}", names.shown(*has))));
        let is_complete = now.iter().all(Option::is_some);
        let possible: Vec<Permission> = now.into_iter().flatten().collect();
        if is_complete && is_same(has, &possible) {
            return;
        }
        let step = |wanted| Step::SetPermissions {
            id: found.record.id,
            username: found.record.username.to_string(),
            org: org.to_owned(),
            wanted,
        };
        let mut is_done = false;
        if !has.iter().all(|has| possible.iter().any(|possible| possible.allows(has))) {
            let narrowed = common(has, &possible);
            if !narrowed.is_empty() {
                is_done = is_complete && is_same(&narrowed, &possible);
                let narrowed = narrowed.into_iter().map(Wanted::Known).collect();
                self.step(Phase::Narrow, step(narrowed));
            } else if is_complete && !sets_password {
                // There is nothing in common: what it has goes in the same step.
                is_done = true;
                self.step(Phase::Narrow, step(wanted.clone()));
            }
        }
        if !is_done {
            self.step(Phase::Credentials, step(wanted));
        }
    }
}

/// Returns what both allow: each permission that one of the other allows.
fn common(some: &[Permission], others: &[Permission]) -> Vec<Permission> {
    let mut common: Vec<Permission> = Vec::new();
    for (these, those) in [(some, others), (others, some)] {
        for permission in these {
            let is_allowed = those.iter().any(|other| other.allows(permission));
            if is_allowed && !common.contains(permission) {
                common.push(*permission);
            }
        }
    }
    common
}

fn is_same(some: &[Permission], others: &[Permission]) -> bool {
    some.iter().all(|permission| others.contains(permission))
        && others.iter().all(|permission| some.contains(permission))
}

fn is_of(found: &DbrpMapping, mapping: &DesiredDbrp) -> bool {
    *found.database == *mapping.database && *found.retention_policy == *mapping.retention_policy
}

fn phase_of(status: Status) -> Phase {
    match status {
        Status::Active => Phase::Enable,
        Status::Inactive => Phase::Disable,
    }
}

fn inactive(status: Status) -> Vec<String> {
    match status {
        Status::Active => Vec::new(),
        Status::Inactive => vec!["inactive".to_owned()],
    }
}

fn status_change(from: Status, to: Status) -> String {
    format!("status: {from} -> {to}")
}
