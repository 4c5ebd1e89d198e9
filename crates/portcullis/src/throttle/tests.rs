use std::collections::HashSet;
use std::sync::Mutex;

use super::*;

const STRANGER: &str = "192.0.2.66";
const OWNER: &str = "198.51.100.7";

struct World {
    throttle: Throttle,
    familiar: Mutex<HashSet<(String, String)>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let throttle = Throttle::new(&ThrottleConfig::default(), now).unwrap();
        Self { throttle, familiar: Mutex::default(), now }
    }

    fn keys(&self, name: &str, source: &str) -> ThrottleKeys {
        let familiar =
            self.familiar.lock().unwrap().contains(&(name.to_owned(), source.to_owned()));
        self.throttle.keys(Some(name), Some(source.parse().unwrap()), familiar)
    }

    fn fails(&self, name: &str, source: &str) -> Result<(), Duration> {
        self.throttle.charge(&self.keys(name, source), self.now).map(drop)
    }

    fn succeeds(&self, name: &str, source: &str) -> Result<(), Duration> {
        let charge = self.throttle.charge(&self.keys(name, source), self.now)?;
        self.throttle.refund(&charge, self.now);
        self.familiar.lock().unwrap().insert((name.to_owned(), source.to_owned()));
        Ok(())
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// [THROTTLE-1]
#[test]
fn ten_failures_of_a_name_are_free_then_waits_double() {
    let mut world = World::new();
    // Each has failed with the name, so that none has a first try left.
    let sources: Vec<_> = (0..10).map(|number| format!("203.0.113.{number}")).collect();
    for source in &sources {
        assert_eq!(world.fails("telegraf", source), Ok(()));
    }
    let mut waits = Vec::new();
    for number in 0..12 {
        let source = &sources[number % sources.len()];
        let wait = world.fails("telegraf", source).unwrap_err();
        waits.push(wait.as_secs_f64().round());
        world.passes(wait);
        assert_eq!(world.fails("telegraf", source), Ok(()), "after waiting as required");
    }
    assert_eq!(waits.first(), Some(&1.0));
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 300.0), "{waits:?}");
    assert!(waits.last() > Some(&60.0), "{waits:?}");
}

/// [THROTTLE-9]
#[test]
fn first_tries_of_sources_at_a_name_are_admitted_one_each_second() {
    let mut world = World::new();
    for number in 0..10 {
        assert_eq!(world.fails("telegraf", &format!("203.0.113.{number}")), Ok(()));
    }
    for number in 10..200 {
        let source = format!("203.0.113.{number}");
        assert_eq!(world.fails("telegraf", &source), Err(SECOND), "{number}");
        world.passes(SECOND);
        assert_eq!(world.fails("telegraf", &source), Ok(()), "{number}");
        assert!(world.fails("telegraf", &source) > Err(SECOND), "a second try, {number}");
    }
    // One of IPv6 is all that a customer can have.
    world.passes(SECOND);
    assert_eq!(world.fails("telegraf", "2001:db8:1:1::1"), Ok(()));
    world.passes(SECOND);
    assert!(world.fails("telegraf", "2001:db8:1:2::1").is_err());
    assert_eq!(world.fails("telegraf", "2001:db8:2:1::1"), Ok(()));
}

/// Of 200 sources that guess 50 times a second, each takes one first try, and the owner's is one
/// of those.
#[test]
fn an_owner_at_a_new_address_is_kept_out_for_a_second_for_each_source_that_guesses() {
    let mut world = World::new();
    let guesses = |world: &mut World, from: u32, ticks: u32| {
        for tick in from..from + ticks {
            let _ = world.fails("telegraf", &format!("203.0.113.{}", tick % 200));
            world.passes(SECOND / 50);
        }
    };
    guesses(&mut world, 0, 50 * 60);
    let mut waited = 0;
    // The owner comes each second, and not at the moment at which there is a place.
    while world.succeeds("telegraf", OWNER).is_err() {
        guesses(&mut world, 50 * waited + 17, 50);
        waited += 1;
        assert!(waited <= 200, "kept out for {waited} s");
    }
    // From then on no guess counts for the owner.
    guesses(&mut world, 0, 50 * 600);
    assert_eq!(world.succeeds("telegraf", OWNER), Ok(()));
}

