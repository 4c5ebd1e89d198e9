//! A cache hit costs about what a lookup in a map costs.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;

use criterion::{BenchmarkId, Criterion};
use futures_util::{FutureExt, StreamExt, stream};
use portcullis::{
    Action, AllowedNetworks, AuthorizationUpdate, Credentials, NewApiToken, Resource,
};
use portcullis_benches::results::Results;

use crate::plain::{PlainMap, PlainTokens, ReferenceWay};
use crate::rounds::{Rounds, on_this_thread, rounds};
use crate::table::{Row, nanos};
use crate::world::{Request, World, cheap, in_no_order, permissions, warm};

/// How many of the cached credentials are used again and again.
const HOT: [usize; 3] = [256, 10_000, 100_000];

const ROUNDS: usize = 25;
const ASKED: usize = 100_000;

const PLAIN: &str = "a plain map and BLAKE3";

/// One way to decide whether a request is allowed.
type Decide<'a> = &'a (dyn Fn(&Request) -> bool + Sync);

/// An engine and its peers, which hold the same credentials.
pub(crate) struct Warm {
    world: World,
    plain: PlainMap,
    reference: ReferenceWay,
}

impl Warm {
    pub(crate) const NAME: &str = "warm authenticate and check";

    pub(crate) fn new() -> Self {
        let world = World::in_memory(HOT[2], cheap());
        // All insert them in the same order, so that none has the hot ones side by side in memory.
        let order = in_no_order(HOT[2]);
        world.warm_up(&world.requests_of(&order));
        let plain = PlainMap::new(&world.authorizations, &order);
        let reference = ReferenceWay::new(&world.authorizations, &order);
        Self { world, plain, reference }
    }

