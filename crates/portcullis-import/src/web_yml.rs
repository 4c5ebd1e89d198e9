//! `web.yml` of Prometheus and its exporters: `basic_auth_users`, a map of names and bcrypt hashes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::hash_kind;
use crate::item::{CredentialItem, Item, NotCarried, Secret, SourcePassword};
use crate::source::{Source, SourceError};
use crate::yaml;

/// The items of the file.
pub(crate) struct WebYml {
    items: VecDeque<Item>,
}

impl WebYml {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::of(yaml::read(path)?))
    }

    fn of(Content { users, others }: Content) -> Self {
        let mut items = VecDeque::with_capacity(users.len() + others.len());
        for (name, hash) in users {
            let line = hash.referenced.line();
            let hash = Secret::from(hash.value);
            items.push_back(match hash_kind::refused(hash.expose()) {
                None => Item::Credential(CredentialItem::bare(name, SourcePassword::Hash(hash))),
                Some(kind) => Item::NotCarried(NotCarried {
                    kind: "credential".to_owned(),
                    name,
                    why: hash_kind::note(line, kind),
                    is_skipped: true,
                }),
            });
        }
        items.extend(others.into_iter().map(|name| {
            Item::NotCarried(NotCarried {
                kind: "setting".to_owned(),
                name,
                why: "it is for the server that the file is of".to_owned(),
                is_skipped: false,
            })
        }));
        Self { items }
    }
}

impl Source for WebYml {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.items.pop_front())
    }

    fn has_grants(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Content {
    users: BTreeMap<String, Spanned<String>>,
    /// The names of the other sections.
    others: Vec<String>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sections;

        impl<'de> Visitor<'de> for Sections {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the sections of web.yml")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "basic_auth_users" {
                        let users: Option<_> = map.next_value()?;
                        content.users = users.unwrap_or_default();
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        content.others.push(name);
                    }
                }
                Ok(content)
            }
        }

        deserializer.deserialize_map(Sections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, SourceError> {
        let mut source = WebYml::of(yaml::parse(Path::new("web.yml"), text)?);
        std::iter::from_fn(|| source.next().transpose()).collect()
    }

    /// [IMP-27] [IMP-28]
    #[test]
    fn basic_auth_users_are_credentials_and_other_hashes_are_refused_with_their_line() {
        let text = "tls_server_config:\n  cert_file: a.pem\nbasic_auth_users:\n  ada: $2y$10$abc\n  'b c': \
                    \"{SHA}abc\"\n  12: $2b$10$def\n";
        let items = read(text).unwrap();
        let credentials: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Credential(item) => Some((&*item.username, format!("{:?}", item.password))),
                _ => None,
            })
            .collect();
        let hash = "Hash(<redacted>)".to_owned();
        assert_eq!(credentials, [("12", hash.clone()), ("ada", hash)]);
        let left: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::NotCarried(item) => {
                    Some((&*item.name, item.is_skipped, item.why.starts_with("line 5")))
                }
                _ => None,
            })
            .collect();
        assert_eq!(left, [("b c", true, true), ("tls_server_config", false, false)]);
        assert!(read("basic_auth_users:\n").unwrap().is_empty());
        assert!(read("{}").unwrap().is_empty());
    }

    /// [IMP-31]
    #[test]
    fn a_file_that_is_not_yaml_of_the_format_is_refused_with_its_line_and_without_its_secrets() {
        for (text, line) in [
            ("basic_auth_users:\n  - hunter2\n", "line 2"),
            ("basic_auth_users:\n  ada: [hunter2]\n", "line 2"),
            ("basic_auth_users:\n  ada: hunter2\n  ada: hunter2\n", "line 3"),
            ("basic_auth_users: hunter2\n", "line 1"),
            ("- hunter2\n", "line 1"),
            ("a: \"hunter2\nb: c\n", "line "),
            ("hunter2", "line 1"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(line), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    /// [IMP-31]
    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(read(&text).is_err());
        let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
