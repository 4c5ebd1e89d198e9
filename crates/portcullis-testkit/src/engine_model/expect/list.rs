//! The results of lists.

use portcullis::{Permission, ResourceNames, ResourceType};

use super::super::action::{DescribedRow, Query, Response};
use super::super::rows::AuthorizationRow;
use super::super::rule::{allows, any_allows};
use super::super::state::State;

impl State {
    /// Tells whether the authorization matches the filter: every given field must match.
    pub(in crate::engine_model) fn matches(
        filter: &portcullis::AuthorizationFilter,
        row: &AuthorizationRow,
    ) -> bool {
        filter.id.is_none_or(|id| id == row.id)
            && filter.username.as_ref().is_none_or(|username| *username == row.username)
            && filter.org.is_none_or(|org| org == row.org)
            && filter.user.is_none_or(|user| user == row.user)
            && filter.status.is_none_or(|status| status.is_active() == row.active)
            && filter.permits.is_none_or(|permits| any_allows(&row.permissions, &permits))
    }

    /// Checks every record.
    pub(in crate::engine_model) fn list(&self, query: &Query) -> Response {
        let mut matching: Vec<&AuthorizationRow> = Vec::new();
        for row in self.authorizations.values() {
            let shown = match &query.caller {
                None => true,
                Some(held) => self.may_see(held, row),
            };
            if shown && Self::matches(&query.filter, row) && query.after.is_none_or(|a| row.id > a)
            {
                matching.push(row);
            }
        }
        let more = matching.len() > query.limit;
        matching.truncate(query.limit);
        let next = if more { matching.last().map(|row| row.id) } else { None };
        match query.caller {
            None => Response::Listed(matching.into_iter().cloned().collect(), next),
            Some(_) => Response::Described(
                matching.into_iter().map(|row| self.describe(row)).collect(),
                next,
            ),
        }
    }

    /// Tells whether a caller with these permissions may read it, and its user and org exist.
    fn may_see(&self, held: &[Permission], row: &AuthorizationRow) -> bool {
        use portcullis::Resource;

        let authorization =
            Resource::all(ResourceType::Authorizations).in_org(row.org).with_id(row.id);
        let needed = [Permission::read(authorization), Permission::read(Resource::user(row.user))];
        let may = needed.iter().all(|needed| held.iter().any(|held| allows(held, needed)));
        may && self.orgs.contains_key(&row.org) && self.users.contains_key(&row.user)
    }

    fn describe(&self, row: &AuthorizationRow) -> DescribedRow {
        let names = |permission: &Permission| {
            let resource = permission.resource;
            let mut names = ResourceNames::default();
            names.name = resource.id.and_then(|id| match resource.resource_type {
                ResourceType::Buckets => self.buckets.get(&id.into()).map(|row| row.name.clone()),
                ResourceType::Orgs => self.orgs.get(&id.into()).map(|row| row.name.clone()),
                ResourceType::Users => self.users.get(&id.into()).map(|row| row.name.clone()),
                _ => None,
            });
            names.org = resource.org.and_then(|org| Some(self.orgs.get(&org)?.name.clone()));
            names
        };
        DescribedRow {
            row: row.clone(),
            org: self.orgs[&row.org].name.clone(),
            user: self.users[&row.user].name.clone(),
            resources: row.permissions.iter().map(names).collect(),
        }
    }
}
