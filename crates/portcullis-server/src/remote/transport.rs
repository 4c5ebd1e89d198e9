//! Requests to a server, and its responses.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis::store::Revision;
use portcullis::{Error, ErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::address::Address;

/// The longest time for a request and its response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest body of a response in bytes. A page of credentials with many permissions is far shorter.
const MAX_BODY: usize = 256 * 1_024 * 1_024;

/// How often a request is sent again at most.
const RETRIES: u32 = 3;

/// The longest time to wait before a request is sent again, and the one without `Retry-After`.
const MAX_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

const USER_AGENT_VALUE: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// Sends requests with an API token.
pub(super) struct Transport {
    address: Address,
    authorization: HeaderValue,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A body of JSON, which may hold a password.
type JsonBody = Zeroizing<Vec<u8>>;

/// The error envelope of the API.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// A response.
struct Received {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What became of a request without a response.
enum Failure {
    /// Nothing of it was sent.
    NotSent(String),
    /// It was sent, at least in part.
    NoResponse(String),
}

impl Transport {
    pub(super) fn new(
        address: Address,
        connector: HttpsConnector<HttpConnector>,
        authorization: HeaderValue,
    ) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { address, authorization, http }
    }

    /// Sends a request, and returns the JSON of a response with a status of 2xx. The record must have the
    /// expected revision, if one is given.
    ///
    /// # Errors
    ///
    /// The error of the response, by its code; [`ErrorKind::Unavailable`] without a response.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        expected: Option<Revision>,
    ) -> Result<T, Error> {
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body.map(Zeroizing::new),
            Err(error) => return Err(Error::new(ErrorKind::Internal, error.to_string())),
        };
        let received = self.send(method, path, body, expected).await?;
        serde_json::from_slice(&received.body).map_err(|error| {
            let message = format!("the response of the server cannot be read: {error}");
            Error::new(ErrorKind::Internal, message)
        })
    }

    /// Returns the revision in the tag of one record.
    pub(super) async fn revision(&self, path: &str) -> Result<Revision, Error> {
        let received = self.send(Method::GET, path, None, None).await?;
        let tag = received.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        let revision = tag.and_then(|tag| Revision::parse(tag.trim_matches('"')));
        revision.ok_or_else(|| {
            let message = "the server shows no tag of the record: it is of an older version";
            Error::new(ErrorKind::Internal, message)
        })
    }

    /// Sends a request whose response has no body, as [`Transport::json`] does.
    pub(super) async fn empty(
        &self,
        method: Method,
        path: &str,
        body: Option<JsonBody>,
        expected: Option<Revision>,
    ) -> Result<(), Error> {
        self.send(method, path, body, expected).await.map(drop)
    }

    /// Sends a request, again if it was certainly not applied and may succeed later.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<JsonBody>,
        expected: Option<Revision>,
    ) -> Result<Received, Error> {
        // Shared by the tries, and cleared at the end.
        let body = body.map(Bytes::from_owner);
        let is_read = method == Method::GET;
        let mut retries = 0;
        loop {
            let sent =
                timeout(TIMEOUT, self.send_once(&method, path, body.clone(), expected)).await;
            let late = || Failure::NoResponse(format!("{} seconds have passed", TIMEOUT.as_secs()));
            let received = sent.unwrap_or_else(|_| Err(late()));
            let received = received.map_err(|failure| self.no_response(failure, is_read))?;
            if received.status.is_success() {
                return Ok(received);
            }
            // A server refuses with 429 before it begins; after 503 a change may have been applied.
            let may_pass = received.status == StatusCode::TOO_MANY_REQUESTS
                || (received.status == StatusCode::SERVICE_UNAVAILABLE && is_read);
            let wait = received.wait().unwrap_or(DEFAULT_WAIT);
            if !may_pass || retries == RETRIES || wait > MAX_WAIT {
                return Err(received.into_error());
            }
            retries += 1;
            sleep(wait).await;
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        expected: Option<Revision>,
    ) -> Result<Received, Failure> {
        let uri = self.address.uri(path).map_err(|error| Failure::NotSent(error.to_string()))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(revision) = expected {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        let request = request.map_err(|error| Failure::NotSent(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| {
            let why = causes(&error);
            if error.is_connect() { Failure::NotSent(why) } else { Failure::NoResponse(why) }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|error| Failure::NoResponse(causes(&*error)))?.to_bytes();
        Ok(Received { status: head.status, headers: head.headers, body })
    }

    fn no_response(&self, failure: Failure, is_read: bool) -> Error {
        let address = &self.address;
        let message = match failure {
            Failure::NotSent(why) => format!("cannot connect to {address}: {why}"),
            Failure::NoResponse(why) if is_read => format!("no response of {address}: {why}"),
            Failure::NoResponse(why) => {
                format!("no response of {address}, so the change may have been made: {why}")
            }
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl Received {
    /// Returns the time after which to send the request again, in the form of seconds.
    fn wait(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    fn into_error(self) -> Error {
        let status = self.status.as_u16();
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&self.body) else {
            let what = if self.status.is_redirection() {
                "a redirection, which is not followed: give the URL to which it leads"
            } else {
                "it is not the management API of Portcullis"
            };
            let message = format!("the server responds {status}: {what}");
            return Error::new(ErrorKind::Internal, message);
        };
        let Envelope { code, message } = envelope;
        let kind = match code.as_str() {
            "conflict" => ErrorKind::Conflict,
            "forbidden" => ErrorKind::Forbidden,
            "invalid" | "unprocessable entity" | "request too large" => ErrorKind::Invalid,
            // Of the router, and not of a record.
            "not found" if message == "path not found" => ErrorKind::Internal,
            "not found" => ErrorKind::NotFound,
            "precondition failed" => ErrorKind::PreconditionFailed,
            "too many requests" => ErrorKind::TooManyRequests,
            "unauthorized" => ErrorKind::Unauthorized,
            "unavailable" => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let message = match kind {
            // The same texts as those of a store.
            ErrorKind::Conflict
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::PreconditionFailed => message,
            _ => format!("the server responds {status} ({code}): {message}"),
        };
        let error = Error::new(kind, message);
        match self.headers.get(RETRY_AFTER).and(self.wait()) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

/// Returns the text of an error with its causes, each once.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LIMITED: &str =
        r#"429 x\Retry-After: 0\{"code": "too many requests", "message": "slow down"}"#;
    const UNAVAILABLE: &str =
        r#"503 x\Retry-After: 0\{"code": "unavailable", "message": "try again later"}"#;
    const LATER: &str =
        r#"503 x\Retry-After: 31\{"code": "unavailable", "message": "try again later"}"#;
    const OK: &str = r#"200 OK\x-y: z\{"id": 7}"#;
    /// The connection ends without a response.
    const NOTHING: &str = "";

    /// Starts a server that sends these responses, one on each connection, and then the last one again.
    async fn server(responses: &'static [&'static str]) -> (Transport, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut left = responses.iter();
            let mut next = NOTHING;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                next = left.next().copied().unwrap_or(next);
                let mut parts = next.splitn(3, '\\');
                if let (Some(status), Some(header), Some(body)) =
                    (parts.next(), parts.next(), parts.next())
                {
                    let length = body.len();
                    let response = format!(
                        "HTTP/1.1 {status}\r\n{header}\r\nConnection: close\r\n\
                         Content-Length: {length}\r\n\r\n{body}"
                    );
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            }
        });
        let address = Address::parse(&address).unwrap();
        let connector = address.connector(None).unwrap();
        (Transport::new(address, connector, HeaderValue::from_static("Token pcl_x")), requests)
    }

    /// Reads a request, and returns its first line with its body.
    async fn read_request(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with("\r\n\r\n") {
            stream.read_exact(&mut byte).await.unwrap();
            text.push(char::from(byte[0]));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        format!("{} {}", text.lines().next().unwrap(), String::from_utf8(body).unwrap())
    }

    /// [REM-6]
    #[tokio::test]
    async fn a_request_is_sent_again_only_if_it_was_certainly_not_applied() {
        let get = Method::GET;
        let post = Method::POST;
        for (method, responses, tries, error) in [
            (&get, &[LIMITED, UNAVAILABLE, OK][..], 3, None),
            (&post, &[LIMITED, LIMITED, LIMITED, OK], 4, None),
            (&get, &[UNAVAILABLE], 4, Some("the server responds 503 (unavailable)")),
            (&post, &[LIMITED], 4, Some("the server responds 429 (too many requests)")),
            (&post, &[UNAVAILABLE, OK], 1, Some("the server responds 503 (unavailable)")),
            (&post, &[LIMITED, UNAVAILABLE, OK], 2, Some("503")),
            (&get, &[LATER, OK], 1, Some("try again later")),
            (&post, &[NOTHING, OK], 1, Some("so the change may have been made")),
            (&get, &[NOTHING, OK], 1, Some("no response of http://127.0.0.1")),
        ] {
            let (transport, requests) = server(responses).await;
            let body = json!({ "name": "x" });
            let body = (*method == post).then_some(&body);
            let sent = transport.json::<Value>(method.clone(), "/x?y", body, None).await;
            let shown = format!("{method} {responses:?}: {sent:?}");
            match error {
                None => assert_eq!(sent.unwrap(), json!({ "id": 7 }), "{shown}"),
                Some(part) => assert!(sent.unwrap_err().to_string().contains(part), "{shown}"),
            }
            // Each time the whole request.
            let whole = body.map(ToString::to_string).unwrap_or_default();
            let whole = format!("{method} /x?y HTTP/1.1 {whole}");
            assert_eq!(*requests.lock().unwrap(), vec![whole; tries], "{shown}");
        }
    }

    /// [REM-3] [REM-6]
    #[tokio::test]
    async fn what_is_no_response_of_the_api_is_an_error_that_says_so() {
        for (response, part) in [
            ("302 Found\\Location: http://127.0.0.1:1/\\", "a redirection, which is not followed"),
            ("404 x\\x: y\\<html>", "it is not the management API of Portcullis"),
            (
                "404 x\\x: y\\{\"code\": \"not found\", \"message\": \"path not found\"}",
                "responds 404",
            ),
            ("200 OK\\x: y\\<html>", "cannot be read"),
        ] {
            let (transport, requests) = server(Box::leak(Box::new([response]))).await;
            let error = transport.json::<Value>(Method::GET, "/x", None, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(requests.lock().unwrap().len(), 1);
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let address = Address::parse(&format!("http://{closed}")).unwrap();
        let connector = address.connector(None).unwrap();
        let transport = Transport::new(address, connector, HeaderValue::from_static("Token pcl_x"));
        let error = transport.empty(Method::DELETE, "/x", None, None).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot connect to http://127.0.0.1"), "{error}");
    }
}
