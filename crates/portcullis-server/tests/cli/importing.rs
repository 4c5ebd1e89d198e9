//! `import --from`: the files of other programs.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox};

/// A bcrypt hash of [`PASSWORD`].
const HASH: &str = "$2a$04$CTaAucHIa66nO/EktpmrAeXxaC3HxjfVygsYE5ymwCJEwmNIyGlyW";
const PASSWORD: &str = "s3cret-enough";
const IMPORT: &str = "import --from influxdb-1x meta.db --org acme --user ada";

fn varint(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A field of a protobuf message with a number.
fn number(field: usize, number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(field << 3, &mut bytes);
    varint(number, &mut bytes);
    bytes
}

/// A field with bytes.
fn bytes(field: usize, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(field << 3 | 2, &mut bytes);
    varint(content.as_ref().len(), &mut bytes);
    bytes.extend_from_slice(content.as_ref());
    bytes
}

/// A `meta.db` with the database `telemetry` and these users: name, hash, whether it is an administrator,
/// and its privilege on the database.
fn meta(users: &[(&str, &str, bool, usize)]) -> Vec<u8> {
    let policy = [bytes(1, "autogen"), number(2, 0), number(3, 1), number(4, 1)].concat();
    let database = [bytes(1, "telemetry"), bytes(2, "autogen"), bytes(3, policy)].concat();
    let mut file = [number(1, 0), number(2, 3), number(3, 9), bytes(5, database)].concat();
    for (name, hash, is_admin, privilege) in users {
        let privilege = [bytes(1, "telemetry"), number(2, *privilege)].concat();
        let user = [
            bytes(1, name),
            bytes(2, hash),
            number(3, usize::from(*is_admin)),
            bytes(4, privilege),
        ];
        file.extend(bytes(6, user.concat()));
    }
    file.extend([number(7, 0), number(8, 4), number(9, 4)].concat());
    file
}

fn sandbox(users: &[(&str, &str, bool, usize)]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("meta.db", meta(users));
    sandbox
}

const USUAL: [(&str, &str, bool, usize); 2] =
    [("reader", HASH, false, 1), ("both", HASH, false, 3)];

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// [IMP-1] [IMP-3] [IMP-4] [IMP-10]
#[test]
fn an_import_creates_the_store_and_another_one_changes_nothing() {
    let sandbox = sandbox(&USUAL);
    let dry = sandbox.ok(&format!("{IMPORT} --dry-run"));
    assert_eq!(
        dry,
        "OUTCOME  KIND        NAME                       NOTES\n\
         taken    org         acme                       created: there was none of the name\n\
         taken    bucket      telemetry/autogen\n\
         taken    database    telemetry\n\
         taken    user        ada                        created: there was none of the name\n\
         taken    credential  reader\n\
         taken    grant       reader: READ on telemetry\n\
         taken    credential  both\n\
         taken    grant       both: ALL on telemetry\n\
         \n\
         KIND        TAKEN\n\
         bucket      1\n\
         credential  2\n\
         database    1\n\
         grant       2\n\
         org         1\n\
         user        1\n\
         \n\
         6 new records would be stored, nothing was\n"
    );
    assert_eq!(sandbox.files(), ["meta.db"]);
    let report = sandbox.json(IMPORT);
    assert_eq!((&report["imported"], &report["newRecords"]), (&json!(true), &json!(6)));
    assert_eq!(report["counts"]["credential"], json!({"taken": 2}));
    assert_eq!(report["entries"].as_array().unwrap().len(), 8);
    assert_eq!(sandbox.files(), ["meta.db", "portcullis.db"]);
    for (name, write, status) in
        [("reader", "read", 0), ("reader", "write", 1), ("both", "write", 0)]
    {
        let check = format!("check {name} --{write}-bucket telemetry/autogen");
        assert_eq!(sandbox.run_with_password(&check, PASSWORD).code, status, "{check}");
    }
    let query = ["--db", "telemetry", "--query", "SELECT v FROM autogen.cpu"];
    let checked = sandbox.command("check reader").args(query).status().unwrap();
    assert!(checked.success());

    let before = sandbox.ok("export");
    let report = sandbox.json(IMPORT);
    assert_eq!(report["newRecords"], 0);
    assert_eq!(report["counts"]["credential"], json!({"already there": 2}));
    assert_eq!(sandbox.ok("export"), before);
    sandbox.ok("verify");
}

/// [IMP-3] [IMP-10]
#[test]
fn what_is_skipped_refuses_the_import_unless_it_is_allowed() {
    let users = [("reader", HASH, false, 1), ("md5", "$1$abc$0123456789", false, 1)];
    for store in ["", "--store sqlite:there.db"] {
        let sandbox = sandbox(&users);
        sandbox.ok("setup --org other --user grace --store sqlite:there.db");
        let before = sandbox.ok("export --store sqlite:there.db");
        for dry_run in ["", "--dry-run"] {
            let ran = sandbox.run(&format!("{IMPORT} {store} {dry_run} --json"));
            assert_eq!(ran.code, 1, "{ran:?}");
            let expected = "error: 1 item is skipped: nothing was imported; --allow-skipped imports the \
                            others\n";
            assert_eq!(ran.stderr, expected);
            assert_eq!(document(&ran)["imported"], false);
            assert!(ran.stdout.contains("password hash"), "{}", ran.stdout);
            assert!(!ran.stdout.contains("$1$"), "{}", ran.stdout);
        }
        assert_eq!(sandbox.files(), ["meta.db", "there.db"]);
        assert_eq!(sandbox.ok("export --store sqlite:there.db"), before);
        let report = sandbox.json(&format!("{IMPORT} {store} --allow-skipped"));
        assert_eq!((&report["imported"], &report["newRecords"]), (&json!(true), &json!(5)));
        assert_eq!(report["counts"]["credential"], json!({"taken": 1, "skipped": 1}));
        let check = format!("check reader --read-bucket telemetry/autogen {store}");
        assert_eq!(sandbox.run_with_password(&check, PASSWORD).code, 0);
    }
}

/// [IMP-13]
#[test]
fn administrators_need_a_choice_and_the_secret_of_a_token_is_shown_once() {
    let users = [("root", HASH, true, 0), ("reader", HASH, false, 1)];
    let sandbox = sandbox(&users);
    for allowed in ["", "--allow-skipped"] {
        let ran = sandbox.run(&format!("{IMPORT} {allowed}"));
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr.contains("1 item is undecided") && ran.stderr.contains("--admins"),
            "{ran:?}"
        );
        assert!(ran.stdout.contains("undecided  credential  root"), "{}", ran.stdout);
    }
    assert_eq!(sandbox.files(), ["meta.db"]);
    let dry = sandbox.json(&format!("{IMPORT} --admins operator-token --dry-run"));
    assert_eq!(dry.get("tokens"), None);
    let report = sandbox.json(&format!("{IMPORT} --admins operator-token"));
    assert_eq!(report["tokens"][0]["name"], "root");
    let secret = report["tokens"][0]["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("pcl_"));
    let again = sandbox.ok(&format!("{IMPORT} --admins operator-token"));
    assert!(again.contains("0 new records are stored") && !again.contains("pcl_"), "{again}");
    let tokens = sandbox.json("token list");
    assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");

    let text = "--admins operator-token --store sqlite:text.db";
    let shown = sandbox.ok(&format!("{IMPORT} {text}"));
    assert!(shown.contains("New API tokens, shown only now:") && shown.contains("pcl_"), "{shown}");
    let skipped = sandbox.ok(&format!("{IMPORT} --admins skip --store sqlite:skip.db"));
    assert!(skipped.contains("skipped  credential  root"), "{skipped}");
    assert_eq!(sandbox.json("auth list --store sqlite:skip.db").as_array().unwrap().len(), 1);
}

/// [IMP-7]
#[test]
fn a_bad_file_is_refused_with_its_place_and_no_store_is_created() {
    let sandbox = sandbox(&USUAL);
    let good = meta(&USUAL);
    for (content, expected) in [
        (&b""[..], "the file is empty"),
        (b"hello, world", "byte"),
        (&good[..good.len() - 1], "`meta.db`, byte"),
        (&good[..60], "cut off"),
    ] {
        sandbox.write("meta.db", content);
        let error = sandbox.fails(1, IMPORT);
        assert!(error.starts_with("error: `meta.db`") && error.contains(expected), "{error}");
    }
    let missing = IMPORT.replace("meta.db", "none.db");
    assert!(sandbox.fails(1, &missing).contains("No such file"));
    assert!(sandbox.fails(1, &IMPORT.replace("meta.db", ".")).contains("is a directory"));
    sandbox.write("meta.db", &good);
    let without = "import --from influxdb-1x meta.db";
    assert!(sandbox.fails(1, without).contains("belongs to no org: name one with --org"));
    let error = sandbox.fails(1, &format!("{without} --org acme"));
    assert!(error.contains("belong to no user: name one with --user"), "{error}");
    for usage in [
        "import meta.db --org acme",
        "import --from influxdb-9 meta.db",
        "import meta.db --admins skip",
    ] {
        assert_eq!(sandbox.run(usage).code, 2, "{usage}");
    }
    assert_eq!(sandbox.files(), ["meta.db"]);
}

/// A control character of a name does not reach the terminal.
#[test]
fn names_are_shown_without_control_characters() {
    let sandbox = sandbox(&[("a\u{1b}[31m\u{202e}b", HASH, false, 1)]);
    let shown = sandbox.ok(IMPORT);
    assert!(shown.contains("a\\u{1b}[31m\\u{202e}b: READ on telemetry"), "{shown}");
}

/// [IMP-3]
#[test]
fn an_import_is_in_the_audit_log() {
    let sandbox = sandbox(&USUAL);
    sandbox.ok(&format!("{IMPORT} --dry-run --audit-log audit.jsonl"));
    let lines = || std::fs::read_to_string(sandbox.path("audit.jsonl")).unwrap_or_default();
    assert_eq!(lines(), "");
    sandbox.ok(&format!("{IMPORT} --audit-log audit.jsonl"));
    let events: Vec<Value> =
        lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(!lines().contains("$2a$"));
}
