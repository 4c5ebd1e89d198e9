//! Where a request writes, as forward-auth reads it: databases, retention policies and buckets, one org
//! or several, and requests that browsers and proxies put in their own form.

use axum::Router;
use axum::body::Body;
use http::Request;
use portcullis::{Bucket, NewAuthorization, NewDbrp, Permission, Resource, ResourceType, Username};
use portcullis_http::{ForwardAuthConfig, InfluxdbVersion, ServerApi, UpstreamSemantics};

use crate::support::{Response, Server, forward_auth, name, send};

const URI: &str = "X-Original-URI";

/// The buckets `telemetry`, `telemetry/private` and `events`, and a credential for each with its name.
async fn server() -> Server {
    let server = Server::new().await;
    for bucket in ["telemetry/private", "events"] {
        server.engine.create_bucket(server.org.id, name(bucket)).await.unwrap();
    }
    for bucket in ["telemetry", "telemetry/private", "events"] {
        let found = server.engine.bucket_id(server.org.id, bucket).await.unwrap().unwrap();
        writer(&server, bucket, Resource::bucket(server.org.id, found)).await;
    }
    server
}

/// A credential with this name that may write there.
async fn writer(server: &Server, username: &str, resource: Resource) {
    server.credential_with(username, [Permission::write(resource)]).await;
}

fn app(server: &Server, config: ForwardAuthConfig) -> Router {
    ServerApi::new(server.engine.clone()).forward_auth(config).into_router()
}

async fn writes(app: &Router, username: &str, target: &str) -> Response {
    let token = format!("Token {username}:{username}-password");
    forward_auth(app, "", &[(URI, target), ("Authorization", &token)]).await
}

/// [FWD-11]
#[tokio::test]
async fn a_retention_policy_is_the_bucket_of_that_name_or_what_the_database_makes_of_it() {
    let server = server().await;
    let v1 = app(&server, ForwardAuthConfig::new());
    let v2 = app(&server, ForwardAuthConfig::new().upstream(UpstreamSemantics::V2));
    let (telemetry, private) = ("telemetry", "telemetry/private");
    let by_id = "0000000000000abc";
    let named = server.engine.create_bucket(server.org.id, name(by_id)).await.unwrap();
    writer(&server, by_id, Resource::bucket(server.org.id, named.id)).await;
    for (username, target, by_v1, by_v2) in [
        (telemetry, "/write?db=telemetry", 204, 204),
        (telemetry, "/write?db=telemetry&rp=", 204, 204),
        // InfluxDB 2.x takes it for the bucket `telemetry`.
        (telemetry, "/write?db=telemetry&rp=autogen", 204, 204),
        (telemetry, "/write?db=telemetry&rp=other", 204, 403),
        // There is a bucket of this name, and it is another.
        (telemetry, "/write?db=telemetry&rp=private", 403, 403),
        (private, "/write?db=telemetry&rp=private", 204, 204),
        (private, "/write?rp=%70rivate&db=telemetry", 204, 204),
        (private, "/write?db=telemetry", 403, 403),
        (private, "/write?db=telemetry&rp=autogen", 403, 403),
        // Only when it can be read in one way.
        (private, "/write?db=telemetry&rp=private&rp=private", 403, 403),
        (telemetry, "/write?db=telemetry&rp=&rp=private", 403, 403),
        (telemetry, "/write?db=telemetry&rp=%zz", 403, 403),
        (telemetry, "/write?db=telemetry&rp=%ff", 403, 403),
        (telemetry, "/write?db=telemetry&%72p=private", 403, 403),
        (telemetry, "/write?db=telemetry&RP=private", 204, 204),
        // The API of InfluxDB 2.x, as 1.8 has it.
        (telemetry, "/api/v2/write?bucket=telemetry&org=-&precision=ns", 204, 204),
        (telemetry, "/api/v2/write?org=acme&bucket=telemetry", 204, 204),
        (telemetry, "/api/v2/write?bucket=telemetry/autogen", 204, 403),
        // InfluxDB 2.x takes it for an id.
        (by_id, &*format!("/api/v2/write?bucket={by_id}"), 204, 403),
        (telemetry, "/write?db=telemetry&extra_label=db=events", 403, 403),
        (telemetry, "/write?db=telemetry&extra_filters%5B%5D=x", 403, 403),
        (telemetry, "/api/v2/write?bucket=telemetry%2Fprivate", 403, 403),
        (private, "/api/v2/write?bucket=telemetry/private", 204, 204),
        (telemetry, "/api/v2/write?bucket=events", 403, 403),
        (telemetry, "/api/v2/write?bucket=", 403, 403),
        (telemetry, "/api/v2/write", 403, 403),
        (telemetry, "/api/v2/write?db=telemetry", 403, 403),
        (telemetry, "/api/v2/write?bucket=telemetry&bucket=events", 403, 403),
        (telemetry, "/api/v2/write?bucket=telemetry&%62ucket=events", 403, 403),
        (telemetry, "/api/v2/write?bucket=events&db=telemetry", 403, 403),
        // Only these very paths.
        (telemetry, "/api/v2/write/?bucket=telemetry", 403, 403),
        (telemetry, "/api/v2//write?bucket=telemetry", 403, 403),
        (telemetry, "/api/v2/Write?bucket=telemetry", 403, 403),
        (telemetry, "/api/v2/query?bucket=telemetry", 403, 403),
        (telemetry, "/api/v2/%77rite?bucket=telemetry", 403, 403),
        (telemetry, "/x/../api/v2/write?bucket=telemetry", 403, 403),
    ] {
        for (app, expected, by) in [(&v1, by_v1, "v1"), (&v2, by_v2, "v2")] {
            let response = writes(app, username, target).await;
            assert_eq!(response.status, expected, "{username} {target} {by}");
        }
    }
}

