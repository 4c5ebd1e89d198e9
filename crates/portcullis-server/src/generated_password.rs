//! Passwords that are generated.

use std::io::{self, Write as _};

use anyhow::Context as _;
use zeroize::Zeroizing;

/// Letters and digits without I, O, i, l, o, 0 and 1, which look alike. None of them needs quotes or
/// escapes in a URL, a shell or a configuration file.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";

/// The length: within the rules, which allow 8 to 72 bytes.
const LENGTH: usize = 24;

/// The strength: the logarithm of the number of passwords that are equally likely.
const BITS: u32 = 138;

/// Generates a password with upper case, lower case and digits, as the strong rules require.
pub(crate) fn generate() -> anyhow::Result<Zeroizing<String>> {
    loop {
        let password = draw().context("cannot generate a password")?;
        if has_all_classes(&password) {
            return Ok(password);
        }
    }
}

/// Reports the strength of a generated password on standard error.
pub(crate) fn report_strength() {
    // The password was shown: the strength is for information.
    let _ = writeln!(
        io::stderr().lock(),
        "the generated password has {LENGTH} characters and a strength of {BITS} bits"
    );
}

fn draw() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut password = Zeroizing::new(String::with_capacity(LENGTH));
    let mut bytes = Zeroizing::new([0_u8; 2 * LENGTH]);
    while password.len() < LENGTH {
        getrandom::fill(&mut *bytes)?;
        // Six bits are a number below 64. Larger ones than the alphabet has are left out, so that every
        // character is equally likely.
        let drawn = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte >> 2)));
        let missing = LENGTH - password.len();
        password.extend(drawn.take(missing).map(|byte| char::from(*byte)));
    }
    Ok(password)
}

fn has_all_classes(password: &str) -> bool {
    let has = |class: fn(&u8) -> bool| password.as_bytes().iter().any(class);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis::password::PasswordPolicy;

    use super::*;

    /// [CLI-11]
    #[test]
    fn a_generated_password_satisfies_the_strong_rules_and_needs_no_quotes() {
        let mut found = BTreeSet::new();
        let mut characters = BTreeSet::new();
        for _ in 0..1_000 {
            let password = generate().unwrap();
            assert_eq!(password.len(), LENGTH);
            PasswordPolicy::strong().check_new(password.as_bytes()).unwrap();
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            characters.extend(password.bytes());
            found.insert(password.to_string());
        }
        assert_eq!(found.len(), 1_000, "a password was generated twice");
        // 24,000 characters: none of 55 is missing, unless it is never drawn.
        assert_eq!(characters, ALPHABET.iter().copied().collect());
        for look_alike in b"IOilo01" {
            assert!(!characters.contains(look_alike));
        }
    }

    /// [CLI-11]
    #[test]
    fn the_stated_strength_is_not_more_than_the_real_one() {
        let count = |class: fn(&u8) -> bool| ALPHABET.iter().filter(|byte| class(byte)).count();
        let power = |count: usize| (count as f64).powi(i32::try_from(LENGTH).unwrap());
        let all = ALPHABET.len();
        // At least this many passwords have every class.
        let accepted = power(all)
            - power(all - count(u8::is_ascii_uppercase))
            - power(all - count(u8::is_ascii_lowercase))
            - power(all - count(u8::is_ascii_digit));
        assert_eq!(accepted.log2().floor(), f64::from(BITS));
    }
}
