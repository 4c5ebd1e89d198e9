//! The results of logins.

use portcullis::ErrorKind::{Forbidden, Unauthorized};
use portcullis::{Identity, OrgId, Refusal, UserId};

use super::super::action::{LoggedIn, Response};
use super::super::rows::TokenRow;
use super::super::state::State;
use super::{Checked, No, has_three_classes, no, refused, same};

impl State {
    pub(super) fn by_secret(&self, secret: &[u8]) -> Option<&TokenRow> {
        if secret.is_empty() {
            return None;
        }
        let has_it =
            |row: &&TokenRow| self.secrets.get(&row.id).map(String::as_bytes) == Some(secret);
        self.tokens.values().find(has_it)
    }

    /// Returns why a credential of the user in the org is refused, if it is.
    pub(super) fn standing(&self, user: UserId, org: OrgId) -> Option<Refusal> {
        if !self.users.get(&user).is_some_and(|user| user.status.is_active()) {
            return Some(Refusal::User);
        }
        if !self.orgs.get(&org).is_some_and(|org| org.status.is_active()) {
            return Some(Refusal::Org);
        }
        None
    }

    /// The six lines of the decision in the specification's "Logging in".
    pub(super) fn check_login(
        &self,
        username: &str,
        password: &[u8],
        response: &Response,
    ) -> Checked {
        let Some(row) = self.by_username(username) else {
            return match self.by_secret(password) {
                Some(token) => self.check_token(token, response),
                None => refused(Refusal::UnknownUsername).check(response),
            };
        };
        let right = row.hash.as_ref().and(self.passwords.get(&row.id)).and_then(|had| had.last());
        let refusal = match right {
            _ if !row.active => Refusal::Inactive,
            None => Refusal::NoPassword,
            Some(right) if right != password || password.is_empty() => Refusal::WrongPassword,
            Some(_) if self.strong && !has_three_classes(password) => {
                Refusal::PasswordChangeRequired
            }
            Some(_) => match self.standing(row.user, row.org) {
                Some(refusal) => refusal,
                None => {
                    let expected = LoggedIn {
                        identity: Identity::Authorization(
                            row.id,
                            portcullis::Username::new(username).map_err(|e| e.to_string())?,
                        ),
                        org: row.org,
                        user: row.user,
                        permissions: row.permissions.iter().copied().collect(),
                    };
                    return same(Response::Principal(expected), response);
                }
            },
        };
        refused(refusal).check(response)
    }

    pub(super) fn check_token(&self, token: &TokenRow, response: &Response) -> Checked {
        if !token.active {
            return refused(Refusal::Inactive).check(response);
        }
        match self.standing(token.user, token.org) {
            Some(refusal) => refused(refusal).check(response),
            None => same(principal_of(token), response),
        }
    }

    /// Callers, as in the specification.
    pub(super) fn check_caller(&self, secret: &str, response: &Response) -> Checked {
        let Some(token) = self.by_secret(secret.as_bytes()) else {
            let refusal = Some(Refusal::UnknownToken);
            return No { refusal, ..no(Unauthorized, "unauthorized access") }.check(response);
        };
        match self.standing(token.user, token.org) {
            Some(refusal) => {
                let message = match refusal {
                    Refusal::Org => "Organization is inactive",
                    _ => "User is inactive",
                };
                No { refusal: Some(refusal), ..no(Forbidden, message) }.check(response)
            }
            None => same(principal_of(token), response),
        }
    }
}

fn principal_of(token: &TokenRow) -> Response {
    Response::Principal(LoggedIn {
        identity: Identity::ApiToken(token.id),
        org: token.org,
        user: token.user,
        permissions: token.permissions.iter().copied().collect(),
    })
}
