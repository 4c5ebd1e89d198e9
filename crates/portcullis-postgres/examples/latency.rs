//! How much slower the store is than its own SQL through the bare driver, at 16 connections.
//!
//! ```console
//! $ cargo run --release -p portcullis-postgres --example latency -- postgres://…
//! ```
//!
//! `own` is a task with a connection of its own, `shared` one that takes any connection for each
//! call, as a pool must, `store` is the store. Rounds of each alternate, so that what else the machine
//! does is in all. The
//! database is filled; the schema `latency` is deleted at the end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for those who measure"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use portcullis::store::{
    Batch, Expect, Kind, Lookup, Operation, Record, Revision, Store, UniqueKey,
};
use portcullis::{Id, Status};
use portcullis_postgres::PostgresStore;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

const CONNECTIONS: usize = 16;
const EACH: u64 = 60;
const ROUNDS: u64 = 7;

#[derive(Clone, Copy, Debug)]
enum What {
    Create,
    Get,
    Update,
}

fn record(id: u64, revision: u128) -> Record {
    Record {
        kind: Kind::User,
        id: Id::from_u64(id),
        revision: Revision::from_u128(revision),
        unique_key: UniqueKey::new(format!("user {id}")).unwrap(),
        org: None,
        user: None,
        status: Status::Active,
        body: format!(
            r#"{{"v":1,"id":"{id:016x}","name":"user {id}","filler":"{}"}}"#,
            "x".repeat(300)
        )
        .into(),
    }
}

/// What the store sends, with the numbers of its parameters.
const GET: &str = "SELECT t.id, t.revision, t.unique_key, t.org_id, t.user_id, t.status, t.body \
    FROM users AS t WHERE t.id = $1";
const INSERT: &str = "WITH new AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::bytea[], \
        $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY \
        AS n (id, revision, unique_key, org_id, user_id, status, body, place)), \
    granted AS (INSERT INTO grants (kind, grant_key, id) SELECT 'users', g.grant_key, g.id \
        FROM unnest($8::text[], $9::text[]) AS g (id, grant_key) ON CONFLICT DO NOTHING), \
    noted AS (INSERT INTO changes (batch, kind, id) \
        SELECT $10::bigint, 'users', n.id FROM new AS n ORDER BY n.place) \
    INSERT INTO users (id, revision, unique_key, org_id, user_id, status, body) \
    SELECT n.id, n.revision, n.unique_key, n.org_id, n.user_id, n.status, n.body \
    FROM new AS n ORDER BY n.place ON CONFLICT DO NOTHING RETURNING id";
const UPDATE: &str = "WITH put AS (UPDATE users SET revision = $2, unique_key = $3, org_id = $4, \
        user_id = $5, status = $6, body = $7 WHERE id = $1 AND revision = $8 RETURNING id), \
    revoked AS (DELETE FROM grants AS g USING put \
        WHERE g.kind = 'users' AND g.id = put.id AND g.grant_key <> ALL ($9::text[])), \
    granted AS (INSERT INTO grants (kind, grant_key, id) SELECT 'users', g.grant_key, put.id \
        FROM put, unnest($9::text[]) AS g (grant_key) ON CONFLICT DO NOTHING) \
    INSERT INTO changes (batch, kind, id) SELECT $10::bigint, 'users', put.id FROM put RETURNING 1";

/// One connection of the driver alone, with what the store would send on it.
struct Bare {
    client: Client,
    insert: Statement,
    get: Statement,
    update: Statement,
}

