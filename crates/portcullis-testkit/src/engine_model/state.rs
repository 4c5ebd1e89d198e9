//! The model: the records of an engine and its responses, in plain collections.
//!
//! It is written from `docs/spec`, and checks every record each time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use portcullis::password::PasswordHash;
use portcullis::{
    ApiTokenId, AuthorizationId, Bucket, BucketId, Id, Name, Org, OrgId, Permission, ResourceType,
    Timestamp, TokenSecret, User, UserId,
};

use super::action::{Action, Creation, Query};
use super::rows::{AuthorizationRow, Row, TokenRow, YEAR_ONE, status};
use super::step::{
    AuthorizationLine, DESCRIPTIONS, FilterStep, Grant, Guess, HASHES, LineStep, ListCaller,
    ListStep, Op, Pick, SECRETS, Scope, TYPES, TokenLine, WhichUsername, names, passwords,
    usernames,
};

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) strong: bool,
    pub(super) orgs: Table<OrgId, Org>,
    pub(super) users: Table<UserId, User>,
    pub(super) buckets: Table<BucketId, Bucket>,
    pub(super) tokens: Table<ApiTokenId, TokenRow>,
    pub(super) authorizations: Table<AuthorizationId, AuthorizationRow>,
    /// The secret of each API token.
    pub(super) secrets: BTreeMap<ApiTokenId, String>,
    /// All secrets that were ever used.
    pub(super) all_secrets: BTreeSet<String>,
    /// All passwords of each authorization, the current one last.
    pub(super) passwords: BTreeMap<AuthorizationId, Vec<Vec<u8>>>,
}

/// The records of a kind, by id.
#[derive(Clone, Debug)]
pub(super) struct Table<K, R> {
    rows: BTreeMap<K, R>,
    /// All ids that were ever used.
    pub(super) all_ids: BTreeSet<K>,
}

impl<K, R> Default for Table<K, R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), all_ids: BTreeSet::new() }
    }
}

impl<K, R> Deref for Table<K, R> {
    type Target = BTreeMap<K, R>;

    fn deref(&self) -> &BTreeMap<K, R> {
        &self.rows
    }
}

impl<K, R> DerefMut for Table<K, R> {
    fn deref_mut(&mut self) -> &mut BTreeMap<K, R> {
        &mut self.rows
    }
}

impl<K: Ord + Copy + From<Id>, R> Table<K, R> {
    pub(super) fn insert(&mut self, id: K, row: R) -> Option<R> {
        self.all_ids.insert(id);
        self.rows.insert(id, row)
    }

    pub(super) fn pick(&self, pick: Pick) -> K {
        let round = |from: Vec<K>, number: u8| match from.len() {
            0 => NEVER.into(),
            count => from[usize::from(number) % count],
        };
        match pick {
            Pick::There(number) => round(self.rows.keys().copied().collect(), number),
            Pick::Gone(number) => {
                let gone = self.all_ids.iter().filter(|id| !self.rows.contains_key(id));
                round(gone.copied().collect(), number)
            }
            Pick::Never => NEVER.into(),
        }
    }

    /// Returns every id that exists or existed, and one that never did.
    pub(super) fn ids(&self) -> impl Iterator<Item = K> {
        self.all_ids.iter().copied().chain([NEVER.into()])
    }
}

/// An id that is never drawn and in no file.
pub(super) const NEVER: Id = Id::from_u64(777);

/// An org, a user or a bucket.
pub(super) trait Named {
    fn id(&self) -> Id;
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($row:ty),+) => {$(
        impl Named for $row {
            fn id(&self) -> Id {
                self.id.untyped()
            }

            fn name(&self) -> &str {
                self.name.as_str()
            }
        }
    )+};
}

named!(Org, User, Bucket);

fn of_pool<T: Clone>(pool: &[T], number: u8) -> T {
    pool[usize::from(number) % pool.len()].clone()
}

impl State {
    fn username(&self, which: WhichUsername) -> String {
        match which {
            WhichUsername::Of(which) => {
                match self.authorizations.get(&self.authorizations.pick(which)) {
                    Some(row) => row.username.clone(),
                    None => "missing".to_owned(),
                }
            }
            WhichUsername::Pool(number) => of_pool(&usernames(), number),
        }
    }

