//! DBRP mappings: shapes, filters and errors of the v2 API.

use serde_json::{Value, json};

use crate::support::{Response, Server, name};

const PATH: &str = "/api/v2/dbrps";

impl Server {
    /// Creates a mapping to the bucket and returns its id.
    async fn map(&self, database: &str, policy: &str) -> String {
        let body = self.mapping(database, policy).to_string();
        let created = self.call("POST", PATH, &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.json()["id"].as_str().unwrap().to_owned()
    }

    fn mapping(&self, database: &str, policy: &str) -> Value {
        json!({
            "database": database,
            "retention_policy": policy,
            "bucketID": self.bucket.id.to_string(),
            "orgID": self.org.id.to_string(),
        })
    }

    fn uri(&self, id: &str) -> String {
        format!("{PATH}/{id}?orgID={}", self.org.id)
    }

    /// The mappings of the org with these parameters: `DB.RP`, with `*` for the default and `~` for a
    /// virtual one.
    async fn listed(&self, parameters: &str) -> Vec<String> {
        let listed = self.get(&format!("{PATH}?orgID={}{parameters}", self.org.id)).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        shown(&listed)
    }
}

fn shown(listed: &Response) -> Vec<String> {
    let text = |mapping: &Value, member: &str| mapping[member].as_str().unwrap().to_owned();
    let mark = |is: &Value, mark: &'static str| if is.as_bool().unwrap() { mark } else { "" };
    let listed = listed.json();
    let shown = listed["content"].as_array().unwrap().iter().map(|it| {
        let marks = (mark(&it["default"], "*"), mark(&it["virtual"], "~"));
        format!("{}.{}{}{}", text(it, "database"), text(it, "retention_policy"), marks.0, marks.1)
    });
    shown.collect()
}

/// [DBRP-8] [DBRP-10]
#[tokio::test]
async fn responses_have_the_shapes_of_the_v2_api() {
    let server = Server::new().await;
    let id = server.map("db", "rp").await;
    let (org, bucket) = (server.org.id, server.bucket.id);
    let expected = format!(
        "{{\n\t\"content\": {{\n\t\t\"id\": \"{id}\",\n\t\t\"database\": \"db\",\n\t\t\
         \"retention_policy\": \"rp\",\n\t\t\"default\": true,\n\t\t\"virtual\": false,\n\t\t\
         \"orgID\": \"{org}\",\n\t\t\"bucketID\": \"{bucket}\"\n\t}}\n}}"
    );
    let found = server.get(&server.uri(&id)).await;
    assert_eq!((found.status.as_u16(), found.text.trim_end()), (200, &*expected));
    assert_eq!(found.header("content-type"), Some("application/json; charset=utf-8"));

    let mapping = |id: &str, policy: &str, default: bool, is_virtual: bool| {
        json!({
            "id": id, "database": if is_virtual { "telemetry" } else { "db" },
            "retention_policy": policy, "default": default, "virtual": is_virtual,
            "orgID": org.to_string(), "bucketID": bucket.to_string(),
        })
    };
    // By the name of the org, and with a mapping that follows from the name of the bucket.
    let body = json!({
        "database": "db", "retention_policy": "second", "default": true, "org": "acme",
        "bucketID": bucket.to_string(), "orgID": null, "unknown": [1],
    });
    let created = server.call("POST", &format!("{PATH}/"), &body.to_string()).await;
    assert_eq!(created.status, 201);
    let second = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.json(), mapping(&second, "second", true, false));
    let listed = server.get(&format!("{PATH}?org=acme")).await.json();
    let all = listed["content"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.contains(&mapping(&id, "rp", false, false)), "{listed}");
    assert!(all.contains(&mapping(&second, "second", true, false)), "{listed}");
    let virtual_id = bucket.to_string();
    assert_eq!(all[2], mapping(&virtual_id, "autogen", true, true));
    let found = server.get(&server.uri(&virtual_id)).await.json();
    assert_eq!(found, json!({"content": mapping(&virtual_id, "autogen", true, true)}));

    let update = json!({"retention_policy": "renamed", "default": true, "database": "ignored"});
    let updated = server.call("PATCH", &server.uri(&id), &update.to_string()).await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.json(), json!({"content": mapping(&id, "renamed", true, false)}));
    let unchanged = server.call("PATCH", &server.uri(&id), "{}").await;
    assert_eq!(unchanged.json(), updated.json());

    let deleted = server.call("DELETE", &server.uri(&id), "").await;
    assert_eq!((deleted.status.as_u16(), &*deleted.text), (204, ""));
    assert_eq!(server.listed("&db=db").await, ["db.second*"]);
    let empty = server.get(&format!("{PATH}?orgID=0000000000000009")).await;
    assert_eq!((empty.status.as_u16(), empty.json()), (200, json!({"content": []})));
}

