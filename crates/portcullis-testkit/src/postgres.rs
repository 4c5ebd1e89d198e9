//! A PostgreSQL server for tests, one for each test process.
//!
//! The server uses the installed programs and a temporary directory. It listens on a socket in that
//! directory and on a free port of the loopback interface, without passwords. `fsync` is off, because
//! no test cuts the power and most of the time would be spent on it; a test that needs it sets `fsync =
//! on`. A shell waits for the end of the test process, whatever its cause, stops the server and
//! deletes the directory.
//!
//! `PORTCULLIS_TEST_POSTGRES_URL` names another server to use, whose user may create databases. With
//! `PORTCULLIS_TEST_POSTGRES=required`, a missing server is a failure; otherwise tests are
//! [skipped](crate::Harness::absent).

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running server.
#[derive(Debug)]
pub struct Server {
    url: String,
    /// The directory of the server's programs, if this process started it.
    programs: PathBuf,
    directory: Option<PathBuf>,
    port: u16,
    /// The server stops when this is closed.
    _life: Option<ChildStdin>,
}

/// An empty database, deleted when this is dropped.
#[derive(Debug)]
pub struct Database {
    server: &'static Server,
    name: String,
    url: String,
}

/// Returns why there is no server, for [`Harness::absent`](crate::Harness::absent); `None` if there is
/// one.
pub fn absent() -> Option<String> {
    shared().as_ref().err().cloned()
}

/// Returns the server of this process, and starts it the first time. `None`, with a message on
/// standard error, if there is none.
///
/// # Panics
///
/// If there is none and one is required.
pub fn server() -> Option<&'static Server> {
    match shared() {
        Ok(server) => Some(server),
        Err(reason) => {
            // Not through the test runner, which captures the output of passing tests.
            let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {reason}");
            None
        }
    }
}

fn shared() -> &'static Result<Server, String> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = match std::env::var("PORTCULLIS_TEST_POSTGRES_URL") {
            Ok(url) => Ok(Server {
                url,
                programs: installed().unwrap_or_default(),
                directory: None,
                port: 0,
                _life: None,
            }),
            Err(_) => Server::start(&[]),
        };
        if let Err(reason) = &server
            && std::env::var("PORTCULLIS_TEST_POSTGRES").is_ok_and(|value| value == "required")
        {
            panic!("PostgreSQL is required, and {reason}");
        }
        server
    })
}

/// Returns the directory of the newest installed server.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let version = version.ok()?;
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path)
}

/// Starts the server, reports it, and stops it when its input is closed.
const SCRIPT: &str = r#"
set -eu
directory=$(mktemp -d /tmp/portcullis-pg-XXXXXX)
trap '"$1/pg_ctl" -D "$directory/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$directory"' EXIT
trap '' INT TERM HUP
"$1/initdb" -D "$directory/data" -A trust -U postgres --no-locale -E UTF8 --no-sync >"$directory/initdb.log" 2>&1
cat >>"$directory/data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = '$directory'
max_connections = 500
max_prepared_transactions = 10
shared_buffers = 64MB
fsync = off
logging_collector = off
$3
END
if ! "$1/pg_ctl" -D "$directory/data" -w -t 60 -l "$directory/log" start >/dev/null 2>&1; then
    echo "failed $(tail -n 3 "$directory/log" | tr '\n' ' ')"
    exit 1
fi
echo "ready $directory"
cat >/dev/null
"#;

impl Server {
    /// Starts another server with these lines of configuration.
    ///
    /// # Errors
    ///
    /// The reason why it cannot start.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let programs = installed().ok_or("no PostgreSQL server is installed")?;
        let mut refused = String::new();
        // Another process may take a free port before the server does.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let port = free.map_err(|error| format!("there is no free port: {error}"))?.port();
            match Self::start_at(&programs, port, settings) {
                Ok(server) => return Ok(server),
                Err(reason) => refused = reason,
            }
        }
        Err(format!("PostgreSQL does not start: {refused}"))
    }

    fn start_at(programs: &Path, port: u16, settings: &[&str]) -> Result<Self, String> {
        // The server refuses to run as root.
        let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
        let mut command = match id.stdout.as_slice() == b"0\n" {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups", "sh"]);
                command
            }
            false => Command::new("sh"),
        };
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(programs)
            .arg(port.to_string())
            .arg(settings.join("\n"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(unix)]
        {
            // An interrupt for the tests must not end it before it has cleaned up.
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
        let mut shell = command.spawn().map_err(|error| format!("cannot run it: {error}"))?;
        let (life, said) = (shell.stdin.take(), shell.stdout.take());
        let mut line = String::new();
        if let Some(said) = said {
            BufReader::new(said).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let Some(directory) = line.trim_end().strip_prefix("ready ") else {
            return Err(line.trim_end().to_owned());
        };
        Ok(Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"),
            programs: programs.to_owned(),
            directory: Some(directory.into()),
            port,
            _life: life,
        })
    }

    /// Returns the directory of its data (in `data`) and its socket.
    ///
    /// # Panics
    ///
    /// If this process did not start it.
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().expect("a server of our own")
    }

    /// Returns its port on the loopback interface.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn database(&'static self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis_test_{}_{number}", std::process::id());
        self.run(&self.url, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"));
        let url = self.url_of(&name);
        Database { server: self, name, url }
    }

    fn url_of(&self, database: &str) -> String {
        let (place, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let after = place.find("://").map_or(0, |at| at + 3);
        let end = place[after..].find('/').map_or(place.len(), |at| after + at);
        format!("{}/{database}?{query}", &place[..end])
    }

    /// Executes statements in the database with the URL, and returns their rows, one per line.
    ///
    /// # Panics
    ///
    /// If a statement fails.
    pub fn run(&self, url: &str, sql: &str) -> String {
        let done = Command::new(self.psql())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .current_dir("/")
            .output()
            .expect("psql");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    }

    /// Returns the path of `psql`.
    pub fn psql(&self) -> PathBuf {
        self.programs.join("psql")
    }

    /// Runs one of the server's programs, such as `pg_ctl`, as the owner of the data.
    ///
    /// # Panics
    ///
    /// If it fails, or this process did not start the server.
    pub fn program(&self, name: &str, arguments: &[&str]) {
        let id = Command::new("id").arg("-u").output().expect("id");
        let program = self.programs.join(name);
        let mut command = match id.stdout.as_slice() == b"0\n" {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
                command.arg(program);
                command
            }
            false => Command::new(program),
        };
        let status = command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("the program").success(), "{name} {arguments:?}");
    }
}

impl Database {
    /// Returns the URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Executes statements in it, and returns their rows, one per line.
    ///
    /// # Panics
    ///
    /// If a statement fails.
    pub fn run(&self, sql: &str) -> String {
        self.server.run(&self.url, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A database that is left over does no harm.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = Command::new(self.server.psql())
            .args(["-X", "-q", "-d", &self.server.url, "-c", &drop])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
