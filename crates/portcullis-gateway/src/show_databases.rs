//! The response to `SHOW DATABASES`, which holds what the credential may read or write.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, header};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::parameters::Parameters;

/// Returns the response to this many `SHOW DATABASES` in one query, in InfluxDB's form: JSON, or CSV where
/// the client accepts nothing else.
pub(crate) fn response(
    statements: usize,
    names: &[String],
    parameters: &Parameters<'_>,
    headers: &HeaderMap,
) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    let first = accept.split(|byte| matches!(byte, b',' | b';')).next().unwrap_or_default();
    let is_csv = [&b"application/csv"[..], b"text/csv"].contains(&first.trim_ascii());
    let (content_type, body) = match is_csv {
        true => ("text/csv", csv(statements, names).into_bytes()),
        false => ("application/json", json(statements, names, is_true(parameters.get("pretty")))),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_true(parameter: Option<&str>) -> bool {
    parameter == Some("true")
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<StatementResult<'a>>,
}

#[derive(Serialize)]
struct StatementResult<'a> {
    statement_id: usize,
    series: [Series<'a>; 1],
}

#[derive(Serialize)]
struct Series<'a> {
    name: &'a str,
    columns: [&'a str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<[&'a str; 1]>,
}

fn json(statements: usize, names: &[String], pretty: bool) -> Vec<u8> {
    let series = || Series {
        name: "databases",
        columns: ["name"],
        values: names.iter().map(|name| [name.as_str()]).collect(),
    };
    let result = |statement_id| StatementResult { statement_id, series: [series()] };
    let results = Results { results: (0..statements).map(result).collect() };
    let mut text = Vec::new();
    let written = match pretty {
        true => {
            let formatter = PrettyFormatter::with_indent(b"    ");
            results.serialize(&mut Serializer::with_formatter(&mut text, formatter))
        }
        false => serde_json::to_writer(&mut text, &results),
    };
    // Texts and numbers can always be written into memory.
    debug_assert!(written.is_ok());
    text.push(b'\n');
    text
}

fn csv(statements: usize, names: &[String]) -> String {
    let rows: String = names.iter().map(|name| format!("databases,,{}\n", field(name))).collect();
    vec![format!("name,tags,name\n{rows}"); statements].join("\n")
}

/// Returns a field of CSV, in quotation marks if it needs them.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [GATE-16]
    #[test]
    fn the_response_is_that_of_influxdb() {
        let names = ["telemetry".to_owned(), "a,\"b\"".to_owned()];
        let json = |names: &[String], pretty| String::from_utf8(json(1, names, pretty)).unwrap();
        assert_eq!(
            json(&names, false),
            concat!(
                r#"{"results":[{"statement_id":0,"series":[{"name":"databases","#,
                r#""columns":["name"],"values":[["telemetry"],["a,\"b\""]]}]}]}"#,
                "\n"
            )
        );
        assert_eq!(
            json(&[], false),
            "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"databases\",\"columns\":[\"name\"]}]}]}\n"
        );
        assert!(json(&names, true).starts_with("{\n    \"results\": [\n        {\n"));
        assert_eq!(
            csv(2, &names),
            "name,tags,name\ndatabases,,telemetry\ndatabases,,\"a,\"\"b\"\"\"\n\n\
             name,tags,name\ndatabases,,telemetry\ndatabases,,\"a,\"\"b\"\"\"\n"
        );
    }
}
