//! Reading the file: each key with its line, and every mistake with its line.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Place;
use super::keys::{Key, Shape};
use crate::nearest::nearest;
use crate::stores::StoreUrl;

/// The most bytes of a file.
const MAX_BYTES: u64 = 1024 * 1024;

/// A key of the file with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// The line, from 1.
    pub(crate) line: usize,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Texts(Vec<String>),
}

impl Entry {
    /// Returns the option as arguments.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let name = &self.key.name;
        match &self.value {
            Value::Flag(false) => Vec::new(),
            Value::Flag(true) => vec![format!("--{name}").into()],
            Value::Texts(texts) => {
                texts.iter().map(|text| format!("--{name}={text}").into()).collect()
            }
        }
    }
}

/// Reads the file.
///
/// # Errors
///
/// A line for each mistake. None of them quotes a value: the file may hold a secret where it must not.
pub(super) fn read(path: &Path, keys: &[Key]) -> Result<Vec<Entry>, Vec<String>> {
    let shown = path.display();
    let cannot_read = |why: String| vec![format!("--config: cannot read `{shown}`: {why}")];
    let size = fs::metadata(path).map_err(|error| cannot_read(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(cannot_read("it is larger than 1 MiB".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| cannot_read(error.to_string()))?;
    parse(&text, keys).map_err(|mistakes| {
        let line = |mistake: Mistake| format!("{}: {}", Place(path, mistake.line), mistake.text);
        mistakes.into_iter().map(line).collect()
    })
}

/// A mistake in a line.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    line: usize,
    text: String,
}

fn parse(text: &str, keys: &[Key]) -> Result<Vec<Entry>, Vec<Mistake>> {
    let line = |offset: usize| {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    };
    let document = DeTable::parse(text).map_err(|error| {
        // Its own text quotes the line.
        let line = line(error.span().map_or(0, |span| span.start));
        vec![Mistake { line, text: format!("this is not TOML: {}", error.message()) }]
    })?;
    let mut reading = Reading { keys, line: &line, entries: Vec::new(), mistakes: Vec::new() };
    reading.document(document.get_ref());
    let Reading { mut entries, mut mistakes, .. } = reading;
    entries.sort_by_key(|entry| entry.line);
    mistakes.sort_by_key(|mistake| mistake.line);
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

struct Reading<'a> {
    keys: &'a [Key],
    line: &'a dyn Fn(usize) -> usize,
    entries: Vec<Entry>,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            let line = (self.line)(name.span().start);
            match value.get_ref() {
                DeValue::Table(table) => self.table(name.get_ref(), line, table),
                _ => self.entry(None, name.get_ref(), line, value),
            }
        }
    }

    fn table(&mut self, name: &str, line: usize, table: &DeTable<'_>) {
        let Some(name) = self.keys.iter().filter_map(|key| key.table).find(|table| *table == name)
        else {
            let tables = self.keys.iter().filter_map(|key| key.table);
            let nearest = nearest(name, tables).map(|table| format!(": did you mean `[{table}]`?"));
            let nearest = nearest.unwrap_or_default();
            return self.mistake(line, format!("there is no table `[{name}]`{nearest}"));
        };
        for (key, value) in table {
            let line = (self.line)(key.span().start);
            self.entry(Some(name), key.get_ref(), line, value);
        }
    }

    fn entry(
        &mut self,
        table: Option<&str>,
        name: &str,
        line: usize,
        value: &Spanned<DeValue<'_>>,
    ) {
        let keys = self.keys;
        let Some(key) = keys.iter().find(|key| key.name == name && key.table == table) else {
            return self.mistake(line, unknown(keys, name));
        };
        match self::value(key, value.get_ref()) {
            Ok(value) => self.entries.push(Entry { key: key.clone(), line, value }),
            Err(mistake) => self.mistake(line, format!("`{name}` {mistake}")),
        }
    }

    fn mistake(&mut self, line: usize, text: String) {
        self.mistakes.push(Mistake { line, text });
    }
}

/// Describes a key that does not exist, or not where it is.
fn unknown(keys: &[Key], name: &str) -> String {
    let place = |key: &Key| match key.table {
        Some(table) => format!("in `[{table}]`"),
        None => "before the first table".to_owned(),
    };
    if let Some(key) = keys.iter().find(|key| key.name == name) {
        return format!("`{name}` belongs {}", place(key));
    }
    let nearest = nearest(name, keys.iter().map(|key| key.name.as_str()));
    match nearest.and_then(|nearest| keys.iter().find(|key| key.name == nearest)) {
        Some(key) => {
            format!("there is no option `{name}`: did you mean `{}` {}?", key.name, place(key))
        }
        None => format!("there is no option `{name}`"),
    }
}

