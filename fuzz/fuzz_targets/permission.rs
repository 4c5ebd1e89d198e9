//! Permissions as text, one a line. An accepted permission prints as the same text but for the case of
//! ids, survives a round trip, is valid, and allows itself. Each line but the last is granted and the
//! last is requested: the rule for two permissions, the compiled set and the grant keys must agree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{GrantKey, Permission, PermissionSet, UncheckedPermission};

/// More lines than this test nothing more about sets and take long.
const MOST_LINES: usize = 32;

fuzz_target!(|text: &str| {
    let mut held = Vec::new();
    for line in text.split('\n').take(MOST_LINES) {
        match line.parse::<Permission>() {
            Ok(permission) => {
                check(line, permission);
                held.push(permission);
            }
            Err(error) => {
                // The message quotes 128 characters at most.
                assert!(error.to_string().chars().count() < 400, "{error}");
            }
        }
    }
    let Some(requested) = held.pop() else { return };
    let rule = held.iter().any(|held| held.allows(&requested));
    let keys: Vec<_> = GrantKey::allowing(requested).collect();
    let listed = held.iter().any(|held| keys.contains(&GrantKey::of(*held)));
    let set = PermissionSet::new(held.iter().copied());
    let decision = set.check(requested.action, &requested.resource);
    assert_eq!((set.allows(&requested), decision.is_allowed(), listed), (rule, rule, rule));
});

fn check(text: &str, permission: Permission) {
    let shown = permission.to_string();
    assert!(shown.eq_ignore_ascii_case(text), "{text:?} became {shown:?}");
    assert_eq!(shown.parse(), Ok(permission));
    assert_eq!(permission.validate(), Ok(()));
    assert_eq!(UncheckedPermission::from(permission).validate(), Ok(permission));
    let json = serde_json::to_string(&permission).expect("a string");
    assert_eq!(serde_json::from_str::<Permission>(&json).ok(), Some(permission));

    assert!(permission.allows(&permission));
    let key = GrantKey::of(permission);
    assert!(GrantKey::allowing(permission).any(|allowing| allowing == key));
    let again: Permission = key.to_string().parse().expect("a key is a permission as text");
    assert_eq!(GrantKey::of(again), key);
}
