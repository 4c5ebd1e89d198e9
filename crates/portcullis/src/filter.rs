//! Filters of authorizations, and the index that serves each.

use crate::codec::may_have_end;
use crate::store::{Index, Kind, Record};
use crate::{
    ApiToken, ApiTokenId, Authorization, AuthorizationId, GrantKey, LastUse, OrgId, Permission,
    Status, Timestamp, TokenDigest, UserId,
};

/// A filter of authorizations: it matches those that match every given field.
///
/// [`AuthorizationFilter::matches`] defines it, and [`AuthorizationFilter::matches_use`] the field
/// `unused_since`, which is not of the authorization itself. An index only saves reading records that cannot
/// match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationFilter {
    /// The id.
    pub id: Option<AuthorizationId>,
    /// The username, compared byte by byte. It may be any text.
    pub username: Option<String>,
    /// The org.
    pub org: Option<OrgId>,
    /// The user.
    pub user: Option<UserId>,
    /// The status.
    pub status: Option<Status>,
    /// A permission that the authorization's permissions allow, such as to write a certain bucket.
    /// The status does not matter.
    pub permits: Option<Permission>,
    /// The authorization or its password expires before this time, or has expired.
    pub expires_before: Option<Timestamp>,
    /// A time since which it was not used. One that was never used counts as used when it was created.
    pub unused_since: Option<Timestamp>,
}

impl AuthorizationFilter {
    /// Matches every authorization.
    pub fn all() -> Self {
        Self::default()
    }

    /// Tells whether the authorization matches.
    pub fn matches(&self, authorization: &Authorization) -> bool {
        fn same<T: PartialEq + ?Sized>(wanted: Option<&T>, is: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == is)
        }
        same(self.id.as_ref(), &authorization.id)
            && same(self.username.as_deref(), authorization.username.as_str())
            && same(self.org.as_ref(), &authorization.org)
            && same(self.user.as_ref(), &authorization.user)
            && same(self.status.as_ref(), &authorization.status)
            && self.permits.is_none_or(|asked| {
                authorization.permissions.iter().any(|granted| granted.allows(&asked))
            })
            && self.expires_before.is_none_or(|time| {
                let ends = [authorization.expires_at, authorization.password_expires_at];
                ends.into_iter().flatten().any(|end| end < time)
            })
    }

    /// Tells whether the last use of the authorization matches.
    pub fn matches_use(&self, authorization: &Authorization, last: Option<&LastUse>) -> bool {
        is_unused(self.unused_since, last, authorization.created_at)
    }

    /// Tells by the columns of the record that it does not match, so that its body need not be read.
    pub(crate) fn excludes(&self, record: &Record) -> bool {
        self.id.is_some_and(|id| id.untyped() != record.id)
            || self.username.as_deref().is_some_and(|name| name != record.unique_key.as_str())
            || self.org.is_some() && self.org != record.org
            || self.user.is_some() && self.user != record.user
            || self.status.is_some_and(|status| status != record.status)
            || self.expires_before.is_some() && !may_have_end(record)
    }

    /// Chooses the narrowest index that covers every match.
    pub(crate) fn plan(&self) -> Plan<'_> {
        match self {
            Self { id: Some(id), .. } => Plan::ById(*id),
            Self { username: Some(username), .. } => Plan::ByUsername(username),
            // A user usually has fewer authorizations than an org or a bucket.
            Self { user: Some(user), .. } => Plan::ByUser(*user),
            Self { permits: Some(asked), .. } => {
                Plan::ByGrant(GrantKey::allowing(*asked).collect())
            }
            Self { org: Some(org), .. } => Plan::ByOrg(*org),
            Self { .. } => Plan::All,
        }
    }
}

/// The records to read for a filter, each of which may match or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan<'a> {
    /// Every authorization.
    All,
    /// The authorizations with any of the grant keys.
    ByGrant(Vec<GrantKey>),
    /// The authorization with the id.
    ById(AuthorizationId),
    /// The authorizations of the org.
    ByOrg(OrgId),
    /// The authorizations of the user.
    ByUser(UserId),
    /// The authorization with the username.
    ByUsername(&'a str),
}

