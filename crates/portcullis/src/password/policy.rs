//! The rules for passwords.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::{BlockList, Password};
use crate::config::{InvalidConfig, check_bounds};

/// Characters that count as special. Other punctuation and blanks count for no class.
const SPECIAL: &str = "!@#$%^&*()_+";

/// What a new password must be like.
///
/// The default is the reference's (`docs/spec/passwords.md`): 8 to 72 bytes, no rule of
/// composition. [`PasswordPolicy::strong`] adds its strong mode, [`PasswordPolicy::nist`] has the lengths of
/// NIST SP 800-63B-4.
///
/// In a configuration file the settings have the names of the setters. Missing settings have their
/// defaults, and unknown ones are an error. Bounds are checked when the engine is built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordPolicy {
    min_bytes: usize,
    max_bytes: usize,
    min_characters: Option<usize>,
    max_characters: Option<usize>,
    three_classes: bool,
    nfc: bool,
    #[serde(deserialize_with = "crate::config::optional_duration")]
    max_age: Option<Duration>,
    history: usize,
    #[serde(skip)]
    block_list: Option<Arc<BlockList>>,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_bytes: 8,
            max_bytes: 72,
            min_characters: None,
            max_characters: None,
            three_classes: false,
            nfc: false,
            max_age: None,
            history: 0,
            block_list: None,
        }
    }
}

impl PasswordPolicy {
    /// The longest history.
    pub const MAX_HISTORY: usize = 24;

    /// The default length, and [`three_classes`](Self::three_classes).
    pub fn strong() -> Self {
        Self::default().three_classes(true)
    }

    /// The rules of NIST SP 800-63B-4 for a password alone: 15 to 256 characters, no rule of composition, no
    /// maximum age. Add a [`block_list`](Self::block_list), and by choice [`nfc`](Self::nfc).
    pub fn nist() -> Self {
        Self::default().min_bytes(1).max_bytes(1_024).min_characters(15).max_characters(256)
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

    /// Sets the length of the shortest new password, in characters: code points of Unicode. What is not
    /// UTF-8 counts as one for each invalid sequence. Default: no such rule. From 1 to `max_characters`.
    #[must_use]
    pub fn min_characters(self, min_characters: usize) -> Self {
        Self { min_characters: Some(min_characters), ..self }
    }

    /// Sets the length of the longest new password, in characters. Default: no such rule. At most
    /// [`Password::MAX_BYTES`].
    #[must_use]
    pub fn max_characters(self, max_characters: usize) -> Self {
        Self { max_characters: Some(max_characters), ..self }
    }

    /// Sets whether a password needs at least three of: upper case, lower case, number, special.
    /// Default: no.
    ///
    /// The classes also count at login: a stored password that lacks them must be changed first.
    #[must_use]
    pub fn three_classes(self, three_classes: bool) -> Self {
        Self { three_classes, ..self }
    }

    /// Sets whether passwords are brought into Unicode's normalization form C, when they are set and at
    /// login. Default: no.
    ///
    /// Then a letter with an accent is the same password on every keyboard. A password that was set before
    /// in another form no longer works: choose it before passwords are set.
    #[must_use]
    pub fn nfc(self, nfc: bool) -> Self {
        Self { nfc, ..self }
    }

    /// Sets after which time a new password expires. Default: never. From a second on.
    ///
    /// A password that was set before this was configured keeps its end, or none.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Sets how many passwords of a credential, with the present one, a new one must not be. Default: 0. At
    /// most [`PasswordPolicy::MAX_HISTORY`].
    ///
    /// Setting a password costs a hash for each of them, and their hashes are kept with the credential.
    #[must_use]
    pub fn history(self, history: usize) -> Self {
        Self { history, ..self }
    }

    /// Sets the passwords that a new one must not be. Default: none.
    #[must_use]
    pub fn block_list(self, block_list: impl Into<Arc<BlockList>>) -> Self {
        Self { block_list: Some(block_list.into()), ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let Self { min_bytes, max_bytes, min_characters, max_characters, max_age, history, .. } =
            self;
        check_bounds("PasswordPolicy::max_bytes", *max_bytes, 1, Password::MAX_BYTES)?;
        check_bounds("PasswordPolicy::min_bytes", *min_bytes, 1, *max_bytes)?;
        let longest = max_characters.unwrap_or(Password::MAX_BYTES);
        check_bounds("PasswordPolicy::max_characters", longest, 1, Password::MAX_BYTES)?;
        let shortest = min_characters.unwrap_or(1);
        check_bounds("PasswordPolicy::min_characters", shortest, 1, longest)?;
        check_bounds("PasswordPolicy::history", *history, 0, Self::MAX_HISTORY)?;
        match max_age {
            Some(max_age) => check_bounds(
                "PasswordPolicy::max_age",
                *max_age,
                Duration::from_secs(1),
                Duration::from_secs(u64::from(u32::MAX)),
            ),
            None => Ok(()),
        }
    }

    /// Checks a password that is about to be set, but for the history, which only the engine has.
    ///
    /// # Errors
    ///
    /// [`WeakPassword`] with everything that is wrong.
    pub fn check_new(&self, password: &[u8]) -> Result<(), WeakPassword> {
        let password = &*self.normalized(password);
        let block_list = self.block_list.as_ref();
        let weak = WeakPassword {
            length: self.broken_length(password),
            classes: self.three_classes && !has_three_classes(password),
            blocked: block_list.is_some_and(|list| list.contains(password)),
        };
        if weak.length.is_some() || weak.classes || weak.blocked { Err(weak) } else { Ok(()) }
    }

    /// Returns the bounds of the length, if the password is not within them.
    fn broken_length(&self, password: &[u8]) -> Option<RangeInclusive<usize>> {
        let shortest = self.min_characters.unwrap_or(0);
        let characters = shortest..=self.max_characters.unwrap_or(Password::MAX_BYTES);
        let bytes = self.min_bytes..=self.max_bytes;
        if self.min_characters.is_some() || self.max_characters.is_some() {
            let count = String::from_utf8_lossy(password).chars().count();
            if !characters.contains(&count) {
                return Some(characters);
            }
        }
        (!bytes.contains(&password.len())).then_some(bytes)
    }

    /// Returns the form of the password that is hashed.
    pub(crate) fn normalized<'p>(&self, password: &'p [u8]) -> Cow<'p, [u8]> {
        match std::str::from_utf8(password) {
            Ok(text) if self.nfc && !is_nfc(text) => {
                // Large enough: a text that grows leaves copies in memory.
                let mut normalized = String::with_capacity(3 * text.len());
                normalized.extend(text.nfc());
                Cow::Owned(normalized.into_bytes())
            }
            _ => Cow::Borrowed(password),
        }
    }

