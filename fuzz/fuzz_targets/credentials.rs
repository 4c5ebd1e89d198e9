//! Credentials of v1 clients: the first line of the input is the query of the URL, the rest the header
//! `Authorization`. The credentials agree with a second implementation of the rules, survive a round
//! trip through every other form, and are not in `Debug`. The layer in front of `/query` admits only a
//! right password or token.

#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use libfuzzer_sys::{Corpus, fuzz_target};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use portcullis_fuzz::response::Response;
use portcullis_fuzz::world::{GRAFANA, GRAFANA_PASSWORD, OPERATOR, World};
use portcullis_http::{Scheme, V1Credentials};

static WORLD: LazyLock<World> = LazyLock::new(World::new);

type Found = (Scheme, Vec<u8>, Vec<u8>);

fuzz_target!(|data: &[u8]| -> Corpus {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (query, header) = data.split_at(line);
    let uri = [b"/query?".as_slice(), query].concat();
    let Ok(uri) = Uri::from_maybe_shared(uri) else { return Corpus::Reject };
    let mut headers = HeaderMap::new();
    if let Some(header) = header.get(1..) {
        let Ok(header) = HeaderValue::from_bytes(header) else { return Corpus::Reject };
        headers.insert(AUTHORIZATION, header);
    }
    let credentials = V1Credentials::parse(&uri, &headers).ok();
    let found = credentials.as_ref().map(found);
    assert_eq!(found, expected(&uri, &headers));
    if let Some(found) = &found {
        assert_comes_back(found);
    }
    if let Some(credentials) = &credentials {
        let shown = format!("{credentials:?} {:?}", credentials.as_credentials());
        assert!(!shown.contains(OPERATOR) || credentials.username().contains(OPERATOR), "{shown}");
    }
    assert_right_ones_get_in(uri, headers, found);
    Corpus::Keep
});

fn found(credentials: &V1Credentials) -> Found {
    let (username, secret) = (credentials.username().as_bytes(), credentials.expose_secret());
    (credentials.scheme(), username.to_vec(), secret.to_vec())
}

/// A second implementation of the rules.
fn expected(uri: &Uri, headers: &HeaderMap) -> Option<Found> {
    let name = |name: &[u8]| if std::str::from_utf8(name).is_ok() { name.to_vec() } else { vec![] };
    let first = |name: &str| {
        let pairs = uri.query()?.split('&').filter(|pair| readable(pair));
        let values = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key) == name.as_bytes()).then(|| unescape(value))
        });
        values.into_iter().next()
    };
    if let (Some(username), Some(secret)) = (first("u"), first("p"))
        && !username.is_empty()
        && !secret.is_empty()
    {
        return Some((Scheme::Url, name(&username), secret));
    }
    let header = std::str::from_utf8(headers.get(AUTHORIZATION)?.as_bytes()).ok()?;
    if header.matches(' ').count() == 1
        && let Some((scheme, token)) = header.split_once(' ')
        && ["token", "bearer"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        let colon = token.find(':');
        let username = colon.map_or("", |colon| &token[..colon]);
        let secret = colon.map_or(token, |colon| &token[colon + 1..]);
        return Some((Scheme::Token, username.into(), secret.into()));
    }
    let (scheme, encoded) = header.split_once(' ')?;
    if scheme.to_lowercase() != "basic" {
        return None;
    }
    let pair = BASE64_STANDARD.decode(encoded).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some((Scheme::Basic, name(&pair[..colon]), pair[colon + 1..].to_vec()))
}

/// Whether every escape is complete, and there is no `;`.
fn readable(pair: &str) -> bool {
    let mut escapes = pair.split('%');
    escapes.next();
    let whole = |escape: &str| {
        escape.len() >= 2 && escape.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
    };
    !pair.contains(';') && escapes.all(whole)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().replace('+', " ").into_bytes();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
        bytes.extend_from_slice(rest.replace('+', " ").as_bytes());
    }
    bytes
}

fn assert_comes_back((_, username, secret): &Found) {
    let parse = |query: &str, header: Option<Vec<u8>>| {
        let uri: Uri = format!("/query?{query}").parse().ok()?;
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&header).ok()?);
        }
        V1Credentials::parse(&uri, &headers).ok().map(|credentials| found(&credentials))
    };
    if !username.is_empty() && !secret.is_empty() {
        let escape = |bytes| percent_encode(bytes, NON_ALPHANUMERIC);
        let query = format!("a=1&u={}&p={}", escape(username), escape(secret));
        // A URL of the `http` crate is shorter than 64 KiB.
        if query.len() < 60_000 {
            let expected = (Scheme::Url, username.clone(), secret.clone());
            assert_eq!(parse(&query, None), Some(expected));
        }
    }
    if !username.contains(&b':') {
        let pair = [username.as_slice(), b":", secret].concat();
        let basic = format!("bAsIc {}", BASE64_STANDARD.encode(&pair)).into_bytes();
        let expected = (Scheme::Basic, username.clone(), secret.clone());
        assert_eq!(parse("", Some(basic)), Some(expected));
        let sendable = |byte: &u8| *byte > b' ' && *byte != 0x7f;
        if std::str::from_utf8(&pair).is_ok() && pair.iter().all(sendable) {
            let token = [b"Token ".as_slice(), &pair].concat();
            let expected = (Scheme::Token, username.clone(), secret.clone());
            assert_eq!(parse("", Some(token)), Some(expected));
        }
    }
}

fn assert_right_ones_get_in(uri: Uri, headers: HeaderMap, found: Option<Found>) {
    let known = found.is_some_and(|(_, username, secret)| match username.as_slice() {
        name if name == GRAFANA.as_bytes() => secret == GRAFANA_PASSWORD.as_bytes(),
        // The other authorizations have no password.
        b"telegraf" | b"collector" => false,
        _ => secret == OPERATOR.as_bytes(),
    });
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let response = WORLD.run(Response::of(&WORLD.protected, request));
    let expected = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    assert_eq!(response.status, expected, "{response:?}");
}
