//! Scripts that complete commands and options in a shell.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::{CompletionShell, Rok};

/// The script for a shell.
pub(crate) fn script(shell: CompletionShell) -> String {
    let (shell, more) = match shell {
        CompletionShell::Bash => (Shell::Bash, String::new()),
        CompletionShell::Zsh => (Shell::Zsh, String::new()),
        CompletionShell::Fish => (Shell::Fish, deeper_for_fish(&Rok::command())),
    };
    let mut script = Vec::new();
    generate(shell, &mut Rok::command(), "rok", &mut script);
    String::from_utf8_lossy(&script).into_owned() + &more
}

/// The options of the third level of commands, which the generator leaves out for fish.
fn deeper_for_fish(root: &Command) -> String {
    let mut lines = String::new();
    for group in root.get_subcommands() {
        for kind in group.get_subcommands() {
            for command in kind.get_subcommands() {
                let seen = |command: &Command| {
                    let names: Vec<&str> = command.get_name_and_visible_aliases();
                    format!("__fish_seen_subcommand_from {}", names.join(" "))
                };
                let condition = [group, kind, command].map(seen).join("; and ");
                for option in command.get_arguments().filter(|argument| !argument.is_positional()) {
                    lines += &fish(&condition, option);
                }
            }
        }
    }
    lines
}

/// A line that completes one option under a condition.
fn fish(condition: &str, option: &Arg) -> String {
    let mut line = format!("complete -c rok -n \"{condition}\"");
    // Writing to a string does not fail.
    if let Some(short) = option.get_short() {
        let _ = write!(line, " -s {short}");
    }
    if let Some(long) = option.get_long() {
        let _ = write!(line, " -l {long}");
    }
    if option.get_action().takes_values() {
        line += " -r";
        let values: Vec<String> =
            option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !values.is_empty() {
            let _ = write!(line, " -f -a '{}'", values.join(" "));
        }
    }
    let help = option.get_help().map(|help| help.to_string()).unwrap_or_default();
    let _ = writeln!(line, " -d '{}'", help.replace('\\', "\\\\").replace('\'', "\\'"));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fish_knows_the_options_of_each_command() {
        let script = script(CompletionShell::Fish);
        let line = "complete -c rok -n \"__fish_seen_subcommand_from kube kubernetes; \
                    and __fish_seen_subcommand_from app application; and __fish_seen_subcommand_from update\" \
                    -l migration-strategy -r -f -a 'create-first delete-first' -d ";
        assert!(script.lines().any(|found| found.starts_with(line)), "{line}");
    }

    #[test]
    fn every_shell_learns_every_command() {
        for shell in [CompletionShell::Bash, CompletionShell::Zsh, CompletionShell::Fish] {
            let script = script(shell);
            for word in ["kube", "register", "gmp", "cluster-label-constraint", "delete-first"] {
                assert!(script.contains(word), "{shell:?} does not know {word}");
            }
        }
    }
}
