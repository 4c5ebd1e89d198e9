//! Guesses at passwords are throttled; the throttle reveals nothing, and costs other logins nothing.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::{
    AuthorizationUpdate, CacheConfig, Credentials, EngineBuilder, ErrorKind, Refusal, Status,
};

use crate::support::{ManualClock, Salts, World, cheap_hashing};

const SECOND: Duration = Duration::from_secs(1);

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    LetIn,
    Refused,
    Wait(Duration),
}

impl Outcome {
    fn waits(self) -> bool {
        matches!(self, Self::Wait(_))
    }
}

fn stranger() -> Option<IpAddr> {
    Some("192.0.2.66".parse().unwrap())
}

fn owner() -> Option<IpAddr> {
    Some("198.51.100.7".parse().unwrap())
}

fn address(number: usize) -> Option<IpAddr> {
    Some(format!("203.0.113.{number}").parse().unwrap())
}

/// A world with one name of each kind, and a manual clock.
struct Door {
    world: World,
    clock: ManualClock,
}

/// Names with a password, of an inactive authorization, without a password, and that do not exist.
const KINDS: [&str; 4] = ["telegraf", "inactive", "passwordless", "unknown"];

impl Door {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let clock = ManualClock::new();
        let world = World::with(|builder| settings(builder.clock(clock.clone()))).await;
        world.credential("telegraf").await;
        world.authorization("passwordless").await;
        let inactive = world.credential("inactive").await;
        let off = AuthorizationUpdate::status(Status::Inactive);
        world.engine.update_authorization(inactive.id, off).await.unwrap();
        Self { world, clock }
    }

    async fn tries(&self, username: &str, password: &str, source: Option<IpAddr>) -> Outcome {
        let credentials = Credentials::password(username, password);
        self.outcome(self.world.engine.authenticate(credentials.source(source)).await)
    }

    fn outcome<T>(&self, result: Result<T, portcullis::Error>) -> Outcome {
        let Err(error) = result else { return Outcome::LetIn };
        match error.kind() {
            ErrorKind::TooManyRequests => {
                assert_eq!(error.refusal(), Some(Refusal::Throttled));
                Outcome::Wait(error.retry_after().unwrap())
            }
            ErrorKind::Unauthorized => Outcome::Refused,
            _ => panic!("{error:?}"),
        }
    }

    async fn knows_the_password(&self, source: Option<IpAddr>) -> Outcome {
        self.tries("telegraf", "telegraf-password", source).await
    }

    /// Fails until it is throttled.
    async fn fails_until_it_waits(&self, username: &str, source: Option<IpAddr>) {
        for number in 0..1_000 {
            if self.tries(username, &format!("wrong-{number}"), source).await.waits() {
                return;
            }
        }
        panic!("never slowed down");
    }
}

#[tokio::test]
async fn a_hundred_guesses_at_once_stay_within_the_limit_whether_the_name_exists_or_not() {
    for username in KINDS {
        let door = Door::new().await;
        let before = door.world.engine.hash_pool().computations();
        let passwords: Vec<_> = (0..100).map(|number| format!("guess-{number}")).collect();
        let tries = passwords
            .iter()
            .enumerate()
            .map(|(number, password)| door.tries(username, password, address(number)));
        let outcomes = join_all(tries).await;
        let admitted = outcomes.iter().filter(|outcome| !outcome.waits()).count();
        assert_eq!(admitted, 10, "{username}");
        assert_eq!(door.world.engine.hash_pool().computations() - before, 10, "{username}");
    }
}

/// Equal logins at the same time share a hash, for a name that does not exist as well: otherwise the
/// difference would reveal it.
/// [THROTTLE-6]
#[tokio::test]
async fn a_hundred_equal_guesses_at_once_cost_alike_whether_the_name_exists_or_not() {
    for username in KINDS {
        let salts = Salts::default();
        let one_thread = cheap_hashing().threads(1);
        let settings = |builder: EngineBuilder| builder.random(salts.clone()).hashing(one_thread);
        let door = Door::with(settings).await;
        let before = door.world.engine.hash_pool().computations();
        salts.shut(true);
        // A hash to wait behind, so that all arrive before the first has ended.
        let first = door.tries("another-name", "wrong", address(200));
        let all = join_all((0..100).map(|number| door.tries(username, "guess", address(number))));
        let open = async {
            tokio::task::yield_now().await;
            salts.shut(false);
        };
        let (_, outcomes, ()) = tokio::join!(first, all, open);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Refused), "{username}");
        assert_eq!(door.world.engine.hash_pool().computations() - before, 2, "{username}");
    }
}

