//! What stores cost: each beside the engine underneath it doing the same.
//!
//! Ends with one table of ratios against targets. `PORTCULLIS_BENCH_RECORDS=1000000` measures with a
//! million records, which are made once and kept under `target`. `cargo bench -p portcullis-benches
//! --bench stores -- list` runs the parts whose name has `list` in it.

mod bare_redb;
mod bare_sled;
mod bare_sqlite;
mod durable;
mod from_disk;
mod growth;
mod opening;
mod ordered;
mod reads;
mod world;

use criterion::Criterion;
use portcullis_benches::data::{Data, sizes};
use portcullis_benches::parts::Parts;
use portcullis_benches::results::Results;
use portcullis_benches::table::{self, Row};

use world::World;

fn main() {
    let Some(parts) = Parts::from_arguments() else { return };
    let mut results = Results::begin("stores");
    let mut rows: Vec<Row> = Vec::new();
    let mut criterion = Criterion::default().configure_from_args();

    if parts.has(opening::NAME) {
        sizes().into_iter().for_each(|count| opening::open(Data::new(count), &mut rows));
    }
    let reading = [reads::GET, reads::LIST, growth::NAME, reads::PLANS, from_disk::NAME];
    let worlds: Vec<World> = match reading.into_iter().any(|name| parts.has(name)) {
        true => sizes().into_iter().map(|count| World::new(Data::new(count))).collect(),
        false => Vec::new(),
    };
    for world in &worlds {
        if parts.has(reads::GET) {
            reads::gets(world, &mut rows);
        }
        if parts.has(reads::LIST) {
            reads::lists(world, &mut rows);
        }
        // The others first: sled's caches would fragment the memory that they allocate afterwards.
        if parts.has(reads::GET) {
            reads::gets_by_ordered_keys(world, &mut rows);
        }
        if parts.has(reads::LIST) {
            reads::lists_by_ordered_keys(world, &mut rows);
        }
    }
    if let (true, false) = (parts.has(growth::NAME), worlds.is_empty()) {
        growth::measure(&worlds, &mut rows, &mut results);
    }
    for world in &worlds {
        if parts.has(reads::PLANS) {
            reads::plans(world, &mut criterion);
        }
        // At the end: it drops pages that the others would have to read again.
        if parts.has(from_disk::NAME) {
            from_disk::lists(world, &mut rows);
        }
    }
    drop(worlds);
    for operation in durable::Kind::ALL {
        if parts.has(&operation.name()) {
            durable::measure(operation, &mut rows);
        }
    }
    criterion.final_summary();
    table::finish(results, &rows);
}