/// Tells whether a credential that was created at this time was not used since the other one.
fn is_unused(since: Option<Timestamp>, last: Option<&LastUse>, created_at: Timestamp) -> bool {
    since.is_none_or(|since| last.map_or(created_at, |last| last.at) < since)
}

/// A filter of API tokens: it matches those that match every given field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTokenFilter {
    /// The id.
    pub id: Option<ApiTokenId>,
    /// The digest of the secret.
    pub digest: Option<TokenDigest>,
    /// The org.
    pub org: Option<OrgId>,
    /// The user.
    pub user: Option<UserId>,
    /// The status.
    pub status: Option<Status>,
    /// The API token expires before this time, or has expired.
    pub expires_before: Option<Timestamp>,
    /// A time since which it was not used. One that was never used counts as used at the time in its
    /// id, when it was created.
    pub unused_since: Option<Timestamp>,
}

impl ApiTokenFilter {
    /// Matches every API token.
    pub fn all() -> Self {
        Self::default()
    }

    /// Tells whether the API token matches.
    pub fn matches(&self, token: &ApiToken) -> bool {
        self.id.is_none_or(|id| id == token.id)
            && self.digest.is_none_or(|digest| digest == token.digest)
            && self.org.is_none_or(|org| org == token.org)
            && self.user.is_none_or(|user| user == token.user)
            && self.status.is_none_or(|status| status == token.status)
            && self.expires_before.is_none_or(|time| token.expires_at.is_some_and(|end| end < time))
    }

