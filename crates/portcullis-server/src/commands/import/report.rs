//! The report of an import, as a table or as JSON. It may have millions of entries, and is written as it is read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use portcullis_import::{Counts, Entry, Format, NewToken, Outcome, Plan, Report};
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::output::Output;
use crate::table::{self, Columns};

/// The report as one JSON document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    format: &'static str,
    /// Whether the new records are stored.
    imported: bool,
    new_records: u64,
    counts: BTreeMap<&'a str, BTreeMap<&'static str, u64>>,
    entries: Entries<'a>,
    /// API tokens that were created, with their secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Token<'a>>,
}

#[derive(Serialize)]
struct Token<'a> {
    name: &'a str,
    id: String,
    token: &'a str,
}

impl<'a> Token<'a> {
    fn of(token: &'a NewToken) -> Self {
        let NewToken { name, id, secret } = token;
        Self { name, id: id.to_string(), token: secret.expose() }
    }
}

/// The entries, which are read while they are written.
struct Entries<'a>(RefCell<&'a mut Report>);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = self.0.borrow_mut();
        let mut sequence = serializer.serialize_seq(None)?;
        for entry in report.entries().map_err(S::Error::custom)? {
            sequence.serialize_element(&entry.map_err(S::Error::custom)?)?;
        }
        sequence.end()
    }
}

/// Shows the report, and the secrets of new API tokens if they are stored.
pub(super) fn show(
    format: Format,
    plan: &mut Plan,
    is_stored: bool,
    output: Output,
) -> io::Result<()> {
    let new_records = plan.new_records();
    let tokens = if is_stored { plan.new_tokens().to_vec() } else { Vec::new() };
    let counts = plan.report().counts().clone();
    let report = plan.report_mut();
    if output.is_json() {
        let document = Document {
            format: format.as_str(),
            imported: is_stored,
            new_records,
            counts: counts.iter().map(|(kind, counts)| (kind.as_str(), by_name(counts))).collect(),
            entries: Entries(RefCell::new(report)),
            tokens: tokens.iter().map(Token::of).collect(),
        };
        return output.document(&document, "");
    }
    let mut out = output.into_inner();
    write_entries(&mut out, report)?;
    write_counts(&mut out, &counts)?;
    let done = if is_stored { "are stored" } else { "would be stored, nothing was" };
    writeln!(out, "\n{new_records} new records {done}")?;
    if !tokens.is_empty() {
        writeln!(out, "\nNew API tokens, shown only now:")?;
        let rows: Vec<_> =
            tokens.iter().map(|t| vec![t.name.clone(), t.secret.expose().to_owned()]).collect();
        write!(out, "{}", table::table(&["administrator", "token"], &rows))?;
    }
    out.flush()
}

fn by_name(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let all = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), counts.of(*outcome)));
    all.filter(|(_, count)| *count > 0).collect()
}

fn write_entries(out: &mut impl Write, report: &mut Report) -> io::Result<()> {
    let mut columns = Columns::new(&["outcome", "kind", "name", "notes"]);
    for entry in report.entries()? {
        columns.measure(&cells(entry?));
    }
    out.write_all(columns.header().as_bytes())?;
    for entry in report.entries()? {
        out.write_all(columns.line(&cells(entry?)).as_bytes())?;
    }
    Ok(())
}

fn cells(entry: Entry) -> Vec<String> {
    let Entry { outcome, kind, name, of, notes, .. } = entry;
    let name = match of {
        Some(of) if kind == "grant" => format!("{of}: {name}"),
        _ => name,
    };
    vec![outcome.to_string(), kind, name, notes.join("; ")]
}

fn write_counts(out: &mut impl Write, counts: &BTreeMap<String, Counts>) -> io::Result<()> {
    let has = |outcome: &Outcome| counts.values().any(|counts| counts.of(*outcome) > 0);
    let shown: Vec<Outcome> = Outcome::ALL.into_iter().filter(has).collect();
    let headers: Vec<&str> =
        std::iter::once("kind").chain(shown.iter().map(|outcome| outcome.as_str())).collect();
    let rows: Vec<Vec<String>> = counts
        .iter()
        .map(|(kind, counts)| {
            let numbers = shown.iter().map(|outcome| counts.of(*outcome).to_string());
            std::iter::once(kind.clone()).chain(numbers).collect()
        })
        .collect();
    write!(out, "\n{}", table::table(&headers, &rows))
}
