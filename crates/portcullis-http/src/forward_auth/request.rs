//! The original request, which the proxy describes in the headers of its own.
//!
//! The database parses the same URL with another parser, and may read another header than the one
//! that was checked. Input that two of them could read differently is therefore refused.

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use thiserror::Error;

use crate::extract::query::{self, Parameter, PercentEncoded};
use crate::v1::credentials::{DecodeBuffer, RawCredentials};

/// The original request.
pub(super) struct OriginalRequest<'a> {
    /// Its URI, if the proxy sends one.
    pub(super) uri: Option<OriginalUri<'a>>,
    username: Option<PercentEncoded<'a>>,
    password: Option<PercentEncoded<'a>>,
    authorization: Option<&'a HeaderValue>,
    /// Whether the body may hold parameters: databases read them from forms as well.
    pub(super) may_have_form: bool,
}

/// The URI of the original request.
#[derive(Clone, Copy)]
pub(super) struct OriginalUri<'a> {
    pub(super) path: &'a str,
    username: SingleValue<'a>,
    password: SingleValue<'a>,
    pub(super) database: SingleValue<'a>,
    pub(super) policy: SingleValue<'a>,
    pub(super) bucket: SingleValue<'a>,
    pub(super) statements: SingleValue<'a>,
    pub(super) parameters: SingleValue<'a>,
    /// Whether it has a parameter with which a proxy names the requested permission.
    pub(super) names_permission: bool,
    /// Whether it has a parameter with which VictoriaMetrics changes labels, `db` among them.
    pub(super) relabels: bool,
}

/// Why an original request is refused as ambiguous.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum AmbiguousRequest {
    #[error("there are several lines of Authorization")]
    Authorization,
    #[error("`{0}` is given twice or cannot be read")]
    Parameter(&'static str),
    #[error("the header with the original URI holds no path and query")]
    Uri,
    #[error("there are several lines of the header with the original URI")]
    Uris,
}

impl<'a> OriginalRequest<'a> {
    /// Reads the original request from the headers of the proxy's request.
    pub(super) fn read(
        headers: &'a HeaderMap,
        uri_header: &HeaderName,
    ) -> Result<Self, AmbiguousRequest> {
        let uri = single_header(headers, uri_header).ok_or(AmbiguousRequest::Uris)?;
        let uri =
            uri.map(|value| OriginalUri::parse(value).ok_or(AmbiguousRequest::Uri)).transpose()?;
        let authorization = single_header(headers, &header::AUTHORIZATION)
            .ok_or(AmbiguousRequest::Authorization)?;
        let (username, password) = match &uri {
            Some(uri) => (uri.username.value?, uri.password.value?),
            None => (None, None),
        };
        let may_have_form = may_have_form(headers);
        Ok(Self { uri, username, password, authorization, may_have_form })
    }

    /// Returns whether the request holds anything that could be credentials.
    pub(super) fn has_credentials(&self) -> bool {
        self.authorization.is_some() || self.username.is_some() || self.password.is_some()
    }

    /// Returns the credentials, if there are any.
    pub(super) fn credentials(&self, buffer: &'a mut DecodeBuffer) -> Option<RawCredentials<'a>> {
        RawCredentials::find_in(self.username, self.password, self.authorization, buffer)
    }
}

impl<'a> OriginalUri<'a> {
    fn parse(value: &'a HeaderValue) -> Option<Self> {
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        let (target, query) = text.split_once('?').unwrap_or((text, ""));
        let path = path(target)?;
        // Some parsers split parameters at `;`, and end the query at `#`.
        let is_unambiguous = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
            && !query.bytes().any(|byte| byte == b';');
        is_unambiguous.then(|| Self::with_parameters(path, query))
    }

    fn with_parameters(path: &'a str, query: &'a str) -> Self {
        let mut uri = Self {
            path,
            username: SingleValue::absent("u"),
            password: SingleValue::absent("p"),
            database: SingleValue::absent("db"),
            policy: SingleValue::absent("rp"),
            bucket: SingleValue::absent("bucket"),
            statements: SingleValue::absent("q"),
            parameters: SingleValue::absent("params"),
            names_permission: false,
            relabels: false,
        };
        for parameter in query::parameters(query) {
            for value in [
                &mut uri.username,
                &mut uri.password,
                &mut uri.database,
                &mut uri.policy,
                &mut uri.bucket,
                &mut uri.statements,
                &mut uri.parameters,
            ] {
                value.read(parameter);
            }
            uri.names_permission |= names_permission(parameter);
            let relabels = ["extra_label", "extra_filters", "extra_filters[]"];
            uri.relabels |= relabels.iter().any(|name| parameter.is(name));
        }
        uri
    }
}

/// Returns whether the parameter is one with which a proxy names the requested permission.
pub(super) fn names_permission(parameter: Parameter<'_>) -> bool {
    parameter.is("permission") || parameter.is("check")
}

/// Returns the path of the part before the `?`. A client that takes the proxy for its own sends the
/// scheme and the host before the path.
fn path(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    let (host, path) = rest.split_at_checked(rest.find('/')?)?;
    // What follows the host has to be a port: `Authority` ignores one that is invalid.
    let is_authority = |authority: Authority| {
        let rest = authority.as_str().strip_prefix(authority.host());
        rest.is_some_and(|rest| rest.is_empty() || authority.port_u16().is_some())
    };
    // Credentials before the host could be read in two ways.
    let is_unambiguous = !host.contains(['@', '%', '\\']) && host.parse().is_ok_and(is_authority);
    (is_http && is_unambiguous).then_some(path)
}

/// The value of a parameter that may be given once.
#[derive(Clone, Copy)]
pub(super) struct SingleValue<'a> {
    name: &'static str,
    value: Result<Option<PercentEncoded<'a>>, AmbiguousRequest>,
}

impl<'a> SingleValue<'a> {
    const fn absent(name: &'static str) -> Self {
        Self { name, value: Ok(None) }
    }

    /// Takes the value of the parameter, if it has this name.
    fn read(&mut self, parameter: Parameter<'a>) {
        if parameter.is(self.name) {
            self.value = match (self.value, parameter.value()) {
                (Ok(None), Some(value)) => Ok(Some(value)),
                _ => Err(AmbiguousRequest::Parameter(self.name)),
            };
        }
    }

    /// Returns the text; an empty one is none.
    pub(super) fn text(self) -> Result<Option<String>, AmbiguousRequest> {
        let Some(value) = self.value? else { return Ok(None) };
        let text = String::from_utf8(value.decode());
        let text = text.map_err(|_| AmbiguousRequest::Parameter(self.name))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

/// Returns whether the body of the original request may be a form, or may be a query in another
/// language: InfluxDB takes the `q` of a form before the one of the URL.
fn may_have_form(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).into_iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        let has = |part: &[u8]| value.windows(part.len()).any(|window| window == part);
        has(b"form") || has(b"multipart") || has(b"flux")
    })
}

/// Returns the value of a header that may be given once; `None` if it is given twice.
fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next();
    values.next().is_none().then_some(value)
}
