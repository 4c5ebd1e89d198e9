//! Makes the first inputs of the fuzz targets from the behaviour vectors of the project, so that the
//! repository holds no copy of them. `portcullis-fuzz-seeds VECTORS CORPUS` reads `VECTORS/*.json`
//! and writes `CORPUS/TARGET/seed-NUMBER`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;

type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(vectors), Some(corpus)) = (arguments.next(), arguments.next()) else {
        return Err("usage: portcullis-fuzz-seeds VECTORS CORPUS".into());
    };
    let read = |name: &str| -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_slice(&fs::read(Path::new(&vectors).join(name))?)?)
    };
    let mut seeds = Seeds::new();
    ids(&read("id_parse.json")?, &mut seeds);
    permissions(&read("permission_string.json")?, &mut seeds);
    matches(&read("permission_match.json")?, &mut seeds);
    for name in ["http_create.json", "http_get_patch_delete_password.json", "http_list.json"] {
        requests(&read(name)?, &mut seeds);
    }
    for name in ["v1_credentials.json", "authorize_decision.json"] {
        credentials(&read(name)?, &mut seeds);
    }
    queries(&read("influxql_decisions.json")?, &mut seeds);
    worlds(&read("worlds.json")?, &mut seeds);
    hashes(&mut seeds);
    steps(&mut seeds);
    bolt(&mut seeds);
    write(&seeds, Path::new(&corpus))
}

fn write(seeds: &Seeds, corpus: &Path) -> Result<(), Box<dyn Error>> {
    for (target, inputs) in seeds {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)?;
        for (number, input) in inputs.iter().enumerate() {
            fs::write(dir.join(format!("seed-{number:03}")), input)?;
        }
        println!("{target}: {} seeds", inputs.len());
    }
    Ok(())
}

fn add(seeds: &mut Seeds, target: &'static str, input: impl Into<Vec<u8>>) {
    let inputs = seeds.entry(target).or_default();
    let input = input.into();
    if !inputs.contains(&input) {
        inputs.push(input);
    }
}

