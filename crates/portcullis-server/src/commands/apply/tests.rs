//! Plans and what comes of them, in a store in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use portcullis::store::MemoryStore;
use portcullis::{Credentials, DbrpFilter, Engine, Resource};
use portcullis_testkit::world::builder;
use tempfile::TempDir;

use super::execute::Execution;
use super::file::Mistake;
use super::plan::{Change, Options, Plan, plan};
use super::state::{self, State};
use super::wanted::BucketNames;
use super::{desired, wanted};
use crate::progress::ProgressMode;
use crate::session::Session;

async fn new_session() -> Session {
    let store = Arc::new(MemoryStore::new().unwrap());
    Session::Store(builder(store).build().await.unwrap())
}

fn engine(session: &Session) -> &Engine {
    session.engine().unwrap()
}

/// The directory with the passwords of the files.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    let new = || {
        let directory = TempDir::new().unwrap();
        for (name, password) in
            [("first", "first-password\n"), ("second", "second-password"), ("short", "x")]
        {
            std::fs::write(directory.path().join(name), password).unwrap();
        }
        directory
    };
    DIRECTORY.get_or_init(new).path()
}

fn prune() -> Options {
    Options { prune: true, ..Options::default() }
}

fn no_options() -> Options {
    Options::default()
}

async fn planned(
    session: &Session,
    text: &str,
    options: Options,
) -> Result<(Plan, State), Vec<String>> {
    let shown = |all: Vec<Mistake>| all.into_iter().map(|mistake| mistake.text).collect();
    let content = serde_saphyr::from_str(text).unwrap();
    let desired = desired::check(content, directory()).map_err(shown)?;
    let mut mistakes = Vec::new();
    let state = state::read(session, &desired, ProgressMode::Hidden, &mut mistakes).await.unwrap();
    let wanted = wanted::of_credentials(session, &desired, &state, &mut mistakes).await.unwrap();
    match plan(&desired, &state, &wanted, options) {
        Ok(plan) if mistakes.is_empty() => Ok((plan, state)),
        Ok(_) => Err(shown(mistakes)),
        Err(others) => Err(shown(mistakes.into_iter().chain(others).collect())),
    }
}

/// Makes the first steps of the plan, or all of them, and returns it.
async fn apply(session: &Session, text: &str, options: Options, steps: Option<usize>) -> Plan {
    let (plan, state) = planned(session, text, options).await.unwrap();
    let mut execution = Execution::new(session, &state);
    for step in &plan.steps[..steps.unwrap_or(plan.steps.len())] {
        execution.run(step).await.unwrap();
    }
    plan
}

fn shown(plan: &Plan) -> Vec<String> {
    let line = |Change { action, kind, org, name, details }: &Change| {
        let org = org.as_ref().map(|org| format!("{org}/")).unwrap_or_default();
        let details: String = details.iter().map(|detail| format!(" {detail}")).collect();
        format!("{} {} {org}{name}{details}", action.as_str(), kind.as_str())
    };
    plan.changes.iter().map(line).collect()
}

/// Everything in the store, with names in place of ids.
async fn content(session: &Session) -> BTreeSet<String> {
    let engine = engine(session);
    let all = std::num::NonZeroUsize::new(1_000).unwrap();
    let mut lines = BTreeSet::new();
    let mut named = Vec::new();
    for user in session.users(None, all).await.unwrap() {
        named.push((user.id.to_string(), user.name.to_string()));
        lines.insert(format!("user {} {}", user.name, user.status));
    }
    for org in session.orgs(None, all).await.unwrap() {
        named.push((org.id.to_string(), org.name.to_string()));
        lines.insert(format!("org {} {}", org.name, org.status));
        let mut buckets = std::collections::BTreeMap::new();
        for bucket in session.buckets(Some(org.id), None, all).await.unwrap() {
            lines.insert(format!("bucket {}/{}", org.name, bucket.name));
            buckets.insert(bucket.name.to_string(), bucket.id);
        }
        for found in engine.list_dbrps(&DbrpFilter::all(org.id)).await.unwrap() {
            let bucket = buckets.iter().find(|(_, id)| **id == found.bucket).unwrap().0;
            let (database, policy) = (&found.database, &found.retention_policy);
            let is_default = found.is_default;
            lines.insert(format!("dbrp {database}/{policy} {bucket} {is_default}"));
        }
        let filter = portcullis::AuthorizationFilter {
            org: Some(org.id),
            ..portcullis::AuthorizationFilter::default()
        };
        let state = state::OrgState {
            org,
            buckets,
            dbrps: Vec::new(),
            credentials: std::collections::BTreeMap::new(),
        };
        let names = BucketNames::of(Some(&state));
        for found in engine.list_authorizations(&filter, None, all).await.unwrap().items {
            let permissions: BTreeSet<String> =
                found.permissions.iter().map(|permission| names.shown(*permission)).collect();
            let has_password = found.password_hash.is_some();
            lines.insert(format!(
                "credential {} {} {:?} {has_password} {permissions:?}",
                found.username, found.status, found.description
            ));
        }
    }
    let shown =
        |line: String| named.iter().fold(line, |line, (id, name)| line.replace(id.as_str(), name));
    lines.into_iter().map(shown).collect()
}

