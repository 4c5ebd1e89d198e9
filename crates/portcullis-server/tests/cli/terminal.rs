//! What commands do on a terminal, and do not do without one.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::Sandbox;

/// A terminal of its own.
struct Terminal {
    /// What a user enters.
    keys: File,
    /// What the terminal shows, once every process has closed it.
    screen: JoinHandle<String>,
    device: File,
}

impl Terminal {
    fn open() -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let device = File::options().read(true).write(true).open(path).unwrap();
        let keys = File::from(controller);
        let mut output = keys.try_clone().unwrap();
        let screen = std::thread::spawn(move || {
            let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
            // An error is the end: no process has the terminal open.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                text.extend_from_slice(&buffer[..count]);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { keys, screen, device }
    }

    fn stdio(&self) -> Stdio {
        self.device.try_clone().unwrap().into()
    }

    /// Waits for the end of the command, and returns its exit status and what the terminal showed.
    fn finish(self, mut child: Child) -> (i32, String) {
        drop(self.device);
        let status = child.wait().unwrap();
        (status.code().unwrap(), self.screen.join().unwrap())
    }
}

/// Begins an import that takes longer than a second, and returns the result of `end`.
fn slow_import<T>(mut command: Command, end: impl FnOnce(Child) -> T) -> T {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    drop(command);
    let mut stdin = child.stdin.take().unwrap();
    for name in ["one", "two", "three"] {
        let id = format!("{:016x}", 0x1000 + name.len() * 7 + usize::from(name.as_bytes()[0]));
        writeln!(stdin, "{{\"type\":\"org\",\"id\":\"{id}\",\"name\":\"{name}\"}}").unwrap();
        stdin.flush().unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    drop(stdin);
    end(child)
}

/// [CLI-12]
#[test]
fn progress_is_shown_on_a_terminal_alone_unless_it_is_wanted() {
    let sandbox = Sandbox::with_store();
    let terminal = Terminal::open();
    let mut command = sandbox.command("import -");
    command.stderr(terminal.stdio());
    let mut stdout = String::new();
    let (code, screen) = slow_import(command, |mut child| {
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        terminal.finish(child)
    });
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("reading: ") && screen.contains(" B"), "{screen}");
    // It is gone at the end.
    assert!(screen.ends_with("\u{1b}[2K") || screen.ends_with("\r"), "{screen:?}");
    assert!(stdout.starts_with("3 records imported"), "{stdout}");

    let output = |arguments: &str| {
        let sandbox = Sandbox::with_store();
        let output = slow_import(sandbox.command(arguments), |child| child.wait_with_output());
        let output = output.unwrap();
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (stdout, stderr) = output("import -");
    assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""));
    let (stdout, stderr) = output("import - --progress");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("reading: ") && !stderr.contains('\u{1b}'), "{stderr}");
}

/// Runs a command on a terminal where this is entered, and returns its exit status and the screen.
fn on_terminal(sandbox: &Sandbox, arguments: &str, keys: &str) -> (i32, String) {
    let mut terminal = Terminal::open();
    terminal.keys.write_all(keys.as_bytes()).unwrap();
    let mut command = sandbox.command(arguments);
    command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    let child = command.spawn().unwrap();
    drop(command);
    terminal.finish(child)
}

/// [CLI-14]
#[test]
fn a_terminal_is_asked_before_a_deletion_with_the_numbers_of_what_goes_too() {
    let sandbox = Sandbox::with_store();
    sandbox.ok("user create bob");
    for name in ["one", "two"] {
        let rest = "--org acme --user bob --no-password --read-bucket telemetry";
        sandbox.ok(&format!("auth create {name} {rest}"));
    }
    for (command, question) in [
        ("user delete bob", "Delete the user `bob` with 2 authorizations? [y/N] "),
        ("auth delete one", "Delete the authorization of `one`? [y/N] "),
        ("bucket delete --org acme telemetry", "Delete the bucket `telemetry` of the org `acme`?"),
        (
            "org delete acme",
            "Delete the org `acme` with 2 authorizations, 1 API token and 2 buckets?",
        ),
    ] {
        for keys in ["n\n", "\n", "yes please\n", "\u{4}"] {
            let (code, screen) = on_terminal(&sandbox, command, keys);
            assert_eq!(code, 1, "{command}: {screen}");
            assert!(screen.contains(question), "{command}: {screen}");
            assert!(screen.contains("not confirmed: nothing was deleted"), "{screen}");
        }
    }
    let (_, screen) = on_terminal(&sandbox, "bucket delete --org acme telemetry", "n\n");
    assert!(
        screen.contains("2 permissions of other credentials stay and allow nothing"),
        "{screen}"
    );
    assert_eq!(sandbox.json("auth list").as_array().unwrap().len(), 2);

    let (code, screen) = on_terminal(&sandbox, "auth delete one", "y\n");
    assert_eq!(code, 0, "{screen}");
    let (code, screen) = on_terminal(&sandbox, "user delete bob --yes", "");
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("[y/N]"), "{screen}");
    assert_eq!(sandbox.json("auth list"), serde_json::json!([]));
    // Scripts are not asked.
    sandbox.ok("org delete acme");
}

/// [APPLY-8] [CLI-14]
#[test]
fn what_a_file_does_not_list_is_deleted_on_a_terminal_after_a_confirmation() {
    let sandbox = Sandbox::with_store();
    sandbox.ok("auth create telegraf --org acme --user ada --read-bucket events --no-password");
    sandbox.write(
        "credentials.yaml",
        "orgs: [{name: acme, managed: true, buckets: [], credentials: []}]",
    );
    let apply = "apply -f credentials.yaml --prune";
    let (code, screen) = on_terminal(&sandbox, apply, "n\n");
    assert_eq!(code, 1, "{screen}");
    let question = "Delete 1 credential and 2 buckets that the file does not list? [y/N]";
    assert!(screen.contains(question) && screen.contains("not confirmed"), "{screen}");
    let (code, screen) = on_terminal(&sandbox, &format!("{apply} --diff"), "");
    assert!(code == 2 && !screen.contains("[y/N]"), "{screen}");
    let (code, screen) = on_terminal(&sandbox, apply, "y\n");
    assert!(code == 0 && screen.contains("3 records changed"), "{screen}");
    let (code, screen) = on_terminal(&sandbox, apply, "");
    assert!(code == 0 && screen.contains("nothing changed"), "{screen}");
}