fn cases(file: &Value) -> impl Iterator<Item = &Value> {
    file["cases"].as_array().into_iter().flatten()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn ids(file: &Value, seeds: &mut Seeds) {
    cases(file).for_each(|case| add(seeds, "id", text(&case["input"])));
}

fn permissions(file: &Value, seeds: &mut Seeds) {
    cases(file).for_each(|case| add(seeds, "permission", text(&case["string"])));
}

fn permission(json: &Value) -> String {
    let resource = &json["resource"];
    let mut path = String::new();
    if let Some(org) = resource["orgID"].as_str() {
        path.push_str(&format!("orgs/{org}/"));
    }
    path.push_str(text(&resource["type"]));
    if let Some(id) = resource["id"].as_str() {
        path.push_str(&format!("/{id}"));
    }
    format!("{}:{path}", text(&json["action"]))
}

fn matches(file: &Value, seeds: &mut Seeds) {
    for case in cases(file) {
        let requested = [&case["requested"]];
        let lines: Vec<_> = array(&case["granted"]).chain(requested).map(permission).collect();
        add(seeds, "permission", lines.join("\n"));
    }
}

/// A query string of the vectors: raw, or by parameter.
fn query(request: &Value) -> String {
    if let Some(raw) = request["raw_query"].as_str() {
        return raw.to_owned();
    }
    let escape = |text: &str| {
        let escape = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect::<String>()
    };
    let parameters = request["query"].as_object().into_iter().flatten();
    let parameters = parameters.flat_map(|(name, value)| match value {
        Value::Array(values) => {
            values.iter().map(|value| format!("{name}={}", escape(text(value)))).collect()
        }
        value => vec![format!("{name}={}", escape(text(value)))],
    });
    parameters.collect::<Vec<_>>().join("&")
}

/// The first byte is the operation or the list, as the targets choose it.
fn requests(file: &Value, seeds: &mut Seeds) {
    for request in cases(file).flat_map(|case| [case].into_iter().chain(array(&case["then"]))) {
        let request = &request["request"];
        let path = text(&request["path"]).trim_end_matches('/');
        let operation = match (text(&request["method"]), path.rsplit('/').next()) {
            ("POST", Some("authorizations")) => b'0',
            ("POST", Some("password")) => b'2',
            ("PATCH", _) => b'1',
            ("GET", Some("authorizations")) => {
                let list = if path.starts_with("/private") { b'2' } else { b'3' };
                add(seeds, "query_string", [vec![list], query(request).into()].concat());
                continue;
            }
            _ => continue,
        };
        let body = match (&request["raw_body"], &request["body"]) {
            (Value::String(raw), _) => raw.clone(),
            (_, Value::Null) => continue,
            (_, body) => body.to_string(),
        };
        add(seeds, "json_bodies", [&[operation], body.as_bytes()].concat());
        let permissions = &request["body"]["permissions"];
        if operation == b'0' && !permissions.is_null() {
            let body = serde_json::json!({ "permissions": permissions }).to_string();
            add(seeds, "json_bodies", [b"3", body.as_bytes()].concat());
        }
    }
    for query in ["limit=1", "limit=2&status=active", "user=alice&limit=1", "permits=read:buckets"]
    {
        (b'2'..=b'6').for_each(|list| {
            add(seeds, "query_string", [&[list], query.as_bytes()].concat());
        });
    }
}

fn credentials(file: &Value, seeds: &mut Seeds) {
    for request in cases(file).map(|case| &case["request"]).filter(|request| request.is_object()) {
        let mut input = query(request);
        if let Some(header) = request["headers"]["Authorization"].as_str() {
            input = format!("{input}\n{header}");
        }
        add(seeds, "credentials", input);
    }
}

/// The first line is for parameters.
fn queries(file: &Value, seeds: &mut Seeds) {
    for case in cases(file) {
        add(seeds, "influxql", format!("\n{}", text(&case["q"])));
    }
    let parameters = r#"{"d":{"ident":"a"},"t":{"duration":"1h"},"r":{"regex":"c.*"},"n":5}"#;
    let q = "SELECT v FROM $d..cpu WHERE host =~ $r AND v > $n GROUP BY time($t)";
    add(seeds, "influxql", format!("{parameters}\n{q}"));
}

/// Names of a kind in a world, of its lines, and the byte that chooses it in `stored_record`.
const KINDS: [(&str, &str, u8); 5] = [
    ("orgs", "org", b'4'),
    ("users", "user", b'5'),
    ("buckets", "bucket", b'2'),
    ("api_tokens", "apiToken", b'1'),
    ("authorizations", "authorization", b'0'),
];

const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
const BCRYPT: &str = "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6";
const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn worlds(file: &Value, seeds: &mut Seeds) {
    for world in file.as_object().into_iter().flat_map(|worlds| worlds.values()) {
        let mut lines = Vec::new();
        for (records, kind, choice) in KINDS {
            for record in array(&world[records]) {
                let line = line(kind, record);
                add(seeds, "snapshot", format!("0{line}\n"));
                lines.push(line);
                let body = body(record).to_string();
                add(seeds, "stored_record", [&[choice], body.as_bytes()].concat());
            }
        }
        let lines = lines.join("\n");
        add(seeds, "snapshot", format!("0{lines}\n"));
        // `1` adds the last line.
        let first = r#"{"type":"snapshot","version":1}"#;
        add(seeds, "snapshot", format!("1{first}\n{lines}\n"));
    }
    let mappings = concat!(
        r#""id":"0000000000000007","orgID":"0000000000000001","database":"telemetry","#,
        r#""mappings":[{"id":"0000000000000008","retentionPolicy":"raw","#,
        r#""bucketID":"0000000000000003","default":true}]"#
    );
    add(seeds, "snapshot", format!("0{{\"type\":\"dbrp\",{mappings}}}\n"));
    add(seeds, "stored_record", format!("6{{\"v\":1,{mappings}}}"));
    let gone = [r#"{"org":"0000000000000001"}"#, r#"{"user":"0000000000000001"}"#];
    for gone in gone {
        let body = format!(r#"3{{"v":1,"id":"0000000000000004","gone":{gone}}}"#);
        add(seeds, "stored_record", body);
    }
}

fn line(kind: &str, record: &Value) -> String {
    let mut line = record.clone();
    line["type"] = kind.into();
    if let Some(members) = line.as_object_mut()
        && members.remove("password").is_some()
    {
        members.insert("passwordHash".to_owned(), HASH.into());
    }
    line.to_string()
}

/// The record as a store has it.
fn body(record: &Value) -> Value {
    let mut body = record.clone();
    body["v"] = 1.into();
    let permissions: Vec<Value> =
        array(&record["permissions"]).map(|json| permission(json).into()).collect();
    let Some(members) = body.as_object_mut() else { return body };
    members.entry("status").or_insert_with(|| "active".into());
    if members.contains_key("permissions") {
        members.insert("permissions".to_owned(), permissions.into());
        members.entry("description").or_insert_with(|| "".into());
        if record.get("createdAt").is_none() {
            members.remove("token");
            members.insert("tokenDigest".to_owned(), DIGEST.into());
        }
    }
    if members.remove("password").is_some() {
        members.insert("passwordHash".to_owned(), BCRYPT.into());
    }
    body
}

fn hashes(seeds: &mut Seeds) {
    for hash in [HASH, BCRYPT] {
        add(seeds, "password_hash", hash);
        add(seeds, "password_hash", hash.replace("$2b$04$", "$2y$14$").replace("v=19$", ""));
        add(seeds, "password_hash", hash.replace("m=8,", "m=65536,").replace("t=1", "t=16"));
        add(seeds, "password_hash", hash.replace("p=1", "p=16").replace("m=8,", "m=131072,"));
        add(seeds, "password_hash", hash.replace("argon2id", "argon2i").replace("04", "31"));
        add(seeds, "password_hash", hash.replace("v=19", "v=16").replace("$2b$", "$2$"));
    }
}

/// Random bytes: the target makes steps of any input.
fn steps(seeds: &mut Seeds) {
    for length in [16_u32, 64, 256, 1024, 4096] {
        let bytes: Vec<u8> =
            (0..length).map(|place| place.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        add(seeds, "stores", bytes);
    }
}

/// Pages of 1,024 bytes, of which the first is the root: a leaf with a value, an inline bucket and one on the
/// other page, and a branch over two leaves. `3` adds the meta pages.
fn bolt(seeds: &mut Seeds) {
    let inline = [&[0; 16][..], &page(2, &leaf(&[(0, b"i", b"1"), (0, b"j", b"2")]), 2)].concat();
    let other = [&3_u64.to_le_bytes()[..], &[0; 8]].concat();
    let leaf_of_all = leaf(&[(0, b"a", b"value"), (1, b"b", &inline), (1, b"c", &other)]);
    let last = leaf(&[(0, b"x", b"1"), (0, b"y", b"")]);
    let pages = [padded(page(2, &leaf_of_all, 3)), padded(page(2, &last, 2))].concat();
    add(seeds, "bolt", [b"3", &*pages].concat());
    add(seeds, "bolt", [b"1", &*pages].concat());

    let branch: Vec<u8> = [(32_u32, 3_u64), (17, 4)]
        .iter()
        .flat_map(|(place, child)| {
            [&place.to_le_bytes()[..], &1_u32.to_le_bytes(), &child.to_le_bytes()].concat()
        })
        .chain(*b"ax")
        .collect();
    let first = leaf(&[(0, b"a", b"value"), (0, b"b", b"")]);
    let pages =
        [padded(page(1, &branch, 2)), padded(page(2, &first, 2)), padded(page(2, &last, 2))];
    add(seeds, "bolt", [b"3", &*pages.concat()].concat());
}

fn page(flags: u16, elements: &[u8], count: u16) -> Vec<u8> {
    let (flags, count) = (flags.to_le_bytes(), count.to_le_bytes());
    [&[0; 8], &flags[..], &count, &[0; 4], elements].concat()
}

fn padded(mut page: Vec<u8>) -> Vec<u8> {
    page.resize(1_024, 0);
    page
}

/// Elements with flags, key and value.
fn leaf(items: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (index, (flags, key, value)) in items.iter().enumerate() {
        let place = (items.len() - index) * 16 + data.len();
        for number in [*flags, place as u32, key.len() as u32, value.len() as u32] {
            elements.extend(number.to_le_bytes());
        }
        data.extend([key, value].into_iter().copied().flatten());
    }
    [elements, data].concat()
}
