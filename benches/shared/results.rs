//! The saved results of a run: a file of JSON for each bench, which the report is made from.
//!
//! `peers` compiles this file as well, so it needs nothing but the standard library and JSON.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde_json::{Value, json};

/// What tells one row from another.
pub const ROW: [&str; 2] = ["what", "peer"];

/// What tells one point from another.
pub const POINT: [&str; 3] = ["plot", "series", "x"];

/// A run of a bench, from its beginning on.
pub struct Results {
    bench: &'static str,
    begun: Value,
    load: Value,
    points: Vec<Value>,
}

impl Results {
    /// Notes the time and how busy the machine is.
    pub fn begin(bench: &'static str) -> Self {
        Self { bench, begun: now(), load: load(), points: Vec::new() }
    }

    /// Adds a point to a plot: the size `x`, and the figure `y`.
    pub fn point(&mut self, plot: &str, series: &str, x: f64, y: f64) {
        self.points.push(json!({ "plot": plot, "series": series, "x": x, "y": y }));
    }

    /// Saves rows, points, and the machine, and returns the path. Rows and points that an earlier
    /// run saved and this one did not measure stay, with their run.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(self, rows: Vec<Value>) -> io::Result<PathBuf> {
        let path = directory().join(self.bench).with_extension("json");
        let run = json!({
            "begun": self.begun,
            "ended": now(),
            "load_begun": self.load,
            "load_ended": load(),
            "commit": commit(),
            "records": env::var("PORTCULLIS_BENCH_RECORDS").ok(),
            "machine": machine(),
        });
        let old = fs::read(&path).ok().and_then(|old| serde_json::from_slice(&old).ok());
        let old: Value = old.unwrap_or_default();
        let mut runs = list(&old["runs"]);
        let number = runs.len();
        runs.push(run);
        let mut rows = merged(list(&old["rows"]), rows, &ROW, number);
        let mut points = merged(list(&old["points"]), self.points, &POINT, number);
        forget_unused(&mut runs, &mut rows, &mut points);
        let all = json!({ "bench": self.bench, "runs": runs, "rows": rows, "points": points });
        fs::create_dir_all(directory())?;
        fs::write(&path, serde_json::to_string_pretty(&all)? + "\n")?;
        Ok(path)
    }
}

/// A row, as it is saved.
pub fn row(
    what: &str,
    here: &str,
    beside: [&str; 2],
    ratio: f64,
    target: &str,
    kept: bool,
) -> Value {
    let [peer, there] = beside;
    json!({
        "what": what,
        "here": here,
        "peer": peer,
        "there": there,
        "ratio": if ratio.is_finite() { json!(ratio) } else { Value::Null },
        "target": target,
        "reached": if target.is_empty() { Value::Null } else { json!(kept) },
    })
}

/// Where the files are: `PORTCULLIS_BENCH_RESULTS`, or else `target/bench-results`.
pub fn directory() -> PathBuf {
    let given = env::var_os("PORTCULLIS_BENCH_RESULTS").map(PathBuf::from);
    given.unwrap_or_else(|| root().join("target/bench-results"))
}

/// The directory that everything is in.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|directory| directory.join("crates").is_dir());
    root.unwrap_or(package).to_owned()
}

/// The elements of a list, none if there is no list.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Replaces old values by new ones with the same keys, and adds the others at the end.
fn merged(mut old: Vec<Value>, new: Vec<Value>, keys: &[&str], run: usize) -> Vec<Value> {
    for mut one in new {
        one["run"] = json!(run);
        let same = |other: &&mut Value| keys.iter().all(|key| other[*key] == one[*key]);
        match old.iter_mut().find(same) {
            Some(place) => *place = one,
            None => old.push(one),
        }
    }
    old
}

/// Drops the runs of which nothing is left, and numbers the others again.
fn forget_unused(runs: &mut Vec<Value>, rows: &mut [Value], points: &mut [Value]) {
    let of = |value: &Value| value["run"].as_u64().unwrap_or_default() as usize;
    let used = |run: &usize| rows.iter().chain(points.iter()).any(|value| of(value) == *run);
    let kept: Vec<usize> = (0..runs.len()).filter(used).collect();
    *runs = kept.iter().filter_map(|run| runs.get(*run).cloned()).collect();
    for value in rows.iter_mut().chain(points) {
        value["run"] = json!(kept.iter().position(|run| *run == of(value)));
    }
}

fn machine() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let after_colon = |line: &str| line.split_once(':').map(|(_, after)| after.trim().to_owned());
    let cpu = cpus.lines().find(|line| line.starts_with("model name")).and_then(after_colon);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find(|line| line.starts_with("MemTotal")).and_then(after_colon);
    let kib = memory.and_then(|memory| memory.strip_suffix(" kB")?.parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    json!({
        "cpu": cpu,
        "cores": cpus.lines().filter(|line| line.starts_with("processor")).count(),
        "memory_kib": kib,
        "kernel": kernel.map(|kernel| kernel.trim().to_owned()),
        "rustc": said("rustc", &["--version"]),
    })
}

fn now() -> Value {
    json!(said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))
}

/// The averages of one, five and fifteen minutes.
fn load() -> Value {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!(load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// The commit that is measured, and whether files were changed since, except those that the report writes.
fn commit() -> Option<String> {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    let others = ["status", "--porcelain", "--", ".", ":!docs/performance*"];
    let changed = said("git", &others).is_some_and(|changed| !changed.is_empty());
    Some(if changed { format!("{commit} with changes") } else { commit })
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
