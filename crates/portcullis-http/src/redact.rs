//! Keeping passwords out of what others log.

use std::mem;

use axum::extract::OriginalUri;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Uri, header};

/// What stands in the place of a password.
const REDACTED: &[u8] = b"redacted";

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
    let mut uri = uri.clone();
    let redacted = uri.path_and_query().and_then(redact);
    hide(&mut uri, redacted);
    uri
}

/// Takes the credentials out of a request that goes on to others.
pub(crate) fn remove_credentials<B>(request: &mut Request<B>) {
    request.headers_mut().remove(header::AUTHORIZATION);
    let mut uri = mem::take(request.uri_mut());
    let redacted = uri.path_and_query().and_then(redact);
    if let Some(OriginalUri(original)) = request.extensions_mut().get_mut() {
        // They differ where routers are nested, and are the same elsewhere.
        let redacted = match original.path_and_query() == uri.path_and_query() {
            true => redacted.clone(),
            false => original.path_and_query().and_then(redact),
        };
        hide(original, redacted);
    }
    hide(&mut uri, redacted);
    *request.uri_mut() = uri;
}

/// Marks credentials, so that what prints headers does not print them.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(mut entry) = headers.entry(header::AUTHORIZATION) {
        entry.iter_mut().for_each(|value| value.set_sensitive(true));
    }
}

/// Puts what is redacted in its place, and leaves out who a client says it is in the authority.
fn hide(uri: &mut Uri, redacted: Option<PathAndQuery>) {
    let authority = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    // A part of what was valid is valid.
    let host = authority.map(|(_, host)| host.parse::<Authority>().ok());
    *uri = match (host, redacted) {
        (None, None) => return,
        // There is no more to the URI of most requests.
        (None, Some(redacted)) if uri.authority().is_none() => Uri::from(redacted),
        (host, redacted) => {
            let mut parts = mem::take(uri).into_parts();
            parts.authority = host.unwrap_or(parts.authority);
            parts.path_and_query = redacted.or(parts.path_and_query);
            Uri::from_parts(parts).unwrap_or_default()
        }
    };
}

/// Returns the path and query without passwords, if there are any.
fn redact(whole: &PathAndQuery) -> Option<PathAndQuery> {
    let query = whole.query()?;
    let mut next = cut_at_password(query);
    next?;
    let mut out = Vec::with_capacity(whole.as_str().len() + 2 * REDACTED.len());
    out.extend_from_slice(whole.path().as_bytes());
    out.push(b'?');
    let mut rest = query;
    while let Some((before, after)) = next {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(REDACTED);
        rest = after;
        next = cut_at_password(rest);
    }
    out.extend_from_slice(rest.as_bytes());
    PathAndQuery::from_maybe_shared(Bytes::from(out)).ok()
}

/// Returns what is before the value of the first password, and what is after it.
fn cut_at_password(query: &str) -> Option<(&str, &str)> {
    let bytes = query.as_bytes();
    let mut equals = 0;
    while !bytes.get(..equals).is_some_and(ends_in_password) {
        // The first one is after a name, if it is empty.
        let next = bytes.get(equals + 1..)?.iter().position(|byte| *byte == b'=')?;
        equals += 1 + next;
    }
    let (before, value) = query.split_at_checked(equals + 1)?;
    // To some a `;` begins the next parameter, to others it is a part of the password.
    let end = value.bytes().position(|byte| byte == b'&').unwrap_or(value.len());
    Some((before, value.get(end..)?))
}

/// Tells whether the last name in the query is the password's.
fn ends_in_password(query: &[u8]) -> bool {
    // Nothing else is decoded to this letter.
    let ([before @ .., b'p' | b'P'] | [before @ .., b'%', b'5' | b'7', b'0']) = query else {
        return false;
    };
    matches!(before, [] | [.., b'&' | b';'])
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

    /// The query without passwords, part by part.
    fn plainly(query: &str) -> String {
        let is_password = |part: &str| {
            let name = part.split_once('=').map(|(name, _)| query::decoded(name));
            name.is_some_and(|name| name.eq_ignore_ascii_case(b"p"))
        };
        let pair = |pair: &str| {
            let mut parts = Vec::new();
            for part in pair.split(';') {
                if is_password(part) {
                    parts.push(format!("{}=redacted", part.split('=').next().unwrap()));
                    break;
                }
                parts.push(part.to_owned());
            }
            parts.join(";")
        };
        query.split('&').map(pair).collect::<Vec<_>>().join("&")
    }

    fn uri() -> impl Strategy<Value = (Uri, String)> {
        let origin = prop::sample::select(vec!["", "http://a:b@c", "http://A@b@C:1", "http://c"]);
        let query =
            "(([pPqu]|%70|%50|%71|%7|pp|)=?([a-zA-Z]|%[0-9a-f]{2}|[=+%;/?ä]){0,6}[&;]?){0,4}";
        let query = prop::option::of(query);
        (origin, prop::sample::select(vec!["/", "/w", ""]), query).prop_map(
            |(origin, path, query)| {
                let path = if origin.is_empty() && path.is_empty() { "/" } else { path };
                let text = |query: Option<String>, origin| {
                    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                    format!("{origin}{path}{query}")
                };
                let host = origin.rsplit_once('@').map(|(_, host)| format!("http://{host}"));
                let plain = text(query.as_deref().map(plainly), host.as_deref().unwrap_or(origin));
                (text(query, origin).parse().unwrap(), plain.parse::<Uri>().unwrap().to_string())
            },
        )
    }

    proptest! {
        #[test]
        fn both_uris_of_a_request_are_what_each_is_by_itself(
            (uri, plain) in uri(),
            other in prop::option::of(uri()),
            is_axums in any::<bool>(),
        ) {
            prop_assert_eq!(redacted(&uri).to_string(), plain.as_str());
            let mut request = Request::builder().uri(&uri).header("Authorization", "x").body(()).unwrap();
            let (original, plain_original) = other.unwrap_or_else(|| (uri.clone(), plain.clone()));
            if is_axums {
                request.extensions_mut().insert(OriginalUri(original));
            }
            remove_credentials(&mut request);
            prop_assert!(request.headers().is_empty());
            prop_assert_eq!(request.uri().to_string(), plain);
            let original = request.extensions().get().map(|OriginalUri(uri)| uri.to_string());
            prop_assert_eq!(original, is_axums.then_some(plain_original));
        }

        #[test]
        fn no_password_that_a_client_logs_in_with_is_shown(
            query in "([aup]|%70|%7|[&;=+])?=?([a-z]|%[0-9a-f]{2}|[&=+%;]){0,20}",
        ) {
            let uri: Uri = format!("/write?{query}").parse().unwrap();
            let shown = redacted(&uri);
            prop_assert_eq!(shown.path(), "/write");
            let password = query::first(shown.query().unwrap(), ["p"]);
            prop_assert!(matches!(password, [None | Some("" | "redacted")]), "{}", shown);
            // And nothing is lost.
            let names = ["u", "a"];
            let shown = shown.query().unwrap();
            prop_assert_eq!(query::first(&query, names), query::first(shown, names));
        }
    }
}