/// Who may do what with which password: username, password, action and bucket.
async fn allowed(session: &Session) -> BTreeSet<[String; 4]> {
    let engine = engine(session);
    let all = std::num::NonZeroUsize::new(1_000).unwrap();
    let mut allowed = BTreeSet::new();
    for username in ["telegraf", "grafana", "loader", "old"] {
        for password in ["first-password", "second-password"] {
            let credentials = Credentials::password(username, password);
            let Ok(principal) = engine.authenticate(credentials).await else { continue };
            for bucket in session.buckets(None, None, all).await.unwrap() {
                for action in portcullis::Action::ALL {
                    let resource = Resource::bucket(bucket.org, bucket.id);
                    if principal.check(action, &resource).is_allowed() {
                        let text = |text: &str| text.to_owned();
                        let bucket = bucket.name.to_string();
                        allowed.insert([
                            text(username),
                            text(password),
                            text(action.as_str()),
                            bucket,
                        ]);
                    }
                }
            }
        }
    }
    allowed
}

const BEFORE: &str = "
users:
- name: ada
- name: grace
  status: inactive
orgs:
- name: acme
  buckets: [telemetry, events, archive, db]
  dbrps:
  - {database: db, bucket: telemetry, default: true}
  - {database: db, retentionPolicy: year, bucket: archive}
  - {database: other, bucket: events}
  credentials:
  - {username: telegraf, user: ada, read: all, write: all, passwordFile: first}
  - {username: grafana, user: ada, read: [telemetry, archive], passwordFile: first}
  - {username: loader, user: grace, status: inactive, write: [db], passwordFile: first}
  - {username: old, user: ada, write: [archive], passwordFile: first}
";

const AFTER: &str = "
users:
- name: ada
- name: grace
  status: active
- name: linus
  status: inactive
orgs:
- name: acme
  managed: true
  buckets: [telemetry, events, fresh, db]
  dbrps:
  - {database: db, bucket: fresh}
  - {database: db, retentionPolicy: week, bucket: events, default: true}
  credentials:
  - {username: telegraf, user: ada, write: [telemetry], description: agents, passwordFile: second}
  - {username: grafana, user: ada, read: [telemetry, events, fresh], passwordFile: second}
  - {username: loader, user: grace, status: active, read: [fresh], write: [fresh], passwordFile: second}
  - {username: reader, user: linus, read: all, permissions: ['read:users/linus', 'read:orgs/umbra', 'read:orgs/acme/tasks']}
- name: umbra
  status: inactive
";

/// [APPLY-3]
#[tokio::test]
async fn applying_twice_changes_nothing() {
    let session = new_session().await;
    for (text, options) in [(BEFORE, no_options()), (AFTER, no_options()), (AFTER, prune())] {
        assert!(!apply(&session, text, options.clone(), None).await.changes.is_empty());
        let again = apply(&session, text, options, None).await;
        assert_eq!((shown(&again), again.steps), (vec![], vec![]));
    }
}

