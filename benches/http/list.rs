//! A list over HTTP costs what reading the records and writing them as JSON costs.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use portcullis::store::{Index, Kind, Operation, Page, PageRequest};
use portcullis::{Authorization, Id, Permission, Timestamp};
use portcullis_benches::data;
use portcullis_benches::rounds::{Contender, rounds, took};
use portcullis_benches::table::{Row, nanos};
use serde::Serialize;

use crate::world::World;

const ROUNDS: usize = 5;

/// As many as the list reads at a time.
const CHUNK: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The whole request of a list of everything takes at most 1.5 times as long as it takes to read
/// the same records and to make a text of each.
pub(crate) fn list(world: &World, rows: &mut Vec<Row>) {
    let request = request(world, "");
    let gzip = self::request(world, "Accept-Encoding: gzip\r\n");
    let names = Names::of(world);
    let mut connection = world.server.connect();
    let mut packed = world.server.connect();
    let mut length = 0;
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| took(|| length = connection.send(&request)).0),
        Box::new(|| took(|| bare(world, &names)).0),
        Box::new(|| took(|| packed.send(&gzip)).0),
    ];
    // A million take half a minute, and are three times as many as are needed to tell.
    let rounds_of = if world.data.count() < 1_000_000 { ROUNDS } else { 1 };
    let taken = rounds(rounds_of, contenders);
    let what = format!("list of {} over HTTP", world.data.count());
    let peer = "reading and `to_vec`, no HTTP";
    let row = Row::at_most(&what, peer, &taken, 1.5);
    // The target is for a hundred thousand.
    rows.push(row.promised_if(world.data.count() == 100_000));
    let throughput = length as f64 / taken.median(0) * 1e9 / 1_048_576.0;
    rows.push(Row {
        what: format!("{what}: JSON"),
        figure: format!("{throughput:.0} MiB/s"),
        ..Row::beside("", "", &taken)
    });
    rows.push(Row {
        what: format!("{what}, gzip"),
        figure: nanos(taken.median(2)),
        peer: "without".to_owned(),
        peer_figure: nanos(taken.median(0)),
        ratio: taken.ratio(2, 0),
        target: String::new(),
        reached: true,
    });
}

pub(crate) fn request(world: &World, header: &str) -> String {
    get(world, "/private/legacy/authorizations", header)
}

pub(crate) fn get(world: &World, path: &str, header: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\n{header}\r\n",
        world.token
    )
}

/// Names by ids, which the peer need not look up.
struct Names(HashMap<Id, String>);

impl Names {
    fn of(world: &World) -> Self {
        let records = world.data.tenants().flat_map(|batch| batch.into_operations().unwrap());
        let names = records.filter_map(|operation| match operation {
            Operation::Put { record, .. } => {
                let key = record.unique_key.as_str();
                let name = key.rsplit('/').next().unwrap_or(key);
                Some((record.id, name.to_owned()))
            }
            _ => None,
        });
        Self(names.collect())
    }

    fn get(&self, id: Id) -> &str {
        self.0.get(&id).map_or("", String::as_str)
    }
}

fn bare(world: &World, names: &Names) -> usize {
    world.runtime.block_on(async {
        let (mut after, mut bytes) = (None, 0);
        loop {
            let request = PageRequest { after, limit: CHUNK };
            let index = Index::All(Kind::Authorization);
            let Page { records, next, .. } =
                world.engine.store().list(index, request).await.unwrap();
            for record in &records {
                let authorization = data::parse(&record.body);
                bytes += serde_json::to_vec(&Shown::of(&authorization, names)).unwrap().len();
            }
            after = match next {
                Some(_) => next,
                None => return bytes,
            };
        }
    })
}

/// An authorization with all that the API shows of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: Id,
    token: &'a str,
    status: &'a str,
    description: &'a str,
    #[serde(rename = "orgID")]
    org_id: Id,
    org: &'a str,
    #[serde(rename = "userID")]
    user_id: Id,
    user: &'a str,
    permissions: Vec<ShownPermission<'a>>,
    links: [(&'static str, String); 2],
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct ShownPermission<'a> {
    action: &'a str,
    resource: ShownResource<'a>,
}

#[derive(Serialize)]
struct ShownResource<'a> {
    #[serde(rename = "type")]
    resource_type: &'a str,
    id: Option<Id>,
    name: &'a str,
    #[serde(rename = "orgID")]
    org_id: Option<Id>,
    org: &'a str,
}

impl<'a> Shown<'a> {
    fn of(authorization: &'a Authorization, names: &'a Names) -> Self {
        let permission = |Permission { action, resource }: &Permission| {
            let org_id = resource.org.map(portcullis::OrgId::untyped);
            let resource = ShownResource {
                resource_type: resource.resource_type.as_str(),
                id: resource.id,
                name: resource.id.map_or("", |id| names.get(id)),
                org_id,
                org: org_id.map_or("", |id| names.get(id)),
            };
            ShownPermission { action: action.as_str(), resource }
        };
        let id = authorization.id.untyped();
        Self {
            id,
            token: authorization.username.as_str(),
            status: authorization.status.as_str(),
            description: &authorization.description,
            org_id: authorization.org.untyped(),
            org: names.get(authorization.org.untyped()),
            user_id: authorization.user.untyped(),
            user: names.get(authorization.user.untyped()),
            permissions: authorization.permissions.iter().map(permission).collect(),
            links: [
                ("self", format!("/private/legacy/authorizations/{id}")),
                ("user", format!("/private/legacy/users/{}", authorization.user)),
            ],
            created_at: authorization.created_at,
            updated_at: authorization.updated_at,
        }
    }
}
