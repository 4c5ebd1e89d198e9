//! Credentials with an end or with networks: when and from where each way to log in admits them.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use portcullis::store::Store;
use portcullis::{
    AllowedNetworks, ApiToken, ApiTokenFilter, Authorization, AuthorizationFilter,
    AuthorizationUpdate, AuthorizationUpdateDraft, CacheConfig, Credentials, Engine, Error,
    ErrorKind, Principal, Refusal, Timestamp, TokenSecret,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};

use crate::audit::Kept;
use crate::support::{ManualClock, World, builder};

const SECOND: Duration = Duration::from_secs(1);
const PASSWORD: &str = "telegraf-password";

/// The time of most ends here.
fn end() -> Timestamp {
    at("2034-01-02T03:04:05Z")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn just_before() -> Timestamp {
    at("2034-01-02T03:04:04.999999999Z")
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn networks(texts: &[&str]) -> AllowedNetworks {
    AllowedNetworks::parse(texts).unwrap()
}

/// An engine with a credential and an API token, and a clock that the test sets.
struct Setup {
    world: World,
    engine: Engine,
    faults: Faults,
    clock: ManualClock,
    audit: Kept,
    authorization: Authorization,
    token: ApiToken,
    secret: TokenSecret,
}

/// The ways to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Password,
    Token,
    TokenAsPassword,
    Caller,
}

const WAYS: [Way; 4] = [Way::Password, Way::Token, Way::TokenAsPassword, Way::Caller];

impl Setup {
    async fn new() -> Self {
        let world = World::new().await;
        let (faults, clock, audit) = (Faults::new(), ManualClock::new(), Kept::default());
        clock.set_wall(just_before());
        let config = CacheConfig::default().stale_if_error(10 * SECOND);
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::clone(&world.store), &faults));
        let engine = builder(store).clock(clock.clone()).cache(config).audit(audit.clone());
        let engine = engine.no_throttle().build().await.unwrap();
        let authorization = world.credential("telegraf").await;
        let (token, secret) = world.operator_token().await;
        Self { world, engine, faults, clock, audit, authorization, token, secret }
    }

    /// Changes both credentials, through the engine that logs in.
    async fn update(&self, update: AuthorizationUpdate) {
        let id = self.authorization.id;
        self.engine.update_authorization(id, update.clone()).await.unwrap();
        let caller = Principal::trusted(
            self.world.org.id,
            self.world.user.id,
            portcullis::presets::operator(),
        );
        let update = AuthorizationUpdateDraft { password_expires_at: None, ..update.into() };
        self.engine.on_behalf_of(&caller).update_api_token(self.token.id, update).await.unwrap();
    }

    async fn login_from(&self, way: Way, source: Option<IpAddr>) -> Result<Principal, Error> {
        let secret = self.secret.expose();
        let credentials = match way {
            Way::Password => Credentials::password("telegraf", PASSWORD),
            Way::Token | Way::Caller => Credentials::token(secret),
            Way::TokenAsPassword => Credentials::password("unknown", secret),
        };
        let credentials = credentials.source(source);
        match way {
            Way::Caller => self.engine.authenticate_caller(credentials).await,
            _ => {
                let cached = self.engine.authenticate_cached(credentials);
                let admitted = self.engine.authenticate(credentials).await;
                assert!(cached.is_none() || admitted.is_ok(), "{way:?}");
                admitted
            }
        }
    }

    async fn login(&self, way: Way) -> Result<Principal, Error> {
        self.login_from(way, None).await
    }

    /// Asserts that each way is refused, for this reason.
    async fn assert_refused(&self, refusal: Refusal, source: Option<IpAddr>) {
        for way in WAYS {
            let error = self.login_from(way, source).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{way:?}");
            assert_eq!(error.refusal(), Some(refusal), "{way:?}");
            let message = if way == Way::Caller { "unauthorized access" } else { "Unauthorized" };
            assert_eq!(error.message(), message, "{way:?}");
        }
    }

    async fn assert_admitted(&self, source: Option<IpAddr>) {
        for way in WAYS {
            self.login_from(way, source).await.unwrap();
        }
    }
}

/// [EXP-1] [EXP-5] [EXP-6]
#[tokio::test]
async fn every_way_to_log_in_ends_to_the_nanosecond() {
    for is_cached in [false, true] {
        let setup = Setup::new().await;
        setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
        if is_cached {
            setup.assert_admitted(None).await;
        }
        setup.clock.set_wall(end());
        setup.assert_refused(Refusal::Expired, None).await;
        setup.clock.set_wall(just_before());
        setup.assert_admitted(None).await;
    }
}

