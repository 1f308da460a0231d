//! `schema`, `completions` and `man`: made from the very types that are written and read, so that they cannot lag behind.

use clap_complete::Shell;

use crate::cli::args::Schema;
use crate::cli::{args, output};
use crate::failure::{Failure, Kind};

/// Writes a JSON schema to standard output.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn schema(of: Schema) -> anyhow::Result<()> {
    output::data(match of {
        Schema::Report => include_str!("../../report/schemas/report.schema.json"),
        Schema::Check => include_str!("../../report/schemas/check.schema.json"),
        Schema::Seal => include_str!("../../report/schemas/seal.schema.json"),
        Schema::Explain => include_str!("../../report/schemas/explain.schema.json"),
        Schema::Manifest => include_str!("../../report/schemas/manifest.schema.json"),
    })
}

/// Writes the completions of a shell to standard output.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "cachewarm", &mut script);
    output::data(&String::from_utf8_lossy(&script))
}

/// Writes the man page of cachewarm, or of one of its commands, to standard output.
///
/// # Errors
/// When there is no such command, or standard output cannot be written.
pub(crate) fn man(of: Option<&str>) -> anyhow::Result<()> {
    output::data(&page(of)?)
}

fn page(of: Option<&str>) -> anyhow::Result<String> {
    let mut command = args::command();
    // Gives subcommands their global flags and full names.
    command.build();
    let command = match of {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("there is no command `{name}`"),
                    "`cachewarm --help` lists the commands",
                ));
            }
        },
    };
    let mut page = Vec::new();
    let source = concat!("cachewarm ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).manual("cachewarm").render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_of_a_command_has_its_flags_with_their_variables() {
        let page = page(Some("warm")).expect("there is one");
        for word in ["cachewarm\\-warm", "\\-\\-cache\\-from", "CACHEWARM_CACHE_FROM"] {
            assert!(page.contains(word), "{word} is not in {page}");
        }
        assert!(super::page(Some("cool")).is_err());
    }
}
