//! Steps of a run as they are drawn, and the pools that they draw from.
//!
//! A step names a record by its index among the existing ones ("the third user"), so that most steps
//! have a subject, also after earlier steps were removed to reduce a failure. Names come from small
//! pools, so that they collide.

use portcullis::ResourceType;
use proptest::prelude::*;
use proptest::sample::select;

/// Usernames, all different: by case, by Unicode form, by blanks, by NUL, by the last byte of the
/// longest. The last two are invalid.
pub(super) fn usernames() -> Vec<String> {
    let mut names: Vec<String> =
        ["telegraf", "Telegraf", "caf\u{e9}", "cafe\u{301}", "a", "a\0", "a\0b", "telegraf ", "%"]
            .map(String::from)
            .into();
    names.push("0000000000000001".to_owned());
    names.push("x".repeat(32_767) + "y");
    names.push("x".repeat(32_768));
    names.push(String::new());
    names.push("x".repeat(32_769));
    names
}

/// How many of the [`usernames`] are invalid, at the end of them.
pub(super) const NO_USERNAMES: usize = 2;

/// Names of users, orgs and buckets; the last two are invalid. One looks like an id.
pub(super) fn names() -> Vec<String> {
    let mut names: Vec<String> =
        ["acme", "Acme", "caf\u{e9}", "cafe\u{301}", "a", "a\0b", "0000000000000001"]
            .map(String::from)
            .into();
    names.push("n".repeat(4_096));
    names.push(String::new());
    names.push("n".repeat(4_097));
    names
}

/// Passwords around every bound; the last ones belong to the [`hashes`].
pub(super) fn passwords() -> Vec<Vec<u8>> {
    let texts = ["password-one", "password-two", "Passw0rd!", "Pass\0w0rd!", "seven77", ""];
    let mut passwords: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    for length in [72, 73, 4_096, 4_097] {
        passwords.push(vec![b'p'; length]);
    }
    passwords.push(vec![0xff; 8]);
    passwords.push("secret-one".into());
    passwords.extend(HASHES.map(|(password, _)| password.into()));
    passwords
}

/// Hashes to import, each with its password: bcrypt, Argon2id, and one whose password is too short to
/// be set.
pub(super) const HASHES: [(&str, &str); 3] = [
    ("imported", "$2b$04$abcdefghijklmnopqrstuu2P8xRWSX2.OqyvLaDeHDR4HSDjn3vSi"),
    (
        "Imp0rted!",
        "$argon2id$v=19$m=8,t=1,p=1$c2l4dGVlbiBieXRlcyBvZg$3YChb7TO9RHOmRBXqY9EgE5voqCE8orTpQtdpvKElh4",
    ),
    (
        "short",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdCwgMTYgb2YgdGhlbQ$dZRSO6i1hv1yMbBTKc03MdUcAoiggeXeITyB6lJSlUU",
    ),
];

/// Secrets of API tokens that are imported.
pub(super) const SECRETS: [&str; 3] = ["secret-one", "secret-two", "Secret-one"];

pub(super) const DESCRIPTIONS: [&str; 4] = ["", "first", "second\0\u{e9}", "{\"v\":1}"];

/// The resources of permissions.
pub(super) const TYPES: [ResourceType; 5] = [
    ResourceType::Buckets,
    ResourceType::Tasks,
    ResourceType::Users,
    ResourceType::Orgs,
    ResourceType::Authorizations,
];

/// A record of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    /// One that exists, counted cyclically from the first.
    There(u8),
    /// One that was deleted.
    Gone(u8),
    /// One that never existed.
    Never,
}

/// A username.
#[derive(Clone, Copy, Debug)]
pub(super) enum WhichUsername {
    /// The username of an authorization.
    Of(Pick),
    /// One of the pool.
    Pool(u8),
}

/// A password to log in with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guess {
    /// The right one, if there is one.
    Right,
    /// An earlier one.
    Old(u8),
    /// One of the pool.
    Pool(u8),
    /// The secret of an API token.
    Secret(Pick),
}

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) write: bool,
    pub(super) scope: Scope,
}

