//! What stores cost: each beside the engine underneath it doing the same.
//!
//! Ends with one table of ratios against targets. `PORTCULLIS_BENCH_RECORDS=1000000` measures with a
//! million records, which are made once and kept under `target`. `cargo bench -p portcullis-benches
//! --bench stores -- list` runs the parts whose name has `list` in it.

mod bare_sled;
mod bare_sqlite;
mod durable;
mod everything;
mod from_disk;
mod opening;
mod reads;
mod world;

use criterion::Criterion;
use portcullis_benches::data::{Data, sizes};
use portcullis_benches::results::Results;
use portcullis_benches::table::{self, Row};

use reads::{Figures, growth};
use world::World;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |option| arguments.iter().any(|argument| argument == option);
    // Without it nobody wants figures: `cargo test --all-targets` runs benches as tests.
    if !given("--bench") {
        return;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let mut results = Results::begin("stores");
    let mut rows: Vec<Row> = Vec::new();
    let mut criterion = Criterion::default().configure_from_args();

    let mut figures = Vec::new();
    for count in sizes() {
        let data = Data::new(count);
        if chosen(opening::NAME) {
            opening::open(data, &mut rows);
        }
        let reading = [reads::GET, reads::LIST, from_disk::NAME, reads::PLANS];
        if reading.into_iter().any(chosen) {
            let world = World::new(data);
            let mut of_size = Figures::new(data);
            if chosen(reads::GET) {
                reads::gets(&world, &mut of_size, &mut rows);
            }
            if chosen(reads::LIST) {
                reads::lists(&world, &mut of_size, &mut rows);
                everything::parts(&world, &mut of_size);
            }
            // The others first: what sled keeps lies between what they are given afterwards.
            if chosen(reads::GET) {
                reads::gets_from_sled(&world, &mut of_size, &mut rows);
            }
            if chosen(reads::LIST) {
                reads::lists_from_sled(&world, &mut of_size, &mut rows);
                everything::parts_from_sled(&world, &mut of_size);
            }
            // At the end: others would have to read anew what was forgotten.
            if chosen(from_disk::NAME) {
                from_disk::lists(&world, &mut rows);
            }
            if chosen(reads::PLANS) {
                reads::plans(&world, &mut criterion);
            }
            figures.push(of_size);
        }
    }
    growth(&figures, &mut rows, &mut results);
    for operation in durable::Kind::ALL {
        if chosen(&operation.name()) {
            durable::measure(operation, &mut rows);
        }
    }
    criterion.final_summary();
    table::finish(results, &rows);
}
