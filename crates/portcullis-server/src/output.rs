//! Results on standard output, as text or as JSON.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::table;

/// A record that commands show.
///
/// Its JSON has the names of the API; its text is for people and may change.
pub(crate) trait Record: Serialize {
    /// The headers of a table.
    const COLUMNS: &'static [&'static str];

    /// The row of a table.
    fn cells(&self) -> Vec<String>;

    /// Everything about one record.
    fn details(&self) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.cells()).collect()
    }
}

/// The records that a command shows: in JSON an object or an array.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Shown<R> {
    /// The record on which it worked.
    One(R),
    /// A list.
    Many(Vec<R>),
}

/// Standard output, buffered until [`Output::finish`].
pub(crate) struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()) }
    }

    /// Shows the result of a command.
    pub(crate) fn records<R: Record>(mut self, shown: &Shown<R>) -> io::Result<()> {
        match shown {
            _ if self.json => self.write_json(shown)?,
            Shown::One(record) => self.write(&table::pairs(&record.details()))?,
            Shown::Many(records) => {
                let rows: Vec<_> = records.iter().map(Record::cells).collect();
                self.write(&table::table(R::COLUMNS, &rows))?;
            }
        }
        self.finish()
    }

    /// Shows a document: as JSON, or as this text.
    pub(crate) fn document(mut self, document: &impl Serialize, text: &str) -> io::Result<()> {
        if self.json {
            self.write_json(document)?;
        } else {
            self.write(text)?;
        }
        self.finish()
    }

    /// Returns standard output, for a command that writes it directly.
    pub(crate) fn into_inner(self) -> BufWriter<Stdout> {
        self.out
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    fn write_json(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, document)?;
        self.out.write_all(b"\n")
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