/// [THROTTLE-9]
#[test]
fn a_familiar_source_does_not_wait_for_the_failures_of_others() {
    let world = World::new();
    assert_eq!(world.succeeds("telegraf", STRANGER), Ok(()));
    for name in 0..100 {
        assert_eq!(world.fails(&format!("name-{name}"), STRANGER), Ok(()));
    }
    assert!(world.fails("another", STRANGER).is_err());
    assert!(world.throttle.is_suspect(&world.keys("another", STRANGER), world.now));
    assert!(!world.throttle.is_suspect(&world.keys("telegraf", STRANGER), world.now));
    assert_eq!(world.succeeds("telegraf", STRANGER), Ok(()));
    for _ in 0..10 {
        assert_eq!(world.fails("telegraf", STRANGER), Ok(()));
    }
    assert!(world.fails("telegraf", STRANGER).is_err(), "its own failures count");
}

/// [THROTTLE-1]
#[test]
fn the_wait_of_one_source_at_one_name_grows_faster_than_that_of_the_name() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for _ in 0..15 {
        while let Err(wait) = world.fails("telegraf", STRANGER) {
            waits.push((wait, world.throttle.wait(&world.keys("telegraf", OWNER), world.now)));
            world.passes(wait);
        }
    }
    let (mut last, of_others) = *waits.last().unwrap();
    assert!(last > 60 * SECOND, "{waits:?}");
    assert!(of_others < Some(15 * SECOND), "{waits:?}");
    // For most of the time others need not wait at all.
    let total = last;
    while world.throttle.wait(&world.keys("telegraf", OWNER), world.now).is_some() {
        world.passes(SECOND);
        last -= SECOND;
    }
    assert!(last > total / 2, "{waits:?}");
}

