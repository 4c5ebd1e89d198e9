//! Two passwords while a credential is rotated: until when each of them works; and rules for passwords that
//! depend on earlier ones.

use std::sync::Arc;
use std::time::Duration;

use portcullis::password::PasswordPolicy;
use portcullis::store::Store;
use portcullis::{
    Authorization, AuthorizationUpdate, CacheConfig, Credentials, Engine, KeepPrevious, Refusal,
    Timestamp,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore, Method};

use crate::audit::Kept;
use crate::support::{ManualClock, World, builder};

const HOUR: Duration = Duration::from_secs(60 * 60);
const OLD: &str = "telegraf-password";
const NEW: &str = "the-new-password";
const NEWEST: &str = "the-newest-password";

fn hours(number: u32) -> KeepPrevious {
    KeepPrevious::during(number * HOUR).unwrap()
}

struct Setup {
    world: World,
    engine: Engine,
    faults: Faults,
    clock: ManualClock,
    audit: Kept,
    authorization: Authorization,
}

impl Setup {
    async fn new() -> Self {
        let world = World::new().await;
        let (faults, clock, audit) = (Faults::new(), ManualClock::new(), Kept::default());
        clock.set_wall(at(0));
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::clone(&world.store), &faults));
        let config = CacheConfig::default().stale_if_error(10 * HOUR);
        let engine = builder(store).clock(clock.clone()).cache(config).audit(audit.clone());
        let engine = engine.no_throttle().build().await.unwrap();
        let authorization = world.credential("telegraf").await;
        Self { world, engine, faults, clock, audit, authorization }
    }

    async fn rotate(&self, password: &str, keep: KeepPrevious) {
        self.engine.rotate_password(self.authorization.id, password, keep).await.unwrap();
    }

    async fn login(&self, password: &str) -> Result<(), Option<Refusal>> {
        let credentials = Credentials::password("telegraf", password);
        let cached = self.engine.authenticate_cached(credentials);
        let admitted = self.engine.authenticate(credentials).await;
        assert!(cached.is_none() || admitted.is_ok(), "{password}");
        admitted.map(drop).map_err(|error| error.refusal())
    }

    /// Each password works, or is wrong: with an empty cache, and with what the first login left there.
    async fn assert_work(&self, expected: [(&str, bool); 3]) {
        let other = builder(Arc::clone(&self.world.store)).clock(self.clock.clone()).no_throttle();
        let other = other.build().await.unwrap();
        for (password, works) in expected {
            let expected = if works { Ok(()) } else { Err(Some(Refusal::WrongPassword)) };
            for _ in 0..2 {
                assert_eq!(self.login(password).await, expected, "{password}");
            }
            let credentials = Credentials::password("telegraf", password);
            assert_eq!(other.authenticate(credentials).await.is_ok(), works, "{password}");
        }
    }

    async fn stored(&self) -> Authorization {
        self.engine.authorization(self.authorization.id).await.unwrap().unwrap()
    }
}

/// A time after the beginning of the tests.
fn at(hours: u32) -> Timestamp {
    let begin: Timestamp = "2034-01-02T03:04:05Z".parse().unwrap();
    begin.saturating_add(hours * HOUR)
}

/// [ROTATE-2] [ROTATE-3]
#[tokio::test]
async fn both_passwords_work_until_the_time_is_over() {
    let on = Setup::new().await;
    on.rotate(NEW, hours(24)).await;
    on.assert_work([(OLD, true), (NEW, true), (NEWEST, false)]).await;
    on.assert_work([(NEW, true), (OLD, true), (NEWEST, false)]).await;
    let stored = on.stored().await;
    let previous = stored.previous_password.as_ref().unwrap();
    assert_eq!((stored.password_set_at, previous.ends_at), (Some(at(0)), at(24)));
    assert!(!previous.ends_when_new_is_used);
    on.clock.set_wall("2034-01-03T03:04:04.999999999Z".parse().unwrap());
    on.assert_work([(OLD, true), (NEW, true), (NEWEST, false)]).await;
    on.clock.set_wall(at(24));
    on.assert_work([(OLD, false), (NEW, true), (NEWEST, false)]).await;
    // A clock that jumps back.
    on.clock.set_wall(at(23));
    on.assert_work([(OLD, true), (NEW, true), (NEWEST, false)]).await;
}

/// [ROTATE-4]
#[tokio::test]
async fn there_are_never_more_than_two_passwords() {
    let on = Setup::new().await;
    on.rotate(NEW, hours(24)).await;
    on.rotate(NEWEST, hours(1)).await;
    on.assert_work([(OLD, false), (NEW, true), (NEWEST, true)]).await;
    // Without a time, the old ones end at once.
    on.engine.set_password(on.authorization.id, OLD).await.unwrap();
    on.assert_work([(OLD, true), (NEW, false), (NEWEST, false)]).await;
    assert_eq!(on.stored().await.previous_password, None);
}