#[derive(Clone, Debug)]
pub(super) enum Scope {
    Every(u8),
    InOwnOrg(u8),
    InOrg(u8, Pick),
    BucketInOwnOrg(Pick),
    BucketInOrg(Pick, Pick),
    Bucket(Pick),
    User(Pick),
    Authorization(Pick),
    Org(Pick),
    Instance { in_own_org: bool, bucket: Option<Pick> },
    ZeroId,
    ZeroOrg,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FilterStep {
    pub(super) id: Option<Pick>,
    pub(super) username: Option<WhichUsername>,
    pub(super) org: Option<Pick>,
    pub(super) user: Option<Pick>,
    pub(super) active: Option<bool>,
    pub(super) permits: Option<Grant>,
}

#[derive(Clone, Debug)]
pub(super) struct ListStep {
    pub(super) filter: FilterStep,
    pub(super) after: Option<Pick>,
    pub(super) limit: usize,
    pub(super) caller: ListCaller,
}

/// The caller of a list.
#[derive(Clone, Debug)]
pub(super) enum ListCaller {
    /// The host itself.
    Host,
    /// A caller that may read everything.
    Operator,
    /// A caller with this permission.
    Holder(Vec<Grant>),
}

/// A line of a snapshot to import. Ids are small numbers.
#[derive(Clone, Debug)]
pub(super) enum LineStep {
    Org { id: u8, name: u8, active: bool },
    User { id: u8, name: u8, active: bool },
    Bucket { id: u8, org: Pick, name: u8 },
    Token(TokenLine),
    Authorization(AuthorizationLine),
    // An existing authorization.
    Same(Pick),
}

#[derive(Clone, Debug)]
pub(super) struct TokenLine {
    pub(super) id: u8,
    pub(super) org: Pick,
    pub(super) user: Pick,
    pub(super) secret: u8,
    pub(super) active: bool,
    pub(super) grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
pub(super) struct AuthorizationLine {
    pub(super) id: u8,
    pub(super) username: u8,
    pub(super) org: Pick,
    pub(super) user: Pick,
    pub(super) active: bool,
    pub(super) description: u8,
    pub(super) grants: Vec<Grant>,
    pub(super) hash: Option<u8>,
    pub(super) with_times: bool,
}

#[derive(Clone, Debug)]
pub(super) struct CreateStep {
    pub(super) username: u8,
    pub(super) org: Option<Pick>,
    pub(super) user: Pick,
    pub(super) grants: Vec<Grant>,
    pub(super) status: &'static str,
    pub(super) description: u8,
}

/// The operation of a step.
#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateOrg { name: u8 },
    CreateUser { name: u8 },
    CreateBucket { org: Pick, name: u8 },
    SetOrgStatus { org: Pick, active: bool },
    SetUserStatus { user: Pick, active: bool },
    DeleteOrg { org: Pick },
    DeleteUser { user: Pick },
    DeleteBucket { bucket: Pick },
    CreateToken { org: Pick, user: Pick, grants: Vec<Grant> },
    SetTokenStatus { token: Pick, active: bool },
    RevokeToken { token: Pick },
    Create(CreateStep),
    Patch { authorization: Pick, active: Option<bool>, description: Option<u8> },
    SetPermissions { authorization: Pick, grants: Vec<Grant> },
    SetPassword { authorization: Pick, password: u8 },
    Delete { authorization: Pick },
    Authenticate { username: WhichUsername, guess: Guess },
    AuthenticateToken { token: Pick },
    AuthenticateCaller { token: Pick },
    ResolveOrg { text: u8 },
    ResolveUser { text: u8 },
    ResolveBucket { org: Pick, text: u8 },
    List(ListStep),
    Import { lines: Vec<LineStep>, dry_run: bool },
    // Export, and import into an empty store.
    Move,
    // Close and reopen; if the store does not survive that, start another engine on it.
    Reopen,
}

/// A step: its operation, and the handle that it uses.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) second_handle: bool,
    pub(super) op: Op,
}

/// A run: a bounded number of steps, on an engine with or without strong mode.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) strong: bool,
    pub(super) steps: Vec<Step>,
}

