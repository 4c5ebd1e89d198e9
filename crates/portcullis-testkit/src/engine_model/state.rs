//! The model: the records of an engine and its responses, in plain collections.
//!
//! It is written from `docs/spec`, and checks every record each time.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::password::PasswordHash;
use portcullis::{
    ApiTokenId, AuthorizationId, BucketId, Id, OrgId, Permission, ResourceType, Timestamp,
    TokenSecret, UserId,
};

use super::action::{Action, Creation, Query};
use super::rows::{AuthorizationRow, BucketRow, OrgRow, Row, TokenRow, UserRow, YEAR_ONE, status};
use super::step::{
    Asking, AuthorizationLine, DESCRIPTIONS, FilterStep, Grant, Guess, HASHES, LineStep, Op, Pick,
    SECRETS, Scope, TYPES, WhichUsername, names, passwords, usernames,
};

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) strong: bool,
    pub(super) orgs: BTreeMap<OrgId, OrgRow>,
    pub(super) users: BTreeMap<UserId, UserRow>,
    pub(super) buckets: BTreeMap<BucketId, BucketRow>,
    pub(super) tokens: BTreeMap<ApiTokenId, TokenRow>,
    pub(super) authorizations: BTreeMap<AuthorizationId, AuthorizationRow>,
    /// The secret of each API token.
    pub(super) secrets: BTreeMap<ApiTokenId, String>,
    /// All passwords of each authorization, the current one last.
    pub(super) passwords: BTreeMap<AuthorizationId, Vec<Vec<u8>>>,
    /// All ids that were ever used.
    pub(super) ever: Ever,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ever {
    pub(super) orgs: BTreeSet<OrgId>,
    pub(super) users: BTreeSet<UserId>,
    pub(super) buckets: BTreeSet<BucketId>,
    pub(super) tokens: BTreeSet<ApiTokenId>,
    pub(super) authorizations: BTreeSet<AuthorizationId>,
    pub(super) secrets: BTreeSet<String>,
}

/// An id that is never drawn and in no file.
pub(super) const NEVER: Id = Id::from_u64(777);

fn pick<K: Ord + Copy + From<Id>, V>(there: &BTreeMap<K, V>, ever: &BTreeSet<K>, pick: Pick) -> K {
    let round = |from: Vec<K>, number: u8| match from.len() {
        0 => NEVER.into(),
        count => from[usize::from(number) % count],
    };
    match pick {
        Pick::There(number) => round(there.keys().copied().collect(), number),
        Pick::Gone(number) => {
            round(ever.iter().copied().filter(|id| !there.contains_key(id)).collect(), number)
        }
        Pick::Never => NEVER.into(),
    }
}

fn of_pool<T: Clone>(pool: &[T], number: u8) -> T {
    pool[usize::from(number) % pool.len()].clone()
}

impl State {
    pub(super) fn org(&self, which: Pick) -> OrgId {
        pick(&self.orgs, &self.ever.orgs, which)
    }

    pub(super) fn user(&self, which: Pick) -> UserId {
        pick(&self.users, &self.ever.users, which)
    }

    pub(super) fn bucket(&self, which: Pick) -> BucketId {
        pick(&self.buckets, &self.ever.buckets, which)
    }

    pub(super) fn token(&self, which: Pick) -> ApiTokenId {
        pick(&self.tokens, &self.ever.tokens, which)
    }

    pub(super) fn authorization(&self, which: Pick) -> AuthorizationId {
        pick(&self.authorizations, &self.ever.authorizations, which)
    }

    fn username(&self, which: WhichUsername) -> String {
        match which {
            WhichUsername::Of(which) => match self.authorizations.get(&self.authorization(which)) {
                Some(row) => row.username.clone(),
                None => "missing".to_owned(),
            },
            WhichUsername::Pool(number) => of_pool(&usernames(), number),
        }
    }

    fn secret(&self, which: Pick) -> String {
        match self.secrets.get(&self.token(which)) {
            Some(secret) => secret.clone(),
            // Of an earlier authorization, or of none.
            None => self.ever.secrets.first().cloned().unwrap_or_default(),
        }
    }

    pub(super) fn by_username(&self, username: &str) -> Option<&AuthorizationRow> {
        self.authorizations.values().find(|row| row.username == username)
    }

    fn guess(&self, username: &str, guess: Guess) -> Vec<u8> {
        let had = self.by_username(username).and_then(|row| self.passwords.get(&row.id));
        match (guess, had.map(Vec::as_slice)) {
            (Guess::Right, Some([.., present])) => present.clone(),
            (Guess::Old(number), Some(had @ [_, ..])) => of_pool(had, number),
            (Guess::Pool(number), _) => of_pool(&passwords(), number),
            (Guess::Secret(which), _) => self.secret(which).into_bytes(),
            _ => b"password-one".to_vec(),
        }
    }