/// [ROTATE-5]
#[tokio::test]
async fn the_previous_password_can_be_ended_before_its_time() {
    let on = Setup::new().await;
    on.rotate(NEW, hours(24)).await;
    on.assert_work([(OLD, true), (NEW, true), (NEWEST, false)]).await;
    for _ in 0..2 {
        on.engine.end_previous_password(on.authorization.id).await.unwrap();
        on.assert_work([(OLD, false), (NEW, true), (NEWEST, false)]).await;
    }
}

/// [ROTATE-6] [ROTATE-9]
#[tokio::test]
async fn the_previous_password_can_end_when_the_new_one_is_used() {
    let on = Setup::new().await;
    on.rotate(NEW, hours(24).until_new_is_used()).await;
    for _ in 0..2 {
        assert_eq!(on.login(OLD).await, Ok(()));
        assert_eq!(on.login(NEWEST).await, Err(Some(Refusal::WrongPassword)));
    }
    // The login does not fail if the commit does, and the next one tries again.
    on.faults.fail(Call::nth_of(Method::Commit, 1).and_later(), Fault::Unavailable);
    assert_eq!(on.login(NEW).await, Ok(()));
    assert_eq!(on.login(OLD).await, Ok(()));
    on.faults.reset();
    on.engine
        .update_authorization(on.authorization.id, AuthorizationUpdate::description("d"))
        .await
        .unwrap();
    assert_eq!(on.login(NEW).await, Ok(()));
    on.assert_work([(OLD, false), (NEW, true), (NEWEST, false)]).await;
    let audited = on.audit.take();
    let ended = audited.iter().filter(|(action, ..)| action == "endPreviousPassword");
    assert!(audited.iter().any(|(action, outcome, ..)| {
        (action.as_str(), outcome.as_str()) == ("rotatePassword", "done")
    }));
    let outcomes: Vec<&str> = ended.map(|(_, outcome, ..)| outcome.as_str()).collect();
    assert_eq!(outcomes, ["failed", "done"], "{audited:?}");
}

/// [ROTATE-7]
#[tokio::test]
async fn no_password_works_longer_than_without_the_rotation() {
    let on = Setup::new().await;
    let id = on.authorization.id;
    let update = AuthorizationUpdate::password_expires_at(Some(at(2)));
    on.engine.update_authorization(id, update).await.unwrap();
    on.rotate(NEW, hours(24)).await;
    on.engine.update_authorization(id, AuthorizationUpdate::expires_at(Some(at(3)))).await.unwrap();
    on.assert_work([(OLD, true), (NEW, true), (NEWEST, false)]).await;
    on.clock.set_wall(at(2));
    on.assert_work([(OLD, false), (NEW, true), (NEWEST, false)]).await;
    on.clock.set_wall(at(3));
    assert_eq!(on.login(NEW).await, Err(Some(Refusal::Expired)));
    assert_eq!(on.login(OLD).await, Err(Some(Refusal::Expired)));
}

/// [ROTATE-3]
#[tokio::test]
async fn the_end_holds_while_the_store_does_not_respond() {
    let on = Setup::new().await;
    on.rotate(NEW, hours(1)).await;
    assert_eq!((on.login(OLD).await, on.login(NEW).await), (Ok(()), Ok(())));
    on.faults.fail(Call::nth(1).and_later(), Fault::Unavailable);
    assert_eq!(on.login(OLD).await, Ok(()));
    on.clock.set_wall(at(1));
    // No refusal and no grant: the store has to be read.
    assert_eq!(on.login(OLD).await, Err(None));
    assert_eq!(on.login(NEW).await, Ok(()));
}

/// [ROTATE-10]
#[tokio::test]
async fn a_wrong_password_costs_two_hashes_and_one_failure_while_the_previous_one_works() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    let cost = async |password: &str| {
        let before = world.engine.hash_pool().computations();
        let admitted = world.login("telegraf", password).await.is_ok();
        (world.engine.hash_pool().computations() - before, admitted)
    };
    world.engine.rotate_password(id, NEW, hours(1)).await.unwrap();
    assert_eq!(cost(NEWEST).await, (2, false));
    assert_eq!(cost(OLD).await, (2, true));
    assert_eq!(cost(NEW).await, (1, true));
    world.engine.end_previous_password(id).await.unwrap();
    assert_eq!(cost(OLD).await, (1, false));
    // The throttle delays logins after ten failures: nine logins with two hashes each are nine.
    world.engine.rotate_password(id, OLD, hours(1)).await.unwrap();
    for number in 0..9 {
        assert_eq!(cost(&format!("{NEWEST}-{number}")).await, (2, false), "{number}");
    }
}