#[tokio::test]
async fn a_wait_reveals_nothing_about_the_name() {
    let mut reported = Vec::new();
    for username in KINDS {
        let door = Door::new().await;
        let mut outcomes = Vec::new();
        for number in 0..30 {
            outcomes.push(door.tries(username, &format!("wrong-{number}"), stranger()).await);
            door.clock.advance_past(SECOND);
        }
        assert!(outcomes.iter().any(|outcome| outcome.waits()));
        reported.push(outcomes);
    }
    assert!(reported.windows(2).all(|two| two[0] == two[1]), "{reported:?}");
}

/// [THROTTLE-4]
#[tokio::test]
async fn other_spellings_of_a_name_are_no_further_tries_at_it() {
    let door = Door::new().await;
    door.fails_until_it_waits("telegraf", stranger()).await;
    let spellings = [
        "Telegraf",
        "TELEGRAF",
        "telegraf ",
        " telegraf",
        "telegraf\0",
        "telegraf\n",
        "t\u{e9}legraf",
        "te\u{301}legraf",
        "ｔｅｌｅｇｒａｆ",
        "telegraf\u{200b}",
        "telegra\u{0131}f",
    ];
    for spelling in spellings {
        // The right password of the other name is not verified either.
        let credentials = Credentials::password(spelling, "telegraf-password");
        let error = door.world.engine.authenticate(credentials).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::UnknownUsername), "{spelling:?}");
    }
    assert!(door.tries("telegraf", "wrong", None).await.waits());
    // A source does not get more tries by using more names.
    let mut admitted = 0;
    for number in 0..300 {
        let spelling = format!("telegraf{}", " ".repeat(number + 2));
        admitted += usize::from(!door.tries(&spelling, "wrong", stranger()).await.waits());
    }
    assert!(admitted <= 100, "{admitted}");
}

#[tokio::test]
async fn a_flood_from_one_source_does_not_lock_the_owner_out_for_ever() {
    // Without a cache and a history, so that each login counts as the first.
    let door = Door::with(|builder| builder.cache(CacheConfig::off())).await;
    let flood = async |ticks: u32| {
        for number in 0..ticks {
            door.tries("telegraf", &format!("wrong-{number}"), stranger()).await;
            door.clock.advance_past(SECOND / 10);
        }
    };
    // For ten minutes, and on while the owner waits for its retry time.
    flood(6_000).await;
    let mut waited = Duration::ZERO;
    while let Outcome::Wait(wait) = door.knows_the_password(owner()).await {
        // A try a little later than the retry time is enough.
        flood(u32::try_from(wait.as_millis() / 100).unwrap().min(3_000)).await;
        waited += wait;
        assert!(waited <= 60 * SECOND, "kept out for {waited:?}");
    }
    // At an address that has logged in with the name, failures of other addresses do not count.
    flood(6_000).await;
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    assert!(door.knows_the_password(stranger()).await.waits());
}

/// [THROTTLE-9]
#[tokio::test]
async fn a_cached_right_password_is_never_refused_for_the_failures_of_others() {
    let door = Door::new().await;
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    for source in [stranger(), owner(), None] {
        door.fails_until_it_waits("telegraf", source).await;
    }
    // From an address that has logged in, from one without failures, and from an unknown one.
    for source in [owner(), address(1), None] {
        assert_eq!(door.knows_the_password(source).await, Outcome::LetIn, "{source:?}");
        assert!(door.tries("telegraf", "wrong", source).await.waits() || source == address(1));
    }
    // The cache entry is stale; the proof of the password never is.
    door.clock.advance_past(100 * SECOND);
    let before = door.world.engine.hash_pool().computations();
    door.fails_until_it_waits("telegraf", stranger()).await;
    let failed = door.world.engine.hash_pool().computations();
    assert!(failed > before);
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    assert_eq!(door.world.engine.hash_pool().computations(), failed);
}