    /// For criterion, which reports how a figure differs from that of the last run.
    pub(crate) fn figures(&self, c: &mut Criterion) {
        let mut group = c.benchmark_group(Self::NAME);
        group.sample_size(20).warm_up_time(std::time::Duration::from_millis(500));
        group.measurement_time(std::time::Duration::from_secs(1));
        for count in HOT {
            let requests = self.world.requests(count);
            let contenders: [(&str, Decide<'_>); 3] = [
                ("engine", &|request| warm(&self.world.engine, request)),
                (PLAIN, &|request| self.plain.warm(request)),
                ("the reference's way", &|request| self.reference.warm(request)),
            ];
            for (name, decide) in contenders {
                let mut next = requests.iter().cycle();
                group.bench_function(BenchmarkId::new(name, count), |b| {
                    b.iter(|| next.next().map(|request| decide(black_box(request))));
                });
            }
        }
        group.finish();
    }

    /// A warm `authenticate` and `check` with 8 permissions costs at most 1.3 times what the plain
    /// map costs and less than the reference's way, and with 100,000 hot at most a microsecond.
    pub(crate) fn alone(&self, table: &mut Vec<Row>) {
        for count in HOT {
            let requests = self.world.requests(count);
            let taken = self.take_turns(&requests, 1);
            let what = format!("warm authenticate + check, {count} hot");
            table.push(Row::at_most(&what, PLAIN, &taken, 1.3));
            table.push(Row::at_most(&what, "the reference's way", &taken.beside(2), 1.0));
            if count == HOT[2] {
                let figure = taken.median(0);
                table.push(Row::figure(&what, nanos(figure), "1 µs", figure <= 1_000.0));
            }
        }
    }

    /// Two threads scale nearly as well as they do with the plain map.
    pub(crate) fn two_threads(&self, table: &mut Vec<Row>, results: &mut Results) {
        for count in HOT {
            let requests = self.world.requests(count);
            let alone = self.take_turns(&requests, 1);
            let both = self.take_turns(&requests, 2);
            let scales = |contender| 2.0 * alone.median(contender) / both.median(contender);
            let (ours, plain) = (scales(0), scales(1));
            let names = ["engine", PLAIN, "the reference's way"];
            for (contender, name) in names.into_iter().enumerate() {
                let series = format!("{name}, {count} hot");
                for (threads, taken) in [(1.0, &alone), (2.0, &both)] {
                    // The time of one check on one thread, divided among all threads.
                    results.point("threads", &series, threads, taken.median(contender) / threads);
                }
            }
            table.push(Row {
                what: format!("warm, 2 threads instead of 1, {count} hot"),
                figure: format!("{ours:.2} times as many"),
                peer: PLAIN.to_owned(),
                peer_figure: format!("{plain:.2} times"),
                ratio: ours / plain,
                target: "at least 0.9".to_owned(),
                reached: ours / plain >= 0.9,
            });
        }
    }

    fn take_turns(&self, requests: &[Request], threads: usize) -> Rounds {
        let run = |decide: Decide<'_>| on_threads(threads, requests, decide);
        rounds(
            ROUNDS,
            vec![
                Box::new(|| run(&|request| warm(&self.world.engine, request))),
                Box::new(|| run(&|request| self.plain.warm(request))),
                Box::new(|| run(&|request| self.reference.warm(request))),
            ],
        )
    }
}

/// Decides the requests in turn, each thread beginning elsewhere; returns the time of one.
fn on_threads(threads: usize, requests: &[Request], decide: Decide<'_>) -> f64 {
    let begin = Barrier::new(threads);
    let run = |thread: usize| {
        let mut requests = requests.iter().cycle().skip(thread * requests.len() / threads);
        begin.wait();
        on_this_thread(ASKED, || {
            black_box(requests.next().map(decide));
        })
    };
    if threads == 1 {
        return run(0);
    }
    let run = &run;
    let taken: f64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|t| scope.spawn(move || run(t))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    taken / threads as f64
}

/// A cached API token costs what a lookup of its digest costs.
pub(crate) fn api_tokens(table: &mut Vec<Row>) {
    const TOKENS: usize = 10_000;
    let world = World::in_memory(TOKENS, cheap());
    let (org, user) = (world.setup.org.id, world.setup.user.id);
    let create = async |number: usize| {
        let new = NewApiToken::new(org, user, permissions(org, number));
        let (_, secret) = world.engine.create_api_token(new).await.unwrap();
        world.engine.authenticate(Credentials::token(secret.expose())).await.unwrap();
        secret
    };
    let secrets: Vec<_> = world
        .runtime
        .block_on(stream::iter(0..TOKENS).map(create).buffered(64).collect::<Vec<_>>());
    let known = secrets.iter().map(|secret| secret.expose());
    let plain = PlainTokens::new(known.zip(&world.authorizations));
    let requested = (0..).map(|number| world.requested(number));
    let mut shuffled: Vec<_> = secrets.iter().zip(requested).collect();
    fastrand::shuffle(&mut shuffled);
    // Copied, so that reading the presented secret costs nothing: a server has just read it.
    let copied =
        shuffled.into_iter().map(|(secret, requested)| (secret.expose().to_owned(), requested));
    let requests: Vec<(String, Resource)> = copied.collect();
    let check = |(secret, resource): &(String, Resource)| {
        let login = world.engine.authenticate(Credentials::token(secret)).now_or_never();
        let principal = login.expect("not warm").unwrap();
        principal.check(Action::Write, resource).is_allowed()
    };
    let mut ours = requests.iter().cycle();
    let mut theirs = requests.iter().cycle();
    let taken = rounds(
        ROUNDS,
        vec![
            Box::new(move || {
                on_this_thread(ASKED, || {
                    black_box(ours.next().map(check));
                })
            }),
            Box::new(move || {
                on_this_thread(ASKED, || {
                    black_box(theirs.next().map(|(secret, resource)| plain.warm(secret, resource)));
                })
            }),
        ],
    );
    let what = format!("warm API token + check, {TOKENS} hot");
    table.push(Row::at_most(&what, "a plain map and SHA-256", &taken, 1.3));
}

/// A cache hit of a credential with an end, or with networks, costs little more than that of one without.
pub(crate) fn restricted(table: &mut Vec<Row>) {
    const HOT: usize = 256;
    let world = World::in_memory(3 * HOT, cheap());
    let networks = ["192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8"];
    let networks = AllowedNetworks::parse(networks).unwrap();
    let restricted = [
        ("an end", AuthorizationUpdate::expires_at(Some("2100-01-01T00:00:00Z".parse().unwrap()))),
        ("three networks", AuthorizationUpdate::allowed_networks(networks)),
    ];
    let source: IpAddr = "10.1.2.3".parse().unwrap();
    let login = |request: &Request| {
        let credentials = Credentials::password(&request.username, request.password.as_bytes());
        let login = world.engine.authenticate(credentials.source(source)).now_or_never();
        let principal = login.expect("not warm").unwrap();
        principal.check(Action::Write, &request.resource).is_allowed()
    };
    let requests = |first: usize| {
        let mut numbers: Vec<usize> = (first..first + HOT).collect();
        fastrand::shuffle(&mut numbers);
        let requests = world.requests_of(&numbers);
        let log_in = |request: &Request| {
            let credentials = Credentials::password(&request.username, request.password.as_bytes());
            world.runtime.block_on(world.engine.authenticate(credentials.source(source))).unwrap();
        };
        requests.iter().for_each(log_in);
        requests
    };
    let plain = requests(0);
    for (number, (what, update)) in restricted.into_iter().enumerate() {
        let first = (number + 1) * HOT;
        for authorization in &world.authorizations[first..first + HOT] {
            let update = world.engine.update_authorization(authorization.id, update.clone());
            world.runtime.block_on(update).unwrap();
        }
        let restricted = requests(first);
        let (mut ours, mut theirs) = (restricted.iter().cycle(), plain.iter().cycle());
        let taken = rounds(
            ROUNDS,
            vec![
                Box::new(|| {
                    on_this_thread(ASKED, || {
                        black_box(ours.next().map(login));
                    })
                }),
                Box::new(|| {
                    on_this_thread(ASKED, || {
                        black_box(theirs.next().map(login));
                    })
                }),
            ],
        );
        let what = format!("warm authenticate + check, {HOT} hot, with {what}");
        table.push(Row::at_most(&what, "the same without", &taken, 1.3));
    }
}
