//! Hashes of passwords as text, in PHC form and bcrypt. An accepted hash keeps its text byte by byte,
//! parses alike as JSON, keeps below the maximum cost (parsed here in another way), and can be computed:
//! a hash that is cheap enough is verified. A refused text is not in the error.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis::SystemRandom;
use portcullis::password::{HashParams, HashPool, HashPoolConfig, Password, PasswordHash};
use portcullis_fuzz::{CANARY, world};
use tokio::runtime::Runtime;

static POOL: LazyLock<(Runtime, HashPool)> = LazyLock::new(|| {
    let config = HashPoolConfig::default()
        .params(HashParams::new(8, 1, 1).expect("the smallest parameters"))
        .threads(1);
    let pool = HashPool::start(config, Arc::new(SystemRandom)).expect("a pool");
    (world::runtime(), pool)
});

fuzz_target!(|text: &str| {
    let json = serde_json::to_string(text).expect("a string");
    let from_json = serde_json::from_str::<PasswordHash>(&json);
    let hash = match PasswordHash::parse(text) {
        Ok(hash) => hash,
        Err(error) => {
            assert!(!error.to_string().contains(CANARY), "{error}");
            assert!(from_json.is_err());
            return;
        }
    };
    // One line end at the end is ignored.
    let ends = ["\r\n", "\n", "\r"];
    let rest = ends.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text);
    let kept = if rest.ends_with(['\r', '\n']) { text } else { rest };
    assert_eq!(hash.expose(), kept);
    assert_eq!(PasswordHash::parse(hash.expose()), Ok(hash.clone()));
    let json = serde_json::to_string(kept).expect("a string");
    assert_eq!(serde_json::to_string(&hash).expect("a string"), json);
    assert!(from_json.is_ok_and(|read| read == hash));
    assert_eq!(format!("{hash:?}"), "PasswordHash(<redacted>)");

    let cheap = if text.starts_with("$2") {
        let cost: u32 = text.split('$').nth(2).and_then(|cost| cost.parse().ok()).expect("a cost");
        assert!((4..=PasswordHash::MAX_BCRYPT_COST).contains(&cost), "cost {cost}");
        cost == 4
    } else {
        let (memory, passes, lanes) = argon2_costs(text);
        assert!((8 * lanes..=131_072).contains(&memory), "m={memory}, p={lanes}");
        assert!((1..=16).contains(&passes) && (1..=16).contains(&lanes), "t={passes}, p={lanes}");
        memory <= 256 && passes <= 2
    };
    if cheap {
        let (runtime, pool) = &*POOL;
        let password = Password::new("s3cret-enough").expect("a short password");
        runtime.block_on(pool.verify(&password, &hash)).expect("what is accepted can be computed");
    }
});

fn argon2_costs(text: &str) -> (u64, u64, u64) {
    let parameters = text.split('$').find(|part| part.starts_with("m=") || part.contains(",m="));
    let cost = |name: &str| -> u64 {
        let parameters = parameters.expect("parameters").split(',');
        let mut values = parameters.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = values.next().expect("the parameter");
        assert_eq!(values.next(), None, "{name} stands there twice");
        value.parse().expect("a number")
    };
    (cost("m"), cost("t"), cost("p"))
}
