//! The rules for passwords.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::Password;
use crate::config::{InvalidConfig, check_bounds};

/// Characters that count as special. Other punctuation and blanks count for no class.
const SPECIAL: &str = "!@#$%^&*()_+";

/// What a new password must be like.
///
/// The default is the reference's (`docs/spec/passwords.md`): 8 to 72 bytes, no rule of
/// composition. [`PasswordPolicy::strong`] adds its strong mode.
///
/// In a configuration file the settings have the names of the setters. Missing settings have their
/// defaults, and unknown ones are an error. Bounds are checked when the engine is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordPolicy {
    min_bytes: usize,
    max_bytes: usize,
    three_classes: bool,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min_bytes: 8, max_bytes: 72, three_classes: false }
    }
}

impl PasswordPolicy {
    /// The default length, and [`three_classes`](Self::three_classes).
    pub fn strong() -> Self {
        Self::default().three_classes(true)
    }

    /// Sets the length of the shortest new password, in bytes. Default: 8. From 1 to `max_bytes`.
    #[must_use]
    pub fn min_bytes(self, min_bytes: usize) -> Self {
        Self { min_bytes, ..self }
    }

    /// Sets the length of the longest new password, in bytes. Default: 72. At most
    /// [`Password::MAX_BYTES`].
    #[must_use]
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets whether a password needs at least three of: upper case, lower case, number, special.
    /// Default: no.
    ///
    /// The classes also count at login: a stored password that lacks them must be changed first.
    #[must_use]
    pub fn three_classes(self, three_classes: bool) -> Self {
        Self { three_classes, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let Self { min_bytes, max_bytes, three_classes: _ } = *self;
        check_bounds("PasswordPolicy::max_bytes", max_bytes, 1, Password::MAX_BYTES)?;
        check_bounds("PasswordPolicy::min_bytes", min_bytes, 1, max_bytes)
    }

    /// Checks a password that is about to be set.
    ///
    /// # Errors
    ///
    /// [`WeakPassword`] with everything that is wrong.
    pub fn check_new(&self, password: &[u8]) -> Result<(), WeakPassword> {
        let bytes = self.min_bytes..=self.max_bytes;
        let weak = WeakPassword {
            length: (!bytes.contains(&password.len())).then_some(bytes),
            classes: self.three_classes && !has_three_classes(password),
        };
        if weak.length.is_some() || weak.classes { Err(weak) } else { Ok(()) }
    }

    /// Tells whether a stored password that matched may still be used to log in.
    ///
    /// Length does not count: an imported password may be shorter than a new one.
    pub fn allows_login(&self, password: &Password) -> bool {
        !self.three_classes || has_three_classes(password.expose())
    }
}

fn has_three_classes(password: &[u8]) -> bool {
    let mut number = false;
    let mut upper = false;
    let mut lower = false;
    let mut special = false;
    for c in String::from_utf8_lossy(password).chars() {
        match c.general_category() {
            GeneralCategory::DecimalNumber
            | GeneralCategory::LetterNumber
            | GeneralCategory::OtherNumber => number = true,
            GeneralCategory::UppercaseLetter => upper = true,
            GeneralCategory::LowercaseLetter => lower = true,
            _ if SPECIAL.contains(c) => special = true,
            _ => {}
        }
    }
    [number, upper, lower, special].into_iter().filter(|has| *has).count() >= 3
}

/// Says what is wrong with a new password. The message is the one that clients of the API see: a
/// line for each rule broken, the length first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeakPassword {
    length: Option<RangeInclusive<usize>>,
    classes: bool,
}

impl fmt::Display for WeakPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = &self.length {
            let (min, max) = (bytes.start(), bytes.end());
            write!(f, "passwords must be between {min} and {max} characters long")?;
            if self.classes {
                f.write_str("\n")?;
            }
        }
        if self.classes {
            write!(
                f,
                "passwords must contain at least three of the following character types: \
                 uppercase, lowercase, numbers, and special characters: {SPECIAL}"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for WeakPassword {}

impl From<WeakPassword> for crate::Error {
    fn from(error: WeakPassword) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: &str = "passwords must be between 8 and 72 characters long";
    const CLASSES: &str = "passwords must contain at least three of the following character \
                           types: uppercase, lowercase, numbers, and special characters: \
                           !@#$%^&*()_+";

    fn check(policy: &PasswordPolicy, password: &str) -> Result<(), String> {
        policy.check_new(password.as_bytes()).map_err(|weak| weak.to_string())
    }

    /// [PW-1] [PW-2]
    #[test]
    fn length_counts_bytes() {
        let policy = PasswordPolicy::default();
        for (password, fits) in [
            ("", false),
            ("1234567", false),
            ("12345678", true),
            ("ääää", true),
            (&"x".repeat(72), true),
            (&"x".repeat(73), false),
            (&"用".repeat(24), true),
            (&"用".repeat(25), false),
        ] {
            let expected = if fits { Ok(()) } else { Err(LENGTH.to_owned()) };
            assert_eq!(check(&policy, password), expected, "{password:?}");
        }
    }

    /// [PW-3]
    #[test]
    fn strong_mode_wants_three_of_four_unicode_classes() {
        let policy = PasswordPolicy::strong();
        for password in ["abcdef1!", "Abcdef1!", "ABCDEF1+", "Äöüßàé٣", "Abcdefg½", "Abcdefg_"]
        {
            assert_eq!(check(&policy, password), Ok(()), "{password:?}");
        }
        for password in ["abcdefg1", "abcdefgh", "abcdefg-1", "Abc defg", "12345678!", "Abcdefgⓐ"]
        {
            assert_eq!(check(&policy, password), Err(CLASSES.to_owned()), "{password:?}");
        }
    }

    /// [PW-2]
    #[test]
    fn both_rules_are_reported_the_length_first() {
        let policy = PasswordPolicy::strong();
        let both = Err(format!("{LENGTH}\n{CLASSES}"));
        assert_eq!(check(&policy, ""), both);
        assert_eq!(check(&policy, &"p".repeat(73)), both);
        assert_eq!(check(&policy, &"p".repeat(10_000)), both);
        assert_eq!(check(&policy, "Ab1"), Err(LENGTH.to_owned()));
    }

    /// [PW-4]
    #[test]
    fn login_checks_classes_only() {
        let short = Password::new("short").unwrap();
        assert!(PasswordPolicy::default().allows_login(&short));
        assert!(!PasswordPolicy::strong().allows_login(&short));
        assert!(PasswordPolicy::strong().allows_login(&Password::new("Ab1").unwrap()));
    }
}
