//! The name of a step as the Dockerfile frontend writes it, taken apart: `[linux/arm64 build 2/4] RUN make`.

/// A step's name in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label<'n> {
    /// Stage and platform, without the count: `linux/arm64 build`; empty where the name tells none.
    pub(crate) stage: &'n str,
    /// The line: `RUN make`.
    pub(crate) line: &'n str,
}

impl Label<'_> {
    /// Of a name.
    pub(crate) fn of(name: &str) -> Label<'_> {
        let whole = Label { stage: "", line: name };
        let Some((label, line)) = name.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return whole };
        let (stage, count) = label.rsplit_once(' ').unwrap_or(("", label));
        if !count.contains('/') {
            return whole;
        }
        Label { stage: stage.trim(), line: line.trim_start() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_stage_and_a_line() {
        let label = |name| (Label::of(name).stage, Label::of(name).line);
        assert_eq!(label("[build 2/4] RUN make"), ("build", "RUN make"));
        assert_eq!(label("[linux/arm64 build  2/4] RUN [ -f x ]"), ("linux/arm64 build", "RUN [ -f x ]"));
        assert_eq!(label("[2/3] COPY a b"), ("", "COPY a b"));
        assert_eq!(label("[internal] load"), ("", "[internal] load"));
        assert_eq!(label("merge (a, b)"), ("", "merge (a, b)"));
        assert_eq!(label("[unclosed"), ("", "[unclosed"));
    }
}
