//! Makes `docs/performance.md`, and the plots beside it, of what the benches saved.
//!
//! Its arguments are the directories of several runs; the default is the one where benches save.
//! Figures that are missing are reported as not measured.

mod middle;
mod plot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use portcullis_benches::results::{directory, list, root};
use portcullis_benches::table::nanos;
use serde_json::Value;

use plot::Plot;

/// A bench, what it is about, and what it is run with.
const BENCHES: [(&str, &str, &str); 8] = [
    ("core", "The core", "cargo bench -p portcullis-benches --bench core"),
    ("peers", "Other engines", "cargo run --release --manifest-path benches/peers/Cargo.toml"),
    ("data_path", "The way of a request", "cargo bench -p portcullis-benches --bench data_path"),
    ("stores", "Stores", "cargo bench -p portcullis-benches --bench stores"),
    ("memory", "Memory", "cargo bench -p portcullis-benches --bench memory"),
    ("http", "Over HTTP", "cargo bench -p portcullis-benches --bench http"),
    ("gateway", "The gateway", "benches/gateway/run.py"),
    ("influxdb", "Beside InfluxDB 1.6", "benches/influxdb/run.py"),
];

const NOT_MEASURED: &str = "Not measured.\n";

const BEGINNING: &str = "\
# Performance

`benches/run` makes this file. Do not edit it.

Contenders took turns in one run, and figures are medians. Machines differ and are noisy, so look at
ratios. *Here* is what Portcullis needed, *there* what the peer needed at the same time. Where a target
says at most, the ratio is ours divided by theirs; where it says at least, how many times as fast ours
is. Where rounds are compared one by one, the ratio is the median of theirs, which need not be the ratio
of the medians. A row without a target is for information. Of several runs each row shows the median
run, with the range of all ratios in brackets.
[benches/README.md](../benches/README.md) says which property each bench protects.
";

/// The series of a plot, each the points by what grows.
type Series = BTreeMap<String, BTreeMap<u64, f64>>;

fn main() -> io::Result<()> {
    let mut places: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if places.is_empty() {
        places.push(directory());
    }
    let saved = BENCHES.iter().map(|(name, ..)| {
        let each: Vec<Value> = places.iter().map(|place| read(place, name)).collect();
        middle::of(&each)
    });
    let saved: Vec<Value> = saved.collect();
    let docs = root().join("docs");
    let plots = docs.join("performance");
    fs::create_dir_all(&plots)?;
    let mut text = BEGINNING.to_owned();
    machine(&saved, &mut text);
    commands(&mut text);
    missed(&saved, &mut text);
    for ((name, title, _), saved) in BENCHES.iter().zip(&saved) {
        _ = write!(text, "\n## {title}\n\n");
        table(name, saved, &mut text);
    }
    text += "\n## How it grows\n";
    for plot in plots_of(&saved) {
        _ = write!(text, "\n### {}\n\n", plot.title);
        let path = plots.join(plot.name).with_extension("svg");
        if plot.series.is_empty() {
            text += NOT_MEASURED;
            // An old picture would show another measurement.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => continue,
            }
        }
        fs::write(path, plot.svg())?;
        _ = write!(text, "![{}](performance/{}.svg)\n\n", plot.title, plot.name);
        growth(&plot, &mut text);
    }
    let path = docs.join("performance.md");
    fs::write(&path, text)?;
    println!("made {}", path.display());
    Ok(())
}

fn read(place: &Path, bench: &str) -> Value {
    let path = place.join(bench).with_extension("json");
    match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
        Ok(Ok(saved)) => saved,
        Ok(Err(error)) => {
            eprintln!("{} is left out: {error}", path.display());
            Value::Null
        }
        Err(_) => Value::Null,
    }
}

/// Text, or a dash where there is none.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('|', "\\|"),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// Every machine that something was measured on: usually one.
fn machine(saved: &[Value], text: &mut String) {
    let runs = saved.iter().flat_map(|saved| list(&saved["runs"]));
    let machines: BTreeSet<String> = runs
        .map(|run| {
            let machine = &run["machine"];
            let gib = machine["memory_kib"].as_f64().unwrap_or_default() / 1_048_576.0;
            let [cpu, cores, kernel, rustc] =
                ["cpu", "cores", "kernel", "rustc"].map(|fact| text_of(&machine[fact]));
            format!("{cpu}, {cores} cores, {gib:.1} GiB of memory, Linux {kernel}, {rustc}")
        })
        .collect();
    text.push_str("\n## The machine\n\n");
    if machines.is_empty() {
        text.push_str(NOT_MEASURED);
    }
    machines.iter().for_each(|machine| _ = writeln!(text, "- {machine}"));
}

fn commands(text: &mut String) {
    text.push_str("\n## The commands\n\nAll of it, what is timed thrice:\n\n");
    text.push_str("```sh\nbenches/run --long\n```\n\n");
    text.push_str("One by one, `PORTCULLIS_BENCH_RECORDS` as given below each title:\n\n```sh\n");
    BENCHES.iter().for_each(|(_, _, command)| _ = writeln!(text, "{command}"));
    text.push_str("cargo run --release -p portcullis-benches --bin report\n```\n");
}

/// The ratio, and the range of those of all runs.
fn ratio_of(row: &Value) -> Option<String> {
    let ratio = row["ratio"].as_f64()?;
    Some(match (row["between"][0].as_f64(), row["between"][1].as_f64()) {
        (Some(least), Some(most)) => format!("{ratio:.2} ({least:.2} to {most:.2})"),
        _ => format!("{ratio:.2}"),
    })
}

