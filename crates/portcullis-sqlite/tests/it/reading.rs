//! Records as they are in the file: identity, reading with SQL, damaged rows.

use std::num::NonZeroUsize;

use portcullis::Id;
use portcullis::store::{
    Expect, Index, Kind, Lookup, Operation, PageRequest, Record, Store, StoreError, StoreExt,
    UniqueKey,
};
use portcullis_sqlite::SqliteStore;

use crate::common::{Place, authorization, commit, create, delete, grant, user};

/// Texts that a careless comparison takes for each other.
fn look_alikes() -> Vec<String> {
    let longest = "x".repeat(UniqueKey::MAX_BYTES);
    let almost = format!("{}y", "x".repeat(UniqueKey::MAX_BYTES - 1));
    let texts = [
        "ada",
        "Ada",
        "ADA",
        " ada",
        "ada ",
        "ada\t",
        "ada\n",
        "ada\0",
        "ada\0b",
        "ada\0c",
        "\0",
        "\0\0",
        " ",
        "é",
        "e\u{301}",
        "É",
        "ﬁ",
        "fi",
        "ß",
        "ss",
        "SS",
        "İ",
        "i",
        "I",
        "ı",
        "\u{2126}",
        "Ω",
        "1",
        "01",
        "1.0",
        "1e0",
        "0x1",
        "NULL",
        "null",
        "'",
        "\"",
        "%",
        "_",
        "a%",
        "\u{feff}",
        "\u{200b}",
        "\u{10ffff}",
    ];
    let texts = texts.into_iter().map(str::to_owned);
    texts.chain([longest, almost]).collect()
}

#[tokio::test]
async fn keys_are_compared_byte_by_byte() {
    let place = Place::new();
    let store = place.open();
    let keys = look_alikes();
    let record = |id: usize, key: &str| Record {
        unique_key: UniqueKey::new(key).unwrap(),
        ..user(id as u64, "x")
    };
    let records: Vec<_> = (1..).zip(&keys).map(|(id, key)| record(id, key)).collect();
    for record in &records {
        commit(&store, [create(record.clone())]).await.unwrap();
    }
    store.close().await.unwrap();

    let store = place.open();
    for record in &records {
        let key = record.unique_key.as_str();
        let found = store.get(Lookup::UniqueKey(Kind::User, key)).await.unwrap();
        assert_eq!(found.as_ref(), Some(record), "{key:?}");
        let again = Record { id: Id::from_u64(1_000), ..record.clone() };
        let again = commit(&store, [create(again)]).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{key:?}: {again:?}");
    }
}

#[tokio::test]
async fn ids_above_the_signed_range_come_last() {
    let place = Place::new();
    let store = place.open();
    let ids = [u64::MAX, 1 << 63, (1 << 63) - 1, 0x0a, 0x09, 1];
    let users = ids.iter().map(|id| create(user(*id, &id.to_string())));
    commit(&store, users).await.unwrap();
    let listed = ids_of(&store, Index::All(Kind::User), 2).await;
    assert_eq!(listed, [1, 9, 10, (1 << 63) - 1, 1 << 63, u64::MAX]);
}

async fn ids_of(store: &SqliteStore, index: Index, limit: usize) -> Vec<u64> {
    let mut request = PageRequest { after: None, limit: NonZeroUsize::new(limit).unwrap() };
    let mut ids = Vec::new();
    loop {
        let page = store.list(index, request).await.unwrap();
        assert!(page.records.len() <= limit);
        ids.extend(page.records.iter().map(|record| record.id.as_u64()));
        match page.next {
            None => return ids,
            after => request.after = after,
        }
    }
}

#[tokio::test]
async fn a_page_can_have_no_bound() {
    let place = Place::new();
    let store = place.open();
    let users = (1..=10).map(|id| create(user(id, &id.to_string())));
    commit(&store, users).await.unwrap();
    let all = ids_of(&store, Index::All(Kind::User), usize::MAX).await;
    assert_eq!(all.len(), 10);
}

