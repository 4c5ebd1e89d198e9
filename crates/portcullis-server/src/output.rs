//! Where answers go: standard output, as text for people or as JSON.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::table;

/// Something that commands show.
///
/// Its JSON has the names of the wire; its text is for people and may change.
pub(crate) trait Record: Serialize {
    /// The headers of a list.
    const COLUMNS: &'static [&'static str];

    /// One line of a list.
    fn cells(&self) -> Vec<String>;

    /// Everything there is to say about one.
    fn details(&self) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.cells()).collect()
    }
}

/// What a command answers: in JSON an object or an array.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer<R> {
    /// The record that it worked on.
    One(R),
    /// A list.
    Many(Vec<R>),
}

/// Standard output. What was written is out only after [`Output::finish`].
pub(crate) struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()) }
    }

    /// Shows what a command answers.
    pub(crate) fn answer<R: Record>(mut self, answer: &Answer<R>) -> io::Result<()> {
        match answer {
            _ if self.json => self.write_json(answer)?,
            Answer::One(record) => self.write(&table::pairs(&record.details()))?,
            Answer::Many(records) => {
                let rows: Vec<_> = records.iter().map(Record::cells).collect();
                self.write(&table::table(R::COLUMNS, &rows))?;
            }
        }
        self.finish()
    }

    /// Shows a document of its own, for which people get this text.
    pub(crate) fn document(mut self, document: &impl Serialize, text: &str) -> io::Result<()> {
        if self.json {
            self.write_json(document)?;
        } else {
            self.write(text)?;
        }
        self.finish()
    }

    /// Hands standard output over to somebody who writes it all.
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
