//! The responses that an engine must give, and its records afterwards.

mod import;
mod list;
mod login;

use portcullis::ErrorKind::{self, Conflict, Forbidden, Invalid, NotFound, Unauthorized};
use portcullis::{
    AuthorizationId, Bucket, BucketId, Id, Name, Org, OrgId, Permission, Refusal, ResourceType,
    Status, Timestamp, User, UserId,
};

use super::action::{Action, Creation, Refused, Response};
use super::rows::{AuthorizationRow, TokenRow, status};
use super::state::{Named, State, digest};

/// `Err` has the difference between the model and the engine.
type Checked = Result<(), String>;

/// A failure: its kind, and its message where the specification has one.
struct No {
    kind: ErrorKind,
    message: Option<String>,
    refusal: Option<Refusal>,
}

fn no(kind: ErrorKind, message: impl Into<String>) -> No {
    No { kind, message: Some(message.into()), refusal: None }
}

fn refused(refusal: Refusal) -> No {
    No { kind: Unauthorized, message: Some("Unauthorized".to_owned()), refusal: Some(refusal) }
}

impl No {
    fn fits(&self, response: &Response) -> bool {
        let Response::Refused(Refused { kind, message, refusal }) = response else { return false };
        self.kind == *kind
            && self.message.as_ref().is_none_or(|expected| expected == message)
            && self.refusal == *refusal
    }

    fn check(self, response: &Response) -> Checked {
        if self.fits(response) {
            return Ok(());
        }
        let Self { kind, message, refusal } = self;
        Err(format!("expected {kind:?} {message:?} {refusal:?}, got {response:?}"))
    }
}

/// Compares the response with the expected one, if the model knows all of it.
fn same(expected: Response, response: &Response) -> Checked {
    if expected == *response {
        return Ok(());
    }
    Err(format!("expected {expected:?}, got {response:?}"))
}

/// Compares the response with the expected one, or with the error that nothing was found.
fn found(expected: Option<Response>, missing: impl Into<String>, response: &Response) -> Checked {
    match expected {
        Some(expected) => same(expected, response),
        None => no(NotFound, missing).check(response),
    }
}

fn unexpected(expected: &str, response: &Response) -> Checked {
    Err(format!("expected {expected}, got {response:?}"))
}

/// Returns why no record with this name can be created beside the others, if it cannot.
fn name_refusal<'a, R: Named + 'a>(
    what: &str,
    name: &str,
    mut others: impl Iterator<Item = &'a R>,
) -> Option<No> {
    let length = name.len();
    if !(1..=4_096).contains(&length) {
        let message = format!("a name must be between 1 and 4096 bytes long, not {length}");
        return Some(no(Invalid, message));
    }
    let taken = others.any(|other| other.name() == name);
    taken.then(|| no(Conflict, format!("{what} with name {name} already exists")))
}

fn valid(name: &str) -> Name {
    Name::new(name).expect("a name of 1 to 4,096 bytes")
}

/// Finds a record by its id, or else by its name.
fn resolve<'a, R: Named>(
    mut rows: impl Iterator<Item = &'a R> + Clone,
    text: &str,
) -> Option<&'a R> {
    let by_id = rows.clone().find(|row| row.id().to_string() == text.to_lowercase());
    by_id.or_else(|| rows.find(|row| row.name() == text))
}

/// Checks an id that was drawn: roughly the time, then 22 random bits, and of no other record.
fn drawn<R>(id: impl Into<Id>, now: Timestamp, taken: Option<R>) -> Checked {
    let id: Id = id.into();
    let since_2020 = now.as_unix_millis() - 1_577_836_800_000;
    if i64::try_from(id.as_u64() >> 22) != Ok(since_2020) {
        return Err(format!("{id} is no id of {now}"));
    }
    match taken {
        Some(_) => Err(format!("the id {id} was taken")),
        None => Ok(()),
    }
}

