//! What reaches the upstream, and for which credentials.

use portcullis_gateway::Upstream;
use portcullis_http::UpstreamSemantics;

use crate::support::{PASSWORD, World};

/// Whether each of the users' requests reaches the upstream: `+` or `-`.
async fn row(world: &World, method: &str, target: &str, form: Option<&str>) -> String {
    let mut row = String::new();
    for user in ["reader", "writer", "both", "other", "none", "all"] {
        world.script.take();
        let answer = match form {
            Some(form) => world.query(user, form).await,
            None => world.call(user, method, target, "", "").await,
        };
        let reached = !world.script.take().is_empty();
        assert_eq!(answer.status, if reached { 204 } else { 403 }, "{user} {target} {answer:?}");
        if !reached {
            let why = answer.error(403);
            assert!(why.starts_with("not authorized to "), "{why}");
        }
        row.push(if reached { '+' } else { '-' });
    }
    row
}

#[tokio::test]
async fn each_credential_reads_and_writes_what_it_may() {
    let world = World::new().await;
    for (method, target, expected) in [
        ("POST", "/write?db=telemetry", "-++--+"),
        ("POST", "/write?db=telemetry&rp=weekly", "-++--+"),
        ("POST", "/write?db=nowhere", "------"),
        ("POST", "/api/v2/write?bucket=telemetry/weekly&org=any", "-++--+"),
        ("POST", "/api/v1/prom/write?db=telemetry", "-++--+"),
        ("POST", "/api/v1/prom/read?db=telemetry", "+-+--+"),
        ("GET", "/query?db=telemetry&q=SELECT+*+FROM+cpu", "+-+--+"),
        ("GET", "/query?q=SELECT+*+FROM+telemetry..cpu", "+-+--+"),
        ("GET", "/query?db=telemetry&q=SELECT+*+INTO+x+FROM+cpu", "--+--+"),
        ("GET", "/query?db=telemetry&q=SHOW+MEASUREMENTS", "+-+--+"),
        ("GET", "/query?db=telemetry&q=SHOW+MEASUREMENTS+ON+events", "---+-+"),
        ("GET", "/query?db=telemetry&q=DROP+MEASUREMENT+cpu", "-----+"),
        ("GET", "/query?q=DROP+DATABASE+telemetry", "-----+"),
        ("GET", "/query?q=SHOW+USERS", "------"),
        ("GET", "/query?q=GRANT+ALL+TO+reader", "------"),
        ("GET", "/query?db=telemetry&q=SELECT+*+FROM+cpu%3BSELECT+*+FROM+events..cpu", "-----+"),
    ] {
        assert_eq!(row(&world, method, target, None).await, expected, "{method} {target}");
    }
    assert_eq!(row(&world, "POST", "", Some("db=telemetry&q=SELECT+*+FROM+cpu")).await, "+-+--+");
    assert_eq!(row(&world, "POST", "", Some("q=DROP+DATABASE+events")).await, "-----+");
}

/// [GATE-2]
#[tokio::test]
async fn whatever_is_no_route_is_refused_and_reaches_nothing() {
    let world = World::new().await;
    for target in [
        "/",
        "//write?db=telemetry",
        "/write/?db=telemetry",
        "/%77rite?db=telemetry",
        "/x/../write?db=telemetry",
        "/./write?db=telemetry",
        "/write%2f?db=telemetry",
        "/write%00?db=telemetry",
        "/debug/vars",
        "/debug/requests",
        "/metrics",
        "/api/v2/query",
        "/api/v2/delete?bucket=telemetry",
        "/api/v1/prom/metrics",
        "/status",
        "/admin",
    ] {
        for method in ["GET", "POST"] {
            let answer = world.call("all", method, target, "", "").await;
            assert_eq!(answer.error(404), "path not found", "{target}");
        }
    }
    for (method, target, allow) in [
        ("GET", "/write?db=telemetry", "POST"),
        ("PUT", "/query?db=telemetry&q=SHOW+DATABASES", "GET, POST"),
        ("DELETE", "/query?q=x", "GET, POST"),
        ("TRACE", "/write?db=telemetry", "POST"),
        ("OPTIONS", "/write", "POST"),
        ("HEAD", "/query?db=telemetry&q=SHOW+SERIES", "GET, POST"),
    ] {
        let answer = world.call("all", method, target, "", "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{method} {target}"
        );
    }
    // Another method by a header is none.
    let header = "X-HTTP-Method-Override: POST\r\n";
    assert_eq!(world.call("all", "GET", "/write?db=telemetry", header, "").await.status, 405);
    let answer = world.send("CONNECT db:8086 HTTP/1.1\r\nHost: db:8086\r\n\r\n").await;
    assert_eq!(answer.status, 404);
    assert!(world.script.take().is_empty());
}

