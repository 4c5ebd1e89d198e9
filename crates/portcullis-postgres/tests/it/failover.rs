//! A standby replaces a primary that does not detect it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis::store::{Change, Kind, Lookup, Record, Store, StoreError};
use portcullis_postgres::PostgresStore;
use portcullis_testkit::postgres::{Server, absent};

use crate::common::{
    DEADLINE, commit, create, next_change, options, replace, revised, run, until, user, watch,
};

/// A primary, and a standby that can be promoted.
struct Pair {
    primary: Server,
    standby: PathBuf,
    standby_port: u16,
    suspended: Vec<String>,
}

impl Pair {
    fn start() -> Self {
        let primary = Server::start(&["wal_level = replica"]).unwrap();
        // Deleted with the directory of the primary.
        let standby = primary.directory().join("standby");
        let path = standby.to_str().unwrap();
        let port = primary.port().to_string();
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast"];
        primary.program("pg_basebackup", &[&from[..], &["-D", path]].concat());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let standby_port = free.local_addr().unwrap().port();
        drop(free);
        let pair = Self { primary, standby, standby_port, suspended: Vec::new() };
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

    /// The URL with both hosts, the primary first.
    fn both(&self) -> String {
        self.url(&[self.primary.port(), self.standby_port])
    }

    fn run(&self, port: u16, sql: &str) -> String {
        self.primary.run(&self.url(&[port]), sql)
    }

    /// Waits until the standby has all changes of the primary.
    async fn wait_for_standby(&self) {
        let at = self.run(self.primary.port(), "SELECT pg_current_wal_lsn()");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{at}'");
        until("the standby has all changes", || self.run(self.standby_port, &reached) == "t").await;
    }

    /// Promotes the standby.
    fn promote(&self) {
        self.primary.program("pg_ctl", &["-D", self.standby.to_str().unwrap(), "-w", "promote"]);
    }

    /// Suspends all processes of the primary.
    fn suspend(&mut self) {
        let pid = std::fs::read_to_string(self.primary.directory().join("data/postmaster.pid"));
        let pid = pid.unwrap().lines().next().unwrap().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        self.suspended.push(pid);
        self.suspended.extend(children.unwrap().split_whitespace().map(ToOwned::to_owned));
        self.signal("-STOP");
    }

    fn resume(&mut self) {
        self.signal("-CONT");
        self.suspended.clear();
    }

    fn signal(&self, signal: &str) {
        // A process may have ended meanwhile.
        let _ = Command::new("kill").arg(signal).args(&self.suspended).output().unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.suspended.is_empty() {
            self.resume();
        }
        self.stop_standby();
    }
}

/// Uses all connections of the pool, so that they exist.
async fn use_all(
    store: &PostgresStore,
    record: &Record,
) -> Vec<Result<Option<Record>, StoreError>> {
    join_all((0..32).map(|_| store.get(Lookup::Id(Kind::User, record.id)))).await
}

#[test]
fn a_replaced_primary_that_still_runs_is_not_read() {
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
        pair.wait_for_standby().await;
        pair.promote();
        let new = revised(&old);
        let other = options().open(&pair.url(&[pair.standby_port])).await.unwrap();
        commit(&other, [replace(&new, &old)]).await.unwrap();
        // Nothing has made the old primary suspect yet: terminate the polling connection.
        pair.run(
            pair.primary.port(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE '%pg_current_snapshot%' AND pid <> pg_backend_pid()",
        );
        let event = next_change(&mut changes).await;
        assert!(matches!(event, Change::Resync { .. }), "{event:?}");
        for found in use_all(&store, &old).await {
            assert_eq!(found.unwrap(), Some(new.clone()));
        }
        // Not even while the new primary is down: calls fail instead.
        pair.stop_standby();
        for found in use_all(&store, &old).await {
            assert!(matches!(found, Err(StoreError::Unavailable { .. })), "{found:?}");
        }
        pair.start_standby();
        // The result that no host is the primary is reused for a moment.
        let begin = Instant::now();
        let found = loop {
            match store.get(Lookup::Id(Kind::User, old.id)).await {
                Ok(found) => break found,
                Err(error) => assert!(begin.elapsed() < DEADLINE, "{error}"),
            }
        };
        assert_eq!(found, Some(new));
    });
}

#[test]
fn a_suspended_primary_delays_a_read_briefly_and_is_not_read_when_it_resumes() {
    if absent().is_some() {
        return;
    }
    let mut pair = Pair::start();
    run(async {
        // With the default timeouts.
        let store = options().open(&pair.both()).await.unwrap();
        let old = user(1, "ada");
        commit(&store, [create(&old)]).await.unwrap();
        use_all(&store, &old).await;
        let mut changes = watch(&store).await;
        pair.wait_for_standby().await;
        pair.suspend();
        // One read waits for the suspended primary, and succeeds on the other one: the store aborts it
        // before the response timeout, after which it would fail.
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
        let event = next_change(&mut changes).await;
        assert!(matches!(event, Change::Resync { .. }), "{event:?}");
        pair.resume();
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
fn without_a_primary_calls_fail_before_the_statement_timeout() {
    if absent().is_some() {
        return;
    }
    let mut pair = Pair::start();
    run(async {
        let store = options()
            .connect_timeout(Duration::from_secs(1))
            .statement_timeout(DEADLINE)
            .open(&pair.both())
            .await
            .unwrap();
        let ada = user(1, "ada");
        commit(&store, [create(&ada)]).await.unwrap();
        use_all(&store, &ada).await;
        pair.suspend();
        // The poll fails after 2 s and connecting after 1 s, far below the statement timeout.
        for _ in 0..2 {
            let begin = Instant::now();
            for found in use_all(&store, &ada).await {
                assert!(matches!(found, Err(StoreError::Unavailable { .. })), "{found:?}");
            }
            assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
        }
        pair.resume();
        let begin = Instant::now();
        while store.get(Lookup::Id(Kind::User, ada.id)).await.is_err() {
            assert!(begin.elapsed() < DEADLINE);
        }
        commit(&store, [replace(&revised(&ada), &ada)]).await.unwrap();
    });
}
