//! Reading the JSON of authorizations that core has written: every member is in its place, and there
//! is nothing to search for.
//!
//! Lists and logins read little else, and most of what it takes to read a record would be a parser
//! of JSON finding out what is known beforehand.

use std::str::FromStr;

use super::username;
use crate::id::ID_TEXT_LEN;
use crate::password::PasswordHash;
use crate::store::UniqueKey;
use crate::{Authorization, Id, Permission};

/// Reads a body. A name that is the key is not copied.
///
/// `None` if it is not written as core writes it, or has an escaped character in it: it may be right
/// all the same.
pub(super) fn authorization(text: &str, key: Option<&UniqueKey>) -> Option<Authorization> {
    let mut reader = Reader(text);
    reader.skip(r#"{"v":1,"id":""#)?;
    let id = reader.id()?;
    reader.skip(r#"","token":""#)?;
    let username = username(reader.text()?, key)?;
    reader.skip(r#"","status":""#)?;
    let status = reader.value()?;
    reader.skip(r#"","description":""#)?;
    let description = reader.text()?.to_owned();
    reader.skip(r#"","orgID":""#)?;
    let org = reader.id()?;
    reader.skip(r#"","userID":""#)?;
    let user = reader.id()?;
    reader.skip(r#"","permissions":["#)?;
    let permissions = reader.permissions()?;
    let mut password_hash = None;
    if reader.skip(r#","passwordHash":""#).is_some() {
        password_hash = Some(PasswordHash::parse(reader.text()?).ok()?);
        reader.skip("\"")?;
    }
    reader.skip(r#","createdAt":""#)?;
    let created_at = reader.value()?;
    reader.skip(r#"","updatedAt":""#)?;
    let updated_at = reader.value()?;
    (reader.0 == "\"}").then_some(Authorization {
        id: id.into(),
        username,
        status,
        description,
        org: org.into(),
        user: user.into(),
        permissions,
        password_hash,
        created_at,
        updated_at,
    })
}

/// What is not read yet.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// Goes beyond what comes next, if it is this.
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// Reads up to the quote at the end of a text in which nothing is escaped.
    fn text(&mut self) -> Option<&'a str> {
        let end = memchr::memchr(b'"', self.0.as_bytes())?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        // All of it, which is faster than to stop. What stands in a text in another way, or must not,
        // is left to those who know how.
        let special = |byte| byte == b'\\' || byte < b' ';
        (!text.bytes().fold(false, |any, byte| any | special(byte))).then_some(text)
    }

    fn value<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn id(&mut self) -> Option<Id> {
        let (id, rest) = self.0.split_at_checked(ID_TEXT_LEN)?;
        self.0 = rest;
        id.parse().ok()
    }

    /// Reads permissions up to the bracket behind them.
    fn permissions(&mut self) -> Option<Vec<Permission>> {
        let mut permissions = Vec::new();
        if self.skip("]").is_some() {
            return Some(permissions);
        }
        loop {
            self.skip("\"")?;
            permissions.push(self.permission()?);
            self.skip("\"")?;
            if self.skip("]").is_some() {
                return Some(permissions);
            }
            self.skip(",")?;
        }
    }

    fn permission(&mut self) -> Option<Permission> {
        let (permission, rest) = Permission::parse_prefix(self.0)?;
        self.0 = rest;
        Some(permission)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compact::strategy;
    use super::*;
    use crate::codec::Entity;

    /// The way of whoever does not know how it was written.
    fn in_general(text: &str) -> Option<Authorization> {
        serde_json::from_str(text).ok().map(Authorization::from_body)
    }

    fn text_of(authorization: &Authorization) -> String {
        serde_json::to_string(&authorization.to_body()).unwrap()
    }

    proptest! {
        #[test]
        fn what_core_writes_is_read(authorization in strategy::authorization()) {
            let text = text_of(&authorization);
            let escaped = text.contains('\\');
            let expected = (!escaped).then_some(authorization);
            prop_assert_eq!(super::authorization(&text, None), expected);
        }

        #[test]
        fn what_is_read_is_read_alike_in_general(
            authorization in strategy::authorization(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "\\PC{0,2}|[\"\\\\,:\\[\\]{}0aZ\n]"), 1..3),
        ) {
            let mut text = text_of(&authorization);
            for (at, length, with) in changes {
                let chars: Vec<char> = text.chars().collect();
                let at = at.index(chars.len());
                let end = (at + length).min(chars.len());
                let with: Vec<char> = with.chars().collect();
                text = [&chars[..at], &with, &chars[end..]].concat().into_iter().collect();
            }
            if let Some(read) = super::authorization(&text, None) {
                prop_assert_eq!(in_general(&text), Some(read), "{}", text);
            }
        }
    }

    #[test]
    fn a_name_is_shared_with_its_key_and_with_no_other() {
        let text = r#"{"v":1,"id":"0c0d000000000001","token":"telegraf","status":"active","description":"","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:buckets"],"createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}"#;
        for key in ["telegraf", "another"] {
            let key = UniqueKey::new(key).unwrap();
            let read = authorization(text, Some(&key)).unwrap();
            assert_eq!(read.username.as_str(), "telegraf");
            assert_eq!(Some(read), in_general(text));
        }
    }
}