impl State {
    /// Compares the response with the model's, and applies the action to the model.
    pub(super) fn take(&mut self, action: &Action, response: &Response, now: Timestamp) -> Checked {
        match action {
            Action::CreateOrg { name } => self.create_org(name, response, now),
            Action::CreateUser { name } => self.create_user(name, response, now),
            Action::CreateBucket { org, name } => self.create_bucket(*org, name, response, now),
            Action::SetOrgStatus { org, active } => {
                let changed = self.orgs.get_mut(org).map(|row| {
                    row.status = status(*active);
                    Response::Org(row.clone())
                });
                found(changed, "organization not found", response)
            }
            Action::SetUserStatus { user, active } => {
                let changed = self.users.get_mut(user).map(|row| {
                    row.status = status(*active);
                    Response::User(row.clone())
                });
                found(changed, "user not found", response)
            }
            Action::DeleteOrg { org } => {
                if self.orgs.remove(org).is_none() {
                    return no(NotFound, "organization not found").check(response);
                }
                self.authorizations.retain(|_, row| row.org != *org);
                self.tokens.retain(|_, row| row.org != *org);
                self.buckets.retain(|_, row| row.org != *org);
                same(Response::Done, response)
            }
            Action::DeleteUser { user } => {
                if self.users.remove(user).is_none() {
                    return no(NotFound, "user not found").check(response);
                }
                self.authorizations.retain(|_, row| row.user != *user);
                self.tokens.retain(|_, row| row.user != *user);
                same(Response::Done, response)
            }
            Action::DeleteBucket { bucket } => {
                let deleted = self.buckets.remove(bucket).map(|_| Response::Done);
                found(deleted, "bucket not found", response)
            }
            Action::CreateToken { org, user, permissions } => {
                self.create_token(*org, *user, permissions, response, now)
            }
            Action::SetTokenStatus { token, active } => {
                let changed = self.tokens.get_mut(token).map(|row| {
                    row.active = *active;
                    Response::Token(row.clone(), None)
                });
                found(changed, "API token not found", response)
            }
            Action::RevokeToken { token } => {
                let revoked = self.tokens.remove(token).map(|_| Response::Done);
                found(revoked, "API token not found", response)
            }
            Action::Create(creation) => self.create(creation, response, now),
            Action::Patch { authorization, active, description } => {
                let changed = self.authorizations.get_mut(authorization).map(|row| {
                    row.active = active.unwrap_or(row.active);
                    row.description =
                        description.clone().unwrap_or_else(|| row.description.clone());
                    row.updated = now;
                    Response::Authorization(row.clone())
                });
                found(changed, "authorization not found", response)
            }
            Action::SetPermissions { authorization, permissions } => {
                self.set_permissions(*authorization, permissions, response, now)
            }
            Action::SetPassword { authorization, password } => {
                if !self.authorizations.contains_key(authorization) {
                    return no(NotFound, "authorization not found").check(response);
                }
                if let Some(weak) = self.weakness(password) {
                    return no(Invalid, weak).check(response);
                }
                self.passwords.entry(*authorization).or_default().push(password.clone());
                same(Response::Done, response)
            }
            Action::Delete { authorization } => {
                let deleted = self.authorizations.remove(authorization).map(|_| Response::Done);
                self.passwords.remove(authorization);
                found(deleted, "authorization not found", response)
            }
            Action::Authenticate { username, password } => {
                self.check_login(username, password, response)
            }
            Action::AuthenticateToken { secret } => match self.by_secret(secret.as_bytes()) {
                Some(token) => self.check_token(token, response),
                None => refused(Refusal::UnknownToken).check(response),
            },
            Action::AuthenticateCaller { secret } => self.check_caller(secret, response),
            Action::ResolveOrg { text } => {
                let org = resolve(self.orgs.values(), text).map(|row| Response::Org(row.clone()));
                found(org, format!("organization name \"{text}\" not found"), response)
            }
            Action::ResolveUser { text } => {
                let user =
                    resolve(self.users.values(), text).map(|row| Response::User(row.clone()));
                found(user, "user not found", response)
            }
            Action::ResolveBucket { org, text } => {
                let own = self.buckets.values().filter(|row| row.org == *org);
                let bucket = resolve(own, text).map(|row| Response::Bucket(row.clone()));
                found(bucket, "bucket not found", response)
            }
            Action::List(query) => same(self.list(query), response),
            Action::Import { rows, dry_run } => self.import(rows, *dry_run, response),
        }
    }

