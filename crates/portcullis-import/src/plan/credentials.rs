//! Credentials and API tokens.

use std::collections::BTreeSet;

use portcullis::password::{Password, PasswordHash, PasswordPolicy};
use portcullis::store::{Kind, StoreExt as _};
use portcullis::{
    Action, ApiToken, ApiTokenId, Authorization, AuthorizationId, OrgId, Permission, Resource,
    ResourceType, Status, SystemRandom, TokenDigest, TokenSecret, UserId, Username, presets,
};

use super::grants::Granted;
use super::{Admins, NewToken, PlanError, Planner, taken_or_changed};
use crate::item::{CredentialItem, SourcePassword, SourceToken, TokenItem};
use crate::line::Line;
use crate::names::Seen;
use crate::report::{Entry, Outcome};

const CREDENTIAL: &str = "credential";
/// Random secrets of other programs are longer. A digest of a shorter one takes little to be guessed.
const MIN_SECRET_BYTES: usize = 32;
const API_TOKEN: &str = "API token";

impl Planner<'_> {
    pub(super) async fn add_credential(&mut self, item: CredentialItem) -> Result<(), PlanError> {
        let name = item.username.as_str();
        let skipped = Entry::new(Outcome::Skipped, CREDENTIAL, name);
        if let Err(error) = Username::new(name) {
            return self.report(&skipped.note(error.to_string()));
        }
        if item.is_admin {
            match self.options.admins {
                None => {
                    let undecided = Entry::new(Outcome::Undecided, CREDENTIAL, name);
                    return self.report(&undecided.note("it is an administrator"));
                }
                Some(Admins::Skip) => {
                    let entry = skipped.note("it is an administrator, and these are skipped");
                    return self.report(&Entry { chosen: true, ..entry });
                }
                Some(Admins::OperatorToken | Admins::OrgOwner) => {}
            }
        }
        let mut notes = Vec::new();
        match self.names.add(CREDENTIAL, name) {
            Seen::New => {}
            Seen::Same => {
                return self.report(&skipped.note("another credential of the file has the name"));
            }
            Seen::Similar(folded) => notes.push(format!(
                "another username differs from this one only by case or Unicode form: both are \
                 `{folded}` without"
            )),
        }
        let Some(org) = self.org_of(item.org).await? else {
            return self.report(&skipped.note("its org is not carried"));
        };
        let Some(user) = self.user_of(item.user).await? else {
            return self.report(&skipped.note("its user is not carried"));
        };
        let mut changes = item.changes.clone();
        let mut granted = self.granted(name, org, &item.grants);
        if item.is_admin {
            match self.options.admins {
                Some(Admins::OrgOwner) => {
                    changes.push(
                        "it is an administrator: here it may read and write all buckets of its org"
                            .to_owned(),
                    );
                    granted.permissions = all_buckets(org);
                }
                _ => changes.push(
                    "it is an administrator: here it has its grants alone, and a new API token holds the \
                     permissions of an operator"
                        .to_owned(),
                ),
            }
        }
        if granted.permissions.is_empty() {
            notes.push("it has no permission".to_owned());
        }
        if let Some(there) = self.engine.authorization_by_username(name).await? {
            let wanted = Wanted { org, user, item: &item, permissions: &granted.permissions };
            return self.compare_credential(&there, wanted).await;
        }
        let hash = match self.password(&item.password, &mut notes).await? {
            Ok(hash) => hash,
            Err(why) => return self.report(&skipped.note(why)),
        };
        let (id, changed) = self.keep(Kind::Authorization, item.id).await?;
        changes.extend(changed);
        let id = AuthorizationId::from(id);
        let created_at = item.created_at.unwrap_or(self.now);
        self.record(&Line::Authorization {
            id,
            username: name,
            org,
            user,
            status: item.status,
            description: &item.description,
            permissions: &granted.permissions,
            password_hash: hash.as_ref().map(PasswordHash::expose),
            created_at,
            updated_at: item.updated_at.unwrap_or(created_at),
        })?;
        let outcome = match granted.is_changed() {
            true => Outcome::Changed,
            false => taken_or_changed(&changes),
        };
        let entry = Entry::new(outcome, CREDENTIAL, name).id(id);
        self.report(&entry.notes(changes.into_iter().chain(notes)))?;
        self.report_grants(&granted)?;
        if item.is_admin && self.options.admins == Some(Admins::OperatorToken) {
            self.add_operator_token(name, org, user)?;
        }
        Ok(())
    }

    /// Returns the hash of the password, or why it cannot be carried.
    async fn password(
        &self,
        password: &SourcePassword,
        notes: &mut Vec<String>,
    ) -> Result<Result<Option<PasswordHash>, String>, PlanError> {
        match password {
            SourcePassword::None => {
                notes.push("it has no password, and cannot log in".to_owned());
                Ok(Ok(None))
            }
            SourcePassword::Hash(text) => {
                Ok(PasswordHash::parse(text.expose()).map(Some).map_err(|error| error.to_string()))
            }
            SourcePassword::Plain(text) => {
                let text = text.expose();
                let Ok(password) = Password::new(text.as_bytes()) else {
                    return Ok(Err(format!("its password has {} bytes", text.len())));
                };
                if text.is_empty() {
                    return Ok(Err("its password is empty".to_owned()));
                }
                if let Err(weak) = PasswordPolicy::default().check_new(text.as_bytes()) {
                    notes.push(format!("its password works, and would be refused today: {weak}"));
                }
                Ok(Ok(Some(self.engine.hash_pool().hash(&password).await?)))
            }
        }
    }

    /// Reports a credential whose username the store has.
    async fn compare_credential(
        &mut self,
        there: &Authorization,
        wanted: Wanted<'_>,
    ) -> Result<(), PlanError> {
        let Wanted { org, user, item, permissions } = wanted;
        let mut differs = Vec::new();
        let mut notes = Vec::new();
        if there.org != org {
            differs.push("org");
        }
        if there.user != user {
            differs.push("user");
        }
        if there.status != item.status {
            differs.push("status");
        }
        if there.description != item.description {
            differs.push("description");
        }
        if !same_permissions(&there.permissions, permissions) {
            differs.push("permissions");
        }
        match (&item.password, &there.password_hash) {
            (SourcePassword::None, None) => {}
            (SourcePassword::Hash(wanted), Some(hash)) if wanted.expose() == hash.expose() => {}
            // A login replaces an imported hash.
            (SourcePassword::Hash(wanted), Some(hash))
                if wanted.expose().starts_with("$2") && !hash.expose().starts_with("$2") =>
            {
                notes.push("its password was hashed again at a login here, or changed".to_owned());
            }
            (SourcePassword::Plain(text), Some(hash)) => {
                let is_same = match Password::new(text.expose().as_bytes()) {
                    Ok(password) => self.engine.hash_pool().verify(&password, hash).await?,
                    Err(_) => false,
                };
                if !is_same {
                    differs.push("password");
                }
            }
            _ => differs.push("password"),
        }
        let name = item.username.as_str();
        if differs.is_empty() {
            let entry = Entry::new(Outcome::AlreadyThere, CREDENTIAL, name).id(there.id);
            return self.report(&entry.notes(notes));
        }
        let entry = Entry::new(Outcome::Skipped, CREDENTIAL, name).id(there.id);
        let note = format!("there is another credential of the name: {} differ", list(&differs));
        self.report(&entry.note(note))
    }

    /// Creates an API token for an administrator. It comes with the credential, so that another import,
    /// which finds the credential, creates no other token.
    fn add_operator_token(
        &mut self,
        name: &str,
        org: OrgId,
        user: UserId,
    ) -> Result<(), PlanError> {
        let secret = TokenSecret::generate(&SystemRandom)?;
        let id = ApiTokenId::from(self.ids.next());
        let description = format!("operator token of the administrator {name}");
        self.record(&Line::ApiToken {
            id,
            org,
            user,
            status: Status::Active,
            description: &description,
            permissions: &presets::operator(),
            token_digest: secret.digest().to_text(),
        })?;
        let entry = Entry::new(Outcome::Taken, API_TOKEN, &description).id(id);
        self.report(&entry.note("created; its secret is shown once"))?;
        self.tokens.push(NewToken { name: name.to_owned(), id, secret });
        Ok(())
    }

    pub(super) async fn add_token(&mut self, item: TokenItem) -> Result<(), PlanError> {
        let name = item.description.as_str();
        let skipped = Entry::new(Outcome::Skipped, API_TOKEN, name);
        let digest = match &item.secret {
            SourceToken::Plain(secret) if secret.expose().is_empty() => {
                return self.report(&skipped.note("its secret is empty"));
            }
            SourceToken::Plain(secret) => TokenSecret::new(secret.expose()).digest(),
            SourceToken::Digest(digest) => *digest,
            SourceToken::Unusable(why) => return self.report(&skipped.note(why)),
        };
        let digest_text = digest.to_text();
        if self.names.add(API_TOKEN, &digest_text) == Seen::Same {
            return self.report(&skipped.note("another API token of the file has the secret"));
        }
        let Some(org) = self.org_of(item.org).await? else {
            return self.report(&skipped.note("its org is not carried"));
        };
        let Some(user) = self.user_of(item.user).await? else {
            return self.report(&skipped.note("its user is not carried"));
        };
        let granted = self.granted(name, org, &item.grants);
        if let Some((there, _)) = self.engine.store().find_by_key::<ApiToken>(&digest_text).await? {
            return self.compare_token(&there, org, user, &item, &granted);
        }
        self.new_token(&item, org, user, &digest, &granted).await
    }

    async fn new_token(
        &mut self,
        item: &TokenItem,
        org: OrgId,
        user: UserId,
        digest: &TokenDigest,
        granted: &Granted,
    ) -> Result<(), PlanError> {
        let (id, changed) = self.keep(Kind::ApiToken, item.id).await?;
        let id = ApiTokenId::from(id);
        self.record(&Line::ApiToken {
            id,
            org,
            user,
            status: item.status,
            description: &item.description,
            permissions: &granted.permissions,
            token_digest: digest.to_text(),
        })?;
        let outcome = match granted.is_changed() {
            true => Outcome::Changed,
            false => taken_or_changed(&changed),
        };
        let mut entry = Entry::new(outcome, API_TOKEN, &item.description).id(id).notes(changed);
        if granted.permissions.is_empty() {
            entry = entry.note("it has no permission");
        }
        if let SourceToken::Plain(secret) = &item.secret
            && secret.expose().len() < MIN_SECRET_BYTES
        {
            entry =
                entry.note("its secret is short, and can be guessed from its digest: replace it");
        }
        self.report(&entry)?;
        self.report_grants(granted)
    }

    /// Reports an API token whose secret the store has.
    fn compare_token(
        &mut self,
        there: &ApiToken,
        org: OrgId,
        user: UserId,
        item: &TokenItem,
        granted: &Granted,
    ) -> Result<(), PlanError> {
        let mut differs = Vec::new();
        if there.org != org {
            differs.push("org");
        }
        if there.user != user {
            differs.push("user");
        }
        if there.status != item.status {
            differs.push("status");
        }
        if there.description != item.description {
            differs.push("description");
        }
        if !same_permissions(&there.permissions, &granted.permissions) {
            differs.push("permissions");
        }
        let name = item.description.as_str();
        if differs.is_empty() {
            return self.report(&Entry::new(Outcome::AlreadyThere, API_TOKEN, name).id(there.id));
        }
        let entry = Entry::new(Outcome::Skipped, API_TOKEN, name).id(there.id);
        let note = format!("the API token is there already: {} differ", list(&differs));
        self.report(&entry.note(note))
    }
}

/// A credential of the source, and what it would be here.
struct Wanted<'a> {
    org: OrgId,
    user: UserId,
    item: &'a CredentialItem,
    permissions: &'a [Permission],
}

/// Read and write on all buckets of the org.
fn all_buckets(org: OrgId) -> Vec<Permission> {
    let buckets = Resource::all(ResourceType::Buckets).in_org(org);
    Action::ALL.map(|action| Permission::new(action, buckets)).to_vec()
}

/// The order of permissions means nothing.
fn same_permissions(one: &[Permission], other: &[Permission]) -> bool {
    let set = |permissions: &[Permission]| -> BTreeSet<String> {
        permissions.iter().map(ToString::to_string).collect()
    };
    one == other || set(one) == set(other)
}

fn list(parts: &[&str]) -> String {
    match parts {
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
        [] => String::new(),
    }
}