/// [APPLY-4] [APPLY-5]
#[tokio::test]
async fn an_interruption_leaves_nothing_wider_and_the_next_run_finishes() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let before = allowed(&session).await;
    let steps = apply(&session, AFTER, prune(), None).await.steps.len();
    let (after, wanted) = (allowed(&session).await, content(&session).await);
    assert!(steps > 20 && !before.is_empty() && !after.is_empty());
    let may = &before | &after;
    for interrupted in 0..steps {
        let session = new_session().await;
        apply(&session, BEFORE, no_options(), None).await;
        let plan = apply(&session, AFTER, prune(), Some(interrupted)).await;
        let now = allowed(&session).await;
        let wider: Vec<_> = now.difference(&may).collect();
        assert!(wider.is_empty(), "after {interrupted} of {:#?}: {wider:?}", plan.steps);
        apply(&session, AFTER, prune(), None).await;
        assert_eq!(content(&session).await, wanted, "after {interrupted} of {:#?}", plan.steps);
        assert!(apply(&session, AFTER, prune(), None).await.steps.is_empty());
    }
}

/// [APPLY-1] [APPLY-7]
#[tokio::test]
async fn the_plan_shows_each_record_that_changes() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let (plan, _) = planned(&session, AFTER, no_options()).await.unwrap();
    assert_eq!(plan.unlisted, 4, "archive, two mappings, old");
    let (plan, _) = planned(&session, AFTER, prune()).await.unwrap();
    assert_eq!(plan.unlisted, 0);
    assert_eq!(
        shown(&plan),
        [
            "update user grace status: inactive -> active",
            "create user linus inactive",
            "create bucket acme/fresh",
            "delete bucket acme/archive",
            "update dbrp acme/db/autogen bucket: fresh",
            "create dbrp acme/db/week bucket: events default",
            "delete dbrp acme/db/year",
            "delete dbrp acme/other/autogen",
            "update credential acme/telegraf password +write:orgs/acme/buckets/telemetry \
             -read:orgs/acme/buckets -write:orgs/acme/buckets description",
            "update credential acme/grafana password +read:orgs/acme/buckets/events \
             +read:orgs/acme/buckets/fresh -read:orgs/acme/buckets/archive",
            "update credential acme/loader password +read:orgs/acme/buckets/fresh \
             +write:orgs/acme/buckets/fresh -write:orgs/acme/buckets/db status: inactive -> active",
            "create credential acme/reader +read:orgs/acme/buckets +read:users/linus \
             +read:orgs/umbra +read:orgs/acme/tasks",
            "delete credential acme/old",
            "create org umbra inactive",
        ]
    );
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
}

/// [APPLY-2]
#[tokio::test]
async fn what_is_not_possible_is_refused_before_the_first_change() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let other = "orgs:\n- name: umbra\n  buckets: [x]\n  credentials:\n  - {username: umbrella, user: ada, read: [x]}\n";
    apply(&session, other, no_options(), None).await;
    let before = content(&session).await;
    let credential = |text: &str| format!("orgs:\n- name: acme\n  credentials:\n  - {{{text}}}\n");
    let managed = "orgs:\n- name: acme\n  managed: true\n  buckets: [db]\n";
    for (text, expected) in [
        (
            credential("username: a, user: nowhere, read: all"),
            "there is no user `nowhere`: add it to `users`",
        ),
        (
            credential("username: a, user: ada, read: [x]"),
            "there is no bucket `x` in the org `acme`: add it to `buckets`",
        ),
        (
            credential("username: a, user: ada, permissions: ['read:orgs/umbra/buckets/x']"),
            "`read:orgs/umbra/buckets/x` is in another org than the credential",
        ),
        (
            credential("username: a, user: ada, permissions: ['read:orgs/none/tasks']"),
            "there is no org `none`",
        ),
        (
            credential("username: a, user: ada, permissions: ['write:instance']"),
            "`write:instance` is never granted to a credential",
        ),
        (
            credential("username: a, user: ada, permissions: ['read:buckets/00000000000000ff']"),
            "`read:buckets/00000000000000ff` names a bucket that does not exist",
        ),
        (
            credential("username: umbrella, user: ada, read: all"),
            "the credential `umbrella` is in the org with the id",
        ),
        (
            credential("username: telegraf, user: grace, read: all"),
            "`telegraf` belongs to another user",
        ),
        (
            credential("username: a, user: ada, read: all, passwordFile: none"),
            "cannot read the password",
        ),
        (
            credential("username: a, user: ada, read: all, passwordEnv: PORTCULLIS_TEST_UNSET"),
            "the variable `PORTCULLIS_TEST_UNSET` is not set",
        ),
        (
            credential("username: a, user: ada, read: all, passwordFile: short"),
            "passwords must be between 8 and 72 characters long",
        ),
        (
            format!("{managed}  dbrps: [{{database: d, bucket: archive}}]\n"),
            "the bucket `archive` is not in `buckets` of the org `acme`, which the file manages",
        ),
        (
            format!("{managed}  credentials: [{{username: a, user: ada, read: [archive]}}]\n"),
            "the bucket `archive` is not in `buckets` of the org `acme`, which the file manages",
        ),
    ] {
        let mistakes = planned(&session, &text, prune()).await.map(|_| ()).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{text}: {mistakes:?}");
    }
    assert_eq!(content(&session).await, before);
}

