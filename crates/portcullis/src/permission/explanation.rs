//! A decision in words, for operators.

use std::fmt;

use super::{Decision, Denial, Permission, PermissionSet, Resource, ResourceType};

/// Why a request is allowed or denied: the grant that allowed it, or the nearest ones.
///
/// It is for operators and logs: it names what a credential holds, which a client must not learn.
/// The order of the grants does not change it.
///
/// ```
/// use portcullis::{Permission, PermissionSet};
///
/// let held: Permission = "read:buckets/0c0c000000000001".parse()?;
/// let requested: Permission = "write:buckets/0c0c000000000001".parse()?;
/// let explanation = PermissionSet::new([held]).explain(requested.action, &requested.resource);
/// assert_eq!(
///     explanation.to_string(),
///     "denied: it holds read on this bucket, not write: read:buckets/0c0c000000000001"
/// );
/// # Ok::<(), portcullis::ParsePermissionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The requested permission.
    pub requested: Permission,
    /// The outcome of the check.
    pub decision: Decision,
    /// The grant that allowed it, or up to three of the nearest ones, the nearest first.
    pub nearest: Vec<Permission>,
    /// How many more grants are as near.
    pub more: usize,
    /// How the grants relate to the request.
    relation: Relation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It is held.
    Held,
    /// Nothing is held.
    Nothing,
    /// The action is not; the other one is held on the resource.
    OtherAction,
    /// The action is held on resources of the type, in an org, which the request does not name.
    OrgNotNamed,
    /// The action is held on resources of the type.
    OtherResource,
    /// The id is granted as one of another type.
    OtherType,
    /// The other action is held on resources of the type.
    OtherActionElsewhere,
    /// Nothing is held on resources of the type.
    TypeNotHeld,
}

/// How many grants are named.
const NAMED: usize = 3;

impl Explanation {
    pub(super) fn new(set: &PermissionSet, requested: Permission) -> Self {
        let decision = set.check(requested.action, &requested.resource);
        let (relation, mut nearest) = match decision {
            Decision::Allowed(granted) => (Relation::Held, vec![granted]),
            Decision::Denied(_) => near_misses(set, requested),
        };
        nearest.sort_by_key(|held| (distance(held, &requested), *held));
        let more = nearest.len().saturating_sub(NAMED);
        nearest.truncate(NAMED);
        Self { requested, decision, nearest, more, relation }
    }

    /// Makes the explanation for an inactive credential.
    pub(crate) fn of_inactive(self) -> Self {
        Self { decision: Decision::Denied(Denial::Inactive), ..self }
    }
}

/// Returns the grants nearest to a denied request.
fn near_misses(set: &PermissionSet, requested: Permission) -> (Relation, Vec<Permission>) {
    let Permission { action, resource } = requested;
    if set.is_empty() {
        return (Relation::Nothing, Vec::new());
    }
    if let Decision::Allowed(granted) = set.check(action.other(), &resource) {
        return (Relation::OtherAction, vec![granted]);
    }
    let of_type = |held: &Permission| held.resource.resource_type == resource.resource_type;
    // It would allow a request that names its org.
    let of_an_org = |held: &Permission| held.resource.id.is_none() && resource.org.is_none();
    let same_id = |held: &Permission| resource.id.is_some() && held.resource.id == resource.id;
    let all = || set.iter();
    let candidates: [(Relation, Vec<Permission>); 4] = [
        (
            Relation::OrgNotNamed,
            all().filter(|p| p.action == action && of_type(p) && of_an_org(p)).collect(),
        ),
        (Relation::OtherResource, all().filter(|p| p.action == action && of_type(p)).collect()),
        (Relation::OtherType, all().filter(same_id).collect()),
        (Relation::OtherActionElsewhere, all().filter(of_type).collect()),
    ];
    candidates
        .into_iter()
        .find(|(_, found)| !found.is_empty())
        .unwrap_or_else(|| (Relation::TypeNotHeld, all().collect()))
}