/// [GATE-15]
#[tokio::test]
async fn without_right_credentials_nothing_reaches_the_upstream() {
    let world = World::new().await;
    for (target, header) in [
        ("/write?db=telemetry", String::new()),
        ("/write?db=telemetry&u=writer&p=wrong", String::new()),
        ("/write?db=telemetry", "Authorization: Token writer:wrong\r\n".to_owned()),
        ("/write?db=telemetry&u=writer", String::new()),
    ] {
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 0\r\n\r\n");
        let answer = world.send(&request).await;
        answer.error(401);
        assert!(answer.header("www-authenticate").is_some());
    }
    let two = format!("Authorization: Token none:{PASSWORD}\r\n");
    let answer = world.call("writer", "POST", "/write?db=telemetry", &two, "").await;
    assert_eq!(answer.error(400), "there are several lines of `Authorization`");
    // The form is not where credentials are.
    let form = format!("u=writer&p={PASSWORD}&q=SHOW+DATABASES");
    let answer = world
        .send(&format!(
            "POST /query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ))
        .await;
    assert_eq!(answer.status, 401);
    assert!(world.script.take().is_empty());
}

/// [GATE-5]
#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let world = World::new().await;
    for (target, why) in [
        ("/write?db=telemetry&db=telemetry", "`db` is given twice"),
        ("/write?db=telemetry&%64b=hidden", "`db` is given twice"),
        ("/write?db=telemetry&rp=a&rp=b", "`rp` is given twice"),
        ("/write?db=telemetry&precision=s&precision=ms", "`precision` is given twice"),
        ("/write?db=telemetry;db=hidden", "a parameter holds a `;`, which must be encoded as %3B"),
        ("/write?db=telemetry%", "a parameter is not encoded for a URL, or is not UTF-8"),
        ("/write?db=telemetry&bucket=x", ""),
        ("/write?db=a/b&rp=c", "there is a `/` in `db` together with an `rp`"),
        ("/write", "there is no `db`"),
        (
            "/api/v2/write?bucket=telemetry&db=telemetry",
            "there is a `db` or `rp`, which /api/v2/write does not have",
        ),
        ("/api/v2/write?bucket=telemetry/", "a `/` in `bucket` has nothing before or after it"),
        (
            "/write?db=telemetry&extra_label=db=hidden",
            "`extra_label` and `extra_filters` are not for clients to set",
        ),
        ("/query?db=telemetry", "there is no `q`"),
        (
            "/query?db=telemetry&q=SELEC",
            "error parsing query: found SELEC, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, KILL at line 1, char 1",
        ),
    ] {
        let answer = world.post("all", target, "").await;
        // `bucket` is no parameter of /write, so that it is dropped.
        match why {
            "" => assert_eq!(world.script.take_one().target, "/write?db=telemetry"),
            why => assert_eq!(answer.error(400), why, "{target}"),
        }
    }
    assert!(world.script.take().is_empty());
}

/// [GATE-16]
#[tokio::test]
async fn show_databases_shows_what_the_credential_may_read_or_write() {
    let world = World::new().await;
    for (user, names) in [
        ("reader", r#","values":[["telemetry"]]"#),
        ("writer", r#","values":[["telemetry"]]"#),
        ("other", r#","values":[["events"]]"#),
        ("none", ""),
        ("all", r#","values":[["events"],["hidden"],["telemetry"]]"#),
    ] {
        let answer = world.query(user, "q=show%20databases").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.text(),
            format!(
                "{{\"results\":[{{\"statement_id\":0,\"series\":[{{\"name\":\"databases\",\
                 \"columns\":[\"name\"]{names}}}]}}]}}\n"
            )
        );
    }
    let csv = "Accept: application/csv\r\n";
    let answer = world.call("reader", "GET", "/query?q=SHOW+DATABASES", csv, "").await;
    assert_eq!(answer.text(), "name,tags,name\ndatabases,,telemetry\n");
    assert!(world.script.take().is_empty());

    // Beside other statements the upstream would show all of them.
    for (count, status) in [(100, 200), (101, 400)] {
        let many = format!("/query?q={}", "SHOW+DATABASES%3B".repeat(count));
        assert_eq!(world.call("reader", "GET", &many, "", "").await.status, status, "{count}");
    }
    let mixed = "db=telemetry&q=SHOW+DATABASES%3BSHOW+MEASUREMENTS";
    let why = world.query("reader", mixed).await.error(403);
    assert!(why.contains("SHOW DATABASES") && why.contains("of its own"), "{why}");
    assert!(world.script.take().is_empty());
    assert_eq!(world.query("all", mixed).await.status, 204);
    assert_eq!(world.script.take_one().text(), "db=telemetry&q=SHOW+DATABASES%3BSHOW+MEASUREMENTS");
}

#[tokio::test]
async fn a_bucket_of_a_retention_policy_shows_its_database() {
    let world = World::new().await;
    let name = portcullis::Name::new("fleet/weekly").unwrap();
    let bucket = world.engine.create_bucket(world.org.id, name).await.unwrap();
    let resource = portcullis::Resource::bucket(world.org.id, bucket.id);
    world.authorize("weekly", vec![portcullis::Permission::read(resource)]).await;
    assert!(world.query("weekly", "q=SHOW+DATABASES").await.text().contains(r#"[["fleet"]]"#));
    let target = "/query?db=fleet&q=SELECT+*+FROM+weekly.cpu";
    assert_eq!(world.get("weekly", target).await.status, 204);
    assert_eq!(world.get("weekly", "/query?db=fleet&q=SELECT+*+FROM+cpu").await.status, 403);
}

/// [GATE-18]
#[tokio::test]
async fn a_denied_query_is_audited_without_literals() {
    let world = World::new().await;
    world.query("reader", "q=CREATE+USER+eve+WITH+PASSWORD+'s3cret'+WITH+ALL+PRIVILEGES").await;
    world.query("reader", "db=telemetry&q=SELECT+*+FROM+cpu").await;
    let events = world.events.of_queries();
    let [event] = &events[..] else { panic!("{events:?}") };
    for part in [
        "\"name\":\"reader\"",
        "\"outcome\":\"refused\"",
        "\"source\":\"127.0.0.1\"",
        "not authorized to execute statement 1, CREATE USER",
        "CREATE USER eve WITH PASSWORD ? WITH ALL PRIVILEGES",
    ] {
        assert!(event.contains(part), "{event}");
    }
    assert!(!event.contains("s3cret"), "{event}");

    let world = World::with(|gateway| gateway.show_literals(true), |upstream| upstream).await;
    world.query("reader", "q=SELECT+v+FROM+events..cpu+WHERE+host='a1'").await;
    let events = world.events.of_queries();
    assert!(events.len() == 1 && events[0].contains("host=\\\\'a1\\\\'"), "{events:?}");
    let mixed = "db=events&q=SHOW+DATABASES%3BSELECT+*+FROM+cpu";
    assert_eq!(world.query("other", mixed).await.status, 403);
    let events = world.events.of_queries();
    assert!(events.len() == 2 && events[1].contains("SHOW DATABASES beside"), "{events:?}");
}

/// [GATE-8]
#[tokio::test]
async fn a_gateway_of_one_org_admits_no_credentials_of_another() {
    let world =
        World::with(|gateway| gateway.org(portcullis::OrgId::from_u64(77)), |upstream| upstream)
            .await;
    let why = world.post("all", "/write?db=telemetry", "cpu v=1\n").await.error(403);
    assert!(why.contains("another org"), "{why}");
    let why = world.query("all", "q=SHOW+DATABASES").await.error(403);
    assert!(why.contains("another org"), "{why}");
    assert!(world.script.take().is_empty());
}

/// [GATE-6]
#[tokio::test]
async fn before_influxdb_2_the_org_is_that_of_the_configuration() {
    let with_org = |upstream: Upstream| upstream.org("ours".to_owned());
    let world = World::with(|gateway| gateway.semantics(UpstreamSemantics::V2), with_org).await;
    let target = "/api/v2/write?bucket=telemetry&org=theirs&orgID=0000000000000001&precision=ns";
    assert_eq!(world.post("writer", target, "cpu v=1\n").await.status, 204);
    let received = world.script.take_one();
    assert_eq!(received.target, "/api/v2/write?bucket=telemetry&precision=ns&org=ours");
    // A retention policy is a bucket of its own there.
    let why = world.post("writer", "/write?db=telemetry&rp=weekly", "").await.error(403);
    assert_eq!(why, "not authorized to write to \"telemetry\".\"weekly\"");
    let id = "/api/v2/write?bucket=0000000000000001";
    assert!(world.post("all", id, "").await.error(403).contains("as an id"));
}
