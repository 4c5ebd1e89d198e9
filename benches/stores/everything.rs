//! A list of all authorizations, in the order of their ids: records of neighbours by id lie apart where
//! they are kept by whose they are.

use std::hint::black_box;
use std::num::NonZeroUsize;

use portcullis::{AuthorizationFilter, AuthorizationId, Engine};
use portcullis_benches::data::Data;
use portcullis_benches::rounds::{Contender, rounds};

use crate::bare_sqlite::{self, SELECT};
use crate::reads::{BARE, Figures, ROUNDS, each, numbers};
use crate::world::World;

/// How many records are read from each of the places.
const PART: usize = 1_000;

/// Where to begin, so that every round reads the same ones.
fn places(data: Data) -> Vec<AuthorizationId> {
    numbers(data, data.count() - PART, 10).into_iter().map(|number| data.id(number)).collect()
}

fn through<'a>(
    world: &'a World,
    engine: &'a Engine,
    places: &'a [AuthorizationId],
) -> Contender<'a> {
    let (everything, part) = (AuthorizationFilter::all(), NonZeroUsize::new(PART).unwrap());
    each(places, move |after| {
        let listing = engine.list_authorizations(&everything, Some(*after), part);
        let found = world.runtime.block_on(listing).unwrap().items;
        assert_eq!(black_box(found).len(), PART);
    })
}

/// From SQLite, beside SQLite itself, and from memory.
pub(crate) fn parts(world: &World, figures: &mut Figures) {
    let places = places(world.data);
    let by_id = format!("{SELECT} authorizations WHERE id > ?1 ORDER BY id");
    let taken = rounds(
        ROUNDS,
        vec![
            through(world, &world.sqlite, &places),
            each(&places, |after| {
                let after = after.to_string();
                assert_eq!(bare_sqlite::read(&world.bare, &by_id, &[&after], PART), PART);
            }),
        ],
    );
    figures.note("SQLite, everyone's", &taken, PART);
    figures.note_of(1, &format!("{BARE} SQLite, everyone's"), &taken, PART);
    let taken = rounds(ROUNDS, vec![through(world, &world.memory, &places)]);
    figures.note("memory, everyone's", &taken, PART);
}

/// From sled.
pub(crate) fn parts_from_sled(world: &World, figures: &mut Figures) {
    let places = places(world.data);
    let taken = rounds(ROUNDS, vec![through(world, &world.sled().engine, &places)]);
    figures.note("sled, everyone's", &taken, PART);
}
