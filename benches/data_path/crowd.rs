//! A thousand logins at once are served at the rate of two at a time, and cache hits are not slowed.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use portcullis::password::HashParams;

use crate::rounds::{median, quantile, took};
use crate::table::{Row, nanos};
use crate::world::{Request, World, warm};

const ROUNDS: usize = 3;
const CROWD: usize = 1_000;
const FEW: usize = 200;
const KNOWN: usize = 256;

/// Measured with a fifth of the default memory, which takes a fifth of the time.
pub(crate) fn crowd(table: &mut Vec<Row>) {
    let params = HashParams::new(4_096, 2, 1).unwrap();
    let world = World::in_memory(KNOWN + ROUNDS * (CROWD + FEW), params);
    let cached = world.requests(KNOWN);
    world.warm_up(&cached);
    // Each logs in once only: the second time would be a cache hit.
    let mut requests = world.requests(world.authorizations.len());
    requests.retain(|request| cached.iter().all(|cached| cached.username != request.username));
    let mut next = requests.into_iter();
    let mut login = |count: usize, at_once: usize| {
        let requests: Vec<_> = next.by_ref().take(count).collect();
        assert_eq!(requests.len(), count);
        let all = async {
            let logins = stream::iter(&requests).map(|request| world.login(request));
            logins.buffer_unordered(at_once).collect::<Vec<_>>().await
        };
        took(|| world.runtime.block_on(all)).0 / count as f64
    };

    let idle = probe(&world, &cached, || thread::sleep(Duration::from_secs(3))).0;
    let (mut many, mut few, mut meanwhile) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(login(FEW, 2));
        let (latencies, each) = probe(&world, &cached, || login(CROWD, CROWD));
        many.push(each);
        meanwhile.extend(latencies);
    }
    let (many, few) = (median(&many), median(&few));
    let rate = |nanos: f64| format!("{:.0} logins/s", 1e9 / nanos);
    table.push(Row {
        what: "1,000 cold logins at once, m=4096 t=2".to_owned(),
        figure: rate(many),
        peer: "2 at a time".to_owned(),
        peer_figure: rate(few),
        ratio: few / many,
        target: "at least 0.9".to_owned(),
        reached: few / many >= 0.9,
    });
    let (idle, meanwhile) = (quantile(&idle, 0.99), quantile(&meanwhile, 0.99));
    table.push(Row {
        what: "warm p99 meanwhile".to_owned(),
        figure: nanos(meanwhile),
        peer: "warm p99, idle".to_owned(),
        peer_figure: nanos(idle),
        ratio: meanwhile / idle,
        target: "at most 5".to_owned(),
        reached: meanwhile / idle <= 5.0,
    });
}

/// How long warm requests take while something else goes on, one every half a millisecond.
fn probe<T>(world: &World, cached: &[Request], work: impl FnOnce() -> T) -> (Vec<f64>, T) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut latencies = Vec::new();
            let mut next = cached.iter().cycle();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(500));
                if let Some(request) = next.next() {
                    latencies.push(took(|| black_box(warm(&world.engine, request))).0);
                }
            }
            latencies
        });
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        (prober.join().unwrap(), outcome)
    })
}
