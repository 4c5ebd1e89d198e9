//! A standby takes the place of a primary that does not know it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::store::{Change, Kind, Lookup, Record, Store, StoreError};
use portcullis_postgres::PostgresStore;
use portcullis_testkit::postgres::{Server, absent};

use crate::common::{
    commit, create, next_change, options, replace, revised, run, until, user, watch,
};

/// A primary, and a standby that may take its place.
struct Pair {
    primary: Server,
    standby: PathBuf,
    standby_port: u16,
    paused: Vec<String>,
}

impl Pair {
    fn start() -> Self {
        let primary = Server::start(&["wal_level = replica"]).unwrap();
        // Goes with the directory of the primary.
        let standby = primary.directory().join("standby");
        let path = standby.to_str().unwrap();
        let port = primary.port().to_string();
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast"];
        primary.program("pg_basebackup", &[&from[..], &["-D", path]].concat());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let standby_port = free.local_addr().unwrap().port();
        drop(free);
        let pair = Self { primary, standby, standby_port, paused: Vec::new() };
        pair.start_standby();
        pair
    }

    fn start_standby(&self) {
        let (path, port) = (self.standby.to_str().unwrap(), format!("-p {}", self.standby_port));
        let log = format!("{path}.log");
        self.primary.program("pg_ctl", &["-D", path, "-w", "-l", &log, "-o", &port, "start"]);
    }

    fn stop_standby(&self) {
        let path = self.standby.to_str().unwrap();
        self.primary.program("pg_ctl", &["-D", path, "-m", "immediate", "stop"]);
    }

    fn url(&self, ports: &[u16]) -> String {
        let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("postgres://postgres@{}/postgres?sslmode=disable", hosts.join(","))
    }

    /// The one that names both, the primary first.
    fn both(&self) -> String {
        self.url(&[self.primary.port(), self.standby_port])
    }

    fn run(&self, port: u16, sql: &str) -> String {
        self.primary.run(&self.url(&[port]), sql)
    }

    /// Waits until the standby has what the primary has.
    async fn caught_up(&self) {
        let at = self.run(self.primary.port(), "SELECT pg_current_wal_lsn()");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{at}'");
        until("the standby is as far", || self.run(self.standby_port, &reached) == "t").await;
    }

    /// Makes the standby a primary of its own.
    fn promote(&self) {
        self.primary.program("pg_ctl", &["-D", self.standby.to_str().unwrap(), "-w", "promote"]);
    }

    /// Halts all processes of the primary.
    fn pause(&mut self) {
        let pid = std::fs::read_to_string(self.primary.directory().join("data/postmaster.pid"));
        let pid = pid.unwrap().lines().next().unwrap().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        self.paused.push(pid);
        self.paused.extend(children.unwrap().split_whitespace().map(ToOwned::to_owned));
        self.signal("-STOP");
    }

    fn go_on(&mut self) {
        self.signal("-CONT");
        self.paused.clear();
    }

    fn signal(&self, signal: &str) {
        // One that has ended meanwhile is none to wait for.
        let _ = Command::new("kill").arg(signal).args(&self.paused).output().unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.paused.is_empty() {
            self.go_on();
        }
        self.stop_standby();
    }
}

/// Uses all connections that the store may have, so that it has them.
async fn use_all(
    store: &PostgresStore,
    record: &Record,
) -> Vec<Result<Option<Record>, StoreError>> {
    join_all((0..32).map(|_| store.get(Lookup::Id(Kind::User, record.id)))).await
}