    pub(super) fn permission(&self, grant: &Grant, own_org: OrgId) -> Permission {
        use portcullis::Resource;

        let every = |kind: u8| Resource::all(TYPES[usize::from(kind) % TYPES.len()]);
        let buckets = Resource::all(ResourceType::Buckets);
        let zero = Id::from_u64(0);
        let resource = match grant.scope {
            Scope::Every(kind) => every(kind),
            Scope::InOwnOrg(kind) => every(kind).in_org(own_org),
            Scope::InOrg(kind, org) => every(kind).in_org(self.org(org)),
            Scope::BucketInOwnOrg(bucket) => {
                buckets.in_org(own_org).with_id(self.bucket(bucket).untyped())
            }
            Scope::BucketInOrg(org, bucket) => {
                buckets.in_org(self.org(org)).with_id(self.bucket(bucket).untyped())
            }
            Scope::Bucket(bucket) => buckets.with_id(self.bucket(bucket).untyped()),
            Scope::User(user) => Resource::user(self.user(user)),
            Scope::Org(org) => Resource::org(self.org(org)),
            Scope::Authorization(which) => Resource::all(ResourceType::Authorizations)
                .in_org(own_org)
                .with_id(self.authorization(which).untyped()),
            Scope::Instance { in_own_org, bucket } => {
                let mut instance = Resource::all(ResourceType::Instance);
                instance.org = in_own_org.then_some(own_org);
                instance.id = bucket.map(|bucket| self.bucket(bucket).untyped());
                instance
            }
            Scope::ZeroId => buckets.with_id(zero),
            Scope::ZeroOrg => buckets.in_org(zero.into()),
        };
        if grant.write { Permission::write(resource) } else { Permission::read(resource) }
    }

    fn permissions(&self, grants: &[Grant], own_org: OrgId) -> Vec<Permission> {
        grants.iter().map(|grant| self.permission(grant, own_org)).collect()
    }

    /// Returns the action of the step; `None` for steps that are no requests.
    pub(super) fn action(&self, op: &Op, now: Timestamp) -> Option<Action> {
        Some(match op {
            Op::CreateOrg { name } => Action::CreateOrg { name: of_pool(&names(), *name) },
            Op::CreateUser { name } => Action::CreateUser { name: of_pool(&names(), *name) },
            Op::CreateBucket { org, name } => {
                Action::CreateBucket { org: self.org(*org), name: of_pool(&names(), *name) }
            }
            Op::SetOrgStatus { org, active } => {
                Action::SetOrgStatus { org: self.org(*org), active: *active }
            }
            Op::SetUserStatus { user, active } => {
                Action::SetUserStatus { user: self.user(*user), active: *active }
            }
            Op::DeleteOrg { org } => Action::DeleteOrg { org: self.org(*org) },
            Op::DeleteUser { user } => Action::DeleteUser { user: self.user(*user) },
            Op::DeleteBucket { bucket } => Action::DeleteBucket { bucket: self.bucket(*bucket) },
            Op::CreateToken { org, user, grants } => {
                let (org, user) = (self.org(*org), self.user(*user));
                Action::CreateToken { org, user, permissions: self.permissions(grants, org) }
            }
            Op::SetTokenStatus { token, active } => {
                Action::SetTokenStatus { token: self.token(*token), active: *active }
            }
            Op::RevokeToken { token } => Action::RevokeToken { token: self.token(*token) },
            Op::Create(create) => {
                let org = create.org.map(|org| self.org(org));
                Action::Create(Creation {
                    username: of_pool(&usernames(), create.username),
                    org,
                    user: self.user(create.user),
                    permissions: self.permissions(&create.grants, org.unwrap_or(NEVER.into())),
                    status: create.status.to_owned(),
                    description: of_pool(&DESCRIPTIONS, create.description).to_owned(),
                })
            }
            Op::Patch { authorization, active, description } => Action::Patch {
                authorization: self.authorization(*authorization),
                active: *active,
                description: description.map(|number| of_pool(&DESCRIPTIONS, number).to_owned()),
            },
            Op::SetPermissions { authorization, grants } => {
                let authorization = self.authorization(*authorization);
                let own_org =
                    self.authorizations.get(&authorization).map_or(NEVER.into(), |row| row.org);
                let permissions = self.permissions(grants, own_org);
                Action::SetPermissions { authorization, permissions }
            }
            Op::SetPassword { authorization, password } => Action::SetPassword {
                authorization: self.authorization(*authorization),
                password: of_pool(&passwords(), *password),
            },
            Op::Delete { authorization } => {
                Action::Delete { authorization: self.authorization(*authorization) }
            }
            Op::Authenticate { username, guess } => {
                let username = self.username(*username);
                let password = self.guess(&username, *guess);
                Action::Authenticate { username, password }
            }
            Op::AuthenticateToken { token } => {
                Action::AuthenticateToken { secret: self.secret(*token) }
            }
            Op::AuthenticateCaller { token } => {
                Action::AuthenticateCaller { secret: self.secret(*token) }
            }
            Op::ResolveOrg { text } => Action::ResolveOrg { text: self.name_or_id(*text) },
            Op::ResolveUser { text } => Action::ResolveUser { text: self.name_or_id(*text) },
            Op::ResolveBucket { org, text } => {
                Action::ResolveBucket { org: self.org(*org), text: self.name_or_id(*text) }
            }
            Op::List { filter, after, limit, asking } => Action::List(Query {
                filter: self.filter(filter),
                after: after.map(|after| self.authorization(after)),
                limit: *limit,
                caller: self.caller(asking),
            }),
            Op::Import { lines, dry_run } => {
                let rows = lines.iter().map(|line| self.row(line, now)).collect();
                Action::Import { rows, dry_run: *dry_run }
            }
            Op::Move | Op::Reopen => return None,
        })
    }