    fn secret(&self, which: Pick) -> String {
        match self.secrets.get(&self.tokens.pick(which)) {
            Some(secret) => secret.clone(),
            // Of an earlier authorization, or of none.
            None => self.all_secrets.first().cloned().unwrap_or_default(),
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
            Scope::InOrg(kind, org) => every(kind).in_org(self.orgs.pick(org)),
            Scope::BucketInOwnOrg(bucket) => {
                buckets.in_org(own_org).with_id(self.buckets.pick(bucket).untyped())
            }
            Scope::BucketInOrg(org, bucket) => {
                buckets.in_org(self.orgs.pick(org)).with_id(self.buckets.pick(bucket).untyped())
            }
            Scope::Bucket(bucket) => buckets.with_id(self.buckets.pick(bucket).untyped()),
            Scope::User(user) => Resource::user(self.users.pick(user)),
            Scope::Org(org) => Resource::org(self.orgs.pick(org)),
            Scope::Authorization(which) => Resource::all(ResourceType::Authorizations)
                .in_org(own_org)
                .with_id(self.authorizations.pick(which).untyped()),
            Scope::Instance { in_own_org, bucket } => {
                let mut instance = Resource::all(ResourceType::Instance);
                instance.org = in_own_org.then_some(own_org);
                instance.id = bucket.map(|bucket| self.buckets.pick(bucket).untyped());
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
                Action::CreateBucket { org: self.orgs.pick(*org), name: of_pool(&names(), *name) }
            }
            Op::SetOrgStatus { org, active } => {
                Action::SetOrgStatus { org: self.orgs.pick(*org), active: *active }
            }
            Op::SetUserStatus { user, active } => {
                Action::SetUserStatus { user: self.users.pick(*user), active: *active }
            }
            Op::DeleteOrg { org } => Action::DeleteOrg { org: self.orgs.pick(*org) },
            Op::DeleteUser { user } => Action::DeleteUser { user: self.users.pick(*user) },
            Op::DeleteBucket { bucket } => {
                Action::DeleteBucket { bucket: self.buckets.pick(*bucket) }
            }
            Op::CreateToken { org, user, grants } => {
                let (org, user) = (self.orgs.pick(*org), self.users.pick(*user));
                Action::CreateToken { org, user, permissions: self.permissions(grants, org) }
            }
            Op::SetTokenStatus { token, active } => {
                Action::SetTokenStatus { token: self.tokens.pick(*token), active: *active }
            }
            Op::RevokeToken { token } => Action::RevokeToken { token: self.tokens.pick(*token) },
            Op::Create(create) => {
                let org = create.org.map(|org| self.orgs.pick(org));
                Action::Create(Creation {
                    username: of_pool(&usernames(), create.username),
                    org,
                    user: self.users.pick(create.user),
                    permissions: self.permissions(&create.grants, org.unwrap_or(NEVER.into())),
                    status: create.status.to_owned(),
                    description: of_pool(&DESCRIPTIONS, create.description).to_owned(),
                })
            }
            Op::Patch { authorization, active, description } => Action::Patch {
                authorization: self.authorizations.pick(*authorization),
                active: *active,
                description: description.map(|number| of_pool(&DESCRIPTIONS, number).to_owned()),
            },
            Op::SetPermissions { authorization, grants } => {
                let authorization = self.authorizations.pick(*authorization);
                let own_org =
                    self.authorizations.get(&authorization).map_or(NEVER.into(), |row| row.org);
                let permissions = self.permissions(grants, own_org);
                Action::SetPermissions { authorization, permissions }
            }
            Op::SetPassword { authorization, password } => Action::SetPassword {
                authorization: self.authorizations.pick(*authorization),
                password: of_pool(&passwords(), *password),
            },
            Op::Delete { authorization } => {
                Action::Delete { authorization: self.authorizations.pick(*authorization) }
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
                Action::ResolveBucket { org: self.orgs.pick(*org), text: self.name_or_id(*text) }
            }
            Op::List(ListStep { filter, after, limit, caller }) => Action::List(Query {
                filter: self.filter(filter),
                after: after.map(|after| self.authorizations.pick(after)),
                limit: *limit,
                caller: self.caller(caller),
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
        texts.extend(self.orgs.all_ids.iter().map(ToString::to_string));
        texts.extend(self.users.all_ids.iter().map(ToString::to_string));
        texts.extend(self.buckets.all_ids.iter().map(|id| id.to_string().to_uppercase()));
        of_pool(&texts, number)
    }

    pub(super) fn filter(&self, step: &FilterStep) -> portcullis::AuthorizationFilter {
        let mut filter = portcullis::AuthorizationFilter::all();
        filter.id = step.id.map(|id| self.authorizations.pick(id));
        filter.username = step.username.map(|username| self.username(username));
        filter.org = step.org.map(|org| self.orgs.pick(org));
        filter.user = step.user.map(|user| self.users.pick(user));
        filter.status = step.active.map(status);
        filter.permits = step
            .permits
            .as_ref()
            .map(|grant| self.permission(grant, self.orgs.pick(Pick::There(0))));
        filter
    }

    fn caller(&self, caller: &ListCaller) -> Option<Vec<Permission>> {
        match caller {
            ListCaller::Host => None,
            ListCaller::Operator => Some(portcullis::presets::operator()),
            ListCaller::Holder(grants) => {
                Some(self.permissions(grants, self.orgs.pick(Pick::There(0))))
            }
        }
    }

    fn row(&self, line: &LineStep, now: Timestamp) -> Row {
        let small = |id: u8| Id::from_u64(u64::from(id));
        match line {
            LineStep::Org { id, name, active } => Row::Org(Org {
                id: small(*id).into(),
                name: valid_name(*name),
                status: status(*active),
            }),
            LineStep::User { id, name, active } => Row::User(User {
                id: small(*id).into(),
                name: valid_name(*name),
                status: status(*active),
            }),
            LineStep::Bucket { id, org, name } => Row::Bucket(Bucket {
                id: small(*id).into(),
                org: self.orgs.pick(*org),
                name: valid_name(*name),
            }),
            LineStep::Token(TokenLine { id, org, user, secret, active, grants }) => {
                let (org, secret) = (self.orgs.pick(*org), of_pool(&SECRETS, *secret));
                let row = TokenRow {
                    id: small(*id).into(),
                    digest: digest(secret),
                    active: *active,
                    description: String::new(),
                    org,
                    user: self.users.pick(*user),
                    permissions: self.permissions(grants, org),
                };
                Row::Token(row, secret.to_owned())
            }
            LineStep::Authorization(line) => self.authorization_row(line, now),
            LineStep::Same(which) => {
                match self.authorizations.get(&self.authorizations.pick(*which)) {
                    Some(row) => {
                        let present = row.hash.as_ref().and(self.passwords.get(&row.id));
                        Row::Authorization(row.clone(), present.and_then(|had| had.last().cloned()))
                    }
                    None => {
                        let (id, name) = (small(1).into(), valid_name(0));
                        Row::Org(Org { id, name, status: status(true) })
                    }
                }
            }
        }
    }

    fn authorization_row(&self, line: &AuthorizationLine, now: Timestamp) -> Row {
        let org = self.orgs.pick(line.org);
        let hash = line.hash.map(|number| of_pool(&HASHES, number));
        let time = if line.with_times { now } else { YEAR_ONE.parse().expect("a time") };
        let row = AuthorizationRow {
            id: AuthorizationId::from_u64(u64::from(line.id)),
            username: of_pool(&usernames(), line.username),
            active: line.active,
            description: of_pool(&DESCRIPTIONS, line.description).to_owned(),
            org,
            user: self.users.pick(line.user),
            permissions: self.permissions(&line.grants, org),
            hash: hash.map(|(_, hash)| PasswordHash::parse(hash).expect("a hash")),
            password_set: None,
            created: time,
            updated: time,
        };
        Row::Authorization(row, hash.map(|(password, _)| password.into()))
    }
}

fn valid_name(number: u8) -> Name {
    Name::new(of_pool(&names(), number)).expect("a valid name")
}

pub(super) fn digest(secret: &str) -> String {
    TokenSecret::new(secret).digest().to_text()
}
