//! What a login costs: cache hit, stale entry and miss, alone and in a crowd.
//!
//! Ends with one table of ratios against targets. Peers run in the same process and take turns with
//! what they are compared with; figures are medians. `cargo bench -p portcullis-benches --bench
//! data_path -- warm` runs the parts whose name has `warm` in it.

mod cold;
mod crowd;
mod forward_auth;
mod plain;
mod queries;
mod warm;
mod world;

use criterion::Criterion;
use portcullis_benches::parts::Parts;
use portcullis_benches::results::Results;
use portcullis_benches::{rounds, table};

use table::Row;

/// A part of the table, by its name.
type Part = (&'static str, fn(&mut Vec<Row>));

const PARTS: [Part; 9] = [
    ("API tokens, warm", warm::api_tokens),
    ("restricted, warm", warm::restricted),
    ("hash", cold::hash),
    ("cold", cold::cold),
    ("revalidated", cold::revalidated),
    ("unknown", cold::unknown_username),
    ("crowd", crowd::crowd),
    ("forward-auth", forward_auth::forward_auth),
    ("queries", queries::queries),
];

fn main() {
    let Some(parts) = Parts::from_arguments() else { return };
    let mut results = Results::begin("data_path");
    let mut table = Vec::new();
    if parts.has(warm::Warm::NAME) {
        let warm = warm::Warm::new();
        let mut criterion = Criterion::default().configure_from_args();
        warm.figures(&mut criterion);
        criterion.final_summary();
        warm.alone(&mut table);
        warm.two_threads(&mut table, &mut results);
    }
    for (name, measure) in PARTS {
        if parts.has(name) {
            eprintln!("{name} …");
            measure(&mut table);
        }
    }
    table::finish(results, &table);
}