/// [DBRP-9]
#[tokio::test]
async fn a_list_is_filtered_by_every_parameter() {
    let server = Server::new().await;
    let other = server.engine.create_bucket(server.org.id, name("other/year")).await.unwrap();
    let id = server.map("db", "rp").await;
    server.map("db", "second").await;
    for (parameters, expected) in [
        (format!("&id={id}"), &["db.rp*"][..]),
        (format!("&bucketID={}", other.id), &["other.year~"]),
        ("&db=db&rp=second".to_owned(), &["db.second"]),
        ("&db=db&default=true".to_owned(), &["db.rp*"]),
        ("&db=db&default=F".to_owned(), &["db.second"]),
        ("&db=other".to_owned(), &["other.year~"]),
        ("&rp=autogen".to_owned(), &["telemetry.autogen*~"]),
        ("&db=&rp=year&id=".to_owned(), &["other.year~"]),
        ("&db=DB".to_owned(), &[]),
        ("&limit=1&db=db&rp=rp".to_owned(), &["db.rp*"]),
    ] {
        assert_eq!(server.listed(&parameters).await, expected, "{parameters}");
    }
    assert_eq!(server.listed("").await.len(), 4);
}

/// [DBRP-11]
#[tokio::test]
async fn errors_are_those_of_the_v2_api() {
    let server = Server::new().await;
    let id = server.map("db", "rp").await;
    let second = server.map("db", "second").await;
    let org = server.org.id;
    let no_org = "either 'org' or 'orgID' must be provided";
    let (short, no_id) = ("id must have a length of 16 bytes", "invalid ID");
    let bad_org = format!("invalid org ID \"x\": {short}");
    let unknown_org = "invalid org \"none\": organization not found";
    for (uri, status, code, message) in [
        (format!("{PATH}?default=true"), 400, "invalid", no_org.to_owned()),
        (format!("{PATH}?orgID=x"), 400, "invalid", bad_org.clone()),
        (format!("{PATH}?org=none"), 404, "not found", unknown_org.to_owned()),
        (
            format!("{PATH}?orgID={org}&id=0000000000000000"),
            400,
            "invalid",
            format!("invalid DBRP ID \"0000000000000000\": {no_id}"),
        ),
        (
            format!("{PATH}?orgID={org}&bucketID=x"),
            400,
            "invalid",
            format!("invalid bucket ID \"x\": {short}"),
        ),
        (
            format!("{PATH}?orgID={org}&default=notabool"),
            400,
            "invalid",
            "invalid default parameter".to_owned(),
        ),
        (
            format!("{PATH}?orgID={org}&db=%"),
            400,
            "invalid",
            "`db` cannot be read: encode it for a URL".to_owned(),
        ),
    ] {
        server.get(&uri).await.assert_error(status, code, &message);
    }
    let missing = "1111111111111111";
    for (method, body) in [("GET", ""), ("PATCH", "{"), ("DELETE", "")] {
        let call = async |uri: String| server.call(method, &uri, body).await;
        call(server.uri(missing)).await.assert_error(404, "not found", "unable to find DBRP");
        let elsewhere = format!("{PATH}/{id}?orgID=0000000000000009");
        call(elsewhere).await.assert_error(404, "not found", "unable to find DBRP");
        call(format!("{PATH}/{id}")).await.assert_error(400, "invalid", no_org);
        call(format!("{PATH}/{id}?orgID=x")).await.assert_error(400, "invalid", &bad_org);
        call(format!("{PATH}/x?orgID={org}")).await.assert_error(400, "invalid", short);
    }

    let invalid = "DBRP provided is invalid: database must contain at least one character and only be \
                   letters, numbers, '_', '-', and '.'";
    let invalid_policy = invalid.replace("database", "retentionPolicy");
    let conflict = "another DBRP mapping with same orgID, db, and rp exists";
    for (changes, status, code, message) in [
        (json!({"orgID": null}), 400, "invalid", no_org),
        (json!({"orgID": ""}), 400, "invalid", no_org),
        (json!({"orgID": "x"}), 400, "invalid", &bad_org),
        (json!({"orgID": null, "org": "none"}), 404, "not found", unknown_org),
        (json!({"bucketID": null}), 400, "invalid", &format!("invalid bucket ID \"\": {short}")),
        (json!({"bucketID": missing}), 404, "not found", "bucket not found"),
        (json!({"database": null}), 400, "invalid", invalid),
        (json!({"database": "a/b"}), 400, "invalid", invalid),
        (json!({"retention_policy": ""}), 400, "invalid", &invalid_policy),
        (json!({"retention_policy": "rp"}), 422, "conflict", conflict),
        (
            json!({"default": "true"}),
            400,
            "invalid",
            "invalid json structure: `default` must be true or false",
        ),
    ] {
        let mut body = server.mapping("db", "new");
        for (member, value) in changes.as_object().unwrap() {
            body[member] = value.clone();
        }
        let refused = server.call("POST", PATH, &body.to_string()).await;
        refused.assert_error(status, code, message);
    }
    let rename = server.call("PATCH", &server.uri(&second), r#"{"retention_policy":"rp"}"#).await;
    rename.assert_error(422, "conflict", conflict);
    let refused = server.call("PATCH", &server.uri(&second), r#"{"retention_policy":""}"#).await;
    refused.assert_error(400, "invalid", &invalid_policy);
    let broken = server.call("PATCH", &server.uri(&second), "{").await;
    broken.assert_error(400, "invalid", "invalid json structure: unexpected EOF");
    let virtual_one = server.bucket.id.to_string();
    let follows = "a virtual DBRP mapping follows from the name of its bucket: create a mapping, which \
                   takes its place";
    for (method, body) in [("PATCH", "{}"), ("DELETE", "")] {
        let refused = server.call(method, &server.uri(&virtual_one), body).await;
        refused.assert_error(400, "invalid", follows);
    }
    assert_eq!(server.listed("&db=db").await.len(), 2);
}

/// [DBRP-12]
#[tokio::test]
async fn a_caller_sees_and_changes_only_what_it_may() {
    let server = Server::new().await;
    let id = server.map("db", "rp").await;
    let (org, bucket) = (server.org.id, server.bucket.id);
    let read = format!("read:orgs/{org}/buckets/{bucket}");
    let write = format!("write:orgs/{org}/buckets/{bucket}");
    let token = async |permissions: &[&str]| {
        let parsed = permissions.iter().map(|permission| permission.parse().unwrap());
        server.token(parsed.collect()).await
    };
    let nothing = token(&["read:users"]).await;
    let list = format!("{PATH}?org=acme");
    let listed = server.call_as(&nothing, "GET", &list, "").await;
    assert_eq!((listed.status.as_u16(), shown(&listed)), (200, vec![]));
    let refused = server.call_as(&nothing, "GET", &server.uri(&id), "").await;
    refused.assert_error(401, "unauthorized", &format!("{read} is unauthorized"));

    let reader = token(&[&read]).await;
    let listed = server.call_as(&reader, "GET", &list, "").await;
    assert_eq!(shown(&listed), ["db.rp*", "telemetry.autogen*~"]);
    let writer = token(&[&read, &write]).await;
    let new = server.mapping("db", "new").to_string();
    let dbrp = format!("write:orgs/{org}/dbrp");
    for (token, missing) in [(&reader, &write), (&writer, &dbrp)] {
        let message = format!("{missing} is unauthorized");
        for (method, uri, body) in [
            ("POST", PATH.to_owned(), &*new),
            ("PATCH", server.uri(&id), "{}"),
            ("DELETE", server.uri(&id), ""),
        ] {
            let refused = server.call_as(token, method, &uri, body).await;
            refused.assert_error(401, "unauthorized", &message);
        }
    }
    let manager = token(&[&read, &write, &dbrp]).await;
    assert_eq!(server.call_as(&manager, "POST", PATH, &new).await.status, 201);
    assert_eq!(server.call_as(&manager, "DELETE", &server.uri(&id), "").await.status, 204);
    assert_eq!(server.listed("&db=db").await, ["db.new*"]);
    // The org of another caller is not told by its name.
    let other = server.engine.create_org(name("globex")).await.unwrap();
    let hidden = server.call_as(&manager, "GET", &format!("{PATH}?org=globex"), "").await;
    hidden.assert_error(404, "not found", "invalid org \"globex\": organization not found");
    let by_id = format!("{PATH}?orgID={}", other.id);
    assert_eq!(server.call_as(&manager, "GET", &by_id, "").await.json(), json!({"content": []}));
}
