//! Commits that wait for a standby.

use futures_util::future::join;
use portcullis::store::{Kind, Lookup, Store, StoreError};
use portcullis_testkit::postgres::{Server, absent};

use crate::common::{commit, create, next_id, open, run, until, user, watch};

#[test]
fn a_commit_that_may_not_have_reached_the_standbys_is_indeterminate() {
    if absent().is_some() {
        return;
    }
    // A server of its own, because the setting applies to all databases.
    let server: &'static Server = Box::leak(Box::new(Server::start(&[]).unwrap()));
    let database = server.database();
    run(async {
        let store = open(&database).await;
        let mut changes = watch(&store).await;
        database.run("ALTER SYSTEM SET synchronous_standby_names = 'missing'");
        database.run("SELECT pg_reload_conf()");
        for (id, end) in [(1, "pg_cancel_backend"), (2, "pg_terminate_backend")] {
            let record = user(id, &format!("user {id}"));
            // A query writes nothing, so that it does not wait itself.
            let sql = format!(
                "SELECT count({end}(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'SyncRep'"
            );
            let cancelled = until("the wait is cancelled", || database.run(&sql) == "1");
            let (result, ()) = join(commit(&store, [create(&record)]), cancelled).await;
            assert!(matches!(result, Err(StoreError::Indeterminate { .. })), "{end}: {result:?}");
            // The revision resolves it, and the feed reports the change.
            let found = store.get(Lookup::Id(Kind::User, record.id)).await.unwrap();
            assert_eq!(found, Some(record));
            assert_eq!(next_id(&mut changes).await, id);
        }
        database.run("ALTER SYSTEM RESET synchronous_standby_names");
        database.run("SELECT pg_reload_conf()");
    });
}