/// [THROTTLE-5]
#[test]
fn attempts_stay_within_the_limit_however_many_come_at_once() {
    let world = World::new();
    let admitted = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..100 {
            let (world, admitted) = (&world, &admitted);
            scope.spawn(move || {
                if world.fails("telegraf", &format!("203.0.113.{thread}")).is_ok() {
                    admitted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 10);
}

/// [THROTTLE-1]
#[test]
fn a_source_has_a_hundred_failures_whatever_names_it_tries() {
    let world = World::new();
    for name in 0..100 {
        assert_eq!(world.fails(&format!("name-{name}"), STRANGER), Ok(()));
    }
    assert!(world.fails("another", STRANGER).is_err());
    assert_eq!(world.fails("another", OWNER), Ok(()));
}

/// [THROTTLE-1]
#[test]
fn a_network_of_ipv6_is_one_source_and_mapped_ipv4_is_ipv4() {
    let world = World::new();
    for host in 0..100 {
        assert_eq!(
            world.fails(&format!("name-{host}"), &format!("2001:db8:1:2::{host:x}")),
            Ok(())
        );
    }
    assert!(world.fails("another", "2001:db8:1:2:ffff:ffff:ffff:ffff").is_err());
    assert_eq!(world.fails("another", "2001:db8:1:3::1"), Ok(()));

    let world = World::new();
    for name in 0..50 {
        assert_eq!(world.fails(&format!("name-{name}"), STRANGER), Ok(()));
        assert_eq!(world.fails(&format!("no-{name}"), &format!("::ffff:{STRANGER}")), Ok(()));
    }
    assert!(world.fails("another", STRANGER).is_err());
}

#[test]
fn the_owner_is_not_kept_out_by_strangers() {
    let mut world = World::new();
    assert_eq!(world.succeeds("telegraf", OWNER), Ok(()));
    // A flood from many sources, for a day.
    for hour in 0..24 {
        for source in 0..200 {
            let _ = world.fails("telegraf", &format!("203.0.113.{source}"));
        }
        assert!(world.fails("telegraf", "203.0.113.201").is_err());
        assert_eq!(world.succeeds("telegraf", OWNER), Ok(()), "in hour {hour}");
        world.passes(Duration::from_secs(3_600));
    }
    // Nor is the owner's own source without a limit.
    for _ in 0..10 {
        assert_eq!(world.fails("telegraf", OWNER), Ok(()));
    }
    assert!(world.fails("telegraf", OWNER).is_err());
}

#[test]
fn a_flood_from_one_source_does_not_keep_a_new_source_out_for_ever() {
    let mut world = World::new();
    for _ in 0..36_000 {
        let _ = world.fails("telegraf", STRANGER);
        world.passes(Duration::from_millis(100));
    }
    let mut waited = Duration::ZERO;
    while let Err(wait) = world.succeeds("telegraf", OWNER) {
        // The stranger goes on.
        let _ = world.fails("telegraf", STRANGER);
        world.passes(wait);
        waited += wait;
        assert!(waited <= Duration::from_secs(300), "kept out for {waited:?}");
    }
}

/// [THROTTLE-2]
#[test]
fn failures_decay() {
    let mut world = World::new();
    for _ in 0..10 {
        world.fails("telegraf", STRANGER).unwrap();
    }
    world.passes(15 * 60 * SECOND);
    for _ in 0..5 {
        assert_eq!(world.fails("telegraf", STRANGER), Ok(()));
    }
    assert!(world.fails("telegraf", STRANGER).is_err());
}

#[test]
fn a_success_is_not_counted_and_a_new_password_clears_the_name() {
    let mut world = World::new();
    for _ in 0..1_000 {
        assert_eq!(world.succeeds("telegraf", OWNER), Ok(()));
    }
    for _ in 0..10 {
        world.fails("grafana", STRANGER).unwrap();
    }
    world.passes(SECOND);
    world.fails("grafana", OWNER).unwrap();
    assert!(world.fails("grafana", STRANGER).is_err());
    assert!(world.throttle.wait(&world.keys("grafana", OWNER), world.now).is_some());
    world.throttle.clear("grafana", world.now);
    assert_eq!(world.throttle.wait(&world.keys("grafana", OWNER), world.now), None);
}

#[test]
fn names_are_counted_apart_and_a_try_that_must_wait_is_not_counted() {
    let world = World::new();
    for _ in 0..10 {
        world.fails("telegraf", STRANGER).unwrap();
    }
    for _ in 0..1_000 {
        assert!(world.fails("telegraf", STRANGER).is_err());
    }
    assert_eq!(world.fails("Telegraf", STRANGER), Ok(()), "the refused ones were counted");
}

/// [THROTTLE-3]
#[test]
fn many_names_and_sources_do_not_wash_away_a_high_count() {
    let world = World::new();
    for _ in 0..10 {
        world.fails("telegraf", OWNER).unwrap();
    }
    for name in 0..300_000 {
        let source = format!("2001:db8:{:x}:{:x}::1", name % 60_000, name / 60_000);
        let _ = world.fails(&format!("name-{name}"), &source);
    }
    assert!(world.fails("telegraf", OWNER).is_err());
    // Without a name, as unknown API tokens are counted: twenty from each of more than a /48.
    for number in 0..20 * 70_000_u32 {
        let network = number % 70_000;
        let source = format!("2001:db8:{:x}:{:x}::1", 0xa000 + network / 65_536, network % 65_536);
        let keys = world.throttle.keys(None, Some(source.parse().unwrap()), false);
        let _ = world.throttle.charge(&keys, world.now);
    }
    assert!(world.fails("telegraf", OWNER).is_err());
}

/// [THROTTLE-8]
#[test]
fn without_a_name_or_a_source_only_the_other_counts() {
    let world = World::new();
    let source = |name| world.throttle.keys(name, Some(STRANGER.parse().unwrap()), false);
    for _ in 0..100 {
        world.throttle.charge(&source(None), world.now).unwrap();
    }
    assert!(world.throttle.charge(&source(None), world.now).is_err());
    let nowhere = world.throttle.keys(Some("telegraf"), None, false);
    for _ in 0..10 {
        world.throttle.charge(&nowhere, world.now).unwrap();
    }
    assert!(world.throttle.charge(&nowhere, world.now).is_err());
}