impl Bare {
    async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(
                "SET search_path TO latency; SET portcullis.session TO node; SET jit TO off",
            )
            .await
            .unwrap();
        let insert = client.prepare(INSERT);
        let get = client.prepare(GET);
        let update = client.prepare(UPDATE);
        let (insert, get, update) =
            (insert.await.unwrap(), get.await.unwrap(), update.await.unwrap());
        Self { client, insert, get, update }
    }

    async fn run(&self, what: What, id: u64, revision: u128) {
        let new = record(id, revision);
        let id = new.id.to_string();
        let bytes = new.revision.as_u128().to_be_bytes();
        let (key, none, status, body) =
            (new.unique_key.as_str(), None::<&str>, "active", &*new.body);
        if let What::Get = what {
            assert!(self.client.query_opt(&self.get, &[&id]).await.unwrap().is_some());
            return;
        }
        let begin = self.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
        let old = (revision - 1).to_be_bytes();
        let nothing: Vec<&str> = Vec::new();
        let rows = async {
            match what {
                What::Create => {
                    let (ids, revisions) = (vec![&id], vec![&bytes[..]]);
                    let (keys, nones) = (vec![key], vec![none]);
                    let (statuses, bodies) = (vec![status], vec![body]);
                    let parameters: [&(dyn ToSql + Sync); 10] = [
                        &ids, &revisions, &keys, &nones, &nones, &statuses, &bodies, &nothing,
                        &nothing, &1_i64,
                    ];
                    self.client.query(&self.insert, &parameters).await
                }
                _ => {
                    let (new, old) = (&bytes[..], &old[..]);
                    let parameters: [&(dyn ToSql + Sync); 10] =
                        [&id, &new, &key, &none, &none, &status, &body, &old, &nothing, &1_i64];
                    self.client.query(&self.update, &parameters).await
                }
            }
        };
        let (begun, rows) = join(begin, rows).await;
        begun.unwrap();
        assert_eq!(rows.unwrap().len(), 1);
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn through_store(store: &PostgresStore, what: What, id: u64, revision: u128) {
    let new = record(id, revision);
    let expect = match what {
        What::Get => {
            assert!(store.get(Lookup::Id(Kind::User, new.id)).await.unwrap().is_some());
            return;
        }
        What::Create => Expect::Absent,
        What::Update => Expect::Revision(Revision::from_u128(revision - 1)),
    };
    let put = Operation::Put { record: new, grants: Vec::new(), expect };
    store.commit(Batch::new().with(put)).await.unwrap();
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let options = || PostgresStore::options().schema("latency").pool_size(16);
    options().remove(&url).await.unwrap();
    let store = Arc::new(options().open(&url).await.unwrap());
    let bare: Vec<_> = join_all((0..CONNECTIONS).map(|_| Bare::connect(&url))).await;
    let bare: Vec<_> = bare.into_iter().map(Arc::new).collect();
    let shared = Arc::new(Mutex::new(bare.clone()));
    for what in [What::Create, What::Get, What::Update] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..ROUNDS * 3 {
            let which = usize::try_from(round % 3).unwrap();
            let tasks = (0..CONNECTIONS).map(|task| {
                let (store, own, shared) =
                    (Arc::clone(&store), Arc::clone(&bare[task]), Arc::clone(&shared));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for number in 0..EACH {
                        let id = (round * CONNECTIONS as u64 + task as u64) * EACH + number + 1;
                        let revision = match what {
                            What::Create | What::Get => 1,
                            What::Update => 2,
                        };
                        let begin = Instant::now();
                        match which {
                            0 => own.run(what, id, revision).await,
                            1 => {
                                let bare = shared.lock().unwrap().pop().unwrap();
                                bare.run(what, id, revision).await;
                                shared.lock().unwrap().push(bare);
                            }
                            _ => through_store(&store, what, id, revision).await,
                        }
                        times.push(begin.elapsed());
                    }
                    times
                })
            });
            let all = join_all(tasks).await.into_iter().flat_map(Result::unwrap);
            // The first round of each fills caches.
            match round {
                0..3 => drop(all.collect::<Vec<_>>()),
                _ => times[which].extend(all),
            }
        }
        times.iter_mut().for_each(|times| times.sort());
        let mean = |times: &[Duration]| {
            times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap()
        };
        let [own, shared, store] = &times;
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        for (name, times) in [("own", own), ("shared", shared), ("store", store)] {
            println!(
                "{what:?}, {name}: p50 {:?}, p99 {:?}; p50 {:.2} and mean {:.2} of `own`",
                percentile(times, 50),
                percentile(times, 99),
                ratio(percentile(times, 50), percentile(own, 50)),
                ratio(mean(times), mean(own)),
            );
        }
    }
    drop((bare, shared));
    store.close().await.unwrap();
    options().remove(&url).await.unwrap();
}
