//! Removal of passwords from URIs that others log.

use axum::extract::OriginalUri;
use bytes::Bytes;
use http::uri::{Authority, InvalidUri, PathAndQuery};
use http::{HeaderMap, Request, Uri, header};

use crate::extract::query::split_before;

/// The replacement of a password.
const REDACTED: &[u8] = b"redacted";

/// Returns the URI without passwords, fit for a log.
///
/// The value of every parameter `p` of the query is replaced by `redacted`, also where the name is
/// encoded or in upper case, and the part before an `@` in the authority is removed. Usernames are
/// no secrets and stay. Other parameters stay as well, although the text of a query may hold a
/// password. If the replacement would make path and query longer than `http` allows, passwords are
/// replaced by nothing.
///
/// ```
/// use portcullis_http::redact_uri;
///
/// let uri = "/write?u=telegraf&%70=s3cret&db=telemetry".parse()?;
/// assert_eq!(redact_uri(&uri), "/write?u=telegraf&%70=redacted&db=telemetry");
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
pub fn redact_uri(uri: &Uri) -> Uri {
    without_passwords(uri).unwrap_or_else(|| uri.clone())
}

/// Removes the passwords from the URIs of a request that is passed on.
pub(crate) fn remove_passwords<B>(request: &mut Request<B>) {
    let uri = without_passwords(request.uri());
    let original = match request.extensions().get() {
        // The two URIs differ only in nested routers.
        Some(OriginalUri(original)) if uri.is_some() && original == request.uri() => uri.clone(),
        Some(OriginalUri(original)) => without_passwords(original),
        None => None,
    };
    if let Some(uri) = uri {
        *request.uri_mut() = uri;
    }
    if let Some(uri) = original
        && let Some(OriginalUri(original)) = request.extensions_mut().get_mut()
    {
        *original = uri;
    }
}

/// Marks `Authorization` as sensitive, so that `Debug` of the headers does not print it.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(mut entry) = headers.entry(header::AUTHORIZATION) {
        entry.iter_mut().for_each(|value| value.set_sensitive(true));
    }
}

/// Returns the URI without passwords and without credentials in the authority, or `None` if it has
/// neither.
fn without_passwords(uri: &Uri) -> Option<Uri> {
    let authority = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    // A part of what was valid is valid.
    let host = authority.map(|(_, host)| host.parse::<Authority>().ok());
    let path_and_query = uri.path_and_query().and_then(redact);
    match (host, path_and_query) {
        (None, None) => None,
        // The URI of most requests has no more parts.
        (None, Some(path_and_query)) if uri.authority().is_none() => Some(path_and_query.into()),
        (host, path_and_query) => {
            let mut parts = uri.clone().into_parts();
            parts.authority = host.unwrap_or(parts.authority);
            parts.path_and_query = path_and_query.or(parts.path_and_query);
            Some(Uri::from_parts(parts).unwrap_or_default())
        }
    }
}

/// Returns the path and query without passwords, if there are any.
fn redact(whole: &PathAndQuery) -> Option<PathAndQuery> {
    let cut = cut_at_password(whole.query()?)?;
    // With the replacement it may be too long; without, it is not longer than before.
    let redacted = write(whole, cut, REDACTED).or_else(|_| write(whole, cut, b""));
    Some(redacted.unwrap_or_else(|_| PathAndQuery::from_static("/")))
}

/// Writes `word` in place of the first password, which is between the two parts of the query, and of
/// every other password in the second part.
fn write(
    whole: &PathAndQuery,
    (before, mut rest): (&str, &str),
    word: &[u8],
) -> Result<PathAndQuery, InvalidUri> {
    let path = whole.path().as_bytes();
    // Enough for one password: there are hardly ever two.
    let length = path.len() + b"?".len() + before.len() + word.len() + rest.len();
    let mut out = Vec::with_capacity(length);
    for part in [path, b"?", before.as_bytes(), word] {
        out.extend_from_slice(part);
    }
    while let Some((before, after)) = cut_at_password(rest) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(word);
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    PathAndQuery::from_maybe_shared(Bytes::from(out))
}

