//! Responses with one page and with one record, beside a route that has them ready.

use axum::Router;
use axum::routing::get;
use portcullis_benches::rounds::{Contender, rounds, took};
use portcullis_benches::table::Row;

use crate::list;
use crate::server::{Connection, Server};
use crate::world::World;

const ROUNDS: usize = 15;
const REQUESTS: usize = 200;

/// What is above a route that answers as many bytes is the store and the writing of JSON.
pub(crate) fn single(world: &World, rows: &mut Vec<Row>) {
    let id = world.data.id(world.data.count() / 2);
    for (what, path) in [
        ("page of 20", format!("/private/legacy/authorizations?limit=20&after={id}")),
        ("get by id", format!("/private/legacy/authorizations/{id}")),
    ] {
        let request = list::get(world, &path, "");
        let mut ours = world.server.connect();
        let bytes = "x".repeat(ours.send(&request));
        let ready = Server::start(Router::new().fallback(get(async move || bytes.clone())));
        let mut theirs = ready.connect();
        let contenders: Vec<Contender<'_>> = vec![
            Box::new(|| ask_often(&mut ours, &request)),
            Box::new(|| ask_often(&mut theirs, &request)),
        ];
        let taken = rounds(ROUNDS, contenders);
        let what = format!("{what} of {} over HTTP", world.data.count());
        rows.push(Row::beside(&what, "an answer that is ready", &taken));
    }
}

fn ask_often(connection: &mut Connection, request: &str) -> f64 {
    let (nanos, ()) = took(|| (0..REQUESTS).for_each(|_| _ = connection.send(request)));
    nanos / REQUESTS as f64
}