/// [EXP-4]
#[tokio::test]
async fn a_jump_of_the_clock_counts_at_once_in_both_directions() {
    let setup = Setup::new().await;
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    setup.assert_admitted(None).await;
    let hashes = setup.engine.hash_pool().computations();
    for now in ["2100-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        setup.clock.set_wall(at(now));
        if at(now) < end() {
            setup.assert_admitted(None).await;
        } else {
            setup.assert_refused(Refusal::Expired, None).await;
        }
    }
    // Each refusal costs a hash like that of a wrong password, and nothing is hashed to be admitted again.
    assert_eq!(setup.engine.hash_pool().computations(), hashes + 2);
}

/// [EXP-1] [EXP-3]
#[tokio::test]
async fn a_password_ends_and_a_new_one_has_no_end() {
    let setup = Setup::new().await;
    let id = setup.authorization.id;
    let password_end = AuthorizationUpdate::password_expires_at(Some(end()));
    setup.engine.update_authorization(id, password_end.clone()).await.unwrap();
    setup.login(Way::Password).await.unwrap();
    setup.clock.set_wall(end());
    let error = setup.login(Way::Password).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Expired));
    setup.login(Way::Token).await.unwrap();
    setup.engine.set_password(id, PASSWORD).await.unwrap();
    setup.login(Way::Password).await.unwrap();
    let now = setup.engine.authorization(id).await.unwrap().unwrap();
    assert_eq!((now.password_expires_at, now.password_set_at), (None, Some(end())));

    let id = setup.world.authorization("passwordless").await.id;
    setup.clock.set_wall(just_before());
    let refused = setup.engine.update_authorization(id, password_end).await.unwrap_err();
    assert_eq!(refused.to_string(), "invalid passwordExpiresAt: no password is set");
}

/// [EXP-2] [EXP-7]
#[tokio::test]
async fn an_end_is_set_in_the_future_moved_and_removed() {
    let setup = Setup::new().await;
    let id = setup.authorization.id;
    for past in [just_before(), at("1970-01-01T00:00:00Z")] {
        let message = "invalid expiresAt: must be in the future";
        let update = AuthorizationUpdate::expires_at(Some(past));
        let refused = setup.engine.update_authorization(id, update).await.unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::Invalid, message));
        let new = setup.world.new_authorization("past").with_expires_at(past);
        let refused = setup.engine.create_authorization(new).await.unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::Invalid, message));
        let new = setup.world.new_operator_token().with_expires_at(past);
        let refused = setup.engine.create_api_token(new).await.unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::Invalid, message));
    }
    let new = setup.world.new_authorization("future").with_expires_at(end());
    assert_eq!(setup.engine.create_authorization(new).await.unwrap().expires_at, Some(end()));
    let new = setup.world.new_operator_token().with_expires_at(end());
    assert_eq!(setup.engine.create_api_token(new).await.unwrap().0.expires_at, Some(end()));

    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    setup.assert_admitted(None).await;
    let hashes = setup.engine.hash_pool().computations();
    setup.clock.set_wall(end());
    setup.assert_refused(Refusal::Expired, None).await;
    let _ = setup.audit.take();
    for later in [Some(at("2040-01-01T00:00:00Z")), None] {
        setup.update(AuthorizationUpdate::expires_at(later)).await;
        setup.assert_admitted(None).await;
    }
    let actions: Vec<_> = setup.audit.take().into_iter().map(|(action, ..)| action).collect();
    let reactivations = actions.iter().filter(|action| *action == "reactivate").count();
    assert_eq!(reactivations, 1, "{actions:?}");
    // The refusal had one; the password was proved before.
    assert_eq!(setup.engine.hash_pool().computations(), hashes + 1);
}

/// [EXP-6]
#[tokio::test]
async fn nothing_that_has_expired_is_admitted_while_the_store_does_not_respond() {
    let setup = Setup::new().await;
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    // The feed reports the changes, then what was read is complete.
    tokio::time::sleep(Duration::from_millis(600)).await;
    setup.clock.catch_up();
    setup.assert_admitted(None).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    setup.clock.catch_up();
    setup.clock.advance(3 * SECOND);
    setup.faults.fail(Call::nth(1).and_later(), Fault::Unavailable);
    for way in [Way::Password, Way::Token, Way::TokenAsPassword] {
        setup.login(way).await.unwrap();
    }
    setup.clock.set_wall(end());
    for way in WAYS {
        let error = setup.login(way).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{way:?}");
    }
    setup.clock.set_wall(just_before());
    setup.login(Way::Password).await.unwrap();
    setup.faults.reset();
    setup.clock.set_wall(end());
    setup.assert_refused(Refusal::Expired, None).await;
}