pub(super) fn runs(max_steps: usize) -> impl Strategy<Value = Run> {
    let strong = prop::bool::weighted(0.2);
    // A lower bound of the length would also apply to reduced failures.
    (strong, prop::collection::vec(step(), 0..=max_steps))
        .prop_map(|(strong, steps)| Run { strong, steps })
}

fn step() -> impl Strategy<Value = Step> {
    (any::<bool>(), op()).prop_map(|(second_handle, op)| Step { second_handle, op })
}

fn pick() -> impl Strategy<Value = Pick> + Clone {
    prop_oneof![
        24 => (0..12_u8).prop_map(Pick::There),
        2 => (0..12_u8).prop_map(Pick::Gone),
        1 => Just(Pick::Never),
    ]
}

fn which_username() -> impl Strategy<Value = WhichUsername> {
    prop_oneof![
        4 => pick().prop_map(WhichUsername::Of),
        1 => any::<u8>().prop_map(WhichUsername::Pool),
    ]
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![
        4 => Just(Guess::Right),
        3 => any::<u8>().prop_map(Guess::Old),
        2 => any::<u8>().prop_map(Guess::Pool),
        1 => pick().prop_map(Guess::Secret),
    ]
}

fn grant() -> impl Strategy<Value = Grant> {
    let types = || 0..TYPES.len() as u8;
    let scope = prop_oneof![
        8 => types().prop_map(Scope::InOwnOrg),
        8 => pick().prop_map(Scope::BucketInOwnOrg),
        5 => types().prop_map(Scope::Every),
        4 => pick().prop_map(Scope::Bucket),
        2 => pick().prop_map(Scope::User),
        2 => pick().prop_map(Scope::Authorization),
        2 => pick().prop_map(Scope::Org),
        1 => (types(), pick()).prop_map(|(kind, org)| Scope::InOrg(kind, org)),
        1 => (pick(), pick()).prop_map(|(org, bucket)| Scope::BucketInOrg(org, bucket)),
        1 => (any::<bool>(), prop::option::of(pick()))
            .prop_map(|(in_own_org, bucket)| Scope::Instance { in_own_org, bucket }),
    ];
    (any::<bool>(), scope).prop_map(|(write, scope)| Grant { write, scope })
}

/// Grants for a request: sometimes with a zero for an id, and sometimes none.
fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let zero = (any::<bool>(), select(vec![Scope::ZeroId, Scope::ZeroOrg]))
        .prop_map(|(write, scope)| Grant { write, scope });
    prop_oneof![
        30 => prop::collection::vec(grant(), 1..4),
        1 => prop::collection::vec(prop_oneof![2 => grant(), 1 => zero], 0..4),
    ]
}

fn create() -> impl Strategy<Value = CreateStep> {
    let username = prop_oneof![
        40 => 0..(usernames().len() - NO_USERNAMES - 2) as u8,
        2 => any::<u8>(),
    ];
    let statuses = vec!["active", "", "inactive", "Active"];
    let status = prop_oneof![12 => Just("active"), 2 => select(statuses)];
    (username, prop::option::weighted(0.98, pick()), pick(), grants(), status, any::<u8>())
        .prop_map(|(username, org, user, grants, status, description)| CreateStep {
            username,
            org,
            user,
            grants,
            status,
            description,
        })
}

fn filter() -> impl Strategy<Value = FilterStep> {
    (
        prop::option::weighted(0.15, pick()),
        prop::option::weighted(0.2, which_username()),
        prop::option::weighted(0.4, pick()),
        prop::option::weighted(0.4, pick()),
        prop::option::weighted(0.3, any::<bool>()),
        prop::option::weighted(0.4, grant()),
    )
        .prop_map(|(id, username, org, user, active, permits)| FilterStep {
            id,
            username,
            org,
            user,
            active,
            permits,
        })
}

