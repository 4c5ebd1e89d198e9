//! The records that there are: those that the file names, and what else is in orgs that it manages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures_util::{StreamExt as _, stream};
use portcullis::password::{Password, PasswordHash};
use portcullis::{
    AuthorizationFilter, Bucket, BucketId, DbrpFilter, DbrpMapping, Engine, Org, OrgId, User,
};

use super::desired::{Desired, DesiredCredential, DesiredOrg, PasswordSource};
use super::file::{Mistake, Place};
use crate::commands::{PAGE, read_pages};
use crate::failure::describe;
use crate::passwords::{Secret, of_variable, read_secret};
use crate::progress::{ProgressMode, Unit};
use crate::session::{AuthorizationRecord, Session};

/// With more credentials of the file than this, those of an org are listed, and not looked up one by one.
const MAX_LOOKUPS: usize = 20;

/// How many passwords are verified at a time at most.
const VERIFICATIONS: usize = 8;

/// The records that there are, by their names.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) users: HashMap<String, User>,
    pub(super) orgs: HashMap<String, OrgState>,
    /// Credentials of the file that are in another org than the file says, by username.
    pub(super) elsewhere: HashMap<String, OrgId>,
    /// The passwords of the file, by username.
    pub(super) secrets: HashMap<String, NewSecret>,
}

/// An org with its records.
#[derive(Debug)]
pub(super) struct OrgState {
    pub(super) org: Org,
    pub(super) buckets: BTreeMap<String, BucketId>,
    /// Those that are records, by name.
    pub(super) dbrps: Vec<DbrpMapping>,
    pub(super) credentials: BTreeMap<String, CredentialState>,
}

#[derive(Debug)]
pub(super) struct CredentialState {
    pub(super) record: AuthorizationRecord,
    pub(super) password: PasswordState,
}

/// How the password of a credential compares with that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordState {
    /// The file states none.
    NotStated,
    Same,
    /// It has another one, or none.
    Differs,
    /// It has one, and which one is not shown.
    NotCompared,
}

/// A password to set, with its place in the file.
#[derive(Debug)]
pub(super) struct NewSecret {
    pub(super) place: Place,
    pub(super) value: SecretValue,
}

pub(super) enum SecretValue {
    Password(Secret),
    Hash(PasswordHash),
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(<redacted>)",
            Self::Hash(_) => "Hash(<redacted>)",
        })
    }
}

/// Reads what the file is about.
///
/// # Errors
///
/// Those of the store or the server. Passwords that cannot be read are mistakes.
pub(super) async fn read(
    session: &Session,
    desired: &Desired,
    progress: ProgressMode,
    mistakes: &mut Vec<Mistake>,
) -> anyhow::Result<State> {
    let mut state = State { secrets: secrets(session, desired, mistakes), ..State::default() };
    let credentials = desired.orgs.iter().flat_map(|org| org.credentials.iter().flatten());
    let users = credentials.map(|credential| credential.user.text.as_str());
    let users: BTreeSet<&str> =
        users.chain(desired.users.iter().map(|user| user.name.as_str())).collect();
    for name in users {
        if let Some(user) = existing(session.resolve_user(name).await)? {
            state.users.insert(name.to_owned(), user);
        }
    }
    for wanted in &desired.orgs {
        let name = wanted.name.as_str();
        let found = existing(session.resolve_org(name).await)?;
        if let Some(org) = found {
            let read = org_state(session, org, wanted).await?;
            state.orgs.insert(name.to_owned(), read);
        }
        let found = state.orgs.get(name);
        for credential in wanted.credentials.iter().flatten() {
            let username = credential.username.as_str();
            if found.is_none_or(|org| !org.credentials.contains_key(username))
                && let Some(other) = session.authorization_by_username(username).await?
            {
                state.elsewhere.insert(username.to_owned(), other.org);
            }
        }
    }
    match session.engine() {
        Some(engine) => compare_passwords(engine, &mut state, progress).await?,
        None => assume_passwords(&mut state),
    }
    Ok(state)
}

fn existing<T>(result: Result<T, portcullis::Error>) -> Result<Option<T>, portcullis::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == portcullis::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn org_state(session: &Session, org: Org, wanted: &DesiredOrg) -> anyhow::Result<OrgState> {
    let page = async |last: Option<&Bucket>| {
        session.buckets(Some(org.id), last.map(|last| last.id), PAGE).await
    };
    let buckets = read_pages(page).await?.into_iter();
    let buckets = buckets.map(|bucket| (bucket.name.to_string(), bucket.id)).collect();
    let filter = DbrpFilter { is_virtual: Some(false), ..DbrpFilter::all(org.id) };
    let mut dbrps = match &wanted.dbrps {
        Some(_) => session.list_dbrps(&filter).await?,
        None => Vec::new(),
    };
    dbrps.sort_by(|one, other| {
        let name = |mapping: &DbrpMapping| {
            (Arc::clone(&mapping.database), Arc::clone(&mapping.retention_policy))
        };
        name(one).cmp(&name(other))
    });
    let records = match &wanted.credentials {
        Some(credentials) if wanted.is_managed || credentials.len() > MAX_LOOKUPS => {
            all_credentials(session, org.id).await?
        }
        Some(credentials) => named_credentials(session, org.id, credentials).await?,
        None => Vec::new(),
    };
    let credential = |record: AuthorizationRecord| {
        let name = record.username.to_string();
        (name, CredentialState { record, password: PasswordState::NotStated })
    };
    Ok(OrgState { org, buckets, dbrps, credentials: records.into_iter().map(credential).collect() })
}