/// [FWD-11]
///
/// [FWD-12] [FWD-16] [FWD-17]
#[tokio::test]
async fn a_mapping_leads_to_its_bucket_whatever_the_names_of_buckets_are() {
    let server = server().await;
    let v1 = app(&server, ForwardAuthConfig::new());
    let v2 = app(&server, ForwardAuthConfig::new().upstream(UpstreamSemantics::V2));
    let id = async |bucket| server.engine.bucket_id(server.org.id, bucket).await.unwrap().unwrap();
    let map = async |database: &str, policy: &str, bucket| {
        let new = NewDbrp {
            org: server.org.id,
            database: database.to_owned(),
            retention_policy: policy.to_owned(),
            is_default: false,
            bucket: id(bucket).await,
        };
        server.engine.create_dbrp(new).await.unwrap().id
    };
    let default = map("telemetry", "year", "events").await;
    map("telemetry", "private", "telemetry").await;
    map("metrics", "raw", "telemetry/private").await;
    let (telemetry, private, events) = ("telemetry", "telemetry/private", "events");
    for (username, target, by_v1, by_v2) in [
        // The default mapping comes before the bucket with the name of the database.
        (events, "/write?db=telemetry", 204, 204),
        (telemetry, "/write?db=telemetry", 403, 403),
        (events, "/write?db=telemetry&rp=year", 204, 204),
        (events, "/write?db=telemetry&rp=other", 204, 403),
        (telemetry, "/write?db=telemetry&rp=other", 403, 403),
        // The mapping comes before the bucket with the name of both.
        (telemetry, "/write?db=telemetry&rp=private", 204, 204),
        (private, "/write?db=telemetry&rp=private", 403, 403),
        // No bucket has the name.
        (private, "/write?db=metrics", 204, 204),
        (private, "/write?db=metrics&rp=raw", 204, 204),
        (private, "/write?db=Metrics", 403, 403),
        (telemetry, "/write?db=metrics", 403, 403),
        (private, "/api/v1/prom/write?db=metrics", 204, 204),
        // InfluxDB 2.x takes the name of a bucket, 1.8 that of a database.
        (events, "/api/v2/write?bucket=telemetry", 204, 403),
        (telemetry, "/api/v2/write?bucket=telemetry", 403, 204),
        (private, "/api/v2/write?bucket=telemetry/private", 403, 204),
        (private, "/api/v2/write?bucket=metrics/raw", 204, 403),
    ] {
        for (app, expected, by) in [(&v1, by_v1, "v1"), (&v2, by_v2, "v2")] {
            let answer = writes(app, username, target).await;
            assert_eq!(answer.status, expected, "{username} {target} {by}");
        }
    }
    server.engine.delete_dbrp(server.org.id, default).await.unwrap();
    for app in [&v1, &v2] {
        // The other mapping of the database is the default now.
        assert_eq!(writes(app, telemetry, "/write?db=telemetry").await.status, 204);
        assert_eq!(writes(app, events, "/write?db=telemetry").await.status, 403);
    }
}