fn value(key: &Key, value: &DeValue<'_>) -> Result<Value, &'static str> {
    match (key.shape, value) {
        (Shape::Flag, DeValue::Boolean(is_set)) => Ok(Value::Flag(*is_set)),
        (Shape::Flag, _) => Err("is either true or false"),
        (Shape::List, DeValue::Array(values)) => {
            let texts = values.iter().map(|value| text(key, value.get_ref()));
            texts.collect::<Result<_, _>>().map(Value::Texts)
        }
        (Shape::List, value) => {
            Ok(Value::Texts(vec![text(key, value).map_err(|_| "is an array of strings")?]))
        }
        (Shape::Value, value) => Ok(Value::Texts(vec![text(key, value)?])),
    }
}

fn text(key: &Key, value: &DeValue<'_>) -> Result<String, &'static str> {
    let text = match value {
        DeValue::String(text) if text.is_empty() => return Err("is empty: leave it out instead"),
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| "is too large")?
            .to_string(),
        _ => return Err("is a string or a whole number"),
    };
    match key.name.as_str() {
        "store" if StoreUrl::has_password(&text) => {
            Err("contains a password: name a file with `passfile=FILE` in it, or set PGPASSFILE")
        }
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::keys;
    use super::*;
    use crate::cli::Cli;

    fn parsed(text: &str) -> Result<Vec<Entry>, Vec<Mistake>> {
        parse(text, &keys(&Cli::command()))
    }

    fn mistakes(text: &str) -> Vec<(usize, String)> {
        let mistakes = parsed(text).unwrap_err().into_iter();
        mistakes.map(|mistake| (mistake.line, mistake.text)).collect()
    }

    /// [CONFIG-1]
    #[test]
    fn keys_become_options_in_the_order_of_their_lines() {
        let entries = parsed(
            "store = 'redb:p.redb'\n\
             [server]\nread-only = true\naudit-required = false\nmax-connections = 0x10\n\
             trusted-proxy = ['10.0.0.0/8', '::1']\n\
             [logins]\ncache-size = \"64 MiB\"\n",
        );
        let arguments: Vec<(usize, Vec<OsString>)> =
            entries.unwrap().iter().map(|entry| (entry.line, entry.arguments())).collect();
        let expected: [(usize, &[&str]); 6] = [
            (1, &["--store=redb:p.redb"]),
            (3, &["--read-only"]),
            (4, &[]),
            (5, &["--max-connections=16"]),
            (6, &["--trusted-proxy=10.0.0.0/8", "--trusted-proxy=::1"]),
            (8, &["--cache-size=64 MiB"]),
        ];
        let expected: Vec<(usize, Vec<OsString>)> = expected
            .iter()
            .map(|(line, options)| (*line, options.iter().map(OsString::from).collect()))
            .collect();
        assert_eq!(arguments, expected);
        assert_eq!(parsed("# nothing\n\n"), Ok(Vec::new()));
    }

    /// [CONFIG-3]
    #[test]
    fn every_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        assert_eq!(
            mistakes(
                "stor = 'x'\nlisten = 'y'\n[server]\nmax_conections = 5\nstore = 'z'\nzzz = 1\n\
                 [gatway]\nupstream = 'http://x'\n[logins]\n\n[tls]\nread-only = true\n"
            ),
            [
                (1, "there is no option `stor`: did you mean `store` before the first table?"),
                (2, "`listen` belongs in `[server]`"),
                (4, "there is no option `max_conections`: did you mean `max-connections` in `[server]`?"),
                (5, "`store` belongs before the first table"),
                (6, "there is no option `zzz`"),
                (7, "there is no table `[gatway]`: did you mean `[gateway]`?"),
                (12, "`read-only` belongs in `[server]`"),
            ]
            .map(|(line, text)| (line, text.to_owned()))
        );
        // Older forms of options, and options that configure no server, are no keys.
        for text in ["[logins]\nthrottle = 'off'", "json = true", "config = 'x'"] {
            assert!(mistakes(text)[0].1.starts_with("there is no option"), "{text}");
        }
    }

    /// [CONFIG-3]
    #[test]
    fn a_value_of_another_type_is_refused() {
        for (text, expected) in [
            ("[server]\nread-only = 'yes'", "`read-only` is either true or false"),
            ("[server]\nread-only = 1", "`read-only` is either true or false"),
            ("[server]\nlisten = true", "`listen` is a string or a whole number"),
            ("[server]\nlisten = ['a']", "`listen` is a string or a whole number"),
            ("[server]\nlisten = {}", "`listen` is a string or a whole number"),
            ("[server]\nlisten = ''", "`listen` is empty: leave it out instead"),
            ("[server]\nmax-connections = 1.5", "`max-connections` is a string or a whole number"),
            ("[server]\nmax-connections = 99999999999999999999", "`max-connections` is too large"),
            ("[server]\ntrusted-proxy = true", "`trusted-proxy` is an array of strings"),
            ("[server]\ntrusted-proxy = [true]", "`trusted-proxy` is a string or a whole number"),
            ("store = {}", "there is no table `[store]`"),
            ("[[server]]\nlisten = 'x'", "there is no option `server`"),
            ("[server.tls]\nx = 1", "there is no option `tls`"),
        ] {
            assert!(mistakes(text)[0].1.starts_with(expected), "{text}: {:?}", mistakes(text));
        }
    }

    /// [CONFIG-4]
    #[test]
    fn no_mistake_quotes_a_value_and_a_password_in_the_store_is_refused() {
        for text in [
            "store = 's3cret",
            "store = s3cret",
            "store = ['s3cret'",
            "a = 1\na = 's3cret'",
            "store = 'postgres://ada:s3cret@db/x'",
            "[server]\nread-only = 's3cret'",
            "password = 's3cret'",
        ] {
            let mistakes = mistakes(text);
            assert!(!format!("{mistakes:?}").contains("s3cret"), "{mistakes:?}");
        }
        assert!(parsed("store = 'postgres://ada@db/x?passfile=/etc/pg'").is_ok());
    }
}