    /// A name of the pool, or any id.
    fn name_or_id(&self, number: u8) -> String {
        let mut texts = names();
        texts.extend(self.ever.orgs.iter().map(ToString::to_string));
        texts.extend(self.ever.users.iter().map(ToString::to_string));
        texts.extend(self.ever.buckets.iter().map(|id| id.to_string().to_uppercase()));
        of_pool(&texts, number)
    }

    fn first_org(&self) -> OrgId {
        self.org(Pick::There(0))
    }

    pub(super) fn filter(&self, step: &FilterStep) -> portcullis::AuthorizationFilter {
        let mut filter = portcullis::AuthorizationFilter::all();
        filter.id = step.id.map(|id| self.authorization(id));
        filter.username = step.username.map(|username| self.username(username));
        filter.org = step.org.map(|org| self.org(org));
        filter.user = step.user.map(|user| self.user(user));
        filter.status = step.active.map(status);
        filter.permits =
            step.permits.as_ref().map(|grant| self.permission(grant, self.first_org()));
        filter
    }

    fn caller(&self, asking: &Asking) -> Option<Vec<Permission>> {
        match asking {
            Asking::Host => None,
            Asking::Operator => Some(portcullis::presets::operator()),
            Asking::Holder(grants) => Some(self.permissions(grants, self.first_org())),
        }
    }

    fn row(&self, line: &LineStep, now: Timestamp) -> Row {
        let small = |id: u8| Id::from_u64(u64::from(id));
        match line {
            LineStep::Org { id, name, active } => Row::Org(OrgRow {
                id: small(*id).into(),
                name: of_pool(&names(), *name),
                active: *active,
            }),
            LineStep::User { id, name, active } => Row::User(UserRow {
                id: small(*id).into(),
                name: of_pool(&names(), *name),
                active: *active,
            }),
            LineStep::Bucket { id, org, name } => Row::Bucket(BucketRow {
                id: small(*id).into(),
                org: self.org(*org),
                name: of_pool(&names(), *name),
            }),
            LineStep::Token { id, org, user, secret, active, grants } => {
                let (org, secret) = (self.org(*org), of_pool(&SECRETS, *secret));
                let row = TokenRow {
                    id: small(*id).into(),
                    digest: digest(secret),
                    active: *active,
                    description: String::new(),
                    org,
                    user: self.user(*user),
                    permissions: self.permissions(grants, org),
                };
                Row::Token(row, secret.to_owned())
            }
            LineStep::Authorization(line) => self.authorization_row(line, now),
            LineStep::Same(which) => match self.authorizations.get(&self.authorization(*which)) {
                Some(row) => {
                    let present = row.hash.as_ref().and(self.passwords.get(&row.id));
                    Row::Authorization(row.clone(), present.and_then(|had| had.last().cloned()))
                }
                None => Row::Org(OrgRow {
                    id: small(1).into(),
                    name: of_pool(&names(), 0),
                    active: true,
                }),
            },
        }
    }

    fn authorization_row(&self, line: &AuthorizationLine, now: Timestamp) -> Row {
        let org = self.org(line.org);
        let hash = line.hash.map(|number| of_pool(&HASHES, number));
        let time = if line.with_times { now } else { YEAR_ONE.parse().expect("a time") };
        let row = AuthorizationRow {
            id: AuthorizationId::from_u64(u64::from(line.id)),
            username: of_pool(&usernames(), line.username),
            active: line.active,
            description: of_pool(&DESCRIPTIONS, line.description).to_owned(),
            org,
            user: self.user(line.user),
            permissions: self.permissions(&line.grants, org),
            hash: hash.map(|(_, hash)| PasswordHash::parse(hash).expect("a hash")),
            created: time,
            updated: time,
        };
        Row::Authorization(row, hash.map(|(password, _)| password.into()))
    }
}

pub(super) fn digest(secret: &str) -> String {
    TokenSecret::new(secret).digest().to_text()
}
