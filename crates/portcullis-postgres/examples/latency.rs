//! Measures the store against its own SQL through the bare driver, at 16 connections.
//!
//! ```console
//! $ cargo run --release -p portcullis-postgres --example latency -- postgres://…
//! ```
//!
//! `own` is a task with a connection of its own, `shared` a task that takes any connection for each
//! call, as a pool must, and `store` is the store. All three execute the same prepared statements and
//! make a [`Record`] of each row. Only the store's sessions have timeouts.
//!
//! Rounds of each alternate in changing order, so that other load on the machine affects all. A ratio
//! is the median of the rounds' ratios: the load changes from round to round, and three consecutive
//! rounds have more in common than all rounds of one kind. The database is filled; the schema
//! `latency` is deleted at the end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measuring program"
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
use tokio_postgres::{Client, NoTls, Row, Statement};

const CONNECTIONS: usize = 16;
const EACH: u64 = 60;
const ROUNDS: u64 = 41;

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

/// The statements of the store, with the numbers of their parameters.
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

/// One connection of the bare driver, with the statements of the store.
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
            let row = self.client.query_opt(&self.get, &[&id]).await.unwrap().unwrap();
            assert_eq!(read(&row), new);
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

/// Makes a record of a row, written by hand.
fn read(row: &Row) -> Record {
    let id = |text: &str| Id::from_digits(text.as_bytes()).unwrap();
    let revision: &[u8] = row.get(1);
    Record {
        kind: Kind::User,
        id: id(row.get(0)),
        revision: Revision::from_u128(u128::from_be_bytes(revision.try_into().unwrap())),
        unique_key: UniqueKey::new(row.get::<_, &str>(2)).unwrap(),
        org: row.get::<_, Option<&str>>(3).map(|text| id(text).into()),
        user: row.get::<_, Option<&str>>(4).map(|text| id(text).into()),
        status: row.get::<_, &str>(5).parse().unwrap(),
        body: row.get::<_, &str>(6).into(),
    }
}

async fn through_store(store: &PostgresStore, what: What, id: u64, revision: u128) {
    let new = record(id, revision);
    let expect = match what {
        What::Get => {
            let found = store.get(Lookup::Id(Kind::User, new.id)).await.unwrap().unwrap();
            assert_eq!(found, new);
            return;
        }
        What::Create => Expect::Absent,
        What::Update => Expect::Revision(Revision::from_u128(revision - 1)),
    };
    let put = Operation::Put { record: new, grants: Vec::new(), expect };
    store.commit(Batch::new().with(put)).await.unwrap();
}

fn percentile<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// The durations of the calls of one kind, by round.
#[derive(Default)]
struct Taken {
    rounds: Vec<Vec<Duration>>,
}

impl Taken {
    fn push(&mut self, mut round: Vec<Duration>) {
        round.sort();
        self.rounds.push(round);
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut all = self.rounds.concat();
        all.sort();
        percentile(&all, percent)
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, other: &Self, of: fn(&[Duration]) -> Duration) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        let mut ratios: Vec<f64> =
            rounds.map(|(a, b)| of(a).as_secs_f64() / of(b).as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        percentile(&ratios, 50)
    }
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap()
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
        let mut taken = [Taken::default(), Taken::default(), Taken::default()];
        for round in 0..ROUNDS * 3 {
            // Each of the three in turn.
            let which = usize::try_from((round + round / 3) % 3).unwrap();
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
            let all = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
            // The first round of each warms the caches.
            if round >= 3 {
                taken[which].push(all);
            }
        }
        for (name, taken_by) in ["own", "shared", "store"].into_iter().zip(&taken) {
            println!(
                "{what:?}, {name}: p50 {:?}, p99 {:?}; p50 {:.2} and mean {:.2} of `own`",
                taken_by.percentile(50),
                taken_by.percentile(99),
                taken_by.ratio(&taken[0], |times| percentile(times, 50)),
                taken_by.ratio(&taken[0], mean),
            );
        }
    }
    drop((bare, shared));
    store.close().await.unwrap();
    options().remove(&url).await.unwrap();
}
