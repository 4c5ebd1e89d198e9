//! The keys of a configuration file: the options of `serve`, in tables as its help groups them.

use clap::{Arg, ArgAction, Command};

/// The tables, with the headings of the help that they stand for.
const TABLES: [(Option<&str>, &str); 5] = [
    (None, "server"),
    (Some("Reverse proxies and v1 clients"), "clients"),
    (Some("Gateway"), "gateway"),
    (Some("TLS"), "tls"),
    (Some("Logins"), "logins"),
];

/// The options of all commands that are in the file, before its first table.
const SHARED: [&str; 2] = ["store", "audit-log"];

/// What the value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A string or an integer.
    Value,
    /// An array of strings, or one string.
    List,
}

/// An option of `serve` as a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The table, `None` for the options that all commands share.
    pub(crate) table: Option<&'static str>,
    /// The name of the option, without the dashes before it.
    pub(crate) name: String,
    /// The id of the option.
    pub(crate) id: String,
    /// The variable of the environment that has the option.
    pub(crate) variable: Option<String>,
    /// What its value is.
    pub(crate) shape: Shape,
}

impl Key {
    /// Returns whether other commands than `serve` have the option as well.
    pub(crate) fn is_shared(&self) -> bool {
        self.table.is_none()
    }

    /// Returns whether a text such as `--listen <ADDR>` shows the option.
    pub(super) fn is_option(&self, shown: &str) -> bool {
        let rest = shown.strip_prefix("--").and_then(|rest| rest.strip_prefix(self.name.as_str()));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-'))
    }

    /// Returns the name with its table.
    pub(crate) fn path(&self) -> String {
        match self.table {
            Some(table) => format!("{table}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Returns every key, in the order of the help.
pub(crate) fn keys(command: &Command) -> Vec<Key> {
    let shared = SHARED.iter().filter_map(|name| {
        let argument = command.get_arguments().find(|found| found.get_long() == Some(name))?;
        key(argument, None)
    });
    let serve = command.find_subcommand("serve").into_iter();
    let own = serve.flat_map(Command::get_arguments).filter(|argument| is_own(argument));
    let own = own.filter_map(|argument| {
        let heading = argument.get_help_heading();
        let table = TABLES.iter().find(|(of, _)| *of == heading).map(|(_, table)| *table);
        key(argument, Some(table?))
    });
    shared.chain(own).collect()
}

/// Returns whether the option is of `serve` alone, and shown.
fn is_own(argument: &Arg) -> bool {
    let name = argument.get_id().as_str();
    !argument.is_hide_set() && !argument.is_global_set() && !matches!(name, "help" | "version")
}

fn key(argument: &Arg, table: Option<&'static str>) -> Option<Key> {
    let shape = match argument.get_action() {
        ArgAction::SetTrue => Shape::Flag,
        ArgAction::Append => Shape::List,
        _ => Shape::Value,
    };
    let name = argument.get_long()?.to_owned();
    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
    Some(Key { table, name, id: argument.get_id().to_string(), variable, shape })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// [CONFIG-1]
    #[test]
    fn every_option_of_serve_is_a_key_in_the_table_of_its_heading() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let options: BTreeSet<_> = serve
            .get_arguments()
            .filter(|argument| is_own(argument))
            .filter_map(Arg::get_long)
            .chain(SHARED)
            .map(str::to_owned)
            .collect();
        let keys = keys(&command);
        let names: BTreeSet<_> = keys.iter().map(|key| key.name.clone()).collect();
        assert_eq!(names, options, "a heading of the help has no table");
        assert_eq!(names.len(), keys.len(), "a name is in two tables");
        let tables: BTreeSet<_> = keys.iter().map(|key| key.table).collect();
        assert_eq!(tables.len(), TABLES.len() + 1, "a table has no key");
        let shape = |name: &str| keys.iter().find(|key| key.name == name).unwrap().shape;
        assert_eq!(shape("read-only"), Shape::Flag);
        assert_eq!(shape("trusted-proxy"), Shape::List);
        assert_eq!(shape("max-connections"), Shape::Value);
    }

    /// An option that only clap's `env` documents would be missing in the file.
    /// [CONFIG-1]
    #[test]
    fn the_example_has_every_key_once_with_the_default_of_the_option() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/portcullis.example.toml");
        let example = std::fs::read_to_string(example).unwrap();
        let command = Cli::command();
        let keys = keys(&command);
        let (mut found, mut table) = (Vec::new(), None);
        for line in example.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                table = Some(name);
                continue;
            }
            let is_active = !line.starts_with('#');
            let line = line.trim_start_matches("# ");
            let Some((name, value)) = line.split_once(" = ") else { continue };
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                assert!(!is_active, "there is no option {name}");
                continue;
            };
            assert_eq!(key.table, table, "{name}");
            found.push(name.to_owned());
            let serve = command.find_subcommand("serve").unwrap();
            let mut arguments = command.get_arguments().chain(serve.get_arguments());
            let argument = arguments.find(|argument| argument.get_id() == key.id.as_str()).unwrap();
            let default =
                argument.get_default_values().first().map(|default| default.to_str().unwrap());
            let value = value.trim_matches('"');
            match (key.shape, default) {
                (Shape::Flag, _) => assert_eq!((is_active, value), (true, "false"), "{name}"),
                (_, None) => assert!(!is_active, "{name} has no default"),
                // It needs another option, which has no default.
                (_, Some(default)) => {
                    assert_eq!(value, default, "{name}");
                    assert!(is_active || table == Some("gateway"), "{name}");
                }
            }
        }
        let mut names: Vec<_> = keys.into_iter().map(|key| key.name).collect();
        names.sort();
        found.sort();
        assert_eq!(found, names);
    }
}
