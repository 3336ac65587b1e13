//! The command line. An option that the command would ignore is refused, rather than that somebody relies on it.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error, Parser};

/// The arguments of this process; `heeded` names the options of the whole program that are of use with what was asked for.
///
/// Ends the process when they cannot be understood, with 2, or when they ask for help.
pub fn parse<P: Parser>(heeded: fn(&P) -> &'static [&'static str]) -> P {
    parse_from(std::env::args_os(), heeded).unwrap_or_else(|error| error.exit())
}

/// The same of any arguments, the program's name first.
///
/// # Errors
/// Arguments that cannot be understood, or an option that would be ignored.
pub fn parse_from<P: Parser, A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
    heeded: fn(&P) -> &'static [&'static str],
) -> Result<P, Error> {
    let mut command = P::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let parsed = P::from_arg_matches(&matches)?;
    match ignored(&command, &matches, heeded(&parsed)) {
        None => Ok(parsed),
        Some(option) => {
            let with = matches.subcommand_name().unwrap_or_default();
            let reason = format!("the argument '{option}' cannot be used with '{with}', which would ignore it");
            Err(command.error(ErrorKind::ArgumentConflict, reason))
        }
    }
}

/// An option that was given and is of no use. One in the environment is meant for other commands, too.
fn ignored(command: &Command, matches: &ArgMatches, heeded: &[&str]) -> Option<String> {
    let options = command.get_arguments().filter(|option| !heeded.contains(&option.get_id().as_str()));
    let mut options = options.filter_map(|option| Some((option.get_id().as_str(), option.get_long()?)));
    // Help and version have been answered before, and have no value to ask for.
    let given =
        |id: &str| matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    options.find(|(id, _)| given(id)).map(|(_, long)| format!("--{long}"))
}