    pub(crate) const fn age_limit(&self) -> Option<Duration> {
        self.max_age
    }

    pub(crate) const fn history_length(&self) -> usize {
        self.history
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
    blocked: bool,
}

impl fmt::Display for WeakPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.length.as_ref().map(|bounds| {
            let (min, max) = (bounds.start(), bounds.end());
            format!("passwords must be between {min} and {max} characters long")
        });
        let classes = self.classes.then(|| {
            format!(
                "passwords must contain at least three of the following character types: \
                 uppercase, lowercase, numbers, and special characters: {SPECIAL}"
            )
        });
        let blocked = "this password is in a list of common passwords".to_owned();
        let blocked = self.blocked.then_some(blocked);
        let lines: Vec<String> = [length, classes, blocked].into_iter().flatten().collect();
        f.write_str(&lines.join("\n"))
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

    /// [PW-15]
    #[test]
    fn a_common_password_is_refused_in_any_case() {
        let list = BlockList::read(&b"password123\nletmein\n"[..]).unwrap();
        let policy = PasswordPolicy::default().block_list(list);
        let blocked = "this password is in a list of common passwords";
        assert_eq!(check(&policy, "Password123"), Err(blocked.to_owned()));
        assert_eq!(check(&policy, "letmein"), Err(format!("{LENGTH}\n{blocked}")));
        assert_eq!(check(&policy, "password124"), Ok(()));
    }

    /// [PW-16]
    #[test]
    fn characters_are_code_points() {
        let policy = PasswordPolicy::nist();
        let length = || Err("passwords must be between 15 and 256 characters long".to_owned());
        for (password, expected) in [
            ("x".repeat(14), length()),
            ("x".repeat(15), Ok(())),
            ("\u{1f512}".repeat(15), Ok(())),
            ("\u{1f512}".repeat(256), Ok(())),
            ("x".repeat(256), Ok(())),
            ("x".repeat(257), length()),
            (" ".repeat(15), Ok(())),
        ] {
            assert_eq!(check(&policy, &password), expected, "{password:?}");
        }
    }

    /// [PW-17]
    #[test]
    fn passwords_are_normalized_only_if_that_is_configured() {
        let (composed, decomposed) = ("caf\u{e9}-au-lait", "cafe\u{301}-au-lait");
        let policy = PasswordPolicy::default();
        assert_eq!(&*policy.normalized(decomposed.as_bytes()), decomposed.as_bytes());
        let policy = policy.nfc(true);
        for text in [composed, decomposed] {
            assert_eq!(&*policy.normalized(text.as_bytes()), composed.as_bytes());
        }
        assert_eq!(&*policy.normalized(b"e\xff"), b"e\xff");
    }
}
