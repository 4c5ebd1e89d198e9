//! Snapshots, whole files of lines. An accepted snapshot survives a round trip, is written to the same
//! bytes from then on, and is exported from an empty engine as it was imported. The errors of a refused
//! one name lines that exist, and quote no secret. The first byte decides whether a matching last line
//! is added, whose checksum no generated input would hit.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis::Engine;
use portcullis::snapshot::{InvalidSnapshot, Snapshot, SnapshotRecord, SnapshotWriter};
use portcullis::store::{Entity, Kind, MemoryStore};
use portcullis_fuzz::{CANARY, world};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

/// Emptied after each input: an engine starts threads, which takes longer than most inputs do.
static ENGINE: LazyLock<(Runtime, Engine)> = LazyLock::new(|| {
    let runtime = world::runtime();
    let store = Arc::new(MemoryStore::new().expect("a store"));
    let engine = runtime.block_on(world::engine(store));
    (runtime, engine)
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, lines)) = data.split_first() else { return };
    let mut input = lines.to_vec();
    if mode % 2 == 1 {
        finish(&mut input);
    }
    let snapshot = match Snapshot::read(&*input) {
        Ok(snapshot) => snapshot,
        Err(error) => return check_refusal(&input, &error),
    };
    let written = write(snapshot.records());
    let again = Snapshot::read(&*written).expect("what was written");
    assert!(snapshot.records().eq(again.records()));
    assert_eq!(write(again.records()), written);
    if !snapshot.is_empty() {
        let (runtime, engine) = &*ENGINE;
        runtime.block_on(async {
            go_through(engine, snapshot).await;
            world::empty(engine.store(), &Kind::ALL).await;
        });
    }
});

/// Adds the last line that matches those before it.
fn finish(input: &mut Vec<u8>) {
    if input.last().is_some_and(|last| *last != b'\n') {
        input.push(b'\n');
    }
    let full = |line: &&[u8]| !line.trim_ascii().is_empty();
    let count = input.split(|byte| *byte == b'\n').filter(full).count().saturating_sub(1);
    let sha256: String = Sha256::digest(&*input).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = format!(r#"{{"type":"end","count":{count},"sha256":"{sha256}"}}"#);
    input.extend_from_slice(end.as_bytes());
}

fn write<'a>(records: impl Iterator<Item = &'a SnapshotRecord>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = SnapshotWriter::begin(&mut out).expect("memory takes everything");
    records.for_each(|record| writer.record(record).expect("memory takes everything"));
    writer.finish().expect("memory takes everything");
    out
}

async fn go_through(engine: &Engine, snapshot: Snapshot) {
    let mut before: Vec<_> = snapshot.records().cloned().collect();
    let new = engine.import(snapshot.clone(), true).await.expect("a rehearsal");
    assert_eq!(new, before.len());
    assert_eq!(engine.import(snapshot.clone(), false).await.expect("an import"), new);
    assert_eq!(engine.import(snapshot, false).await.expect("the same import"), 0);
    let mut out = Vec::new();
    engine.export(&mut out).await.expect("an export");
    let exported = Snapshot::read(&*out).expect("what was exported");
    // An export has its own order of kinds, and goes by id within one.
    before.sort_by_key(place);
    assert!(exported.records().eq(&before));
}

fn place(record: &SnapshotRecord) -> (u8, u64) {
    fn id(entity: &impl Entity) -> u64 {
        entity.id().as_u64()
    }
    match record {
        SnapshotRecord::Org(org) => (0, id(org)),
        SnapshotRecord::User(user) => (1, id(user)),
        SnapshotRecord::Bucket(bucket) => (2, id(bucket)),
        SnapshotRecord::Dbrp(mappings) => (3, id(mappings)),
        SnapshotRecord::ApiToken(token) => (4, id(token)),
        SnapshotRecord::Authorization(authorization) => (5, id(authorization)),
        other => panic!("{other:?} has no place in an export"),
    }
}

fn check_refusal(input: &[u8], error: &InvalidSnapshot) {
    let InvalidSnapshot::Lines(errors) = error else { panic!("{error}") };
    assert!(!errors.is_empty());
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    for error in errors {
        let index = usize::try_from(error.line).expect("a small number") - 1;
        let line = lines.get(index).expect("a line that is there");
        if is_secret(line) {
            assert!(!error.reason.contains(CANARY), "{error}");
        }
    }
}

/// Whether the canary stands only in members for secrets.
fn is_secret(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let Ok(Value::Object(members)) = serde_json::from_str(&text) else { return false };
    let holds =
        |name: &str| members.get(name).is_some_and(|value| value.to_string().contains(CANARY));
    let is_token = members.get("type").is_some_and(|kind| kind == "apiToken");
    text.matches(CANARY).count() == 1 && (holds("passwordHash") || (is_token && holds("token")))
}
