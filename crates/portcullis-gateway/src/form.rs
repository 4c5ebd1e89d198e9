//! The body of `POST /query`, which may hold parameters.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use multer::{Constraints, Multipart, SizeLimit};
use tokio::time::timeout;

use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::route::Route;

/// The longest body of `/query`, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// The body of `/query`.
pub(crate) enum Form {
    /// There is none, or none that holds parameters.
    None,
    UrlEncoded(String),
    Fields(Vec<(String, String)>),
}

impl Form {
    /// Reads the body, if it is a form.
    ///
    /// # Errors
    ///
    /// The response where it is neither a form nor empty, is too long, or does not arrive in time.
    pub(crate) async fn read(
        headers: &HeaderMap,
        body: Body,
        limit: Duration,
    ) -> Result<Self, Refusal> {
        let invalid = |why: &'static str| Refusal::bad_request(why);
        if http_body::Body::is_end_stream(&body) {
            return Ok(Self::None);
        }
        let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
        let (content_type, second) = (types.next(), types.next());
        if second.is_some() {
            return Err(invalid("there are several lines of `Content-Type`"));
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(invalid("the body of a query must not be compressed"));
        }
        let content_type = content_type.map_or(Ok(""), |value| value.to_str());
        let content_type = content_type.map_err(|_| invalid("`Content-Type` cannot be read"))?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is_url_encoded = essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let is_multipart = essence.eq_ignore_ascii_case("multipart/form-data");
        if !is_url_encoded && !is_multipart {
            // A body that is sent in chunks may turn out to be empty.
            return match collect(body, limit).await?.is_empty() {
                true => Ok(Self::None),
                false => Err(Refusal::Invalid(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "the body of a query must be a form, with InfluxQL in `q`".into(),
                )),
            };
        }
        let bytes = collect(body, limit).await?;
        if is_url_encoded {
            let text = String::from_utf8(bytes.into());
            return text.map(Self::UrlEncoded).map_err(|_| invalid("the form is not UTF-8"));
        }
        let boundary = multer::parse_boundary(content_type)
            .map_err(|_| invalid("`Content-Type` has no boundary"))?;
        let fields = fields(bytes, boundary).await;
        fields.map(Self::Fields).ok_or_else(|| invalid("the form cannot be read"))
    }

    /// Returns its parameters.
    ///
    /// # Errors
    ///
    /// The response where two programs could read them in two ways.
    pub(crate) fn parameters(&self, route: Route) -> Result<Parameters<'_>, Refusal> {
        Ok(match self {
            Self::None => Parameters::default(),
            Self::UrlEncoded(text) => Parameters::parse(route, text)?,
            Self::Fields(fields) => Parameters::from_fields(route, fields.iter().cloned())?,
        })
    }
}

async fn collect(body: Body, limit: Duration) -> Result<Bytes, Refusal> {
    match timeout(limit, Limited::new(body, MAX_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("the body of a query is larger than {MAX_BYTES} bytes");
            Err(Refusal::Invalid(StatusCode::PAYLOAD_TOO_LARGE, why.into()))
        }
        Ok(Err(_)) => Err(Refusal::bad_request("the body ended before it was complete")),
        Err(_) => {
            let seconds = limit.as_secs();
            let why = format!("the request body did not arrive within {seconds} seconds");
            Err(Refusal::Invalid(StatusCode::REQUEST_TIMEOUT, why.into()))
        }
    }
}

async fn fields(bytes: Bytes, boundary: String) -> Option<Vec<(String, String)>> {
    let whole = stream::iter([Ok::<_, Infallible>(bytes)]);
    let limits = SizeLimit::new().whole_stream(MAX_BYTES as u64);
    let constraints = Constraints::new().size_limit(limits);
    let mut multipart = Multipart::with_constraints(whole, boundary, constraints);
    let mut fields = Vec::new();
    while let Some(field) = multipart.next_field().await.ok()? {
        let name = field.name()?.to_owned();
        let value = String::from_utf8(field.bytes().await.ok()?.into()).ok()?;
        fields.push((name, value));
    }
    Some(fields)
}