/// Of `telemetry` and `telemetry/autogen`, InfluxDB 2.x writes to the first.
#[tokio::test]
async fn the_default_retention_policy_is_the_bucket_that_the_database_writes_to() {
    let server = server().await;
    let autogen =
        server.engine.create_bucket(server.org.id, name("telemetry/autogen")).await.unwrap();
    writer(&server, "autogen", Resource::bucket(server.org.id, autogen.id)).await;
    let v1 = app(&server, ForwardAuthConfig::new());
    let v2 = app(&server, ForwardAuthConfig::new().upstream(UpstreamSemantics::V2));
    let target = "/write?db=telemetry&rp=autogen";
    for (app, by_telemetry, by_autogen) in [(&v1, 403, 204), (&v2, 204, 403)] {
        assert_eq!(writes(app, "telemetry", target).await.status, by_telemetry);
        assert_eq!(writes(app, "autogen", target).await.status, by_autogen);
    }
}

#[tokio::test]
async fn a_target_that_two_databases_could_read_differently_is_refused() {
    let server = server().await;
    server.engine.create_bucket(server.org.id, name("telemetry/private/x")).await.unwrap();
    server.engine.create_bucket(server.org.id, name("telemetry/")).await.unwrap();
    // Write on every bucket, so that a 403 is about how the request can be read.
    writer(&server, "root", Resource::all(ResourceType::Buckets)).await;
    let v1 = app(&server, ForwardAuthConfig::new());
    let v2 = app(&server, ForwardAuthConfig::new().upstream(UpstreamSemantics::V2));
    for (target, status) in [
        // VictoriaMetrics looks for `db` at this path as well, InfluxDB for `bucket`.
        ("/api/v2/write?bucket=telemetry&db=events", 403),
        ("/api/v2/write?%64b=events&bucket=telemetry", 403),
        ("/api/v2/write?bucket=telemetry&db=telemetry", 403),
        ("/api/v2/write?bucket=telemetry&rp=private", 403),
        ("/api/v2/write?bucket=telemetry&r%70=private", 403),
        ("/write?db=telemetry&bucket=events", 403),
        ("/write?bucket=telemetry&db=events", 403),
        ("/write?db=telemetry&b%75cket=events", 403),
        ("/write?db=telemetry&rp=private&bucket=telemetry/private", 403),
        // An empty parameter and one with another name have no effect.
        ("/api/v2/write?bucket=telemetry&db=&rp=", 204),
        ("/write?db=telemetry&bucket=", 204),
        ("/write?db=telemetry&Bucket=events&DB=events&rP=x&org=other", 204),
        // To InfluxDB 1.8 `DB/` is `DB`, to 2.x it is a name of its own.
        ("/api/v2/write?bucket=telemetry/", 403),
        ("/api/v2/write?bucket=telemetry%2F", 403),
        ("/api/v2/write?bucket=/telemetry", 403),
        ("/api/v2/write?bucket=/", 403),
        // Which part is the database?
        ("/api/v2/write?bucket=telemetry/private/x", 204),
        ("/write?db=telemetry&rp=private/x", 204),
        ("/write?db=telemetry/private&rp=x", 403),
        ("/write?db=telemetry%2Fprivate&rp=x", 403),
        ("/write?db=telemetry/private", 204),
        // Not to be read, or twice, in whatever way it is written.
        ("/api/v2/write?bucket=telemetry&bucket", 403),
        ("/api/v2/write?bucket=telemetry&buck%65t=telemetry", 403),
        ("/api/v2/write?bucket=%zz&bucket=telemetry", 403),
        ("/api/v2/write?bucket=telemetry%f", 403),
        ("/api/v2/write?bucket=%ff", 403),
        ("/api/v2/write?bucket=telemetry&db=%zz", 403),
        ("/write?db=telemetry&bucket=%zz", 403),
        ("/write?db=telemetry&rp&rp", 403),
    ] {
        for (app, semantics) in [(&v1, "v1"), (&v2, "v2")] {
            let response = writes(app, "root", target).await;
            assert_eq!(response.status, status, "{target} {semantics}");
        }
    }
}