#[test]
fn a_primary_that_was_replaced_is_not_read_any_more_though_it_does_not_know_it() {
    if absent().is_some() {
        return;
    }
    let pair = Pair::start();
    run(async {
        let store = options().open(&pair.both()).await.unwrap();
        let old = user(1, "ada");
        commit(&store, [create(&old)]).await.unwrap();
        assert!(use_all(&store, &old).await.into_iter().all(|found| found.unwrap().is_some()));
        let mut changes = watch(&store).await;
        pair.caught_up().await;
        pair.promote();
        let new = revised(&old);
        let other = options().open(&pair.url(&[pair.standby_port])).await.unwrap();
        commit(&other, [replace(&new, &old)]).await.unwrap();
        // It has no reason to look elsewhere yet: the one that follows changes loses its connection.
        pair.run(
            pair.primary.port(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE '%pg_current_snapshot%' AND pid <> pg_backend_pid()",
        );
        let told = next_change(&mut changes).await;
        assert!(matches!(told, Change::Resync { .. }), "{told:?}");
        for found in use_all(&store, &old).await {
            assert_eq!(found.unwrap(), Some(new.clone()));
        }
        // Not even when the new one is gone: it is better to have nothing.
        pair.stop_standby();
        for found in use_all(&store, &old).await {
            assert!(matches!(found, Err(StoreError::Unavailable { .. })), "{found:?}");
        }
        pair.start_standby();
        // For a moment it is taken for granted that there is still nobody.
        let begin = Instant::now();
        let found = loop {
            match store.get(Lookup::Id(Kind::User, old.id)).await {
                Ok(found) => break found,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(10), "{error}"),
            }
        };
        assert_eq!(found, Some(new));
    });
}

#[test]
fn a_primary_that_is_halted_holds_nobody_up_for_long_and_is_not_read_when_it_wakes_up() {
    if absent().is_some() {
        return;
    }
    let mut pair = Pair::start();
    run(async {
        // All timeouts are those that one has by default.
        let store = options().open(&pair.both()).await.unwrap();
        let old = user(1, "ada");
        commit(&store, [create(&old)]).await.unwrap();
        use_all(&store, &old).await;
        let mut changes = watch(&store).await;
        pair.caught_up().await;
        pair.pause();
        let begin = Instant::now();
        // One read waits for the primary that is halted, and gets its answer from the other one.
        let waiting = store.get(Lookup::Id(Kind::User, old.id));
        let promoted = async {
            pair.promote();
            let other = options().open(&pair.url(&[pair.standby_port])).await.unwrap();
            let new = revised(&old);
            commit(&other, [replace(&new, &old)]).await.unwrap();
            new
        };
        let (found, new) = futures_util::future::join(waiting, promoted).await;
        assert_eq!(found.unwrap(), Some(new.clone()));
        let told = next_change(&mut changes).await;
        assert!(matches!(told, Change::Resync { .. }), "{told:?}");
        // 2 s for the look, 5 s for a connection to the one that is halted, and something.
        assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
        pair.go_on();
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            for found in use_all(&store, &old).await {
                assert_eq!(found.unwrap(), Some(new.clone()));
            }
        }
        let newer = revised(&new);
        commit(&store, [replace(&newer, &new)]).await.unwrap();
    });
}

#[test]
fn while_nobody_is_the_primary_everybody_is_told_so_soon() {
    if absent().is_some() {
        return;
    }
    let mut pair = Pair::start();
    run(async {
        let second = Duration::from_secs(1);
        let store = options().connect_timeout(second).open(&pair.both()).await.unwrap();
        let ada = user(1, "ada");
        commit(&store, [create(&ada)]).await.unwrap();
        use_all(&store, &ada).await;
        pair.pause();
        // 2 s for the look, 1 s for a new connection, again for who comes then; a statement has 10.
        for most in [6 * second, 4 * second] {
            let begin = Instant::now();
            for found in use_all(&store, &ada).await {
                assert!(matches!(found, Err(StoreError::Unavailable { .. })), "{found:?}");
            }
            assert!(begin.elapsed() < most, "{:?}", begin.elapsed());
        }
        pair.go_on();
        let begin = Instant::now();
        while store.get(Lookup::Id(Kind::User, ada.id)).await.is_err() {
            assert!(begin.elapsed() < 10 * second);
        }
        commit(&store, [replace(&revised(&ada), &ada)]).await.unwrap();
    });
}
