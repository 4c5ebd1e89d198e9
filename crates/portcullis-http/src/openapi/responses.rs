//! The errors that operations share.

use super::model::{Header, Map, Operation, Response, Schema};

/// An error that several operations respond with.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    Invalid,
    Unauthorized,
    Forbidden,
    NotFound,
    TooSlow,
    PreconditionFailed,
    TooLarge,
    Conflict,
    TooManyRequests,
    Internal,
    Unavailable,
}

use Failure::*;

impl Failure {
    const ALL: [Self; 11] = [
        Invalid,
        Unauthorized,
        Forbidden,
        NotFound,
        TooSlow,
        PreconditionFailed,
        TooLarge,
        Conflict,
        TooManyRequests,
        Internal,
        Unavailable,
    ];

    const fn status(self) -> u16 {
        match self {
            Invalid => 400,
            Unauthorized => 401,
            Forbidden => 403,
            NotFound => 404,
            TooSlow => 408,
            PreconditionFailed => 412,
            TooLarge => 413,
            Conflict => 422,
            TooManyRequests => 429,
            Internal => 500,
            Unavailable => 503,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Invalid => "Invalid",
            Unauthorized => "Unauthorized",
            Forbidden => "Forbidden",
            NotFound => "NotFound",
            TooSlow => "TooSlow",
            PreconditionFailed => "PreconditionFailed",
            TooLarge => "TooLarge",
            Conflict => "Conflict",
            TooManyRequests => "TooManyRequests",
            Internal => "Internal",
            Unavailable => "Unavailable",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Invalid => {
                "A parameter or the body is not valid, or names what does not exist. The message \
                 says which."
            }
            Unauthorized => {
                "The API token is missing, unknown or inactive, or it lacks a permission, which \
                 the message names."
            }
            Forbidden => {
                "The user or the org of the API token is inactive or gone, or the token does not \
                 hold a permission that it grants."
            }
            NotFound => "There is no such record, or the caller may not read it.",
            TooSlow => "The body did not arrive within 30 seconds.",
            PreconditionFailed => {
                "Nothing was changed: the record has none of the tags in `If-Match`, or the name is \
                 taken and the request has `If-None-Match: *`."
            }
            TooLarge => "The body is larger than 1 MiB.",
            Conflict => {
                "The name is taken (`conflict`), or the body asks for what is not possible \
                 (`unprocessable entity`)."
            }
            TooManyRequests => {
                "After too many failed logins from the same address, wrong tokens have to wait."
            }
            Internal => "Something failed in the server. The cause is in its log.",
            Unavailable => {
                "The store does not respond, too much waits for hashes, or nothing can be changed \
                 now."
            }
        }
    }

    /// An example: code and message.
    const fn example(self) -> [&'static str; 2] {
        match self {
            Invalid => ["invalid", "id must have a length of 16 bytes"],
            Unauthorized => ["unauthorized", "unauthorized access"],
            Forbidden => ["forbidden", "User is inactive"],
            NotFound => ["not found", "authorization not found"],
            TooSlow => ["invalid", "the request body did not arrive within 30 seconds"],
            PreconditionFailed => [
                "precondition failed",
                "the record has another revision than expected: it was changed meanwhile",
            ],
            TooLarge => ["request too large", "the request body is larger than 1048576 bytes"],
            Conflict => ["conflict", "token already exists"],
            TooManyRequests => ["too many requests", "too many failed logins"],
            Internal => ["internal error", "an internal error has occurred"],
            Unavailable => ["unavailable", "the service is unavailable, try again later"],
        }
    }

    fn response(self) -> Response {
        let [code, message] = self.example();
        let response = error(self.description(), Schema::reference("Error"));
        let response = response.example(&[("code", code), ("message", message)]);
        match self {
            TooManyRequests | Unavailable => {
                response.header("Retry-After", Header::always(RETRY_AFTER, seconds()))
            }
            PreconditionFailed => response.header(
                "ETag",
                Header::sometimes("The tag that the record has, if there was `If-Match`.", tag()),
            ),
            _ => response,
        }
    }
}

const RETRY_AFTER: &str = "Seconds after which the same request may succeed.";

/// The value of `Retry-After`.
pub(super) fn seconds() -> Schema {
    Schema::integer().range(1, u32::MAX as usize)
}

/// A `Retry-After` that a client which misreads it does not get.
pub(super) fn retry_after() -> Header {
    Header::sometimes(RETRY_AFTER, seconds())
}

/// The value of `ETag`.
fn tag() -> Schema {
    Schema::string().pattern("^\"[0-9a-f]{32}\"$")
}

impl Response {
    /// Adds the header with the tag of the record in the response.
    pub(super) fn tagged(self) -> Self {
        self.header("ETag", Header::always("The tag of the record: its revision.", tag()))
    }

    /// Adds the header with the tag, which the response lacks if it shows no record.
    pub(super) fn tagged_if_record(self, description: &'static str) -> Self {
        self.header("ETag", Header::sometimes(description, tag()))
    }
}

/// An error with this body.
pub(super) fn error(description: impl Into<String>, body: Schema) -> Response {
    let code = Header::always("The code in the body.", Schema::string());
    Response::json(description, body).header("X-Platform-Error-Code", code)
}

/// Every shared response, by its name.
pub(super) fn all() -> Map<Response> {
    Failure::ALL.into_iter().map(|failure| (failure.name(), failure.response())).collect()
}

impl Operation {
    /// Adds these errors.
    pub(super) fn fails(self, failures: &[Failure]) -> Self {
        failures.iter().fold(self, |operation, failure| {
            operation.responds(failure.status(), Response::reference(failure.name()))
        })
    }
}
