//! Settings in a host's configuration file.

use std::error::Error as _;
use std::time::Duration;

use portcullis::password::{HashParams, HashPoolConfig, PasswordPolicy};
use portcullis::store::MemoryStore;
use portcullis::{BuildError, CacheConfig, Engine, EngineBuilder, ThrottleConfig};
use serde::Deserialize;

/// What a host's configuration file may hold for the engine.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    cache: CacheConfig,
    throttle: ThrottleConfig,
    hashing: HashPoolConfig,
    passwords: PasswordPolicy,
}

impl Settings {
    fn builder(self) -> EngineBuilder {
        Engine::builder(MemoryStore::new().unwrap())
            .cache(self.cache)
            .throttle(self.throttle)
            .hashing(self.hashing)
            .password_policy(self.passwords)
    }
}

const TOML: &str = r#"
[cache]
max_bytes = 1048576
max_staleness = "1s"
time_to_live = "1m 30s"
stale_if_error = "PT1H"

[throttle]
username_failures = 5
source_failures = 50
first_delay = "500ms"
longest_delay = "10m"
half_life = "1h"

[hashing]
params = { memory_kib = 8192, passes = 3, lanes = 2 }
threads = 2
queue = 100
max_wait = "5s"
idle_memory_timeout = "1m"

[passwords]
min_bytes = 12
max_bytes = 128
three_classes = true
"#;

fn expected() -> Settings {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    Settings {
        cache: CacheConfig::default()
            .max_bytes(1_048_576)
            .max_staleness(seconds(1))
            .time_to_live(seconds(90))
            .stale_if_error(seconds(3_600)),
        throttle: ThrottleConfig::default()
            .username_failures(5)
            .source_failures(50)
            .first_delay(millis(500))
            .longest_delay(seconds(600))
            .half_life(seconds(3_600)),
        hashing: HashPoolConfig::default()
            .params(HashParams::new(8_192, 3, 2).unwrap())
            .threads(2)
            .queue(100)
            .max_wait(seconds(5))
            .idle_memory_timeout(seconds(60)),
        passwords: PasswordPolicy::default().min_bytes(12).max_bytes(128).three_classes(true),
    }
}

#[tokio::test]
async fn every_setting_is_read_from_toml_and_json() {
    let from_toml: Settings = toml::from_str(TOML).unwrap();
    assert_eq!(from_toml, expected());
    let json = toml::from_str::<serde_json::Value>(TOML).unwrap().to_string();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), expected());
    assert!(from_toml.builder().build().await.is_ok());
}

#[tokio::test]
async fn missing_settings_have_their_defaults() {
    for text in ["", "[cache]\n[throttle]\n[hashing]\nparams = {}\n[passwords]"] {
        assert_eq!(toml::from_str::<Settings>(text).unwrap(), Settings::default(), "{text:?}");
    }
}

#[tokio::test]
async fn a_setting_out_of_bounds_is_refused_at_build_by_name() {
    for (text, message) in [
        (
            "[cache]\nmax_staleness = '61s'",
            "CacheConfig::max_staleness must be between 0ns and 60s, not 61s",
        ),
        (
            "[throttle]\nusername_failures = 0",
            "ThrottleConfig::username_failures must be between 1 and 1000, not 0",
        ),
        ("[hashing]\nthreads = 0", "HashPoolConfig::threads must be between 1 and 1024, not 0"),
        ("[passwords]\nmin_bytes = 0", "PasswordPolicy::min_bytes must be between 1 and 72, not 0"),
        (
            "[passwords]\nmin_bytes = 73",
            "PasswordPolicy::min_bytes must be between 1 and 72, not 73",
        ),
        (
            "[passwords]\nmax_bytes = 4097",
            "PasswordPolicy::max_bytes must be between 1 and 4096, not 4097",
        ),
    ] {
        let settings: Settings = toml::from_str(text).unwrap();
        let error = settings.builder().build().await.unwrap_err();
        assert!(matches!(error, BuildError::Config(_)), "{text}: {error:?}");
        assert_eq!(error.source().unwrap().to_string(), message);
    }
}

#[test]
fn a_setting_that_cannot_be_read_is_an_error_with_its_name_and_place() {
    for (text, parts) in [
        ("[cache]\nmax_stalenes = '1s'", ["max_stalenes", "expected one of `max_bytes`"]),
        ("[cache]\nmax_staleness = 2", ["max_staleness = 2", "expected a string"]),
        ("[throttle]\nhalf_life = '15'", ["half_life = '15'", "line 2"]),
        ("[throttle]\nhalf_life = '-1s'", ["half_life = '-1s'", "line 2"]),
        ("[hashing]\nparams = { memory = 1 }", ["unknown field `memory`", "memory_kib"]),
        (
            "[hashing]\nparams = { passes = 17 }",
            ["passes must be between 1 and 16, not 17", "line 2"],
        ),
        ("[passwords]\nthree_classes = 'yes'", ["three_classes = 'yes'", "expected a boolean"]),
    ] {
        let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}
