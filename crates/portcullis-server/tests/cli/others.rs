//! Files that a process may not write, or that belong to other users: the errors, and that no file is
//! left over. These tests run commands as other users, so they need root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{Ran, Response, Sandbox, Server};

/// Two users other than root.
const OWNER: u32 = 64_001;
const OTHER: u32 = 64_002;

/// A sandbox with a store, where commands are run as other users.
struct Shared {
    sandbox: Sandbox,
    /// A copy of the binary that they may run.
    binary: PathBuf,
    _directory: TempDir,
}

impl Shared {
    /// Returns a store that belongs to `OWNER`, in a directory where every user may create files, or
    /// `None` where this process cannot become another user.
    fn new() -> Option<Self> {
        let sandbox = Sandbox::with_store();
        let directory = TempDir::new().unwrap();
        let binary = directory.path().join("portcullis");
        fs::copy(env!("CARGO_BIN_EXE_portcullis"), &binary).unwrap();
        set_mode(directory.path(), 0o755);
        set_mode(&binary, 0o755);
        set_mode(sandbox.root(), 0o777);
        give(&sandbox.path("portcullis.db"), OWNER, 0o644);
        let shared = Self { sandbox, binary, _directory: directory };
        if !shared.command(OWNER, "--version").output().is_ok_and(|ran| ran.status.success()) {
            skipped("this needs root and `setpriv`, to become another user");
            return None;
        }
        Some(shared)
    }

    fn command(&self, user: u32, arguments: &str) -> Command {
        let plain = self.sandbox.command(arguments);
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.arg("--clear-groups").arg(&self.binary).args(plain.get_args());
        command.current_dir(self.sandbox.root());
        for (name, _) in plain.get_envs() {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, user: u32, arguments: &str) -> Ran {
        self.command(user, arguments).output().unwrap().into()
    }
}

#[expect(clippy::print_stderr, reason = "the output of a test that is skipped")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path, user: u32, mode: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    set_mode(path, mode);
}

#[test]
fn a_command_of_a_user_who_may_only_read_leaves_nothing_behind() {
    let Some(shared) = Shared::new() else { return };
    for arguments in ["org create other", "org list", "serve --listen 127.0.0.1:0"] {
        let error = shared.run(OTHER, arguments).fails(1, arguments);
        assert!(error.contains("portcullis.db` cannot be written"), "{arguments}: {error}");
        assert_eq!(shared.sandbox.files(), ["portcullis.db"], "{arguments}");
    }
    shared.run(OWNER, "org create other").ok("org create");
}

#[test]
fn serve_names_the_file_that_cannot_be_written() {
    let Some(shared) = Shared::new() else { return };
    for suffix in ["-wal", "-shm"] {
        let name = format!("portcullis.db{suffix}");
        let path = shared.sandbox.path(&name);
        fs::write(&path, "").unwrap();
        give(&path, OTHER, 0o644);
        let error = shared.run(OWNER, "serve --listen 127.0.0.1:0").fails(1, suffix);
        assert!(error.contains(&format!("{name}` cannot be written")), "{error}");
        fs::remove_file(path).unwrap();
    }
    set_mode(&shared.sandbox.path("portcullis.db"), 0o444);
    let error = shared.run(OWNER, "serve --listen 127.0.0.1:0").fails(1, "serve");
    assert!(error.contains("portcullis.db` cannot be written"), "{error}");
    give(&shared.sandbox.path("portcullis.db"), OWNER, 0o600);
    give(shared.sandbox.root(), OTHER, 0o755);
    let error = shared.run(OWNER, "serve --listen 127.0.0.1:0").fails(1, "serve");
    let directory = shared.sandbox.root().display().to_string();
    assert!(error.contains(&format!("`{directory}` cannot be written")), "{error}");
    assert_eq!(shared.sandbox.files(), ["portcullis.db"]);
}

