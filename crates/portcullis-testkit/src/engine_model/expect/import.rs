//! What an import accepts and refuses.

use super::super::action::Response;
use super::super::rows::Row;
use super::super::state::State;
use super::{Checked, same};

impl State {
    pub(super) fn import(&mut self, rows: &[Row], dry_run: bool, response: &Response) -> Checked {
        for (position, row) in rows.iter().enumerate() {
            if rows.iter().take(position).any(|before| same_place(before, row)) {
                return same(Response::Contradicts(position as u64 + 1), response);
            }
        }
        let mut new = Vec::new();
        let mut refused = Vec::new();
        for (number, row) in (1..).zip(rows) {
            match self.holder(row) {
                Holder::Free => new.push(row),
                Holder::Itself => {}
                Holder::Another => refused.push(number),
            }
        }
        if !refused.is_empty() {
            return same(Response::Collides(refused), response);
        }
        same(Response::Imported(new.len()), response)?;
        if !dry_run {
            new.into_iter().for_each(|row| self.insert(row.clone()));
        }
        Ok(())
    }

    fn holder(&self, row: &Row) -> Holder {
        match row {
            Row::Org(row) => {
                let taken = self.orgs.values().any(|other| other.name == row.name);
                Holder::of(self.orgs.get(&row.id), row, taken)
            }
            Row::User(row) => {
                let taken = self.users.values().any(|other| other.name == row.name);
                Holder::of(self.users.get(&row.id), row, taken)
            }
            Row::Bucket(row) => {
                let mut own = self.buckets.values().filter(|other| other.org == row.org);
                let taken = own.any(|other| other.name == row.name);
                Holder::of(self.buckets.get(&row.id), row, taken)
            }
            Row::Token(row, secret) => {
                let taken = self.by_secret(secret.as_bytes()).is_some();
                Holder::of(self.tokens.get(&row.id), row, taken)
            }
            Row::Authorization(row, _) => {
                let taken = self.by_username(&row.username).is_some();
                Holder::of(self.authorizations.get(&row.id), row, taken)
            }
        }
    }

    fn insert(&mut self, row: Row) {
        match row {
            Row::Org(row) => drop(self.orgs.insert(row.id, row)),
            Row::User(row) => drop(self.users.insert(row.id, row)),
            Row::Bucket(row) => drop(self.buckets.insert(row.id, row)),
            Row::Token(row, secret) => {
                self.all_secrets.insert(secret.clone());
                self.secrets.insert(row.id, secret);
                self.tokens.insert(row.id, row);
            }
            Row::Authorization(row, password) => {
                self.passwords.insert(row.id, password.into_iter().collect());
                self.authorizations.insert(row.id, row);
            }
        }
    }
}

/// The record that has an id or a name.
enum Holder {
    Free,
    /// The same record.
    Itself,
    Another,
}

impl Holder {
    fn of<R: PartialEq>(there: Option<&R>, row: &R, taken: bool) -> Self {
        match there {
            Some(there) if there == row => Self::Itself,
            None if !taken => Self::Free,
            _ => Self::Another,
        }
    }
}

/// Tells whether two records of a file have the same id or the same name.
fn same_place(one: &Row, other: &Row) -> bool {
    match (one, other) {
        (Row::Org(a), Row::Org(b)) => a.id == b.id || a.name == b.name,
        (Row::User(a), Row::User(b)) => a.id == b.id || a.name == b.name,
        (Row::Bucket(a), Row::Bucket(b)) => a.id == b.id || (a.org, &a.name) == (b.org, &b.name),
        (Row::Token(a, secret), Row::Token(b, other)) => a.id == b.id || secret == other,
        (Row::Authorization(a, _), Row::Authorization(b, _)) => {
            a.id == b.id || a.username == b.username
        }
        _ => false,
    }
}
