//! The request that a reverse proxy asks about, as the database behind it might read it.
//!
//! Another parser reads the same URL, and another header may be read than the one that was checked.
//! What two of them could read differently is therefore not read at all.

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use thiserror::Error;

use crate::extract::query::{self, Encoded, Parameter};
use crate::v1::credentials::{Decoded, Presented};

/// The original request.
pub(crate) struct Original<'a> {
    /// Where it goes, if the proxy tells.
    pub(crate) uri: Option<OriginalUri<'a>>,
    username: Option<Encoded<'a>>,
    password: Option<Encoded<'a>>,
    authorization: Option<&'a HeaderValue>,
}

/// The URI of the original request.
#[derive(Clone, Copy)]
pub(crate) struct OriginalUri<'a> {
    pub(crate) path: &'a str,
    username: Only<'a>,
    password: Only<'a>,
    database: Only<'a>,
    policy: Only<'a>,
    bucket: Only<'a>,
    /// Whether it has a parameter with which a proxy says what is asked.
    pub(crate) asks: bool,
    /// Whether it has a parameter with which VictoriaMetrics changes labels, `db` among them.
    pub(crate) relabels: bool,
}

/// Says why an original request is not read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unclear {
    #[error("there are several lines of Authorization")]
    Authorization,
    #[error("`bucket` stands twice or cannot be read")]
    Bucket,
    #[error("`u` or `p` stands twice or cannot be read")]
    Credentials,
    #[error("`db` stands twice or cannot be read")]
    Database,
    #[error("`rp` stands twice or cannot be read")]
    Policy,
    #[error("the header with the original URI holds no path and query")]
    Uri,
    #[error("the header with the original URI stands twice")]
    Uris,
}

impl<'a> Original<'a> {
    /// Reads the request from the headers of the proxy's.
    pub(crate) fn read(headers: &'a HeaderMap, uri_header: &HeaderName) -> Result<Self, Unclear> {
        let uri = only(headers, uri_header).map_err(|Twice| Unclear::Uris)?;
        let uri = uri.map(|value| OriginalUri::parse(value).ok_or(Unclear::Uri)).transpose()?;
        let authorization = only(headers, &header::AUTHORIZATION);
        let authorization = authorization.map_err(|Twice| Unclear::Authorization)?;
        let (username, password) = match &uri {
            Some(uri) => (uri.username.value(), uri.password.value()),
            None => (Ok(None), Ok(None)),
        };
        let username = username.map_err(|Twice| Unclear::Credentials)?;
        let password = password.map_err(|Twice| Unclear::Credentials)?;
        Ok(Self { uri, username, password, authorization })
    }

    /// Tells whether there is anything that could be credentials.
    pub(crate) fn has_credentials(&self) -> bool {
        self.authorization.is_some() || self.username.is_some() || self.password.is_some()
    }

    /// Returns whose it is, if it tells.
    pub(crate) fn credentials(&self, decoded: &'a mut Decoded) -> Option<Presented<'a>> {
        Presented::find_in(self.username, self.password, self.authorization, decoded)
    }
}

impl<'a> OriginalUri<'a> {
    fn parse(value: &'a HeaderValue) -> Option<Self> {
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        let (target, query) = text.split_once('?').unwrap_or((text, ""));
        let path = path(target)?;
        // To some parsers a `;` separates parameters, and a `#` ends the query.
        let clear = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
            && !query.bytes().any(|byte| byte == b';');
        clear.then(|| Self::with_parameters(path, query))
    }

    fn with_parameters(path: &'a str, query: &'a str) -> Self {
        let mut uri = Self {
            path,
            username: Only::Absent,
            password: Only::Absent,
            database: Only::Absent,
            policy: Only::Absent,
            bucket: Only::Absent,
            asks: false,
            relabels: false,
        };
        for parameter in query::parameters(query) {
            for (name, value) in [
                ("u", &mut uri.username),
                ("p", &mut uri.password),
                ("db", &mut uri.database),
                ("rp", &mut uri.policy),
                ("bucket", &mut uri.bucket),
            ] {
                if parameter.is(name) {
                    value.add(parameter);
                }
            }
            uri.asks |= parameter.is("permission") || parameter.is("check");
            let relabels = ["extra_label", "extra_filters", "extra_filters[]"];
            uri.relabels |= relabels.iter().any(|name| parameter.is(name));
        }
        uri
    }

    /// Returns the value of the only `db`, not empty.
    pub(crate) fn database(&self) -> Result<Option<String>, Unclear> {
        self.database.text(Unclear::Database)
    }

    /// Returns the value of the only `rp`, not empty: a retention policy.
    pub(crate) fn policy(&self) -> Result<Option<String>, Unclear> {
        self.policy.text(Unclear::Policy)
    }

    /// Returns the value of the only `bucket`, not empty.
    pub(crate) fn bucket(&self) -> Result<Option<String>, Unclear> {
        self.bucket.text(Unclear::Bucket)
    }
}

/// Returns the path of what stands before the `?`: of a client that takes the proxy for its own, the
/// scheme and the host stand before it.
fn path(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    let (host, path) = rest.split_at_checked(rest.find('/')?)?;
    // What follows the host has to be a port: one that is none is read as if it were not there.
    let is_authority = |authority: Authority| {
        let rest = authority.as_str().strip_prefix(authority.host());
        rest.is_some_and(|rest| rest.is_empty() || authority.port_u16().is_some())
    };
    // Credentials before the host could be read in two ways.
    let is_clear = !host.contains(['@', '%', '\\']) && host.parse().is_ok_and(is_authority);
    (is_http && is_clear).then_some(path)
}

/// There is more than one, or the one that is there cannot be read.
struct Twice;

/// The value of a parameter that may stand once.
#[derive(Clone, Copy)]
enum Only<'a> {
    Absent,
    Value(Encoded<'a>),
    Unclear,
}

impl<'a> Only<'a> {
    fn add(&mut self, parameter: Parameter<'a>) {
        *self = match (*self, parameter.value()) {
            (Only::Absent, Some(value)) => Only::Value(value),
            _ => Only::Unclear,
        };
    }

    /// Returns the text, not empty.
    fn text(self, unclear: Unclear) -> Result<Option<String>, Unclear> {
        let Some(value) = self.value().map_err(|Twice| unclear)? else { return Ok(None) };
        let text = String::from_utf8(value.decode()).map_err(|_| unclear)?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    const fn value(self) -> Result<Option<Encoded<'a>>, Twice> {
        match self {
            Only::Absent => Ok(None),
            Only::Value(value) => Ok(Some(value)),
            Only::Unclear => Err(Twice),
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Twice> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Twice),
    }
}
