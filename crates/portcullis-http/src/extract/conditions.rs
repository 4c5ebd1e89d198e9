//! The conditions of a management request: `If-Match` and `If-None-Match`.

use http::{HeaderMap, Method, StatusCode};
use portcullis::store::Revision;
use portcullis::{Error, ErrorKind, Precondition};

use crate::respond::ErrorBody;

/// The conditions of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    /// That of `If-Match`: no condition without the header and for `*`, which every record fulfils that a
    /// request can change.
    pub(crate) if_match: Precondition,
    if_none_match: Tags,
}

/// Entity tags in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Tags {
    #[default]
    Absent,
    Any,
    /// The revisions of the strong tags that are some, and whether each is marked as weak.
    These(Vec<(Revision, Strength)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    Strong,
    Weak,
}

impl Conditions {
    /// Reads the headers of a request.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be read as entity tags, and for `If-None-Match` at a change, where it would be a
    /// condition that is not checked.
    pub(crate) fn read(method: &Method, headers: &HeaderMap) -> Result<Self, ErrorBody> {
        let if_match = match Tags::read(headers, "If-Match")? {
            Tags::Absent | Tags::Any => Precondition::none(),
            Tags::These(tags) => Precondition::one_of(
                tags.iter()
                    .filter(|(_, of)| *of == Strength::Strong)
                    .map(|(revision, _)| *revision),
            ),
        };
        let if_none_match = Tags::read(headers, "If-None-Match")?;
        let conditions = Self { if_match, if_none_match };
        if [Method::PATCH, Method::PUT, Method::DELETE].contains(method) {
            conditions.check_change()?;
        }
        Ok(conditions)
    }

    /// Refuses `If-None-Match` at a change.
    pub(crate) fn check_change(&self) -> Result<(), ErrorBody> {
        match self.if_none_match {
            Tags::Absent => Ok(()),
            Tags::Any | Tags::These(_) => Err(ErrorBody::invalid(
                "a change has the condition `If-Match`, not `If-None-Match`",
            )),
        }
    }

    /// Tells whether the client has this revision already: it is in `If-None-Match`.
    pub(crate) fn is_held(&self, revision: Revision) -> bool {
        match &self.if_none_match {
            Tags::Absent => false,
            Tags::Any => true,
            Tags::These(tags) => tags.iter().any(|(held, _)| *held == revision),
        }
    }

    /// Returns what a client receives that creates a record, and fails with the error: 412 in place of the
    /// conflict with a record of the same name, if it sent `If-None-Match: *`.
    pub(crate) fn creation_failed(&self, error: Error) -> ErrorBody {
        let is_conflict = error.kind() == ErrorKind::Conflict;
        let body = ErrorBody::from(error);
        match is_conflict && self.if_none_match == Tags::Any {
            true => ErrorBody {
                status: StatusCode::PRECONDITION_FAILED,
                code: "precondition failed",
                ..body
            },
            false => body,
        }
    }
}

