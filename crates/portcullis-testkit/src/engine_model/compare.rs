//! Reads everything that an engine has, and compares it with the model.

use std::num::NonZeroUsize;

use portcullis::{AuthorizationFilter, Engine, Org, PermissionSet, User};

use super::Report;
use super::action::{Action, Query, Response};
use super::perform::{list, perform};
use super::rows::{AuthorizationRow, TokenRow, status};
use super::rule;
use super::state::{Named, State, Table};
use super::step::{Grant, Pick, Scope, TYPES, names, passwords, usernames};
use crate::random::Dice;

const ALL: NonZeroUsize = NonZeroUsize::MAX;

/// The fields of a filter, each of which may be set.
const FILTER_FIELDS: usize = 6;

pub(super) struct Comparison<'a> {
    state: &'a State,
    report: &'a mut Report,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(state: &'a State, report: &'a mut Report) -> Self {
        Self { state, report }
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: impl FnOnce() -> String,
        expected: &T,
        got: Result<T, portcullis::Error>,
    ) -> Result<(), String> {
        self.report.responses += 1;
        match got {
            Ok(got) if got == *expected => Ok(()),
            got => Err(format!("{}: expected {expected:?}, got {got:?}", what())),
        }
    }

    /// Compares all lists, in pages of a length that differs from step to step.
    pub(super) async fn lists(&mut self, engine: &Engine, number: usize) -> Result<(), String> {
        let state = self.state;
        let limit = NonZeroUsize::MIN.saturating_add(number % 7);
        let directory = engine.directory();

        let mut orgs: Vec<Org> = Vec::new();
        loop {
            let page = directory.orgs(orgs.last().map(|org| org.id), limit).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            orgs.extend(page);
        }
        self.same(|| "orgs".into(), &all(&state.orgs), Ok(orgs))?;

        let mut users: Vec<User> = Vec::new();
        loop {
            let page = directory.users(users.last().map(|user| user.id), limit).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            users.extend(page);
        }
        self.same(|| "users".into(), &all(&state.users), Ok(users))?;

        let buckets = directory.buckets(None, None, ALL).await;
        self.same(|| "buckets".into(), &all(&state.buckets), buckets)?;

        let tokens = engine.list_api_tokens(None, ALL).await;
        let tokens = tokens.map(|page| page.iter().map(TokenRow::from).collect::<Vec<_>>());
        self.same(|| "API tokens".into(), &all(&state.tokens), tokens)?;

        let mut found: Vec<AuthorizationRow> = Vec::new();
        let mut after = None;
        loop {
            let everything = AuthorizationFilter::all();
            let page = engine.list_authorizations(&everything, after, limit).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.next.is_some() && page.items.len() != limit.get() {
                return Err("a page is short and not the last".to_owned());
            }
            found.extend(page.items.iter().map(AuthorizationRow::from));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.same(|| "authorizations".into(), &all(&state.authorizations), Ok(found))
    }

    /// Looks all records up, in every way.
    pub(super) async fn everything(
        &mut self,
        engine: &Engine,
        number: usize,
    ) -> Result<(), String> {
        self.lists(engine, number).await?;
        self.ids(engine).await?;
        self.names(engine).await?;
        self.filters(engine, number).await?;
        self.permission_sets()?;
        self.logins(engine).await
    }

    /// Every id that exists, existed, or never existed.
    async fn ids(&mut self, engine: &Engine) -> Result<(), String> {
        let (state, directory) = (self.state, engine.directory());
        for id in state.authorizations.ids() {
            let found = engine.authorization(id).await;
            let found = found.map(|found| found.as_ref().map(AuthorizationRow::from));
            let expected = state.authorizations.get(&id).cloned();
            self.same(|| format!("authorization {id}"), &expected, found)?;
        }
        for id in state.orgs.ids() {
            let found = directory.org(id).await;
            self.same(|| format!("org {id}"), &state.orgs.get(&id).cloned(), found)?;
            let buckets = directory.buckets(Some(id), None, ALL).await;
            let own = state.buckets.values().filter(|row| row.org == id).cloned().collect();
            self.same(|| format!("buckets of {id}"), &own, buckets)?;
        }
        for id in state.users.ids() {
            let found = directory.user(id).await;
            self.same(|| format!("user {id}"), &state.users.get(&id).cloned(), found)?;
        }
        for id in state.buckets.ids() {
            let found = directory.bucket(id).await;
            self.same(|| format!("bucket {id}"), &state.buckets.get(&id).cloned(), found)?;
        }
        Ok(())
    }

    /// Every name of the pools, used or not.
    async fn names(&mut self, engine: &Engine) -> Result<(), String> {
        let (state, directory) = (self.state, engine.directory());
        for username in usernames() {
            let found = engine.authorization_by_username(&username).await;
            let found = found.map(|found| found.as_ref().map(AuthorizationRow::from));
            let expected = state.by_username(&username).cloned();
            self.same(|| format!("authorization {username:?}"), &expected, found)?;
        }
        for name in names() {
            let found = directory.org_by_name(&name).await;
            self.same(|| format!("org {name:?}"), &named(state.orgs.values(), &name), found)?;
            let found = directory.user_by_name(&name).await;
            self.same(|| format!("user {name:?}"), &named(state.users.values(), &name), found)?;
            for org in state.orgs.all_ids.iter().copied() {
                let found = directory.bucket_by_name(org, &name).await;
                let own = state.buckets.values().filter(|row| row.org == org);
                self.same(|| format!("bucket {name:?} of {org}"), &named(own, &name), found)?;
            }
        }
        Ok(())
    }

    /// Every combination of fields of a filter, and its plan against "check every record".
    async fn filters(&mut self, engine: &Engine, number: usize) -> Result<(), String> {
        let mut dice = Dice::new(number as u64);
        for fields in 0..1_usize << FILTER_FIELDS {
            let filter = self.draw_filter(fields, &mut dice);
            let after =
                dice.one_in(4).then(|| self.state.authorizations.pick(draw_pick(&mut dice)));
            let limit = if dice.one_in(3) { 1 + dice.below(3) } else { usize::MAX };
            let query = Query { filter, after, limit, caller: None };
            let found = list(engine, &query).await;
            let expected = self.state.list(&query);
            self.same(|| format!("{query:?}"), &expected, found)?;
        }
        Ok(())
    }

    /// Returns a filter with the fields whose bits are set: mostly of existing records, and half of the
    /// time of the same authorization.
    fn draw_filter(&self, fields: usize, dice: &mut Dice) -> AuthorizationFilter {
        let state = self.state;
        let one = state.authorizations.get(&state.authorizations.pick(draw_pick(dice)));
        let one = one.filter(|_| dice.one_in(2));
        let given = |field: usize| fields >> field & 1 == 1;
        let mut filter = AuthorizationFilter::all();
        if given(0) {
            let other = state.authorizations.pick(draw_pick(dice));
            filter.id = Some(one.map_or(other, |one| one.id));
        }
        if given(1) {
            let pool = usernames();
            let other = pool[dice.below(pool.len())].clone();
            filter.username = Some(one.map_or(other, |one| one.username.clone()));
        }
        if given(2) {
            let other = state.orgs.pick(draw_pick(dice));
            filter.org = Some(one.map_or(other, |one| one.org));
        }
        if given(3) {
            let other = state.users.pick(draw_pick(dice));
            filter.user = Some(one.map_or(other, |one| one.user));
        }
        if given(4) {
            let other = dice.one_in(2);
            filter.status = Some(status(one.map_or(other, |one| one.active)));
        }
        if given(5) {
            let kind = u8::try_from(dice.below(TYPES.len())).unwrap_or(0);
            let scope = match dice.below(6) {
                0 => Scope::Every(kind),
                1 => Scope::InOrg(kind, draw_pick(dice)),
                2 => Scope::BucketInOrg(draw_pick(dice), draw_pick(dice)),
                3 => Scope::Bucket(draw_pick(dice)),
                4 => Scope::User(draw_pick(dice)),
                _ => Scope::Instance { in_own_org: dice.one_in(2), bucket: None },
            };
            let grant = Grant { write: dice.one_in(2), scope };
            let other = state.permission(&grant, state.orgs.pick(Pick::There(0)));
            let held = one.and_then(|one| one.permissions.first().copied());
            filter.permits = Some(held.unwrap_or(other));
        }
        filter
    }

    /// Compares compiled permissions with the rule.
    fn permission_sets(&mut self) -> Result<(), String> {
        for row in self.state.authorizations.values() {
            let set: PermissionSet = row.permissions.iter().copied().collect();
            for request in rule::requests(&row.permissions) {
                self.report.responses += 1;
                rule::compare(&set, &row.permissions, &request)?;
            }
        }
        Ok(())
    }

    /// Logs in as every authorization, with the right password, every earlier one, a wrong one and the
    /// empty one.
    pub(super) async fn logins(&mut self, engine: &Engine) -> Result<(), String> {
        let mut attempts: Vec<(String, Vec<u8>)> = Vec::new();
        for row in self.state.authorizations.values() {
            let mut tried = self.state.passwords.get(&row.id).cloned().unwrap_or_default();
            tried.extend([b"none of these".to_vec(), Vec::new()]);
            tried.sort_unstable();
            tried.dedup();
            attempts.extend(tried.into_iter().map(|password| (row.username.clone(), password)));
        }
        for password in passwords().into_iter().take(3) {
            attempts.push(("missing".to_owned(), password));
        }
        let secrets: Vec<String> = self.state.all_secrets.iter().cloned().collect();
        attempts.extend(secrets.iter().map(|s| ("missing".to_owned(), s.clone().into_bytes())));
        let logins = attempts
            .into_iter()
            .map(|(username, password)| Action::Authenticate { username, password });
        let tokens = secrets.into_iter().flat_map(|secret| {
            [
                Action::AuthenticateToken { secret: secret.clone() },
                Action::AuthenticateCaller { secret },
            ]
        });
        // These change nothing, so that a copy of the model is enough.
        let mut state = self.state.clone();
        let now = portcullis::Timestamp::UNIX_EPOCH;
        for action in logins.chain(tokens) {
            self.report.responses += 1;
            let response: Response = perform(engine, &action).await;
            state.take(&action, &response, now).map_err(|what| format!("{action:?}: {what}"))?;
        }
        Ok(())
    }
}

fn all<K, R: Clone>(table: &Table<K, R>) -> Vec<R> {
    table.values().cloned().collect()
}

/// Returns the record with this name.
fn named<'a, R: Named + Clone + 'a>(
    mut rows: impl Iterator<Item = &'a R>,
    name: &str,
) -> Option<R> {
    rows.find(|row| row.name() == name).cloned()
}

fn draw_pick(dice: &mut Dice) -> Pick {
    let number = u8::try_from(dice.below(12)).unwrap_or(0);
    match dice.below(10) {
        0 => Pick::Gone(number),
        1 => Pick::Never,
        _ => Pick::There(number),
    }
}