async fn all_credentials(
    session: &Session,
    org: OrgId,
) -> anyhow::Result<Vec<AuthorizationRecord>> {
    let filter = AuthorizationFilter { org: Some(org), ..AuthorizationFilter::default() };
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = session.list_authorizations(&filter, after, PAGE).await?;
        records.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(records),
        }
    }
}

async fn named_credentials(
    session: &Session,
    org: OrgId,
    credentials: &[DesiredCredential],
) -> anyhow::Result<Vec<AuthorizationRecord>> {
    let mut records = Vec::new();
    for credential in credentials {
        let found = session.authorization_by_username(credential.username.as_str()).await?;
        records.extend(found.filter(|record| record.org == org));
    }
    Ok(records)
}

/// Reads the passwords of the file.
fn secrets(
    session: &Session,
    desired: &Desired,
    mistakes: &mut Vec<Mistake>,
) -> HashMap<String, NewSecret> {
    let credentials = desired.orgs.iter().flat_map(|org| org.credentials.iter().flatten());
    let mut secrets = HashMap::new();
    for credential in credentials {
        let Some((place, source)) = &credential.password else { continue };
        match secret(session, source) {
            Ok(value) => {
                let username = credential.username.to_string();
                secrets.insert(username, NewSecret { place: *place, value });
            }
            Err(error) => mistakes.push(Mistake::new(*place, describe(&error))),
        }
    }
    secrets
}

fn secret(session: &Session, source: &PasswordSource) -> anyhow::Result<SecretValue> {
    let is_server = session.engine().is_none();
    let password = match source {
        PasswordSource::Hash(_) if is_server => {
            return Err(anyhow!("`passwordHash` needs a store: a server accepts no hashes"));
        }
        PasswordSource::Hash(hash) => return Ok(SecretValue::Hash(hash.clone())),
        PasswordSource::File(path) => read_secret(path)?,
        PasswordSource::Variable(name) => {
            of_variable(name)?.with_context(|| format!("the variable `{name}` is not set"))?
        }
    };
    if password.is_empty() {
        return Err(anyhow!("the password is empty"));
    }
    if is_server && std::str::from_utf8(&password).is_err() {
        return Err(anyhow!("a password that is not UTF-8 can be set only in a store"));
    }
    Ok(SecretValue::Password(password))
}

/// Compares passwords with the hashes of a store.
async fn compare_passwords(
    engine: &Engine,
    state: &mut State,
    progress: ProgressMode,
) -> anyhow::Result<()> {
    let State { orgs, secrets, .. } = state;
    let compared: Vec<(&mut CredentialState, &NewSecret)> = orgs
        .values_mut()
        .flat_map(|org| &mut org.credentials)
        .filter_map(|(username, credential)| Some((credential, secrets.get(username)?)))
        .collect();
    let mut shown =
        progress.begin("verifying passwords", Unit::Records, Some(compared.len() as u64));
    let mut compared = stream::iter(compared)
        .map(|(credential, secret)| async move {
            let found = engine.authorization(credential.record.id).await?;
            let hash = found.and_then(|found| found.password_hash);
            credential.password = match hash {
                None => PasswordState::Differs,
                Some(hash) => compare(engine, &hash, &secret.value).await?,
            };
            anyhow::Ok(())
        })
        .buffer_unordered(VERIFICATIONS);
    while let Some(result) = compared.next().await {
        result?;
        shown.add(1);
    }
    Ok(())
}

async fn compare(
    engine: &Engine,
    hash: &PasswordHash,
    secret: &SecretValue,
) -> anyhow::Result<PasswordState> {
    let is_same = match secret {
        SecretValue::Password(password) => match Password::new(password.as_slice()) {
            Ok(password) => engine.hash_pool().verify(&password, hash).await?,
            // The rules for new passwords refuse it.
            Err(_) => false,
        },
        SecretValue::Hash(wanted) if wanted == hash => true,
        // A login replaces a weak hash by one of the same password with other parameters.
        SecretValue::Hash(wanted) if parameters(wanted) != parameters(hash) => {
            return Ok(PasswordState::NotCompared);
        }
        SecretValue::Hash(_) => false,
    };
    Ok(if is_same { PasswordState::Same } else { PasswordState::Differs })
}

/// Returns the part of a hash before salt and output.
fn parameters(hash: &PasswordHash) -> &str {
    let text = hash.expose();
    match text.starts_with("$2") {
        // `$2b$12$`, and salt and output without a `$`.
        true => text.rsplit_once('$').map_or(text, |(parameters, _)| parameters),
        false => {
            let rest = text.rsplit_once('$').map_or(text, |(rest, _)| rest);
            rest.rsplit_once('$').map_or(rest, |(parameters, _)| parameters)
        }
    }
}

/// A server shows whether there is a password, and not which one.
fn assume_passwords(state: &mut State) {
    let State { orgs, secrets, .. } = state;
    for (username, credential) in orgs.values_mut().flat_map(|org| &mut org.credentials) {
        if secrets.contains_key(username) {
            credential.password = match credential.record.has_password {
                true => PasswordState::NotCompared,
                false => PasswordState::Differs,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_hash_are_before_its_salt() {
        let argon2 =
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let bcrypt = "$2b$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
        for (hash, expected) in [(argon2, "$argon2id$v=19$m=8,t=1,p=1"), (bcrypt, "$2b$04")] {
            assert_eq!(parameters(&PasswordHash::parse(hash).unwrap()), expected);
        }
    }
}
