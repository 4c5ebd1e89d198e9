//! What a server costs over HTTP: lists, single answers, and the part of it that is authentication.
//!
//! Ends with one table of ratios against targets. Peers answer in the same process, over the same
//! kind of connection. `PORTCULLIS_BENCH_RECORDS` says how many records there are, and `cargo bench
//! -p portcullis-benches --bench http -- list` runs the parts whose name has `list` in it.

mod authentication;
mod engine;
mod list;
mod server;
mod single;
mod world;

use portcullis_benches::data::{Data, sizes};
use portcullis_benches::parts::Parts;
use portcullis_benches::results::Results;
use portcullis_benches::table::{self, Row};

use world::World;

/// A part of the table, by its name.
type Part = (&'static str, fn(&World, &mut Vec<Row>));

const PARTS: [Part; 2] = [("list", list::list), ("page and get", single::single)];

fn main() {
    let Some(parts) = Parts::from_arguments() else { return };
    let results = Results::begin("http");
    let mut rows: Vec<Row> = Vec::new();
    for count in sizes() {
        if PARTS.iter().any(|(name, _)| parts.has(name)) {
            let world = World::new(Data::new(count));
            for (name, measure) in PARTS {
                if parts.has(name) {
                    measure(&world, &mut rows);
                }
            }
        }
    }
    if parts.has("authentication") {
        authentication::authentication(&mut rows);
    }
    table::finish(results, &rows);
}