    /// Tells whether the last use of the API token matches.
    pub fn matches_use(&self, token: &ApiToken, last: Option<&LastUse>) -> bool {
        let drawn_at = Timestamp::from_unix_millis(token.id.untyped().drawn_at_millis());
        is_unused(self.unused_since, last, drawn_at.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Returns the index, if no lookup serves the filter.
    pub(crate) fn list_index(&self) -> Option<Index> {
        (self.id.is_none() && self.digest.is_none()).then(|| self.index())
    }

    /// Chooses the narrowest index that covers every match. A filter with an id or a digest has a lookup
    /// instead.
    pub(crate) fn index(&self) -> Index {
        match (self.user, self.org) {
            (Some(user), _) => Index::User(Kind::ApiToken, user),
            (None, Some(org)) => Index::Org(Kind::ApiToken, org),
            (None, None) => Index::All(Kind::ApiToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllowedNetworks, Username};

    fn authorization() -> Authorization {
        Authorization {
            id: AuthorizationId::from_u64(1),
            username: Username::new("grafana").unwrap(),
            status: Status::Active,
            description: String::new(),
            org: OrgId::from_u64(2),
            user: UserId::from_u64(3),
            permissions: vec!["read:buckets".parse().unwrap()],
            password_hash: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: Some("2034-01-02T03:04:05Z".parse().unwrap()),
            allowed_networks: AllowedNetworks::default(),
            password_set_at: None,
            password_expires_at: None,
            previous_password: None,
            password_history: Vec::new(),
        }
    }

    /// [LIST-2]
    #[test]
    fn every_field_given_must_match() {
        let right = AuthorizationFilter {
            id: Some(AuthorizationId::from_u64(1)),
            username: Some("grafana".to_owned()),
            org: Some(OrgId::from_u64(2)),
            user: Some(UserId::from_u64(3)),
            status: Some(Status::Active),
            permits: Some("read:buckets/0000000000000001".parse().unwrap()),
            expires_before: Some("2034-01-02T03:04:06Z".parse().unwrap()),
            unused_since: None,
        };
        assert!(right.matches(&authorization()));
        assert!(AuthorizationFilter::all().matches(&authorization()));
        let wrong = [
            AuthorizationFilter { id: Some(AuthorizationId::from_u64(9)), ..right.clone() },
            AuthorizationFilter { username: Some("Grafana".to_owned()), ..right.clone() },
            AuthorizationFilter { username: Some(String::new()), ..right.clone() },
            AuthorizationFilter { org: Some(OrgId::from_u64(9)), ..right.clone() },
            AuthorizationFilter { user: Some(UserId::from_u64(9)), ..right.clone() },
            AuthorizationFilter { status: Some(Status::Inactive), ..right.clone() },
            AuthorizationFilter {
                permits: Some("write:buckets".parse().unwrap()),
                ..right.clone()
            },
            AuthorizationFilter {
                expires_before: Some("2034-01-02T03:04:05Z".parse().unwrap()),
                ..right.clone()
            },
        ];
        for filter in wrong {
            assert!(!filter.matches(&authorization()), "{filter:?}");
        }
        let of_password = Authorization {
            expires_at: None,
            password_expires_at: authorization().expires_at,
            ..authorization()
        };
        assert!(right.matches(&of_password));
        let endless = Authorization { expires_at: None, ..authorization() };
        assert!(!right.matches(&endless));
    }

    /// [USE-6]
    #[test]
    fn a_credential_that_was_never_used_is_unused_since_its_creation() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let created_at = at("2026-02-01T00:00:00Z");
        let authorization = Authorization { created_at, ..authorization() };
        let since = |text| AuthorizationFilter {
            unused_since: Some(at(text)),
            ..AuthorizationFilter::all()
        };
        let used = LastUse::new(at("2026-03-01T00:00:00Z"), None);
        for (text, never_used, was_used) in [
            ("2026-02-01T00:00:00Z", false, false),
            ("2026-02-01T00:00:01Z", true, false),
            ("2026-03-01T00:00:00Z", true, false),
            ("2026-03-01T00:00:01Z", true, true),
        ] {
            assert_eq!(since(text).matches_use(&authorization, None), never_used, "{text}");
            assert_eq!(since(text).matches_use(&authorization, Some(&used)), was_used, "{text}");
        }
        assert!(AuthorizationFilter::all().matches_use(&authorization, Some(&used)));
    }

    #[test]
    fn the_columns_of_a_record_decide_every_field_except_permits() {
        use crate::store::{Entity, Revision};

        let record = authorization().to_record(Revision::from_u128(1)).unwrap();
        // Each field not given, right, or wrong.
        for number in 0..3_u32.pow(5) {
            let choice = |field: u32| number / 3_u32.pow(field) % 3;
            let is = |field: u32, right: u64| {
                [None, Some(right), Some(right + 10)][choice(field) as usize]
            };
            let filter = AuthorizationFilter {
                id: is(0, 1).map(AuthorizationId::from_u64),
                username: [None, Some("grafana"), Some("graf")][choice(1) as usize]
                    .map(str::to_owned),
                org: is(2, 2).map(OrgId::from_u64),
                user: is(3, 3).map(UserId::from_u64),
                status: [None, Some(Status::Active), Some(Status::Inactive)][choice(4) as usize],
                permits: None,
                expires_before: None,
                unused_since: None,
            };
            assert_eq!(filter.excludes(&record), !filter.matches(&authorization()), "{filter:?}");
        }
    }

    #[test]
    fn the_plan_is_the_narrowest_index() {
        let mut filter = AuthorizationFilter::all();
        assert_eq!(filter.plan(), Plan::All);
        filter.status = Some(Status::Active);
        assert_eq!(filter.plan(), Plan::All);
        filter.org = Some(OrgId::from_u64(2));
        assert_eq!(filter.plan(), Plan::ByOrg(OrgId::from_u64(2)));
        filter.permits = Some("read:buckets".parse().unwrap());
        assert!(matches!(filter.plan(), Plan::ByGrant(keys) if keys.len() == 2));
        filter.user = Some(UserId::from_u64(3));
        assert_eq!(filter.plan(), Plan::ByUser(UserId::from_u64(3)));
        filter.username = Some("grafana".to_owned());
        assert_eq!(filter.plan(), Plan::ByUsername("grafana"));
        filter.id = Some(AuthorizationId::from_u64(1));
        assert_eq!(filter.plan(), Plan::ById(AuthorizationId::from_u64(1)));
    }
}
