//! Keeping passwords out of what others log.

use axum::extract::OriginalUri;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Uri, header};

use crate::query::decoded;

/// What stands in the place of a password.
const REDACTED: &str = "=redacted";

/// Returns the URI as it may be logged: without passwords.
///
/// The value of every parameter `p` of the query is replaced, also where the name is encoded or in
/// another case, and what stands before an `@` in the authority is left out. Usernames are no
/// secrets and stay. What a host puts into other parameters is the host's: the text of a query may
/// hold a password as well.
///
/// ```
/// use portcullis_http::redacted;
///
/// let uri = "/write?u=telegraf&%70=s3cret&db=telemetry".parse()?;
/// assert_eq!(redacted(&uri), "/write?u=telegraf&%70=redacted&db=telemetry");
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
pub fn redacted(uri: &Uri) -> Uri {
    redact(uri).unwrap_or_else(|| uri.clone())
}

/// Takes the credentials out of a request that goes on to others.
pub(crate) fn remove_credentials(parts: &mut Parts) {
    parts.headers.remove(header::AUTHORIZATION);
    if let Some(uri) = redact(&parts.uri) {
        parts.uri = uri;
    }
    if let Some(original) = parts.extensions.get_mut::<OriginalUri>()
        && let Some(uri) = redact(&original.0)
    {
        original.0 = uri;
    }
}

/// Marks credentials, so that what prints headers does not print them.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(mut entry) = headers.entry(header::AUTHORIZATION) {
        entry.iter_mut().for_each(|value| value.set_sensitive(true));
    }
}

/// Returns the URI without passwords, if it has any.
fn redact(uri: &Uri) -> Option<Uri> {
    let authority = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    let query = uri.query().and_then(redact_query);
    if authority.is_none() && query.is_none() {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    if let Some((_, host)) = authority {
        // A part of what was valid is valid.
        parts.authority = host.parse::<Authority>().ok();
    }
    if let Some(query) = query {
        let path_and_query = format!("{}?{query}", uri.path());
        parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
    }
    Some(Uri::from_parts(parts).unwrap_or_default())
}

fn redact_query(query: &str) -> Option<String> {
    if !query.split(['&', ';']).any(is_password) {
        return None;
    }
    let mut out = String::with_capacity(query.len() + REDACTED.len());
    for (position, pair) in query.split('&').enumerate() {
        if position > 0 {
            out.push('&');
        }
        // To some a `;` begins the next parameter, to others it is a part of the password.
        for (position, part) in pair.split(';').enumerate() {
            if position > 0 {
                out.push(';');
            }
            if is_password(part) {
                out.push_str(part.split('=').next().unwrap_or_default());
                out.push_str(REDACTED);
                break;
            }
            out.push_str(part);
        }
    }
    Some(out)
}

fn is_password(pair: &str) -> bool {
    match pair.split_once('=') {
        // Nothing else is decoded to a single byte.
        Some((name, _)) if matches!(name.len(), 1 | 3) => decoded(name).eq_ignore_ascii_case(b"p"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query;

    fn shown(uri: &str) -> String {
        redacted(&uri.parse().unwrap()).to_string()
    }

    #[test]
    fn passwords_are_replaced_however_they_are_written() {
        for (uri, expected) in [
            ("/write?u=ada&p=s3cret", "/write?u=ada&p=redacted"),
            ("/write?p=s3cret", "/write?p=redacted"),
            ("/write?%70=s3cret&p=s3cret&db=x", "/write?%70=redacted&p=redacted&db=x"),
            ("/write?P=s3cret&%50=s3cret", "/write?P=redacted&%50=redacted"),
            ("/write?p=s3c=ret", "/write?p=redacted"),
            ("/write?p=s3cret%zz", "/write?p=redacted"),
            ("/write?p=s3;cret&db=x", "/write?p=redacted&db=x"),
            ("/write?a=1;p=s3cret;b=2&db=x", "/write?a=1;p=redacted&db=x"),
            ("/write?p=", "/write?p=redacted"),
            ("http://ada:s3cret@host:1/w?p=s3cret#s3cret", "http://host:1/w?p=redacted"),
            ("http://ada:s3cret@host/w", "http://host/w"),
        ] {
            assert_eq!(shown(uri), expected, "{uri}");
        }
    }

    #[test]
    fn everything_else_stays() {
        for uri in
            ["/", "/write?", "/write?p", "/w?db=x&ap=1&pa=2&q=p%3D1", "*", "host:1", "/w?p%zz=1"]
        {
            assert_eq!(shown(uri), uri);
        }
    }

    proptest! {
        #[test]
        fn no_password_that_a_client_logs_in_with_is_shown(
            query in "([aup]|%70|%7|[&;=+])?=?([a-z]|%[0-9a-f]{2}|[&=+%;]){0,20}",
        ) {
            let uri: Uri = format!("/write?{query}").parse().unwrap();
            let shown = redacted(&uri);
            prop_assert_eq!(shown.path(), "/write");
            let password = query::first(shown.query().unwrap(), "p");
            prop_assert!(matches!(password, None | Some("" | "redacted")), "{}", shown);
            // And nothing is lost.
            for name in ["u", "a"] {
                let before: Vec<_> = query::first(&query, name).into_iter().collect();
                let after: Vec<_> = query::first(shown.query().unwrap(), name).into_iter().collect();
                prop_assert_eq!(before, after);
            }
        }
    }
}
