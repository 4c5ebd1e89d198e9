//! Results on standard output: as text, as JSON or as CSV.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::table;

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// One document; for lists an array
    Json,
    /// A line of names and a line for each record; for commands that show records
    Csv,
}

/// A record that commands show.
///
/// Its JSON has the names of the API; its text is for people and may change.
pub(crate) trait Record: Serialize {
    /// The headers of a table.
    const COLUMNS: &'static [&'static str];

    /// The names in CSV, which are those of JSON where there is one value.
    const FIELDS: &'static [&'static str] = Self::COLUMNS;

    /// The row of a table.
    fn cells(&self) -> Vec<String>;

    /// The row of CSV, with every value in full.
    fn fields(&self) -> Vec<String> {
        self.cells()
    }

    /// Everything about one record.
    fn details(&self) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.cells()).collect()
    }

    /// The parts that few records have, each with the header of its column and its name in CSV: a table
    /// and CSV have a column for each that a record has, after the others.
    fn rare(&self) -> Vec<Rare> {
        Vec::new()
    }

    /// The secret that was just created, with its name: the last column of CSV, if there is one.
    fn secret(&self) -> Option<(&'static str, &str)> {
        None
    }
}

/// A part that few records have.
pub(crate) struct Rare {
    /// The header of the column.
    pub(crate) column: &'static str,
    /// The name in CSV.
    pub(crate) field: &'static str,
    /// What the record has.
    pub(crate) value: Option<String>,
}

/// The rare parts of each record, without those that no record has.
fn rare_parts<R: Record>(records: &[R]) -> Vec<Vec<Rare>> {
    let all: Vec<Vec<Rare>> = records.iter().map(Record::rare).collect();
    let parts = all.first().map_or(0, Vec::len);
    let is_shown: Vec<bool> = (0..parts)
        .map(|part| {
            let mut values = all.iter().filter_map(|rare| rare.get(part));
            values.any(|rare| rare.value.is_some())
        })
        .collect();
    let shown = |rare: Vec<Rare>| {
        rare.into_iter().zip(&is_shown).filter(|(_, is_shown)| **is_shown).map(|(rare, _)| rare)
    };
    all.into_iter().map(|rare| shown(rare).collect()).collect()
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
    format: Format,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: BufWriter::new(io::stdout()) }
    }

    /// Returns whether the result is shown as JSON.
    pub(crate) const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Shows the result of a command.
    pub(crate) fn records<R: Record>(mut self, shown: &Shown<R>) -> io::Result<()> {
        match (self.format, shown) {
            (Format::Json, _) => self.write_json(shown)?,
            (Format::Csv, Shown::One(record)) => self.write_csv(std::slice::from_ref(record))?,
            (Format::Csv, Shown::Many(records)) => self.write_csv(records)?,
            (Format::Table, Shown::One(record)) => self.write(&table::pairs(&record.details()))?,
            (Format::Table, Shown::Many(records)) => {
                let rare = rare_parts(records);
                let more = rare.first().into_iter().flatten().map(|rare| rare.column);
                let columns: Vec<&str> = R::COLUMNS.iter().copied().chain(more).collect();
                let rows = records.iter().zip(rare).map(|(record, rare)| {
                    let rare = rare.into_iter().map(|rare| rare.value.unwrap_or_default());
                    record.cells().into_iter().chain(rare).collect()
                });
                self.write(&table::table(&columns, &rows.collect::<Vec<_>>()))?;
            }
        }
        self.finish()
    }

    /// Shows a document: as JSON, or as this text.
    pub(crate) fn document(mut self, document: &impl Serialize, text: &str) -> io::Result<()> {
        match self.format {
            Format::Json => self.write_json(document)?,
            // No command that shows documents accepts CSV.
            Format::Table | Format::Csv => self.write(text)?,
        }
        self.finish()
    }

    /// Shows a text that is the same in every form.
    pub(crate) fn text(mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)?;
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

    fn write_csv<R: Record>(&mut self, records: &[R]) -> io::Result<()> {
        let is_terminal = self.out.get_ref().is_terminal();
        write_csv(&mut self.out, records, is_terminal)
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes records as CSV by RFC 4180, with one line feed at the end of each line.
///
/// Values are written as they are, also those that a spreadsheet takes for a formula because they begin
/// with `=`, `+`, `-` or `@`: a mark before them would be a part of the value for every other reader. A
/// terminal gets escapes for what could control it.
fn write_csv<R: Record>(out: impl Write, records: &[R], is_terminal: bool) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let secret = records.iter().find_map(Record::secret).map(|(name, _)| name);
    let rare = rare_parts(records);
    let more = rare.first().into_iter().flatten().map(|rare| rare.field);
    csv.write_record(R::FIELDS.iter().copied().chain(more).chain(secret))?;
    for (record, rare) in records.iter().zip(rare) {
        let mut fields = record.fields();
        fields.extend(rare.into_iter().map(|rare| rare.value.unwrap_or_default()));
        if secret.is_some() {
            fields.push(record.secret().map(|(_, secret)| secret.to_owned()).unwrap_or_default());
        }
        if is_terminal {
            for field in &mut fields {
                *field = table::escape(field).into_owned();
            }
        }
        csv.write_record(&fields)?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row(&'static str, &'static str);

    impl Record for Row {
        const COLUMNS: &'static [&'static str] = &["name", "note"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_owned()]
        }
    }

    fn csv(rows: &[Row], is_terminal: bool) -> String {
        let mut out = Vec::new();
        write_csv(&mut out, rows, is_terminal).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// [CLI-10]
    #[test]
    fn csv_has_names_and_a_line_for_each_record_with_quotes_where_they_are_needed() {
        let rows = [
            Row("telegraf", ""),
            Row("a,b", "say \"hi\""),
            Row("=1+2", "-3"),
            Row("two\nlines", "@x"),
            Row("\u{1b}[31m", "用户"),
        ];
        assert_eq!(
            csv(&rows, false),
            "name,note\ntelegraf,\n\"a,b\",\"say \"\"hi\"\"\"\n=1+2,-3\n\"two\nlines\",@x\n\
             \u{1b}[31m,用户\n"
        );
        assert_eq!(csv(&[], false), "name,note\n");
    }

    /// [CLI-10]
    #[test]
    fn csv_on_a_terminal_cannot_control_it() {
        assert_eq!(csv(&[Row("\u{1b}[31m\n", "x")], true), "name,note\n\\u{1b}[31m\\n,x\n");
    }
}