/// Counts the differences.
fn distance(held: &Permission, requested: &Permission) -> u8 {
    let (one, other) = (&held.resource, &requested.resource);
    u8::from(held.action != requested.action)
        + u8::from(one.resource_type != other.resource_type)
        + u8::from(one.id != other.id)
        + u8::from(one.org != other.org)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.relation == Relation::Held { "allowed" } else { "denied" };
        if self.decision == Decision::Denied(Denial::Inactive) {
            f.write_str("denied: the credential is inactive; if it were active: ")?;
        }
        write!(f, "{verdict}: ")?;

        let Permission { action, resource } = self.requested;
        let other = action.other();
        let noun = noun(resource.resource_type);
        let held = self.nearest.first().map_or(resource, |held| held.resource);
        match self.relation {
            Relation::Held => write!(f, "it holds {action} on {}", Reach(held))?,
            Relation::Nothing => f.write_str("it holds no permission")?,
            Relation::OtherAction => {
                write!(f, "it holds {other} on {}, not {action}", Reach(held))?;
            }
            Relation::OrgNotNamed => {
                write!(f, "it holds {action} on {noun}s of an org, and the request names no org")?;
            }
            Relation::OtherResource if resource.id.is_some() => {
                write!(f, "it holds {action} on other {noun}s")?;
            }
            Relation::OtherResource => write!(f, "it holds {action} on some {noun}s only")?,
            Relation::OtherType => write!(f, "it holds this id, but not as {}", article(noun))?,
            Relation::OtherActionElsewhere => {
                write!(f, "it holds {action} on no {noun}, and {other} on others")?;
            }
            Relation::TypeNotHeld => write!(f, "it holds nothing on {noun}s")?,
        }
        let lead = if self.relation == Relation::TypeNotHeld { ", but " } else { ": " };
        for (place, held) in self.nearest.iter().enumerate() {
            write!(f, "{}{held}", if place == 0 { lead } else { ", " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The resources that a grant reaches, in words.
struct Reach(Resource);

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resource { resource_type, id, org } = self.0;
        let noun = noun(resource_type);
        match (resource_type, id, org) {
            (ResourceType::Instance, ..) => f.write_str("everything"),
            (_, Some(_), _) => write!(f, "this {noun}"),
            (_, None, Some(_)) => write!(f, "every {noun} of this org"),
            (_, None, None) => write!(f, "every {noun}"),
        }
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// The singular of the type. The plural is written with an `s`.
const fn noun(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Authorizations => "authorization",
        ResourceType::Buckets => "bucket",
        ResourceType::Dashboards => "dashboard",
        ResourceType::Orgs => "org",
        ResourceType::Sources => "source",
        ResourceType::Tasks => "task",
        ResourceType::Telegrafs => "Telegraf configuration",
        ResourceType::Users => "user",
        ResourceType::Variables => "variable",
        ResourceType::Scrapers => "scraper",
        ResourceType::Secrets => "secret",
        ResourceType::Labels => "label",
        ResourceType::Views => "view",
        ResourceType::Documents => "document",
        ResourceType::NotificationRules => "notification rule",
        ResourceType::NotificationEndpoints => "notification endpoint",
        ResourceType::Checks => "check",
        ResourceType::Dbrp => "mapping of a database",
        ResourceType::Notebooks => "notebook",
        ResourceType::Annotations => "annotation",
        ResourceType::Remotes => "remote connection",
        ResourceType::Replications => "replication",
        ResourceType::Instance => "instance",
        ResourceType::Flows => "flow",
        ResourceType::Functions => "function",
        ResourceType::Subscriptions => "subscription",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Action;
    use crate::permission::strategy::permission;

    /// The explanation, where `B` is the id of a bucket, `C` of another, and `O` of an org.
    fn explain(held: &[&str], requested: &str) -> String {
        let long = |text: &str| {
            let text = text.replace("/B", "/000000000000000b").replace("/C", "/000000000000000c");
            text.replace("/O", "/00000000000000aa").replace("/P", "/00000000000000ab")
        };
        let held: PermissionSet =
            held.iter().map(|text| long(text).parse::<Permission>().unwrap()).collect();
        let requested: Permission = long(requested).parse().unwrap();
        let text = held.explain(requested.action, &requested.resource).to_string();
        let text = text.replace("/000000000000000b", "/B").replace("/000000000000000c", "/C");
        text.replace("/00000000000000aa", "/O").replace("/00000000000000ab", "/P")
    }

    #[test]
    fn the_grant_that_allowed_it_is_named() {
        let requested = "write:orgs/O/buckets/B";
        for (held, expected) in [
            ("write:buckets/B", "allowed: it holds write on this bucket: write:buckets/B"),
            (
                "write:orgs/O/buckets",
                "allowed: it holds write on every bucket of this org: write:orgs/O/buckets",
            ),
            ("write:buckets", "allowed: it holds write on every bucket: write:buckets"),
            ("write:instance", "allowed: it holds write on everything: write:instance"),
        ] {
            assert_eq!(explain(&[held, "read:tasks"], requested), expected);
        }
    }

    /// [SET-5]
    #[test]
    fn the_nearest_miss_is_named() {
        for (held, requested, expected) in [
            (&[][..], "write:buckets/B", "denied: it holds no permission"),
            (
                &["read:orgs/O/buckets", "write:buckets/C"],
                "write:orgs/O/buckets/B",
                "denied: it holds read on every bucket of this org, not write: read:orgs/O/buckets",
            ),
            (
                &["write:orgs/O/buckets", "write:buckets/C"],
                "write:buckets/B",
                "denied: it holds write on buckets of an org, and the request names no org: \
                 write:orgs/O/buckets",
            ),
            (
                &[
                    "write:buckets/C",
                    "write:orgs/O/buckets/C",
                    "write:orgs/P/buckets",
                    "read:tasks",
                ],
                "write:orgs/O/buckets/B",
                "denied: it holds write on other buckets: write:orgs/P/buckets, write:buckets/C",
            ),
            (
                &["write:buckets/C"],
                "write:buckets",
                "denied: it holds write on some buckets only: write:buckets/C",
            ),
            (
                &["read:authorizations/B", "write:tasks"],
                "write:buckets/B",
                "denied: it holds this id, but not as a bucket: read:authorizations/B",
            ),
            (
                &["read:buckets/C", "write:tasks"],
                "write:buckets/B",
                "denied: it holds write on no bucket, and read on others: read:buckets/C",
            ),
            (
                &["read:tasks", "read:users", "write:users", "read:views", "read:labels"],
                "write:buckets/B",
                "denied: it holds nothing on buckets, but write:users, read:tasks, read:users \
                 and 2 more",
            ),
        ] {
            assert_eq!(explain(held, requested), expected);
        }
    }

    /// [SET-5]
    #[test]
    fn of_an_inactive_credential_it_says_what_would_be_decided() {
        let set: PermissionSet = ["read:buckets".parse().unwrap()].into_iter().collect();
        let explain = |action| {
            set.explain(action, &Resource::all(ResourceType::Buckets)).of_inactive().to_string()
        };
        assert_eq!(
            explain(Action::Read),
            "denied: the credential is inactive; if it were active: allowed: it holds read on \
             every bucket: read:buckets"
        );
        assert!(explain(Action::Write).contains("if it were active: denied: it holds read on"));
    }

    proptest! {
        #[test]
        fn it_says_what_the_check_says_and_names_only_what_is_held(
            mut held in prop::collection::vec(permission(), 0..12),
            requested in permission(),
        ) {
            let set = PermissionSet::new(held.iter().copied());
            let explanation = set.explain(requested.action, &requested.resource);
            let decision = set.check(requested.action, &requested.resource);
            prop_assert_eq!(explanation.decision, decision);
            prop_assert!(explanation.nearest.iter().all(|near| set.iter().any(|p| p == *near)));
            let text = explanation.to_string();
            prop_assert_eq!(text.starts_with("allowed: "), decision.is_allowed());
            held.reverse();
            let again = PermissionSet::new(held).explain(requested.action, &requested.resource);
            prop_assert_eq!(again, explanation);
        }
    }
}