#[test]
fn a_backup_in_a_read_only_directory_can_be_read() {
    let Some(shared) = Shared::new() else { return };
    let Shared { sandbox, .. } = &shared;
    sandbox.ok("migrate --from sqlite:portcullis.db --to sled:data");
    sandbox.ok("migrate --from sqlite:portcullis.db --to redb:data.redb");
    let snapshot = sandbox.ok("export");
    fs::create_dir(sandbox.path("backups")).unwrap();
    sandbox.ok("backup backups/of#sqlite?.db");
    sandbox.ok("backup --store sled:data backups/of.sled");
    sandbox.ok("backup --store redb:data.redb backups/of.redb");
    // A copy of the file, whose header still has the journal mode of a file in use.
    fs::copy(sandbox.path("portcullis.db"), sandbox.path("backups/copy.db")).unwrap();
    for backup in ["of#sqlite?.db", "copy.db", "of.redb"] {
        give(&sandbox.path("backups").join(backup), OWNER, 0o444);
    }
    let sled = sandbox.path("backups/of.sled");
    for file in fs::read_dir(&sled).unwrap() {
        let path = file.unwrap().path();
        give(&path, OWNER, if path.is_dir() { 0o555 } else { 0o444 });
    }
    give(&sled, OWNER, 0o555);
    give(&sandbox.path("backups"), OWNER, 0o555);
    let before = listing(&sandbox.path("backups"));
    for (number, (scheme, backup)) in [
        ("sqlite", "of#sqlite?.db"),
        ("sqlite", "copy.db"),
        ("redb", "of.redb"),
        ("sled", "of.sled"),
    ]
    .into_iter()
    .enumerate()
    {
        let store = format!("{scheme}:backups/{backup}");
        let verified = shared.run(OWNER, &format!("verify --store {store}")).ok(&store);
        assert!(verified.ends_with("sound\n"), "{verified}");
        let exported = shared.run(OWNER, &format!("export --store {store}")).ok(&store);
        assert_eq!(exported, snapshot);
        for command in [
            format!("restore --store {scheme}:restored-{number} backups/{backup}"),
            format!("migrate --from {store} --to sqlite:migrated-{number}"),
        ] {
            shared.run(OWNER, &command).ok(&command);
        }
        for copy in [format!("{scheme}:restored-{number}"), format!("sqlite:migrated-{number}")] {
            assert_eq!(sandbox.ok(&format!("export --store {copy}")), snapshot, "{copy}");
        }
        let error = shared.run(OWNER, &format!("org create --store {store} x")).fails(1, &store);
        assert!(
            error.contains("` cannot be written") || error.contains("cannot open `"),
            "{error}"
        );
    }
    assert_eq!(listing(&sandbox.path("backups")), before);
}

