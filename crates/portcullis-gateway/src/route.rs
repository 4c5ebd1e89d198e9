//! The requests that are passed on: their paths, methods and parameters. Everything else is refused.

use http::Method;

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Write,
    WriteV2,
    Query,
    PrometheusRead,
    PrometheusWrite,
    Ping,
    Health,
}

impl Route {
    /// Finds the route of a path, which is compared byte by byte: `//write`, `/write/`, `/%77rite` and
    /// `/x/../write` are none.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/write" => Self::Write,
            "/api/v2/write" => Self::WriteV2,
            "/query" => Self::Query,
            "/api/v1/prom/read" => Self::PrometheusRead,
            "/api/v1/prom/write" => Self::PrometheusWrite,
            "/ping" => Self::Ping,
            "/health" => Self::Health,
            _ => return None,
        })
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Write => "/write",
            Self::WriteV2 => "/api/v2/write",
            Self::Query => "/query",
            Self::PrometheusRead => "/api/v1/prom/read",
            Self::PrometheusWrite => "/api/v1/prom/write",
            Self::Ping => "/ping",
            Self::Health => "/health",
        }
    }

    /// Its methods, as the value of `Allow`.
    pub(crate) const fn methods(self) -> &'static str {
        match self {
            Self::Write | Self::WriteV2 | Self::PrometheusRead | Self::PrometheusWrite => "POST",
            Self::Query => "GET, POST",
            Self::Ping | Self::Health => "GET, HEAD",
        }
    }

    pub(crate) fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Returns whether it needs no credentials.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Ping | Self::Health)
    }

    /// Returns whether a page in a browser may request it, so that it has preflights.
    pub(crate) const fn is_of_browsers(self) -> bool {
        matches!(self, Self::Write | Self::WriteV2 | Self::Query)
    }

    /// The parameters that are passed on. Others are dropped: what they do to the database is not decided.
    pub(crate) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Write => &["db", "rp", "precision", "consistency"],
            // `org` and `orgID` are of the upstream, and set by its configuration.
            Self::WriteV2 => &["bucket", "precision", "db", "rp"],
            Self::Query => {
                &["q", "db", "rp", "params", "epoch", "chunked", "chunk_size", "pretty", "async"]
            }
            Self::PrometheusRead | Self::PrometheusWrite => &["db", "rp"],
            Self::Ping => &["verbose", "wait_for_leader"],
            Self::Health => &[],
        }
    }

    /// The type of the body, whatever the client's is: some databases take parameters from a body that
    /// is a form.
    pub(crate) const fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Write | Self::WriteV2 => Some("text/plain; charset=utf-8"),
            Self::PrometheusRead | Self::PrometheusWrite => Some("application/x-protobuf"),
            Self::Query | Self::Ping | Self::Health => None,
        }
    }

    pub(crate) const ALL: [Self; 7] = [
        Self::Write,
        Self::WriteV2,
        Self::Query,
        Self::PrometheusRead,
        Self::PrometheusWrite,
        Self::Ping,
        Self::Health,
    ];

    /// Its name in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::WriteV2 => "write_v2",
            Self::Query => "query",
            Self::PrometheusRead => "prometheus_read",
            Self::PrometheusWrite => "prometheus_write",
            Self::Ping => "ping",
            Self::Health => "health",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [GATE-1]
    #[test]
    fn only_the_exact_path_is_a_route() {
        for route in Route::ALL {
            assert_eq!(Route::of(route.path()), Some(route));
        }
        for path in [
            "",
            "/",
            "//write",
            "/write/",
            "/%77rite",
            "/x/../write",
            "/./write",
            "/write;x",
            "/WRITE",
            "/api/v2//write",
            "/api/v2%2fwrite",
            "/query%00",
            "/debug/vars",
            "/metrics",
            "/api/v2/query",
            "/api/v2/delete",
            "/api/v2/write/",
            "/api/v1/prom/metrics",
            "*",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    /// [GATE-1] [GATE-2]
    #[test]
    fn a_route_has_its_methods_and_no_others() {
        for (route, allowed) in [
            (Route::Write, "POST"),
            (Route::Query, "GET POST"),
            (Route::PrometheusRead, "POST"),
            (Route::Ping, "GET HEAD"),
        ] {
            for method in
                ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get"]
            {
                let is_allowed = route.allows(&method.parse().unwrap());
                assert_eq!(is_allowed, allowed.split(' ').any(|it| it == method), "{method}");
            }
        }
    }
}
