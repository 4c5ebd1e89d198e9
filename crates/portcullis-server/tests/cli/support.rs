//! Running the binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own, where commands run without the environment of the tests.
pub(crate) struct Sandbox(TempDir);

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A sandbox with a store that is set up: org `acme`, user `ada`, buckets `telemetry` and
    /// `events`.
    pub(crate) fn with_store() -> Self {
        let sandbox = Self::new();
        sandbox.ok("setup --org acme --user ada --bucket telemetry --bucket events");
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// The names of all files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command with these arguments, which blanks separate.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments.split_whitespace()).current_dir(self.root());
        for name in
            ["AUDIT_LOG", "CONFIG", "STORE", "LISTEN", "LOG", "PASSWORD", "PROFILE", "TOKEN", "URL"]
        {
            command.env_remove(format!("PORTCULLIS_{name}"));
        }
        // Profiles.
        command.env("XDG_CONFIG_HOME", self.root().join("config"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ran {
        finish(&mut self.command(arguments))
    }

    pub(crate) fn run_with_stdin(&self, arguments: &str, stdin: impl AsRef<[u8]>) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that refuses early does not read to the end.
        let _ = pipe.write_all(stdin.as_ref());
        drop(pipe);
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn run_with_password(&self, arguments: &str, password: &str) -> Ran {
        finish(self.command(arguments).env("PORTCULLIS_PASSWORD", password))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn ok(&self, arguments: &str) -> String {
        self.run(arguments).ok(arguments)
    }

    /// The same with `--json`.
    pub(crate) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{arguments} --json"))).unwrap()
    }

    /// Runs a command that must fail with this code, and returns its standard error.
    pub(crate) fn fails(&self, code: i32, arguments: &str) -> String {
        self.run(arguments).fails(code, arguments)
    }

    /// The id of the bucket of `acme`.
    pub(crate) fn bucket(&self, name: &str) -> String {
        let buckets = self.json("bucket list --org acme");
        let bucket = buckets.as_array().unwrap().iter().find(|bucket| bucket["name"] == name);
        bucket.unwrap()["id"].as_str().unwrap().to_owned()
    }
}

fn finish(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub(crate) fn ok(self, what: &str) -> String {
        assert_eq!(self.code, 0, "{what}: {self:?}");
        assert_eq!(self.stderr, "", "{what}");
        self.stdout
    }

    pub(crate) fn fails(self, code: i32, what: &str) -> String {
        assert_eq!(self.code, code, "{what}: {self:?}");
        assert_eq!(self.stdout, "", "{what}");
        assert!(!self.stderr.contains("panicked"), "{what}: {self:?}");
        self.stderr
    }
}

/// Waits until the condition holds. A minute without it is a failure, and no promise of speed.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A server that runs. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The lines that it printed until it accepted connections.
    pub(crate) lines: Vec<String>,
    pub(crate) address: String,
}

impl Server {
    /// Starts `serve` on a free port and waits until it accepts connections.
    pub(crate) fn start(sandbox: &Sandbox, arguments: &str) -> Self {
        let mut command = sandbox.command(&format!("serve {arguments}"));
        command.env("PORTCULLIS_LISTEN", "127.0.0.1:0");
        let log = std::fs::File::create(sandbox.path("serve.log")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, stdout, lines: Vec::new(), address: String::new() };
        while server.address.is_empty() {
            let mut line = String::new();
            let read = server.stdout.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "ended early: {}", sandbox.read("serve.log"));
            let line = line.trim_end();
            if let Some(url) = line.strip_prefix("listening on ") {
                server.address = url.split_once("://").unwrap().1.to_owned();
            }
            server.lines.push(line.to_owned());
        }
        server
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// Waits until no connection is accepted any more.
    pub(crate) fn wait_until_closed(&self) {
        while TcpStream::connect(&self.address).is_ok() {
            std::thread::yield_now();
        }
    }

    /// Sends a GET request, and returns the status and the body.
    pub(crate) fn get(&self, path: &str, token: &str) -> (u16, String) {
        get(self.connect(), path, token)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request with a body, and returns the response.
    pub(crate) fn send(&self, method: &str, path: &str, token: &str, body: &str) -> Response {
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Token {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Sends a POST request, and returns the response.
    pub(crate) fn post(&self, path: &str, token: &str, body: &str) -> Response {
        self.send("POST", path, token, body)
    }

    /// Sends it the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; returns its exit status and the rest of its standard output.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// Ends it in good order.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let (status, rest) = self.wait();
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    }
}

/// Sends a GET request, and returns the status and the body.
pub(crate) fn get(mut stream: impl Read + Write, path: &str, token: &str) -> (u16, String) {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Token {token}\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