fn listing(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        if file.path().is_dir() {
            found.extend(listing(&file.path()));
        } else {
            found.push((file.path(), file.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

/// The log may hold the only copy of some changes: no command creates a new store beside it.
#[test]
fn no_command_deletes_the_log_of_a_store_whose_file_is_gone() {
    let sandbox = Sandbox::with_store();
    sandbox.write("snapshot.jsonl", sandbox.ok("export"));
    sandbox.ok("backup monday.db");
    let open = Connection::open(sandbox.path("portcullis.db")).unwrap();
    open.execute_batch("CREATE TABLE latest (change)").unwrap();
    let log = fs::read(sandbox.path("portcullis.db-wal")).unwrap();
    assert!(!log.is_empty());
    fs::rename(sandbox.path("portcullis.db"), sandbox.path("gone.db")).unwrap();
    fs::remove_file(sandbox.path("portcullis.db-shm")).unwrap();
    for (command, empty) in [
        ("serve --listen 127.0.0.1:0", false),
        ("serve --listen 127.0.0.1:0", true),
        ("setup --org acme --user ada", false),
        ("setup --org acme --user ada", true),
        ("restore monday.db", false),
        ("import snapshot.jsonl", false),
    ] {
        if empty {
            sandbox.write("portcullis.db", "");
        }
        let error = sandbox.fails(1, command);
        assert!(error.contains("portcullis.db-wal` is left over"), "{command}: {error}");
        assert!(error.contains("put that store back"), "{command}: {error}");
        assert_eq!(fs::read(sandbox.path("portcullis.db-wal")).unwrap(), log, "{command}");
        if empty {
            fs::remove_file(sandbox.path("portcullis.db")).unwrap();
        }
        assert!(!sandbox.path("portcullis.db").exists(), "{command}");
    }
    drop(open);
}

#[test]
fn serve_warns_of_a_store_that_others_may_read() {
    for (mode, warns) in [(0o600, false), (0o640, true), (0o644, true)] {
        let sandbox = Sandbox::with_store();
        set_mode(&sandbox.path("portcullis.db"), mode);
        Server::start(&sandbox, "").stop();
        let log = sandbox.read("serve.log");
        assert_eq!(log.contains("can be read by other users"), warns, "{mode:o}: {log}");
    }
}

/// A small file system that a test can fill.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one, `None` where this process may not.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "portcullis-test"])
            .arg(&at)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skipped("this needs to mount a small file system");
            return None;
        }
        Some(Self(at))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_store_that_cannot_be_written_is_503_for_changes_and_ready_says_so() {
    let sandbox = Sandbox::new();
    let Some(disk) = SmallDisk::mount(sandbox.path("disk")) else { return };
    let server = Server::start(&sandbox, "--store sqlite:disk/portcullis.db");
    let token = sandbox.read("disk/operator-token");
    let token = token.trim_end();
    let create =
        |name: &str| create_authorization(&sandbox, &server, token, "disk/portcullis.db", name);
    let first = create("first");
    assert_eq!(first.status, 201, "{first:?}");
    let ready = || server.get("/ready", "");
    assert!(ready().1.contains("\"changesFail\": false"), "{:?}", ready());

    disk.fill();
    let mut refused = create("second");
    // The write-ahead log has some space left.
    for number in 0..10_000 {
        if refused.status != 201 {
            break;
        }
        refused = create(&format!("third-{number}"));
    }
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{refused:?}");
    let (status, body) = ready();
    assert_eq!(status, 200);
    assert!(body.contains("\"changesFail\": true"), "{body}");
    assert!(body.contains("changes are refused"), "{body}");
    let log = sandbox.read("serve.log");
    assert!(log.contains("the store takes no changes"), "{log}");

    disk.empty();
    assert_eq!(create("last").status, 201);
    assert!(ready().1.contains("\"changesFail\": false"), "{:?}", ready());
    assert!(sandbox.read("serve.log").contains("the store takes changes again"));
    server.stop();
}

#[test]
fn a_full_disk_loses_no_line_of_the_audit_log_and_may_stop_changes() {
    let sandbox = Sandbox::new();
    let Some(disk) = SmallDisk::mount(sandbox.path("disk")) else { return };
    let server = Server::start(&sandbox, "--audit-log disk/audit.jsonl --audit-required");
    let token = sandbox.read("operator-token");
    let token = token.trim_end();
    let create = |name: &str| create_authorization(&sandbox, &server, token, "portcullis.db", name);
    assert_eq!(create("before").status, 201);
    disk.fill();
    let mut made = vec!["before".to_owned()];
    // The log has some space left, and the change that finds it full is made.
    let refused = loop {
        let name = format!("while-full-{}", made.len());
        let response = create(&name);
        if response.status != 201 {
            break response;
        }
        made.push(name);
        // Refusals of unauthenticated requests must not use the memory that changes need.
        for guess in 0..50 {
            server.get(&format!("/api/v2/orgs?guess={guess}"), &format!("guess-{guess}"));
        }
        assert!(made.len() < 1_000);
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{refused:?}");
    assert_eq!(server.get("/api/v2/orgs", token).0, 200, "reads go on");
    disk.empty();
    let mut after = create("after");
    while after.status == 503 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        after = create("after");
    }
    assert_eq!(after.status, 201, "{after:?}");
    made.push("after".to_owned());
    server.stop();
    let lines = sandbox.read("disk/audit.jsonl");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let created = |name: &str| {
        lines.iter().any(|line| {
            line["action"] == "create"
                && line["outcome"] == "done"
                && line["record"]["name"] == name
        })
    };
    for name in &made {
        assert!(created(name), "{name} is not in the audit log");
    }
    let log = sandbox.read("serve.log");
    assert!(log.contains("audit events cannot be written"), "{log}");
    assert!(log.contains("audit events are written to"), "{log}");
}

/// Creates an authorization through the server.
fn create_authorization(
    sandbox: &Sandbox,
    server: &Server,
    token: &str,
    store: &str,
    name: &str,
) -> Response {
    let org = &sandbox.json(&format!("org list --store sqlite:{store}"))[0]["id"];
    let user = &sandbox.json(&format!("user list --store sqlite:{store}"))[0]["id"];
    let permission = serde_json::json!({ "action": "read", "resource": { "type": "buckets" } });
    let body = serde_json::json!({
        "orgID": org, "userID": user, "token": name, "permissions": [permission],
    });
    server.post("/private/legacy/authorizations", token, &body.to_string())
}
