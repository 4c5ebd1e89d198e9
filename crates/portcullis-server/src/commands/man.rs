//! `portcullis man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Outcome;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  portcullis man auth create | man -l -
  portcullis man --directory /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// The command whose page is written to standard output; without one, `portcullis` itself
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let pages = pages()?;
    match args.directory {
        Some(directory) => write_all(&directory, &pages)?,
        None => {
            let name = [vec!["portcullis".to_owned()], args.command].concat().join("-");
            let Some(page) = pages.iter().find(|page| page.name == name) else {
                bail!("there is no such command: `portcullis --help` has a list");
            };
            context.output.text(&page.text)?;
        }
    }
    Ok(Outcome::Done)
}

fn write_all(directory: &Path, pages: &[Page]) -> anyhow::Result<()> {
    for page in pages {
        let path = directory.join(format!("{}.1", page.name));
        fs::write(&path, &page.text)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// A page.
struct Page {
    /// The command with the commands above it, such as `portcullis-auth-create`.
    name: String,
    text: Vec<u8>,
}

/// Returns the page of every command.
fn pages() -> io::Result<Vec<Page>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&mut pages, &command, "portcullis".to_owned())?;
    Ok(pages)
}

fn add_pages(pages: &mut Vec<Page>, command: &clap::Command, name: String) -> io::Result<()> {
    let mut text = Vec::new();
    Man::new(command.clone().display_name(&name)).render(&mut text)?;
    let inner: Vec<_> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).collect();
    let names: Vec<_> = inner.iter().map(|inner| format!("{name}-{}", inner.get_name())).collect();
    pages.push(Page { name, text });
    for (command, name) in inner.into_iter().zip(names) {
        add_pages(pages, command, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;

    use super::*;

    fn unescaped(page: &Page) -> String {
        String::from_utf8(page.text.clone()).unwrap().replace("\\-", "-")
    }

    /// [CLI-9]
    #[test]
    fn every_command_has_a_page_with_all_its_options() {
        fn check(pages: &[Page], command: &Command, name: &str, checked: &mut BTreeSet<String>) {
            let page = pages.iter().find(|page| page.name == name).unwrap();
            let text = unescaped(page);
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                if let Some(long) = argument.get_long() {
                    assert!(text.contains(&format!("--{long}")), "--{long} in {name}");
                }
            }
            checked.insert(name.to_owned());
            for inner in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                check(pages, inner, &format!("{name}-{}", inner.get_name()), checked);
            }
        }
        let pages = pages().unwrap();
        let mut checked = BTreeSet::new();
        check(&pages, &Cli::command(), "portcullis", &mut checked);
        assert_eq!(checked.len(), pages.len());
        let create = pages.iter().find(|page| page.name == "portcullis-auth-create").unwrap();
        let text = unescaped(create);
        assert!(text.contains("portcullis auth create telegraf --org acme"), "{text}");
        assert!(text.contains("--store"), "the options that all commands share: {text}");
    }
}