/// A cached password, as of every active client, cannot be guessed faster than another: while the
/// guesses are throttled, the right one is refused like wrong ones.
/// [THROTTLE-9]
#[tokio::test]
async fn a_password_in_the_cache_cannot_be_guessed_faster_than_another() {
    let door = Door::new().await;
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    door.fails_until_it_waits("telegraf", stranger()).await;
    let credentials = Credentials::password("telegraf", "telegraf-password");
    for _ in 0..1_000 {
        let wrong = door.tries("telegraf", "wrong", stranger()).await;
        assert_eq!(door.knows_the_password(stranger()).await, wrong);
        assert!(wrong.waits());
        assert!(door.world.engine.authenticate_cached(credentials.source(stranger())).is_none());
    }
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    let Outcome::Wait(wait) = door.knows_the_password(stranger()).await else { panic!("let in") };
    door.clock.advance_past(wait);
    assert_eq!(door.knows_the_password(stranger()).await, Outcome::LetIn);
    // From then on that address is in its history.
    assert_eq!(door.tries("telegraf", "wrong", stranger()).await, Outcome::Refused);
}

/// [THROTTLE-7]
#[tokio::test]
async fn setting_a_password_clears_the_count_of_its_name() {
    let door = Door::new().await;
    // The owner has logged in from there before, and has lost the password.
    assert_eq!(door.knows_the_password(owner()).await, Outcome::LetIn);
    for source in [owner(), stranger()] {
        door.fails_until_it_waits("telegraf", source).await;
    }
    door.clock.advance_past(SECOND / 2);
    let id = door.world.engine.authorization_by_username("telegraf").await.unwrap().unwrap().id;
    door.world.engine.set_password(id, "another-password").await.unwrap();
    for source in [address(1), owner()] {
        assert_eq!(
            door.tries("telegraf", "mistyped", source).await,
            Outcome::Refused,
            "{source:?}"
        );
        assert_eq!(door.tries("telegraf", "another-password", source).await, Outcome::LetIn);
    }
}

#[tokio::test]
async fn a_try_after_the_retry_time_is_admitted() {
    let door = Door::new().await;
    door.fails_until_it_waits("telegraf", stranger()).await;
    for _ in 0..20 {
        let Outcome::Wait(wait) = door.tries("telegraf", "wrong", stranger()).await else {
            panic!("not slowed down");
        };
        assert!(wait <= Duration::from_secs(300), "{wait:?}");
        door.clock.advance_past(wait / 2);
        let early = door.tries("telegraf", "wrong", stranger()).await;
        assert!(early.waits(), "{wait:?}");
        door.clock.advance_past(wait / 2);
        assert_eq!(door.tries("telegraf", "wrong", stranger()).await, Outcome::Refused);
    }
    let Outcome::Wait(wait) = door.knows_the_password(stranger()).await else { panic!("let in") };
    door.clock.advance_past(wait);
    assert_eq!(door.knows_the_password(stranger()).await, Outcome::LetIn);
}

/// [THROTTLE-8]
#[tokio::test]
async fn guessing_api_tokens_is_slowed_down_by_source() {
    let door = Door::new().await;
    let engine = &door.world.engine;
    let guess = async |number: usize, source| {
        let token = format!("token-{number}");
        match number % 2 {
            0 => door.outcome(engine.authenticate(Credentials::token(&token).source(source)).await),
            _ => door.outcome(
                engine.authenticate_caller(Credentials::token(&token).source(source)).await,
            ),
        }
    };
    for number in 0..100 {
        assert_eq!(guess(number, stranger()).await, Outcome::Refused, "{number}");
        // The decay of the counter gives no more tries if they follow each other closely.
        door.clock.advance_past(Duration::from_millis(10));
    }
    for number in 0..10 {
        assert!(guess(number, stranger()).await.waits());
        assert_eq!(guess(number, owner()).await, Outcome::Refused);
    }
    // As passwords of unknown names they count as well.
    assert!(door.tries("unknown", "token-1", stranger()).await.waits());
}
