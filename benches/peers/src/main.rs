//! The permission check beside other engines, and beside what one would write by hand.
//!
//! The property: a check costs nanoseconds, with 1 or 512 permissions. Not more than a plain loop
//! where there are few, far less where there are many, and a small part of what a policy engine
//! takes for the same answer.
//!
//! Every contender answers the same requests, half of which are allowed, and has to give the same
//! answers. They take turns, in batches of a millisecond or so of this thread's own CPU time, so
//! that whatever else the machine does meets all of them. What counts is the ratio of medians.

mod by_hand;
mod casbin;
mod cedar;
mod gatehouse;
mod measure;
mod report;
#[path = "../../shared/results.rs"]
mod results;
mod world;

use measure::{Contender, medians};
use report::Report;
use results::Results;
use world::World;

fn main() {
    let results = Results::begin("peers");
    let mut report = Report::default();
    for count in world::COUNTS {
        let world = World::in_one_org(count);
        let contenders: Vec<Contender<'_>> = vec![
            by_hand::empty_loop(&world),
            by_hand::linear_scan(&world),
            by_hand::compiled(&world),
            cedar::set_attribute(&world),
            gatehouse::one_policy(&world),
            casbin::cached_enforcer(&world),
        ];
        report.add(count, medians(contenders, world.allowed()));
    }
    for count in world::SPREAD_COUNTS {
        let world = World::in_an_org_each(count);
        let contenders = vec![by_hand::linear_scan(&world), by_hand::compiled(&world)];
        report.add_spread(count, &medians(contenders, world.allowed()));
    }
    print!("{report}");
    let path = report.save(results).unwrap();
    println!("\nsaved in {}", path.display());
}