    fn create_org(&mut self, name: &str, response: &Response, now: Timestamp) -> Checked {
        let refusal = name_refusal("organization", name, self.orgs.values());
        if let Some(refusal) = refusal {
            return refusal.check(response);
        }
        let Response::Org(created) = response else { return unexpected("an org", response) };
        let row = Org { id: created.id, name: valid(name), status: Status::Active };
        drawn(row.id, now, self.orgs.insert(row.id, row.clone()))?;
        same(Response::Org(row), response)
    }

    fn create_user(&mut self, name: &str, response: &Response, now: Timestamp) -> Checked {
        if let Some(refusal) = name_refusal("user", name, self.users.values()) {
            return refusal.check(response);
        }
        let Response::User(created) = response else { return unexpected("a user", response) };
        let row = User { id: created.id, name: valid(name), status: Status::Active };
        drawn(row.id, now, self.users.insert(row.id, row.clone()))?;
        same(Response::User(row), response)
    }

    fn create_bucket(
        &mut self,
        org: OrgId,
        name: &str,
        response: &Response,
        now: Timestamp,
    ) -> Checked {
        let own = self.buckets.values().filter(|row| row.org == org);
        let refusal = match name_refusal("bucket", name, own) {
            Some(refusal) if refusal.kind == Invalid => Some(refusal),
            _ if !self.orgs.contains_key(&org) => Some(no(NotFound, "organization not found")),
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            return refusal.check(response);
        }
        let Response::Bucket(created) = response else { return unexpected("a bucket", response) };
        let row = Bucket { id: created.id, org, name: valid(name) };
        drawn(row.id, now, self.buckets.insert(row.id, row.clone()))?;
        same(Response::Bucket(row), response)
    }

    fn create_token(
        &mut self,
        org: OrgId,
        user: UserId,
        permissions: &[Permission],
        response: &Response,
        now: Timestamp,
    ) -> Checked {
        let instance =
            permissions.iter().any(|p| p.resource.resource_type == ResourceType::Instance);
        let refusal = match zeros(permissions) {
            Some(refusal) => Some(refusal),
            None if instance => Some(No { kind: Forbidden, message: None, refusal: None }),
            None if !self.users.contains_key(&user) => Some(no(NotFound, "user not found")),
            None if !self.orgs.contains_key(&org) => Some(no(NotFound, "organization not found")),
            None => None,
        };
        if let Some(refusal) = refusal {
            return refusal.check(response);
        }
        let Response::Token(created, Some(secret)) = response else {
            return unexpected("a token and its secret", response);
        };
        let row = TokenRow {
            id: created.id,
            digest: digest(secret),
            active: true,
            description: String::new(),
            org,
            user,
            permissions: permissions.to_vec(),
        };
        if !self.all_secrets.insert(secret.clone()) {
            return Err("the secret was drawn before".to_owned());
        }
        drawn(row.id, now, self.tokens.insert(row.id, row.clone()))?;
        self.secrets.insert(row.id, secret.clone());
        same(Response::Token(row, Some(secret.clone())), response)
    }

    fn create(&mut self, creation: &Creation, response: &Response, now: Timestamp) -> Checked {
        if let Some(refusal) = self.creation_refusal(creation) {
            return refusal.check(response);
        }
        let Response::Authorization(created) = response else {
            return unexpected("an authorization", response);
        };
        let row = AuthorizationRow {
            id: created.id,
            username: creation.username.clone(),
            active: creation.status != "inactive",
            description: creation.description.clone(),
            org: creation.org.expect("an accepted creation has one"),
            user: creation.user,
            permissions: creation.permissions.clone(),
            hash: None,
            password_set: None,
            created: now,
            updated: now,
        };
        drawn(row.id, now, self.authorizations.insert(row.id, row.clone()))?;
        self.passwords.remove(&row.id);
        same(Response::Authorization(row), response)
    }