/// [PW-18]
#[tokio::test]
async fn a_new_password_has_an_end_if_there_is_a_maximum_age() {
    let clock = ManualClock::new();
    clock.set_wall(at(0));
    let policy = PasswordPolicy::default().max_age(24 * HOUR);
    let world = World::with(|builder| builder.password_policy(policy).clock(clock.clone())).await;
    let id = world.credential("telegraf").await.id;
    let end = async || world.engine.authorization(id).await.unwrap().unwrap().password_expires_at;
    assert_eq!(end().await, Some(at(24)));
    clock.set_wall(at(24));
    let error = world.login("telegraf", OLD).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Expired));
    // A rotation does not prolong the password that has expired.
    world.engine.rotate_password(id, NEW, hours(48)).await.unwrap();
    assert_eq!(end().await, Some(at(48)));
    assert!(world.login("telegraf", OLD).await.is_err());
    assert!(world.login("telegraf", NEW).await.is_ok());
}

/// [PW-19]
#[tokio::test]
async fn the_last_passwords_are_not_set_again() {
    let policy = PasswordPolicy::default().history(3);
    let world = World::with(|builder| builder.password_policy(policy)).await;
    let id = world.credential("telegraf").await.id;
    let set = async |password: &str| world.engine.set_password(id, password).await;
    let refused = "the password must not be one of the last 3 of this authorization";
    assert_eq!(set(OLD).await.unwrap_err().message(), refused);
    set(NEW).await.unwrap();
    set(NEWEST).await.unwrap();
    for password in [OLD, NEW, NEWEST] {
        assert_eq!(set(password).await.unwrap_err().message(), refused);
    }
    assert!(world.login("telegraf", NEWEST).await.is_ok());
    // The oldest is forgotten with the next one.
    set("one-more-password").await.unwrap();
    set(OLD).await.unwrap();
    let stored = world.engine.authorization(id).await.unwrap().unwrap();
    assert_eq!(stored.password_history.len(), 2);
    // Without a history, the hashes are forgotten at the next change.
    let other = builder(Arc::clone(&world.store)).build().await.unwrap();
    other.set_password(id, NEW).await.unwrap();
    let stored = world.engine.authorization(id).await.unwrap().unwrap();
    assert_eq!(stored.password_history, []);
}

/// [PW-17]
#[tokio::test]
async fn a_password_in_either_form_logs_in_if_passwords_are_normalized() {
    let policy = PasswordPolicy::default().nfc(true);
    let world = World::with(|builder| builder.password_policy(policy).no_throttle()).await;
    let id = world.credential("telegraf").await.id;
    let (composed, decomposed) = ("caf\u{e9}-au-lait", "cafe\u{301}-au-lait");
    for set in [composed, decomposed] {
        world.engine.set_password(id, set).await.unwrap();
        for password in [composed, decomposed, composed] {
            assert!(world.login("telegraf", password).await.is_ok(), "{password:?}");
        }
        assert!(world.login("telegraf", "cafe-au-lait").await.is_err());
    }
}

/// [ROTATE-12]
#[tokio::test]
async fn the_last_use_of_the_previous_password_shows_when_all_agents_have_moved() {
    let on = Setup::new().await;
    let used = async || {
        on.engine.flush_last_uses().await;
        let last = on.engine.last_use(on.authorization.id).await.unwrap();
        let set_at = on.stored().await.password_set_at;
        last.and_then(|last| last.of_previous_password(set_at))
    };
    assert_eq!(on.login(OLD).await, Ok(()));
    assert_eq!(used().await, None);
    on.clock.set_wall(at(1));
    on.rotate(NEW, hours(24)).await;
    assert_eq!(on.login(NEW).await, Ok(()));
    assert_eq!(used().await, None);
    // The first use is written at once, although the credential was used within the interval.
    assert_eq!(on.login(OLD).await, Ok(()));
    assert_eq!(used().await, Some(at(1)));
    on.clock.set_wall(at(5));
    on.clock.advance(5 * HOUR);
    assert_eq!((on.login(OLD).await, on.login(NEW).await), (Ok(()), Ok(())));
    assert_eq!(used().await, Some(at(5)));
    // In the next rotation, uses of an earlier one do not count.
    on.clock.set_wall(at(6));
    on.rotate(NEWEST, hours(24)).await;
    assert_eq!(used().await, None);
    assert_eq!(on.login(NEW).await, Ok(()));
    assert_eq!(used().await, Some(at(6)));
}