/// [EXP-6] [NET-3]
#[tokio::test]
async fn a_principal_is_not_revalidated_beyond_its_end_or_networks() {
    let setup = Setup::new().await;
    let update = AuthorizationUpdate {
        expires_at: Some(Some(end())),
        allowed_networks: Some(networks(&["10.0.0.0/8"])),
        ..AuthorizationUpdate::default()
    };
    setup.update(update).await;
    let inside = address("10.1.2.3");
    for way in WAYS {
        let principal = setup.login_from(way, inside).await.unwrap();
        setup.engine.revalidate(&principal, inside).await.unwrap();
        for (source, now, refusal) in [
            (address("192.0.2.1"), just_before(), Refusal::Network),
            (None, just_before(), Refusal::Network),
            (inside, end(), Refusal::Expired),
        ] {
            setup.clock.set_wall(now);
            let error = setup.engine.revalidate(&principal, source).await.unwrap_err();
            assert_eq!(error.refusal(), Some(refusal), "{way:?}");
        }
        setup.clock.set_wall(just_before());
    }
}

/// [NET-1] [NET-3]
#[tokio::test]
async fn every_way_to_log_in_observes_the_networks() {
    for is_cached in [false, true] {
        let setup = Setup::new().await;
        setup.update(AuthorizationUpdate::allowed_networks(networks(&["10.0.0.0/8", "::1"]))).await;
        if is_cached {
            setup.assert_admitted(address("10.1.2.3")).await;
        }
        for refused in [address("192.0.2.1"), address("::2"), None] {
            setup.assert_refused(Refusal::Network, refused).await;
        }
        for allowed in [address("10.255.0.1"), address("::ffff:10.0.0.1"), address("::1")] {
            setup.assert_admitted(allowed).await;
        }
    }
}

/// [NET-2]
#[tokio::test]
async fn networks_are_set_at_creation_and_removed_by_an_empty_list() {
    let setup = Setup::new().await;
    let office = networks(&["10.0.0.0/8"]);
    let new = setup.world.new_authorization("office").with_allowed_networks(office.clone());
    let created = setup.engine.create_authorization(new).await.unwrap();
    assert_eq!(created.allowed_networks, office);
    let new = setup.world.new_operator_token().with_allowed_networks(office.clone());
    let (token, secret) = setup.engine.create_api_token(new).await.unwrap();
    assert_eq!(token.allowed_networks, office);
    let refused = setup.engine.authenticate(Credentials::token(secret.expose())).await;
    assert_eq!(refused.unwrap_err().refusal(), Some(Refusal::Network));

    setup.update(AuthorizationUpdate::allowed_networks(office)).await;
    setup.assert_refused(Refusal::Network, None).await;
    setup.update(AuthorizationUpdate::description("unchanged networks")).await;
    setup.assert_refused(Refusal::Network, None).await;
    setup.update(AuthorizationUpdate::allowed_networks(AllowedNetworks::default())).await;
    setup.assert_admitted(None).await;
}

/// [EXP-5]
#[tokio::test]
async fn whether_the_password_is_right_shows_neither_in_the_response_nor_in_its_cost() {
    let setup = Setup::new().await;
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    setup.login(Way::Password).await.unwrap();
    setup.clock.set_wall(end());
    for password in [PASSWORD, "wrong-password"] {
        let hashes = setup.engine.hash_pool().computations();
        let credentials = Credentials::password("telegraf", password);
        let error = setup.engine.authenticate(credentials).await.unwrap_err();
        assert_eq!(error.to_string(), "Unauthorized", "{password}");
        assert_eq!(error.refusal(), Some(Refusal::Expired), "{password}");
        assert_eq!(setup.engine.hash_pool().computations(), hashes + 1, "{password}");
    }
}

