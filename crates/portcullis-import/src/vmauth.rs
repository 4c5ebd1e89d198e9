//! The configuration of vmauth, the proxy in front of VictoriaMetrics: `users` with plain passwords.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;

use portcullis::Status;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::item::{
    CredentialItem, GrantItem, Item, NotCarried, Secret, SourcePassword, SourceToken, TokenItem,
};
use crate::source::{Source, SourceError};
use crate::yaml;

/// The items of the file.
pub(crate) struct Vmauth {
    items: VecDeque<Item>,
}

impl Vmauth {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::of(yaml::read(path)?))
    }

    fn of(Content { users, others }: Content) -> Self {
        let mut items = VecDeque::with_capacity(users.len() + others.len());
        for user in users {
            items.push_back(item(user.value, user.referenced.line()));
        }
        items.extend(others.into_iter().map(|name| {
            Item::NotCarried(NotCarried {
                kind: "setting".to_owned(),
                name,
                why: "Portcullis routes no requests to several servers".to_owned(),
                is_skipped: false,
            })
        }));
        Self { items }
    }
}

impl Source for Vmauth {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.items.pop_front())
    }

    fn has_grants(&self) -> bool {
        false
    }
}

/// Returns what a user of the file, at the line, is here.
fn item(user: User, line: u64) -> Item {
    let User { username, password, bearer_token, auth_token, name, others } = user;
    let grants = others.into_iter().map(|shown| GrantItem {
        shown,
        permissions: Vec::new(),
        lost: Some("permissions are on buckets here, and not on routes".to_owned()),
    });
    let grants = grants.collect();
    let label = name.or_else(|| username.clone()).unwrap_or_else(|| format!("line {line}"));
    let skipped = |why: &str| {
        Item::NotCarried(NotCarried {
            kind: "credential".to_owned(),
            name: label.clone(),
            why: format!("line {line}: {why}"),
            is_skipped: true,
        })
    };
    let secrets = [&password, &bearer_token];
    if username
        .iter()
        .map(String::as_str)
        .chain(secrets.into_iter().flatten().map(Secret::expose))
        .any(has_placeholder)
    {
        return skipped(
            "vmauth reads it from its environment (`%{NAME}`), which is not known here: write the value",
        );
    }
    match (username, bearer_token) {
        (Some(username), None) => {
            let password = SourcePassword::Plain(password.unwrap_or_default());
            Item::Credential(CredentialItem { grants, ..CredentialItem::bare(username, password) })
        }
        (None, Some(token)) => Item::Token(TokenItem {
            id: None,
            org: None,
            user: None,
            status: Status::Active,
            description: label,
            secret: SourceToken::Plain(token),
            grants,
        }),
        (Some(_), Some(_)) => {
            skipped("it has a username and a bearer_token, of which vmauth takes one")
        }
        (None, None) if auth_token => skipped(
            "auth_token is a whole header and not carried: write it as a username and password, or as \
             bearer_token",
        ),
        (None, None) => skipped("it has neither a username nor a bearer_token"),
    }
}

fn has_placeholder(text: &str) -> bool {
    text.split_once("%{").is_some_and(|(_, rest)| rest.contains('}'))
}

#[derive(Default)]
struct Content {
    users: Vec<Spanned<User>>,
    /// The names of the other sections.
    others: Vec<String>,
}

#[derive(Default)]
struct User {
    username: Option<String>,
    password: Option<Secret>,
    bearer_token: Option<Secret>,
    auth_token: bool,
    name: Option<String>,
    /// The names of the other settings.
    others: Vec<String>,
}

/// Visits a map whose values have types of their own. Serde's `flatten` would guess the types of scalars, and a
/// password of digits is none of a number.
macro_rules! deserialize_map {
    ($type:ty, $expected:literal, |$value:ident, $key:ident, $map:ident| $read:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut $map: A) -> Result<$type, A::Error> {
                        let mut $value = <$type>::default();
                        while let Some($key) = $map.next_key::<String>()? {
                            $read;
                        }
                        Ok($value)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}

deserialize_map!(Content, "the sections of vmauth", |content, key, map| match &*key {
    "users" => content.users = map.next_value::<Option<_>>()?.unwrap_or_default(),
    _ => {
        map.next_value::<IgnoredAny>()?;
        content.others.push(key);
    }
});

deserialize_map!(User, "a user of vmauth", |user, key, map| match &*key {
    "username" => user.username = map.next_value()?,
    "password" => user.password = map.next_value::<Option<String>>()?.map(Secret::from),
    "bearer_token" => user.bearer_token = map.next_value::<Option<String>>()?.map(Secret::from),
    "name" => user.name = map.next_value()?,
    "auth_token" => {
        map.next_value::<IgnoredAny>()?;
        user.auth_token = true;
    }
    _ => {
        map.next_value::<IgnoredAny>()?;
        user.others.push(key);
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, SourceError> {
        let mut source = Vmauth::of(yaml::parse(Path::new("auth.yml"), text)?);
        std::iter::from_fn(|| source.next().transpose()).collect()
    }

    const SAMPLE: &str = "
unauthorized_user:
  url_prefix: http://vm:8428/
users:
- username: ada
  password: 0123
  url_prefix: http://vm:8428/
- username: bob
  url_map:
  - src_paths: [/api/v1/write]
    url_prefix: http://vm:8428/
- name: the collector
  bearer_token: abc
- username: '%{USER}'
  password: x
- username: cy
  password: 'a%{PASSWORD}b'
- auth_token: Basic Zm9vOmJhcg==
  url_prefix: http://vm:8428/
- url_prefix: http://vm:8428/
- username: dee
  password: '100%{'
";

    /// [IMP-29]
    #[test]
    fn users_are_credentials_or_api_tokens_without_their_routes() {
        let items = read(SAMPLE).unwrap();
        let shown: Vec<String> = items
            .iter()
            .map(|item| match item {
                Item::Credential(CredentialItem { username, password, grants, .. }) => {
                    let SourcePassword::Plain(password) = password else { panic!() };
                    let grants: Vec<_> = grants.iter().map(|grant| &*grant.shown).collect();
                    format!("{username} {} {}", password.expose(), grants.join(","))
                }
                Item::Token(TokenItem { description, secret, .. }) => {
                    let SourceToken::Plain(secret) = secret else { panic!() };
                    format!("{description}: {}", secret.expose())
                }
                Item::NotCarried(NotCarried { name, why, is_skipped, .. }) => {
                    format!("{name} {is_skipped} {}", why.split(':').next().unwrap())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "ada 0123 url_prefix",
                "bob  url_map",
                "the collector: abc",
                "%{USER} true line 14",
                "cy true line 16",
                "line 18 true line 18",
                "line 20 true line 20",
                "dee 100%{ ",
                "unauthorized_user false Portcullis routes no requests to several servers",
            ]
        );
        assert!(!format!("{items:?}").contains("0123"));
    }

    /// [IMP-31]
    #[test]
    fn a_file_that_is_not_yaml_of_the_format_is_refused_with_its_line_and_without_its_secrets() {
        for (text, line) in [
            ("users:\n- username: ada\n  password: [hunter2]\n", "line 3"),
            ("users:\n- hunter2\n", "line 2"),
            ("users: hunter2\n", "line 1"),
            ("users:\n- password: hunter2\n  password: hunter2\n", "line 3"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(line), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        assert!(read("users:\n").unwrap().is_empty());
    }
}
