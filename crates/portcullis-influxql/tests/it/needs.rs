//! What statements need, as a table. That it is never less than what InfluxDB demands is shown beside a
//! real one by `tests/influxql/differential.py`.

use portcullis_influxql::{Parameters, Statement, StatementKind, parse};

const HERE: &str = "read of the database of the request";
const WRITE_HERE: &str = "write to the database of the request";

fn parsed<'a>(text: &'a str, parameters: &'a Parameters) -> Vec<Statement<'a>> {
    parse(text, parameters).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The needs of the one statement in the text.
#[track_caller]
fn needs(text: &str) -> Vec<String> {
    let statements = parsed(text, Parameters::NONE);
    let [statement] = &statements[..] else { panic!("{text:?} is not one statement") };
    statement.needs.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn error(text: &str) -> String {
    match parse(text, Parameters::NONE) {
        Ok(statements) => panic!("{text:?} is {statements:?}"),
        Err(error) => error.to_string(),
    }
}

/// [QUERY-2] [QUERY-3]
#[test]
fn a_select_reads_each_source_and_writes_its_target() {
    for (text, expected) in [
        ("SELECT * FROM cpu", &[HERE][..]),
        ("select v from cpu", &[HERE]),
        ("SELECT v FROM cpu, mem", &[HERE]),
        ("SELECT v FROM telemetry..cpu", &["read of \"telemetry\""]),
        ("SELECT v FROM \"a.b\".\"weekly\".cpu", &["read of \"a.b\".\"weekly\""]),
        ("SELECT v FROM weekly.cpu", &["read of the database of the request.\"weekly\""]),
        ("SELECT v FROM telemetry.weekly./c.*/", &["read of \"telemetry\".\"weekly\""]),
        ("SELECT v FROM /c.*/", &[HERE]),
        ("SELECT v FROM weekly./c.*/", &["read of the database of the request.\"weekly\""]),
        ("SELECT v FROM cpu, events..cpu", &[HERE, "read of \"events\""]),
        ("SELECT v FROM \"\"..cpu", &[HERE]),
        // The letters before the quotation mark are forgotten.
        ("SELECT v FROM telemetry\"events\"..cpu", &["read of \"events\""]),
        ("SELECT v FROM events. -- c\n autogen.cpu", &["read of \"events\".\"autogen\""]),
        (
            "SELECT max(m) FROM (SELECT mean(v) AS m FROM cpu), (SELECT v FROM events..cpu)",
            &[HERE, "read of \"events\""],
        ),
        ("SELECT v INTO x FROM cpu", &[WRITE_HERE, HERE]),
        ("SELECT v INTO events..x FROM cpu", &["write to \"events\"", HERE]),
        (
            "SELECT v INTO events.autogen.:MEASUREMENT FROM telemetry.autogen./.*/ GROUP BY *",
            &["write to \"events\".\"autogen\"", "read of \"telemetry\".\"autogen\""],
        ),
        ("SELECT v FROM (SELECT v INTO events..x FROM cpu)", &["write to \"events\"", HERE]),
        ("EXPLAIN SELECT v FROM events..cpu", &["read of \"events\""]),
        ("EXPLAIN ANALYZE SELECT v INTO x FROM cpu", &[WRITE_HERE, HERE]),
        ("SELECT v FROM cpu WHERE host = '; DROP DATABASE events'", &[HERE]),
        ("SELECT v FROM cpu WHERE host =~ /a\\/ FROM events../", &[HERE]),
    ] {
        assert_eq!(needs(text), expected, "{text}");
    }
}

#[test]
fn what_is_shown_needs_read_of_each_database_that_it_is_of() {
    for (text, expected) in [
        ("SHOW MEASUREMENTS", &[HERE][..]),
        ("SHOW MEASUREMENTS ON events", &["read of \"events\""]),
        ("SHOW MEASUREMENTS ON *.*", &["read of every database"]),
        ("SHOW MEASUREMENTS WITH MEASUREMENT =~ /c.*/", &[HERE]),
        ("SHOW MEASUREMENTS WITH MEASUREMENT = events..cpu", &[HERE, "read of \"events\""]),
        ("SHOW SERIES FROM events..cpu", &[HERE, "read of \"events\""]),
        ("SHOW SERIES ON events FROM cpu", &["read of \"events\""]),
        (
            "SHOW TAG KEYS ON telemetry FROM events..cpu",
            &["read of \"telemetry\"", "read of \"events\""],
        ),
        ("SHOW TAG VALUES ON events WITH KEY IN (host, region)", &["read of \"events\""]),
        ("SHOW FIELD KEYS ON events", &["read of \"events\""]),
        ("SHOW RETENTION POLICIES ON events", &["read of \"events\""]),
        ("SHOW SERIES EXACT CARDINALITY", &[HERE]),
        // The database in which is counted, and the one whose rights InfluxDB looks at.
        (
            "SHOW SERIES CARDINALITY ON events FROM cpu",
            &["read of \"events\"", HERE, "read of \"events\""],
        ),
        ("SHOW TAG KEY CARDINALITY ON events", &["read of \"events\""]),
        ("SHOW TAG VALUES EXACT CARDINALITY ON events WITH KEY = host", &["read of \"events\""]),
        ("SHOW FIELD KEY EXACT CARDINALITY", &[HERE]),
        ("SHOW MEASUREMENT CARDINALITY FROM events..cpu", &[HERE, "read of \"events\""]),
        ("SHOW DATABASES", &["the names of databases"]),
    ] {
        assert_eq!(needs(text), expected, "{text}");
    }
}

#[test]
fn changes_of_data_need_write_of_one_database() {
    for (text, expected) in [
        ("DELETE FROM cpu", &[WRITE_HERE][..]),
        ("DELETE WHERE time < now()", &[WRITE_HERE]),
        ("DROP SERIES FROM /c.*/ WHERE host = 'a'", &[WRITE_HERE]),
        ("DROP RETENTION POLICY weekly ON events", &["write to \"events\""]),
        ("DROP CONTINUOUS QUERY cq ON events", &["write to \"events\""]),
        (
            "CREATE CONTINUOUS QUERY cq ON telemetry BEGIN SELECT mean(v) INTO m FROM cpu GROUP BY time(1h) END",
            &[
                "write to \"telemetry\"",
                "read of \"telemetry\"",
                "write to \"telemetry\"",
                "read of \"telemetry\"",
            ],
        ),
        (
            "CREATE CONTINUOUS QUERY cq ON telemetry RESAMPLE EVERY 1h FOR 2h BEGIN SELECT mean(v) INTO events..m \
             FROM other..cpu GROUP BY time(1h) END",
            &[
                "write to \"telemetry\"",
                "read of \"telemetry\"",
                "write to \"events\"",
                "read of \"other\"",
            ],
        ),
    ] {
        assert_eq!(needs(text), expected, "{text}");
    }
}

/// [QUERY-2]
#[test]
fn databases_need_all_buckets_and_the_server_the_instance() {
    for (texts, expected) in [
        (
            &[
                "CREATE DATABASE x",
                "CREATE DATABASE x WITH DURATION 1d REPLICATION 1 SHARD DURATION 1h NAME y",
                "DROP DATABASE x",
                "DROP MEASUREMENT cpu",
                "CREATE RETENTION POLICY p ON x DURATION INF REPLICATION 1 DEFAULT",
                "ALTER RETENTION POLICY p ON x SHARD DURATION 1h DEFAULT",
            ][..],
            "write to all databases",
        ),
        (
            &[
                "SHOW STATS",
                "SHOW STATS FOR 'indexes'",
                "SHOW DIAGNOSTICS",
                "SHOW QUERIES",
                "SHOW CONTINUOUS QUERIES",
                "SHOW SHARDS",
                "SHOW SHARD GROUPS",
                "SHOW SUBSCRIPTIONS",
            ],
            "read of the instance",
        ),
        (
            &[
                "KILL QUERY 36",
                "KILL QUERY 36 ON \"h:8088\"",
                "DROP SHARD 1",
                "CREATE SUBSCRIPTION s ON x.autogen DESTINATIONS ANY 'udp://h:9', 'udp://i:9'",
                "DROP SUBSCRIPTION s ON x.autogen",
            ],
            "write to the instance",
        ),
        (
            &[
                "CREATE USER u WITH PASSWORD 'p'",
                "CREATE USER u WITH PASSWORD 'p' WITH ALL PRIVILEGES",
                "DROP USER u",
                "SET PASSWORD FOR u = 'p'",
                "SHOW USERS",
                "SHOW GRANTS FOR u",
                "GRANT READ ON x TO u",
                "GRANT ALL TO u",
                "REVOKE WRITE ON x FROM u",
                "REVOKE ALL PRIVILEGES FROM u",
            ],
            "users and grants, which are not managed by queries",
        ),
    ] {
        for text in texts {
            assert_eq!(needs(text), [expected], "{text}");
        }
    }
}

#[test]
fn statements_are_parted_by_semicolons() {
    let text = ";SELECT v FROM cpu -- ; DROP DATABASE x\n; SHOW DATABASES;; DELETE FROM cpu ;";
    let statements = parsed(text, Parameters::NONE);
    let found: Vec<_> = statements.iter().map(|it| (it.kind, it.text)).collect();
    assert_eq!(
        found,
        [
            (StatementKind::Select, "SELECT v FROM cpu -- ; DROP DATABASE x"),
            (StatementKind::ShowDatabases, "SHOW DATABASES"),
            (StatementKind::Delete, "DELETE FROM cpu"),
        ]
    );
    assert!(parsed(";;", Parameters::NONE).is_empty());
    assert!(parsed("", Parameters::NONE).is_empty());
    assert_eq!(error("SHOW USERS SHOW USERS"), "found SHOW, expected ; at line 1, char 12");
}

#[test]
fn parameters_stand_for_what_they_say() {
    let json = r#"{"d": {"identifier": "events"}, "host": "a", "n": 5, "r": {"regex": "c.*"},
                   "t": {"duration": "1h"}, "bad": {"identifier": 5}, "null": null, "f": 1.5}"#;
    let parameters = Parameters::from_json(json).unwrap();
    let text = "SELECT v FROM $d..cpu WHERE host = $host AND time > now() - $t AND v > $n AND v < $f LIMIT $n";
    let statements = parsed(text, &parameters);
    assert_eq!(statements[0].needs[0].to_string(), "read of \"events\"");
    assert_eq!(parsed("SELECT v FROM $r", &parameters).len(), 1);
    for (text, expected) in [
        ("SELECT v FROM cpu WHERE v = $bad", "identifier must be a string value"),
        ("SELECT v FROM cpu WHERE v = $nothing", "missing parameter: nothing"),
        ("SELECT v FROM cpu WHERE v = $", "empty bound parameter"),
        ("SELECT v FROM $host", "found a, expected identifier at line 1, char 15"),
    ] {
        assert_eq!(parse(text, &parameters).unwrap_err().to_string(), expected, "{text}");
    }
    for json in ["", "[]", "5", "{\"a\": 1, \"a\": 2}", "{\"a\": 1} x"] {
        assert!(Parameters::from_json(json).is_err(), "{json}");
    }
    // One that an object names twice is no value, as it is not known which of them counts.
    let twice = Parameters::from_json(r#"{"d": {"identifier": "a", "identifier": "b"}}"#).unwrap();
    assert!(parse("SELECT v FROM $d..cpu", &twice).is_err());
    assert!(!format!("{parameters:?}").contains("events"));
}

/// [QUERY-1] [QUERY-6]
#[test]
fn what_influxdb_cannot_parse_is_refused_in_its_words() {
    for (text, expected) in [
        (
            "FOO BAR",
            "found FOO, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, KILL at line 1, char 1",
        ),
        ("SELECT v", "found EOF, expected FROM at line 1, char 9"),
        ("SELECT v FROM 'cpu'", "found cpu, expected identifier at line 1, char 14"),
        ("SELECT v FROM .cpu", "found ., expected identifier at line 1, char 15"),
        (
            "SELECT v = 1 FROM cpu",
            "invalid operator = in SELECT clause at line 1, char 8; operator is intended for WHERE clause",
        ),
        ("SELECT v FROM a.b.c.d", "too many segments in \"a\".\"b\".\"c\".d at line 1, char 1"),
        ("SELECT v INTO :MEASUREMENT FROM cpu", "found :, expected identifier at line 1, char 15"),
        (
            "SELECT/**/v FROM cpu",
            "error parsing regexp: missing argument to repetition operator at line 1, char 6",
        ),
        ("SELECT v FROM cpu /* x */", "found  , expected regex at line 1, char 18"),
        ("DELETE FROM events..cpu", "database not supported at line 1, char 1"),
        ("DROP SERIES FROM weekly.cpu", "retention policy not supported at line 1, char 1"),
        ("DELETE", "found EOF, expected FROM, WHERE at line 1, char 7"),
        ("SELECT v FROM cpu ORDER BY host", "only ORDER BY time supported at this time"),
        ("SELECT v FROM cpu fill(x)", "expected number argument in fill()"),
        (
            "SELECT v FROM cpu WHERE v = 99999999999999999999",
            "unable to parse integer at line 1, char 29",
        ),
        ("SELECT v FROM cpu WHERE time > 1y", "invalid duration"),
        (
            "CREATE CONTINUOUS QUERY q ON d BEGIN SELECT v FROM cpu END",
            "found FROM, expected INTO at line 1, char 47",
        ),
        (
            "CREATE CONTINUOUS QUERY q ON d BEGIN SELECT mean(v) INTO x FROM cpu END",
            "found END, expected GROUP BY time(...) at line 1, char 69",
        ),
        ("SELECT v FROM cpu\0; DROP DATABASE x", "found a NUL character at line 1, char 18"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

/// [QUERY-6]
#[test]
fn depth_is_bounded() {
    let parens =
        |depth: usize| format!("SELECT {}v{} FROM cpu", "(".repeat(depth), ")".repeat(depth));
    let calls =
        |depth: usize| format!("SELECT {}v{} FROM cpu", "f(".repeat(depth), ")".repeat(depth));
    let signs =
        |depth: usize| format!("SELECT {}v{} FROM cpu", "-(".repeat(depth), ")".repeat(depth));
    let subqueries = |depth: usize| {
        format!("SELECT v FROM {}cpu{}", "(SELECT v FROM ".repeat(depth), ")".repeat(depth))
    };
    for text in [parens(100), calls(100), signs(50), subqueries(100)] {
        assert!(parse(&text, Parameters::NONE).is_ok(), "{text}");
    }
    for text in [parens(101), calls(100_000), signs(100_000), subqueries(100_000), parens(100_000)]
    {
        assert!(error(&text).contains("levels deep"));
    }
}