/// Missed targets come first.
fn missed(saved: &[Value], text: &mut String) {
    let rows: Vec<Value> = saved.iter().flat_map(|saved| list(&saved["rows"])).collect();
    let of = |kept: bool| rows.iter().filter(move |row| row["reached"].as_bool() == Some(kept));
    _ = write!(
        text,
        "\n## Targets\n\n{} reached, {} missed.\n",
        of(true).count(),
        of(false).count()
    );
    if of(false).count() > 0 {
        text.push('\n');
    }
    for row in of(false) {
        let [what, here, target] = ["what", "here", "target"].map(|key| text_of(&row[key]));
        let ratio = ratio_of(row).map(|ratio| format!(", ratio {ratio}")).unwrap_or_default();
        _ = writeln!(text, "- **missed**: {what}: {here}{ratio}, target {target}");
    }
}

fn table(name: &str, saved: &Value, text: &mut String) {
    let (runs, rows) = (list(&saved["runs"]), list(&saved["rows"]));
    if rows.is_empty() {
        text.push_str(NOT_MEASURED);
        return;
    }
    for (number, run) in (1..).zip(&runs) {
        let [begun, ended, commit] = ["begun", "ended", "commit"].map(|key| text_of(&run[key]));
        let [before, after] = ["load_begun", "load_ended"].map(|key| text_of(&run[key]));
        let number = if runs.len() > 1 { format!("Run {number}: ") } else { String::new() };
        _ = write!(
            text,
            "{number}{begun} to {ended}, commit {commit}, load {before} at the start and {after} \
             at the end"
        );
        for (key, is) in [("records", "PORTCULLIS_BENCH_RECORDS="), ("peer", ""), ("setup", "")] {
            if let Some(value) = run[key].as_str() {
                _ = write!(text, ", {is}{value}");
            }
        }
        text.push_str(".\n\n");
    }
    let several = runs.len() > 1;
    let (head, line) = if several { (" run |", "---|") } else { ("", "") };
    _ = writeln!(text, "| what | here | beside | there | ratio | target | |{head}");
    _ = writeln!(text, "|---|---|---|---|---|---|---|{line}");
    for row in rows {
        let [what, here, peer, there, target] =
            ["what", "here", "peer", "there", "target"].map(|key| text_of(&row[key]));
        let ratio = ratio_of(&row).unwrap_or_default();
        let verdict = match row["reached"].as_bool() {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        let run = row["run"].as_u64().unwrap_or_default() + 1;
        let run = if several { format!(" {run} |") } else { String::new() };
        _ = writeln!(
            text,
            "| {what} | {here} | {peer} | {there} | {ratio} | {target} | {verdict} |{run}"
        );
    }
    if name == "influxdb" {
        text.push_str(
            "\nThe whole process is measured: InfluxDB with its background work, and a host on axum \
             whose whole router is in a `V1CredentialLayer`. A handler of axum that returns a \
             constant does less than one that lists databases: only authentication's part is \
             compared.\n",
        );
    }
}

/// The points of a plot that belong to it, by series.
fn series(saved: &[Value], plot: &str, name: impl Fn(&str) -> Option<String>) -> Series {
    let mut all = Series::new();
    for point in saved.iter().flat_map(|saved| list(&saved["points"])) {
        let of = point["series"].as_str().and_then(&name);
        if let (Some(of), Some(x), Some(y)) = (of, point["x"].as_f64(), point["y"].as_f64())
            && point["plot"] == plot
        {
            all.entry(of).or_default().insert(x as u64, y);
        }
    }
    all
}

fn plots_of(saved: &[Value]) -> Vec<Plot> {
    let whole = |name: &str| Some(name.to_owned());
    let mut plots = Vec::new();
    let stores = [
        ("records-memory", "Store in memory, by the number of records", "memory, "),
        ("records-sqlite", "SQLite, by the number of records", "SQLite, "),
        ("records-sled", "sled, by the number of records", "sled, "),
    ];
    for (name, title, store) in stores {
        plots.push(Plot {
            name,
            title,
            x: "records in the store",
            y: "time for each record that is returned",
            unit: nanos,
            logarithmic: true,
            series: series(saved, "records", |of| of.strip_prefix(store).map(str::to_owned)),
        });
    }
    plots.push(Plot {
        name: "memory",
        title: "Memory of a record, by the number of records",
        x: "records in the store",
        y: "bytes for each record",
        unit: |bytes| format!("{bytes:.0}"),
        logarithmic: false,
        series: series(saved, "memory", whole),
    });
    plots.push(Plot {
        name: "permissions",
        title: "A check, by the number of permissions",
        x: "permissions",
        y: "time for a check",
        unit: |of| if of < 10.0 { format!("{of:.1} ns") } else { nanos(of) },
        logarithmic: true,
        series: series(saved, "permissions", whole),
    });
    plots.push(Plot {
        name: "threads",
        title: "A warm authentication and check, by the number of threads",
        x: "threads, which share the work",
        y: "time for each, all threads together",
        unit: nanos,
        logarithmic: false,
        series: series(saved, "threads", whole),
    });
    plots
}

/// The figures of a plot, as a table.
fn growth(plot: &Plot, text: &mut String) {
    let counts: BTreeSet<u64> = plot.series.values().flat_map(|of| of.keys().copied()).collect();
    _ = write!(text, "{}:\n\n| {} |", plot.y, plot.x);
    counts.iter().for_each(|count| _ = write!(text, " {} |", plot::thousands(*count)));
    _ = write!(text, "\n|---|{}\n", "---|".repeat(counts.len()));
    for (name, points) in &plot.series {
        _ = write!(text, "| {name} |");
        for count in &counts {
            let figure = points.get(count).map(|y| (plot.unit)(*y));
            _ = write!(text, " {} |", figure.as_deref().unwrap_or("not measured"));
        }
        text.push('\n');
    }
}