/// [EXP-8]
#[tokio::test]
async fn an_end_is_reported_once_by_the_first_refusal_or_by_a_scan() {
    let setup = Setup::new().await;
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    let expired = || {
        let events = setup.audit.take().into_iter().filter(|(action, ..)| action == "expire");
        let kinds = events.map(|(.., event)| event["record"]["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    setup.engine.scan_expiry().await.unwrap();
    assert!(expired().is_empty());
    setup.clock.set_wall(end());
    for _ in 0..3 {
        setup.login(Way::Password).await.unwrap_err();
    }
    assert_eq!(expired(), ["authorization"]);
    setup.engine.scan_expiry().await.unwrap();
    assert_eq!(expired(), ["API token"]);
    setup.engine.scan_expiry().await.unwrap();
    setup.login(Way::Token).await.unwrap_err();
    assert!(expired().is_empty());

    // Another end is another event, and one that is long past is none of a scan.
    let other = at("2034-01-02T04:00:00Z");
    setup.update(AuthorizationUpdate::expires_at(Some(other))).await;
    setup.clock.set_wall(other);
    setup.login(Way::Token).await.unwrap_err();
    assert_eq!(expired(), ["API token"]);
    setup.clock.set_wall(at("2034-01-05T00:00:00Z"));
    setup.engine.scan_expiry().await.unwrap();
    assert!(expired().is_empty());
}

#[tokio::test]
async fn a_scan_counts_the_active_credentials_that_expire_soon() {
    let setup = Setup::new().await;
    for (name, end) in [
        ("in-a-week", "2034-01-09T03:04:04.999999999Z"),
        ("a-moment-later", "2034-01-09T03:04:05Z"),
        ("in-30-days", "2034-02-01T03:04:04.999999999Z"),
        ("after-30-days", "2034-02-01T03:04:05Z"),
    ] {
        let new = setup.world.new_authorization(name).with_expires_at(at(end));
        setup.engine.create_authorization(new).await.unwrap();
        let new = setup.world.new_operator_token().with_expires_at(at(end));
        setup.engine.create_api_token(new).await.unwrap();
    }
    let inactive = setup.world.new_authorization("inactive").with_expires_at(end());
    let inactive = inactive.with_status(portcullis::Status::Inactive);
    setup.engine.create_authorization(inactive).await.unwrap();
    let update = AuthorizationUpdate::password_expires_at(Some(end()));
    setup.engine.update_authorization(setup.authorization.id, update).await.unwrap();
    let counts = setup.engine.scan_expiry().await.unwrap();
    let within = |counts: portcullis::ExpiringSoon| (counts.within_7_days, counts.within_30_days);
    assert_eq!(within(counts.authorizations), (1, 3));
    assert_eq!(within(counts.api_tokens), (1, 3));
    assert_eq!(within(counts.passwords), (1, 1));
}

/// [EXP-9]
#[tokio::test]
async fn a_filter_finds_what_expires_before_a_time() {
    let setup = Setup::new().await;
    let endless = setup.world.authorization("endless").await;
    let id = setup.authorization.id;
    let (before, after) = (at("2034-01-02T03:04:05Z"), at("2034-01-02T03:04:06Z"));
    for update in [AuthorizationUpdate::expires_at, AuthorizationUpdate::password_expires_at] {
        setup.engine.update_authorization(id, update(Some(end()))).await.unwrap();
        for (time, expected) in [(before, vec![]), (after, vec![id])] {
            let filter = AuthorizationFilter { expires_before: Some(time), ..Default::default() };
            let limit = NonZeroUsize::new(10).unwrap();
            let page = setup.engine.list_authorizations(&filter, None, limit).await.unwrap();
            let found: Vec<_> = page.items.iter().map(|found| found.id).collect();
            assert_eq!(found, expected);
            assert!(!filter.matches(&endless));
        }
        setup.engine.update_authorization(id, update(None)).await.unwrap();
    }
    let filter = ApiTokenFilter { expires_before: Some(after), ..ApiTokenFilter::all() };
    assert!(!filter.matches(&setup.token));
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    let token = setup.engine.api_token(setup.token.id).await.unwrap().unwrap();
    assert!(filter.matches(&token));
    assert!(!ApiTokenFilter { expires_before: Some(before), ..filter }.matches(&token));
}

/// [EXP-4] [EXP-6]
#[tokio::test(flavor = "multi_thread")]
async fn no_login_that_begins_after_the_end_is_admitted_however_clock_and_end_move() {
    let setup = Arc::new(Setup::new().await);
    setup.update(AuthorizationUpdate::expires_at(Some(end()))).await;
    for round in 0..200 {
        setup.clock.set_wall(just_before());
        let logins: Vec<_> = WAYS
            .into_iter()
            .map(|way| {
                let setup = Arc::clone(&setup);
                tokio::spawn(async move {
                    loop {
                        let began = portcullis::Clock::now(&setup.clock);
                        let admitted = setup.login_from_any(way).await;
                        if began >= end() {
                            // Once the clock has passed the end, it stays there in this round.
                            assert!(!admitted, "{way:?} in round {round}");
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        setup.clock.set_wall(end());
        for login in logins {
            login.await.unwrap();
        }
    }
}

impl Setup {
    /// Logs in, whether the clock moves meanwhile or not.
    async fn login_from_any(&self, way: Way) -> bool {
        let secret = self.secret.expose();
        match way {
            Way::Password => {
                let credentials = Credentials::password("telegraf", PASSWORD);
                self.engine.authenticate(credentials).await.is_ok()
            }
            Way::Token => self.engine.authenticate(Credentials::token(secret)).await.is_ok(),
            Way::TokenAsPassword => {
                self.engine.authenticate(Credentials::password("unknown", secret)).await.is_ok()
            }
            Way::Caller => {
                self.engine.authenticate_caller(Credentials::token(secret)).await.is_ok()
            }
        }
    }
}