/// [APPLY-8]
#[tokio::test]
async fn only_listed_kinds_of_managed_orgs_are_pruned() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let before = content(&session).await;
    for text in [
        "orgs:\n- {name: acme, buckets: [], dbrps: [], credentials: []}\n",
        "orgs:\n- {name: acme, managed: true}\n",
        "orgs:\n- {name: acme, managed: true, buckets: , dbrps: , credentials: }\n",
        "orgs: []\nusers: []\n",
    ] {
        assert_eq!(shown(&apply(&session, text, prune(), None).await), [""; 0], "{text}");
    }
    assert_eq!(content(&session).await, before);
    let text = "orgs:\n- {name: acme, managed: true, credentials: []}\n";
    let plan = apply(&session, text, prune(), None).await;
    assert_eq!((plan.deletions.credentials, plan.changes.len()), (4, 4));
    let left = content(&session).await;
    assert_eq!(before.difference(&left).count(), 4);
}

/// [APPLY-8]
#[tokio::test]
async fn a_credential_moves_between_orgs_only_if_both_are_pruned_by_the_file() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let from = "orgs:\n- name: acme\n  managed: true\n  credentials: []\n";
    let to = "- name: umbra\n  credentials:\n  - {username: old, user: ada, read: all}\n";
    let text = format!("{from}{to}");
    let mistakes = planned(&session, &text, no_options()).await.map(|_| ()).unwrap_err();
    assert_eq!(mistakes, ["the credential `old` is in the org `acme` already"]);
    apply(&session, &text, prune(), None).await;
    assert_eq!(shown(&apply(&session, &text, prune(), None).await), [""; 0]);
}

/// [APPLY-6]
#[tokio::test]
async fn a_hash_is_set_unless_a_login_may_have_replaced_it() {
    let session = new_session().await;
    apply(&session, BEFORE, no_options(), None).await;
    let file = |hash: &str| {
        format!(
            "orgs:\n- name: acme\n  credentials:\n  - {{username: old, user: ada, write: [archive], passwordHash: '{hash}'}}\n"
        )
    };
    let found = engine(&session).authorization_by_username("old").await.unwrap().unwrap();
    let own = found.password_hash.unwrap();
    let same = planned(&session, &file(own.expose()), no_options()).await.unwrap().0;
    assert_eq!((same.changes.len(), same.notes.len()), (0, 0));
    // With the same parameters it is of another password, or has another salt.
    let (head, _) = own.expose().rsplit_once('$').unwrap();
    let other = format!("{head}${}", "A".repeat(43));
    assert_eq!(
        shown(&apply(&session, &file(&other), no_options(), None).await),
        ["update credential acme/old password"]
    );
    let bcrypt = "$2b$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    let kept = planned(&session, &file(bcrypt), no_options()).await.unwrap().0;
    assert_eq!((kept.changes.len(), kept.notes.len()), (0, 1), "{:?}", kept.notes);
    let set = Options { set_passwords: true, ..no_options() };
    assert_eq!(shown(&apply(&session, &file(bcrypt), set.clone(), None).await).len(), 1);
    assert_eq!(shown(&apply(&session, &file(bcrypt), set, None).await), [""; 0]);
}
