//! `portcullis completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Outcome;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  portcullis completions bash > /usr/share/bash-completion/completions/portcullis
  portcullis completions zsh > /usr/share/zsh/vendor-completions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish
  portcullis completions powershell >> $PROFILE")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    context.output.text(&script(args.shell))?;
    Ok(Outcome::Done)
}

/// Returns the script for the shell.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    // Into memory, as it panics where it cannot write.
    clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::{Command, ValueEnum as _};

    use super::*;

    /// [CLI-9]
    #[test]
    fn the_script_of_every_shell_has_every_command_and_every_option() {
        fn check(shell: Shell, script: &str, command: &Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let Some(name) = argument.get_long() else { continue };
                // fish writes `-l name`.
                let found =
                    script.contains(&format!("--{name}")) || script.contains(&format!("-l {name}"));
                assert!(found, "{shell}: --{name} of {}", command.get_name());
            }
            for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
                check(shell, script, command);
            }
        }
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            check(*shell, &script, &Cli::command());
        }
    }
}