/// [FWD-8]
#[tokio::test]
async fn credentials_that_two_parsers_could_read_differently_are_refused_at_every_path() {
    let server = server().await;
    let known = "u=telemetry&p=telemetry-password";
    let wrong = "u=telemetry&p=wrong";
    let token = "Token telemetry:telemetry-password";
    let bearer = "BEARER telemetry:telemetry-password";
    for path in ["/write?db=telemetry", "/api/v2/write?bucket=telemetry"] {
        for (query, authorizations, status) in [
            (known, vec![], 204),
            ("", vec![token], 204),
            ("", vec![bearer], 204),
            (known, vec!["Bearer x"], 204),
            (wrong, vec![bearer], 401),
            ("u=telemetry", vec![bearer], 204),
            ("", vec![token, bearer], 401),
            ("", vec![token, token], 401),
            (known, vec![token, token], 401),
            ("u=telemetry&p=wrong&p=telemetry-password", vec![], 401),
            ("%75=telemetry&p=telemetry-password&u=telemetry", vec![bearer], 401),
            ("u=telemetry&p=%zz", vec![bearer], 401),
            ("", vec!["Bearer telemetry:telemetry-password, Token x"], 401),
            ("", vec!["Bearer  telemetry:telemetry-password"], 401),
            ("", vec!["Bearertelemetry:telemetry-password"], 401),
            ("", vec!["Bearer"], 401),
            ("token=telemetry:telemetry-password", vec![], 401),
        ] {
            let target = format!("{path}&{query}");
            let mut request = Request::get("/forward-auth").header(URI, &target);
            for authorization in &authorizations {
                request = request.header("Authorization", *authorization);
            }
            let response = send(&server.app, request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status, status, "{target} {authorizations:?}");
        }
    }
}

/// [FWD-5]
#[tokio::test]
async fn a_proxy_for_one_org_admits_no_credential_of_another() {
    let server = server().await;
    let other = server.engine.create_org(name("other")).await.unwrap();
    let bucket: Bucket = server.engine.create_bucket(other.id, name("telemetry")).await.unwrap();
    let grant = [Permission::write(Resource::bucket(other.id, bucket.id))];
    let new = NewAuthorization::new(Username::new("of-other").unwrap(), other.id, grant);
    let id = server.engine.create_authorization(new.for_user(server.user.id)).await.unwrap().id;
    server.engine.set_password(id, "of-other-password").await.unwrap();
    let any = app(&server, ForwardAuthConfig::new());
    let bound = app(&server, ForwardAuthConfig::new().org(server.org.id));
    for (app, username, status) in [
        (&any, "of-other", 204),
        (&any, "telemetry", 204),
        (&bound, "of-other", 403),
        (&bound, "telemetry", 204),
    ] {
        let response = writes(app, username, "/write?db=telemetry").await;
        assert_eq!(response.status, status, "{username}");
    }
    // With any question of the proxy.
    for query in ["?check=none", "?permission=write:buckets"] {
        let request = Request::get(format!("/forward-auth{query}"));
        let request = request.header("Authorization", "Token of-other:of-other-password");
        let response = send(&bound, request.body(Body::empty()).unwrap()).await;
        response.assert_error(403, "forbidden", "insufficient permissions");
    }
}