/// Returns the parts of the query before and after the value of the first password.
fn cut_at_password(query: &str) -> Option<(&str, &str)> {
    let mut rest = query;
    loop {
        let (_, after) = split_before(rest, |byte| byte == b'=');
        let value = after.strip_prefix('=')?;
        let before = query.get(..query.len() - after.len())?;
        if ends_in_password(before.as_bytes()) {
            // Some parsers split parameters at `;`, for others it is a part of the password.
            let (_, after) = split_before(value, |byte| byte == b'&');
            return Some((query.get(..=before.len())?, after));
        }
        rest = value;
    }
}

/// Returns whether the query ends with the name of the password's parameter.
fn ends_in_password(query: &[u8]) -> bool {
    // No other encoding decodes to this letter.
    let ([before @ .., b'p' | b'P'] | [before @ .., b'%', b'5' | b'7', b'0']) = query else {
        return false;
    };
    matches!(before, [] | [.., b'&' | b';'])
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::extract::query::Query;

    fn shown(uri: &str) -> String {
        redact_uri(&uri.parse().unwrap()).to_string()
    }

    /// [LOGIN-12]
    #[test]
    fn passwords_are_replaced_in_every_spelling() {
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
    fn no_password_is_left_where_the_replacement_is_too_long() {
        // The longest path and query that `http` allows.
        const LONGEST: usize = 65_534;
        for (room, passwords, expected) in [
            (2, "p=s3cret", "p=redacted"),
            (1, "p=s3cret", "p="),
            (0, "p=s3cret&p=s3cret", "p=&p="),
        ] {
            let begin = "/write?db=";
            let length = LONGEST - room - begin.len() - "&".len() - passwords.len();
            let begin = format!("{begin}{}", "x".repeat(length));
            assert_eq!(shown(&format!("{begin}&{passwords}")), format!("{begin}&{expected}"));
        }
        let many = format!("/write?{}", "p=&".repeat(LONGEST / 4));
        assert_eq!(shown(&many), many);
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
            let name = part.split_once('=').map(|(name, _)| percent_decode_str(name));
            name.is_some_and(|name| name.collect::<Vec<_>>().eq_ignore_ascii_case(b"p"))
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
        fn both_uris_of_a_request_are_redacted_alike(
            (uri, plain) in uri(),
            other in prop::option::of(uri()),
            is_axums in any::<bool>(),
        ) {
            prop_assert_eq!(redact_uri(&uri).to_string(), plain.as_str());
            let mut request = Request::builder().uri(&uri).body(()).unwrap();
            let (original, plain_original) = other.unwrap_or_else(|| (uri.clone(), plain.clone()));
            if is_axums {
                request.extensions_mut().insert(OriginalUri(original));
            }
            remove_passwords(&mut request);
            prop_assert_eq!(request.uri().to_string(), plain);
            let original = request.extensions().get().map(|OriginalUri(uri)| uri.to_string());
            prop_assert_eq!(original, is_axums.then_some(plain_original));
        }

        #[test]
        fn no_password_of_a_login_is_left_in_a_uri(
            query in "([aup]|%70|%7|[&;=+])?=?([a-z]|%[0-9a-f]{2}|[&=+%;]){0,20}",
        ) {
            let uri: Uri = format!("/write?{query}").parse().unwrap();
            let shown = redact_uri(&uri);
            prop_assert_eq!(shown.path(), "/write");
            let [before, after] = [&query, shown.query().unwrap()].map(Query::parse);
            let password = after.bytes("p");
            prop_assert!(matches!(password, None | Some(b"" | b"redacted")), "{}", shown);
            // And nothing is lost.
            for name in ["u", "a"] {
                prop_assert_eq!(before.bytes(name), after.bytes(name));
            }
        }
    }
}