fn line() -> impl Strategy<Value = LineStep> {
    let id = || 1..6_u8;
    let held = || prop::collection::vec(grant(), 0..3);
    let authorization = (id(), 0..10_u8, pick(), pick(), any::<bool>(), any::<u8>(), held())
        .prop_flat_map(|(id, username, org, user, active, description, grants)| {
            (prop::option::of(any::<u8>()), any::<bool>()).prop_map(move |(hash, with_times)| {
                LineStep::Authorization(AuthorizationLine {
                    id,
                    username,
                    org,
                    user,
                    active,
                    description,
                    grants: grants.clone(),
                    hash,
                    with_times,
                })
            })
        });
    prop_oneof![
        2 => (id(), 0..7_u8, any::<bool>())
            .prop_map(|(id, name, active)| LineStep::Org { id, name, active }),
        2 => (id(), 0..7_u8, any::<bool>())
            .prop_map(|(id, name, active)| LineStep::User { id, name, active }),
        2 => (id(), pick(), 0..7_u8).prop_map(|(id, org, name)| LineStep::Bucket { id, org, name }),
        2 => (id(), pick(), pick(), any::<u8>(), any::<bool>(), held()).prop_map(
            |(id, org, user, secret, active, grants)| {
                LineStep::Token(TokenLine { id, org, user, secret, active, grants })
            }
        ),
        5 => authorization,
        1 => pick().prop_map(LineStep::Same),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let mostly_active = || prop::bool::weighted(0.6);
    let name = || prop_oneof![30 => 0..7_u8, 1 => any::<u8>()];
    let caller = prop_oneof![
        3 => Just(ListCaller::Host),
        1 => Just(ListCaller::Operator),
        2 => prop::collection::vec(grant(), 0..6).prop_map(ListCaller::Holder),
    ];
    prop_oneof![
        3 => name().prop_map(|name| Op::CreateOrg { name }),
        3 => name().prop_map(|name| Op::CreateUser { name }),
        5 => (pick(), name()).prop_map(|(org, name)| Op::CreateBucket { org, name }),
        1 => (pick(), mostly_active()).prop_map(|(org, active)| Op::SetOrgStatus { org, active }),
        1 => (pick(), mostly_active())
            .prop_map(|(user, active)| Op::SetUserStatus { user, active }),
        1 => pick().prop_map(|org| Op::DeleteOrg { org }),
        1 => pick().prop_map(|user| Op::DeleteUser { user }),
        1 => pick().prop_map(|bucket| Op::DeleteBucket { bucket }),
        2 => (pick(), pick(), grants())
            .prop_map(|(org, user, grants)| Op::CreateToken { org, user, grants }),
        1 => (pick(), mostly_active())
            .prop_map(|(token, active)| Op::SetTokenStatus { token, active }),
        1 => pick().prop_map(|token| Op::RevokeToken { token }),
        22 => create().prop_map(Op::Create),
        5 => (pick(), prop::option::of(mostly_active()), prop::option::of(any::<u8>())).prop_map(
            |(authorization, active, description)| Op::Patch { authorization, active, description }
        ),
        6 => (pick(), grants())
            .prop_map(|(authorization, grants)| Op::SetPermissions { authorization, grants }),
        8 => (pick(), any::<u8>())
            .prop_map(|(authorization, password)| Op::SetPassword { authorization, password }),
        4 => pick().prop_map(|authorization| Op::Delete { authorization }),
        8 => (which_username(), guess())
            .prop_map(|(username, guess)| Op::Authenticate { username, guess }),
        1 => pick().prop_map(|token| Op::AuthenticateToken { token }),
        1 => pick().prop_map(|token| Op::AuthenticateCaller { token }),
        1 => any::<u8>().prop_map(|text| Op::ResolveOrg { text }),
        1 => any::<u8>().prop_map(|text| Op::ResolveUser { text }),
        1 => (pick(), any::<u8>()).prop_map(|(org, text)| Op::ResolveBucket { org, text }),
        8 => (filter(), prop::option::weighted(0.3, pick()), 1..6_usize, caller).prop_map(
            |(filter, after, limit, caller)| Op::List(ListStep { filter, after, limit, caller })
        ),
        4 => (prop::collection::vec(line(), 0..5), prop::bool::weighted(0.2))
            .prop_map(|(lines, dry_run)| Op::Import { lines, dry_run }),
        1 => Just(Op::Move),
        2 => Just(Op::Reopen),
    ]
}