/// [FWD-8]
#[tokio::test]
async fn a_request_with_the_host_before_its_path_is_read_like_one_without() {
    let server = server().await;
    for (target, status) in [
        ("http://db.example:8086/write?db=telemetry", 204),
        ("HTTPS://[::1]/write?db=telemetry", 204),
        ("http://db/write?db=events", 403),
        ("http://db/query?db=telemetry", 403),
        ("http://db/write?db=telemetry&u=telemetry&p=wrong", 401),
        ("http://u@db/write?db=telemetry", 401),
        ("http://db%2Fx/write?db=telemetry", 401),
        ("http://[::1/write?db=telemetry", 401),
        ("http://db:99999/write?db=telemetry", 401),
        ("//db/write?db=telemetry", 403),
    ] {
        assert_eq!(writes(&server.app, "telemetry", target).await.status, status, "{target}");
    }
}

/// [FWD-4] [HTTP-2]
#[tokio::test]
async fn a_preflight_is_allowed_only_if_configured_and_admits_nothing_else() {
    let server = server().await;
    let off = app(&server, ForwardAuthConfig::new());
    let on = app(&server, ForwardAuthConfig::new().preflight(true));
    let preflight = [
        ("X-Original-Method", "OPTIONS"),
        ("Origin", "https://grafana.example"),
        ("Access-Control-Request-Method", "POST"),
        (URI, "/write?db=telemetry"),
    ];
    let request = async |app: &Router, headers: &[(&str, &str)]| {
        // The proxy's own request has another method.
        let mut request = Request::options("/forward-auth");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(app, request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(request(&off, &preflight).await.status, 401);
    let response = request(&on, &preflight).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("x-portcullis-user"), Some(""));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    for uri in ["/query?db=telemetry&q=DROP", "/api/v2/write?bucket=telemetry"] {
        let mut headers = preflight.to_vec();
        headers[3] = (URI, uri);
        assert_eq!(request(&on, &headers).await.status, 204, "{uri}");
    }
    for uri in ["/api/v2/query", "/", "/write/"] {
        let mut headers = preflight.to_vec();
        headers[3] = (URI, uri);
        assert_eq!(request(&on, &headers).await.status, 401, "{uri}");
    }
    for left_out in 0..3 {
        let mut headers = preflight.to_vec();
        headers.remove(left_out);
        assert_eq!(request(&on, &headers).await.status, 401, "{headers:?}");
    }
    for (name, value) in [
        ("X-Original-Method", "POST"),
        ("X-Original-Method", "OPTIONS"),
        ("Authorization", "Basic eDp5"),
    ] {
        let mut headers = preflight.to_vec();
        headers.push((name, value));
        assert_eq!(request(&on, &headers).await.status, 401, "{headers:?}");
    }
    let mut headers = preflight.to_vec();
    headers[0] = ("X-Original-Method", "POST");
    assert_eq!(request(&on, &headers).await.status, 401);
    headers[0] = ("X-Forwarded-Method", "OPTIONS");
    assert_eq!(request(&on, &headers).await.status, 401);
}

/// [LOGIN-11] [FWD-3]
#[tokio::test]
async fn v1_clients_find_the_reason_as_error_and_a_version_where_one_is_set() {
    let server = server().await;
    let version = InfluxdbVersion::new("1.8.10").unwrap().with_build("OSS").unwrap();
    let shown = app(&server, ForwardAuthConfig::new().influxdb_version(version));
    for (username, db, status, reason) in [
        ("telemetry", "events", 403, "insufficient permissions"),
        ("unknown", "events", 401, "Unauthorized"),
    ] {
        for (app, version, build) in
            [(&server.app, None, None), (&shown, Some("1.8.10"), Some("OSS"))]
        {
            let response = writes(app, username, &format!("/write?db={db}")).await;
            assert_eq!(response.status, status);
            let json = response.json();
            let members = (&json["error"], &json["message"]);
            assert_eq!(members, (&reason.into(), &reason.into()));
            assert_eq!(response.header("x-influxdb-version"), version);
            assert_eq!(response.header("x-influxdb-build"), build);
            assert_eq!(response.header("cache-control"), Some("no-store"));
        }
    }
    let ping = |app: &Router| {
        let app = app.clone();
        async move { send(&app, Request::get("/ping").body(Body::empty()).unwrap()).await }
    };
    assert_eq!(ping(&server.app).await.header("x-influxdb-version"), None);
    let response = ping(&shown).await;
    assert_eq!(
        (response.status.as_u16(), response.header("x-influxdb-version")),
        (204, Some("1.8.10"))
    );
}