    /// Returns the first line of the table in "Create" that applies.
    fn creation_refusal(&self, creation: &Creation) -> Option<No> {
        let Creation { username, org, user, permissions, status, .. } = creation;
        if permissions.is_empty() {
            return Some(no(Invalid, "authorization must include permissions"));
        }
        if let Some(refusal) = zeros(permissions) {
            return Some(refusal);
        }
        let Some(org) = *org else { return Some(no(Invalid, "org id required: invalid ID")) };
        if !["", "active", "inactive"].contains(&status.as_str()) {
            return Some(no(Invalid, "invalid status: must be active or inactive"));
        }
        if username.is_empty() {
            return Some(no(Invalid, "token required for v1 user authorization type"));
        }
        if username.len() > 32_768 {
            let message = format!("token must be at most 32768 bytes long, not {}", username.len());
            return Some(no(Invalid, message));
        }
        if let Some(refusal) = grant_refusal(permissions, org) {
            return Some(refusal);
        }
        if !self.users.contains_key(user) || !self.orgs.contains_key(&org) {
            return Some(no(Invalid, "unable to create token"));
        }
        if self.by_username(username).is_some() {
            return Some(no(Conflict, "token already exists"));
        }
        self.bucket_refusal(permissions)
    }

    fn bucket_refusal(&self, permissions: &[Permission]) -> Option<No> {
        let absent = |permission: &Permission| match permission.resource.id {
            Some(id) if permission.resource.resource_type == ResourceType::Buckets => {
                !self.buckets.contains_key(&BucketId::from(id))
            }
            _ => false,
        };
        let message = "bucket not found when creating auth";
        permissions.iter().any(absent).then(|| no(NotFound, message))
    }

    fn set_permissions(
        &mut self,
        id: AuthorizationId,
        permissions: &[Permission],
        response: &Response,
        now: Timestamp,
    ) -> Checked {
        if permissions.is_empty() {
            return no(Invalid, "authorization must include permissions").check(response);
        }
        if let Some(refusal) = zeros(permissions) {
            return refusal.check(response);
        }
        let Some(row) = self.authorizations.get(&id) else {
            return no(NotFound, "authorization not found").check(response);
        };
        let refusal = grant_refusal(permissions, row.org);
        if let Some(refusal) = refusal.or_else(|| self.bucket_refusal(permissions)) {
            return refusal.check(response);
        }
        let row = self.authorizations.get_mut(&id).expect("it exists");
        row.permissions = permissions.to_vec();
        row.updated = now;
        same(Response::Authorization(row.clone()), response)
    }

    /// Returns every rule that a new password violates, a line for each.
    fn weakness(&self, password: &[u8]) -> Option<String> {
        let mut broken = Vec::new();
        if !(8..=72).contains(&password.len()) {
            broken.push("passwords must be between 8 and 72 characters long".to_owned());
        }
        if self.strong && !has_three_classes(password) {
            broken.push(
                "passwords must contain at least three of the following character types: \
                 uppercase, lowercase, numbers, and special characters: !@#$%^&*()_+"
                    .to_owned(),
            );
        }
        (!broken.is_empty()).then(|| broken.join("\n"))
    }
}

/// Returns the first zero for an id: in a permission the org's comes before its own.
fn zeros(permissions: &[Permission]) -> Option<No> {
    for permission in permissions {
        if permission.resource.org.is_some_and(|org| org.as_u64() == 0) {
            return Some(no(Invalid, "invalid org id for permission: invalid ID"));
        }
        if permission.resource.id.is_some_and(|id| id.as_u64() == 0) {
            return Some(no(Invalid, "invalid id for permission: invalid ID"));
        }
    }
    None
}

/// Returns what must not be granted in the org, by any caller.
fn grant_refusal(permissions: &[Permission], org: OrgId) -> Option<No> {
    if permissions.iter().any(|p| p.resource.resource_type == ResourceType::Instance) {
        return Some(No { kind: Forbidden, message: None, refusal: None });
    }
    let other = permissions.iter().find(|p| p.resource.org.is_some_and(|other| other != org))?;
    Some(no(Invalid, format!("permission {other} is not for org id {org}")))
}

/// Tells whether it has three of four classes, of the ASCII characters of passwords here.
fn has_three_classes(password: &[u8]) -> bool {
    let classes = [
        password.iter().any(u8::is_ascii_digit),
        password.iter().any(u8::is_ascii_uppercase),
        password.iter().any(u8::is_ascii_lowercase),
        password.iter().any(|byte| b"!@#$%^&*()_+".contains(byte)),
    ];
    classes.into_iter().filter(|has| *has).count() >= 3
}