#[tokio::test]
async fn people_can_look_with_sql() {
    let place = Place::new();
    let store = place.open();
    let without_password = Record {
        body: authorization(2, "b").body.replace("passwordHash", "x").into(),
        ..authorization(2, "b")
    };
    let not_json = Record { body: "{".into(), ..authorization(3, "c") };
    let records = [authorization(1, "grafana"), without_password, not_json];
    commit(&store, records.map(create)).await.unwrap();
    commit(&store, [create(user(2, "ada"))]).await.unwrap();

    let raw = place.raw();
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = raw.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let sql = "SELECT concat_ws('|', username, status, description, org_id, user_id, permissions, \
               has_password, created_at, updated_at) FROM authorizations ORDER BY id";
    let rest = "inactive|dashboards|0000000000000001|0000000000000002|\
                [\"read:buckets/0000000000000003\"]";
    let times = "2024-01-02T03:04:05Z|2024-02-02T03:04:05Z";
    assert_eq!(
        rows(sql),
        [
            format!("grafana|{rest}|1|{times}"),
            format!("b|{rest}|0|{times}"),
            "c|inactive|0000000000000001|0000000000000002".to_owned(),
        ]
    );
    assert_eq!(rows("SELECT name FROM users"), ["ada"]);
    assert_eq!(
        rows(
            "SELECT username FROM grants JOIN authorizations USING (id) \
             WHERE grant_key = 'read:buckets/0000000000000003' ORDER BY id"
        ),
        ["grafana", "b", "c"]
    );
    let comments = "SELECT sql FROM sqlite_schema WHERE name = 'authorizations'";
    assert!(rows(comments)[0].contains("-- Credentials that clients log in with"));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_hide_the_others() {
    let place = Place::new();
    let store = place.open();
    let breakages = [
        "revision = x'00'",
        "revision = '0123456789abcdef'",
        "body = CAST(x'ff' AS TEXT)",
        "body = x'7b7d'",
        "unique_key = ''",
        "unique_key = CAST(x'fe' AS TEXT)",
        "org_id = 'acme'",
        "user_id = '000000000000000A'",
        "status = 'Active'",
    ];
    let broken = 2..2 + breakages.len() as u64;
    let last = broken.end;
    let records = (1..=last).map(|id| create(authorization(id, &id.to_string())));
    commit(&store, records).await.unwrap();
    let raw = place.raw();
    raw.pragma_update(None, "ignore_check_constraints", true).unwrap();
    for (id, breakage) in broken.clone().zip(breakages) {
        let sql = format!("UPDATE authorizations SET {breakage} WHERE id = '{id:016x}'");
        assert_eq!(raw.execute(&sql, []).unwrap(), 1);
    }
    raw.execute_batch(
        "INSERT INTO authorizations (id, revision, unique_key, org_id, user_id, status, body)
         SELECT upper('00000000000000ab'), revision, 'upper', org_id, user_id, status, body
         FROM authorizations WHERE id = '0000000000000001'",
    )
    .unwrap();

    for index in [Index::All(Kind::Authorization), Index::Grant(Kind::Authorization, grant())] {
        for limit in [1, 2, 100] {
            assert_eq!(ids_of(&store, index, limit).await, [1, last], "{limit}");
        }
    }
    for (id, breakage) in broken.zip(breakages) {
        let lookup = Lookup::Id(Kind::Authorization, Id::from_u64(id));
        let column = breakage.split(' ').next().unwrap();
        match store.get(lookup).await {
            Err(StoreError::Corrupt { id: said, source, .. }) => {
                assert_eq!(said.as_u64(), id);
                let text = format!("its column `{column}` cannot be read");
                assert_eq!(source.to_string(), text);
            }
            other => panic!("{breakage}: {other:?}"),
        }
    }
    let upper = Lookup::UniqueKey(Kind::Authorization, "upper");
    let upper = store.get(upper).await;
    assert!(matches!(upper, Err(StoreError::Corrupt { .. })), "{upper:?}");
}

#[tokio::test]
async fn hands_cannot_write_what_is_no_record() {
    let place = Place::new();
    let store = place.open();
    commit(&store, [create(user(1, "ada"))]).await.unwrap();
    let raw = place.raw();
    for change in [
        "id = '0000000000000002'",
        "id = 'x'",
        "revision = 'x'",
        "revision = NULL",
        "unique_key = NULL",
        "status = 'disabled'",
        "body = NULL",
    ] {
        let sql = format!("UPDATE users SET {change}");
        raw.execute(&sql, []).unwrap_err();
    }
    let (user, _) = store.find::<portcullis::User>(Id::from_u64(1)).await.unwrap().unwrap();
    assert_eq!(user.name.as_str(), "ada");
}

#[tokio::test]
async fn grants_go_with_the_record() {
    let place = Place::new();
    let store = place.open();
    let record = authorization(1, "grafana");
    let put = |grants: &[&str], expect| Operation::Put {
        record: record.clone(),
        grants: grants.iter().map(|text| portcullis::GrantKey::of(text.parse().unwrap())).collect(),
        expect,
    };
    let grants = || -> Vec<String> {
        let raw = place.raw();
        let mut statement = raw.prepare("SELECT grant_key FROM grants").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let twice = put(&["read:users", "read:users"], Expect::Absent);
    commit(&store, [twice]).await.unwrap();
    assert_eq!(grants(), ["read:users"]);
    let others = put(&["write:users", "read:orgs"], Expect::Revision(record.revision));
    commit(&store, [others]).await.unwrap();
    assert_eq!(grants(), ["read:orgs", "write:users"]);
    commit(&store, [delete(&record)]).await.unwrap();
    assert!(grants().is_empty());
}
