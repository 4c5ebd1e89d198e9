//! Prints what the queries on standard input need: one JSON string with a query in each line, one JSON
//! object out of each.
//!
//! ```text
//! $ echo '"SELECT v INTO other..cpu FROM cpu"' | cargo run -q -p portcullis-influxql --example needs
//! {"statements":[{"kind":"SELECT","needs":[{"write":["other",null]},{"read":[null,null]}]}]}
//! ```

use std::io::{BufRead as _, Write as _};

use portcullis_influxql::{Need, Parameters, parse};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let query: String = serde_json::from_str(&line?)?;
        let answer = match parse(&query, Parameters::NONE) {
            Err(error) => json!({ "error": error.to_string() }),
            Ok(statements) => {
                let statements: Vec<_> = statements
                    .iter()
                    .map(|statement| {
                        let needs: Vec<_> = statement.needs.iter().map(shown).collect();
                        json!({ "kind": statement.kind.keywords(), "needs": needs })
                    })
                    .collect();
                json!({ "statements": statements })
            }
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// A database is its name and the retention policy, either of which may not be given.
fn shown(need: &Need<'_>) -> Value {
    match need {
        Need::Read(database) => json!({ "read": [database.name, database.retention_policy] }),
        Need::Write(database) => json!({ "write": [database.name, database.retention_policy] }),
        other => json!(other.to_string()),
    }
}
