//! What an error owes its reader: what we were doing, what is wrong, and what to do next.
//!
//! Steps add plain context with `anyhow`; the one step that knows the remedy calls [`Explain::explain`],
//! and nobody above it explains again. The exit code follows from the [`Kind`].

use std::fmt;

/// Whose move it is. Scripts depend on the codes: add, never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line, a settings file or a bake file has to change.
    Usage,
    /// The builder, a registry, git or the disk is at fault.
    Environment,
    /// The build itself failed.
    Build,
    /// Everything worked, and the state root is not warm.
    NotWarm,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Kind {
    /// The exit code of the process.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Environment => 3,
            Kind::Build => 4,
            Kind::NotWarm => 5,
            Kind::Interrupted => 130,
        }
    }
}

/// An error with a remedy. It travels inside an [`anyhow::Error`]; its causes are the error's chain.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whose move it is.
    pub(crate) kind: Kind,
    /// What we were doing and what went wrong, without a full stop.
    pub(crate) what: String,
    /// The next thing to try.
    pub(crate) hint: String,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// A failure that has no cause beyond itself.
    #[expect(clippy::new_ret_no_self, reason = "it is only ever wanted as an error to return")]
    pub(crate) fn new(kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Failure { kind, what: what.into(), hint: hint.into(), source: None }.into()
    }

    /// A failure with its cause, whatever explanation that already has.
    pub(crate) fn because(
        cause: anyhow::Error,
        kind: Kind,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> anyhow::Error {
        Failure { kind, what: what.into(), hint: hint.into(), source: Some(cause) }.into()
    }

    /// Finds the explanation in an error's chain, if any step gave one.
    pub(crate) fn of(error: &anyhow::Error) -> Option<&Failure> {
        error.chain().find_map(|cause| cause.downcast_ref::<Failure>())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref())
    }
}

/// Gives an error its remedy, at the one place that knows it.
pub(crate) trait Explain<T> {
    /// Turns an error into a [`Failure`], unless a deeper step already explained it.
    fn explain(self, kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Explain<T> for Result<T, E> {
    fn explain(self, kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            match Failure::of(&error) {
                Some(_) => error,
                None => Failure { kind, what: what.into(), hint: hint.into(), source: Some(error) }.into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_that_knows_the_remedy_has_the_last_word() {
        let deep: anyhow::Result<()> = Err(anyhow::anyhow!("connection refused"))
            .explain(Kind::Environment, "could not reach the builder", "start it")
            .explain(Kind::Build, "could not build", "fix it");
        let error = deep.expect_err("it failed");
        let failure = Failure::of(&error).expect("it was explained");
        assert_eq!((failure.kind, failure.hint.as_str()), (Kind::Environment, "start it"));
        assert_eq!(format!("{error:#}"), "could not reach the builder: connection refused");
    }
}