impl Tags {
    /// Reads all lines of the header: `*`, or tags separated by commas.
    fn read(headers: &HeaderMap, name: &'static str) -> Result<Self, ErrorBody> {
        let unreadable = || {
            ErrorBody::invalid(format!(
                "`{name}` must be `*` or tags in quotation marks, with commas"
            ))
        };
        let mut tags = Self::Absent;
        for line in headers.get_all(name) {
            let mut rest = line.as_bytes().trim_ascii();
            if rest == b"*" && tags == Self::Absent {
                tags = Self::Any;
                continue;
            }
            let mut found = match std::mem::take(&mut tags) {
                Self::Absent => Vec::new(),
                Self::Any => return Err(unreadable()),
                Self::These(found) => found,
            };
            while !rest.is_empty() {
                if let Some(next) = rest.strip_prefix(b",") {
                    rest = next.trim_ascii_start();
                    continue;
                }
                let (strength, quoted) = match rest.strip_prefix(b"W/") {
                    Some(quoted) => (Strength::Weak, quoted),
                    None => (Strength::Strong, rest),
                };
                let quoted = quoted.strip_prefix(b"\"").ok_or_else(unreadable)?;
                let end = quoted.iter().position(|byte| *byte == b'"').ok_or_else(unreadable)?;
                let (tag, next) = quoted.split_at(end);
                rest = next.get(1..).unwrap_or_default().trim_ascii_start();
                if !(rest.is_empty() || rest.starts_with(b",")) {
                    return Err(unreadable());
                }
                // A tag of another server is no revision, and that of no record.
                let revision = std::str::from_utf8(tag).ok().and_then(Revision::parse);
                found.extend(revision.map(|revision| (revision, strength)));
            }
            tags = Self::These(found);
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, header};

    use super::*;
    use crate::respond::etag;

    const ONE: Revision = Revision::from_u128(1);
    const TWO: Revision = Revision::from_u128(2);

    fn read(method: &Method, name: HeaderName, lines: &[&str]) -> Result<Conditions, ErrorBody> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = line.replace("ONE", &ONE.to_string()).replace("TWO", &TWO.to_string());
            headers.append(&name, HeaderValue::try_from(line).unwrap());
        }
        Conditions::read(method, &headers)
    }

    fn if_match(lines: &[&str]) -> Option<Precondition> {
        read(&Method::PATCH, header::IF_MATCH, lines).ok().map(|conditions| conditions.if_match)
    }

    /// [ETAG-3]
    #[test]
    fn if_match_is_a_list_of_strong_tags_or_a_star() {
        let these = |revisions: &[Revision]| Some(Precondition::one_of(revisions.iter().copied()));
        for (lines, expected) in [
            (&[][..], Some(Precondition::none())),
            (&["*"], Some(Precondition::none())),
            (&[r#""ONE""#], these(&[ONE])),
            (&[r#" "ONE" ,, "TWO","#], these(&[ONE, TWO])),
            (&[r#""ONE""#, r#""TWO""#], these(&[ONE, TWO])),
            // Never met: weak, of another server, or none at all.
            (&[r#"W/"ONE""#], these(&[])),
            (&[r#""5-a, b""#], these(&[])),
            (&[""], these(&[])),
            // Not readable.
            (&["ONE"], None),
            (&[r#""ONE"#], None),
            (&[r#""ONE" "TWO""#], None),
            (&[r#"w/"ONE""#], None),
            (&["*, *"], None),
            (&["*", "*"], None),
            (&["*", r#""ONE""#], None),
            (&[r#""ONE""#, "*"], None),
        ] {
            assert_eq!(if_match(lines), expected, "{lines:?}");
        }
    }

    /// [ETAG-4]
    #[test]
    fn if_none_match_compares_weakly_and_is_refused_at_a_change() {
        let get = |lines: &[&str]| read(&Method::GET, header::IF_NONE_MATCH, lines).unwrap();
        assert!(!get(&[]).is_held(ONE));
        assert!(get(&["*"]).is_held(ONE));
        assert!(get(&[r#"W/"ONE", "TWO""#]).is_held(ONE));
        assert!(get(&[r#"W/"ONE", "TWO""#]).is_held(TWO));
        assert!(!get(&[r#""TWO""#]).is_held(ONE));
        for method in [Method::PATCH, Method::PUT, Method::DELETE] {
            assert!(read(&method, header::IF_NONE_MATCH, &["*"]).is_err(), "{method}");
        }
        assert!(read(&Method::GET, header::IF_NONE_MATCH, &["ONE"]).is_err());
    }

    #[test]
    fn a_tag_that_is_sent_is_read_again() {
        let line = etag(ONE);
        let lines = [line.to_str().unwrap()];
        assert_eq!(if_match(&lines), Some(Precondition::revision(ONE)));
    }
}
