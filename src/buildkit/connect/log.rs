//! The end of a buildkitd's log, for people.

/// Lines that are shown.
const LINES: usize = 15;

/// The last lines of a log. The Go stack traces that buildkitd prints after an error are left out: they would push it out
/// of sight.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    // A frame is two lines: a function's name, then an indented path and line number.
    let is_place = |line: &&str| {
        line.starts_with([' ', '\t'])
            && line.trim().rsplit_once(".go:").is_some_and(|(_, number)| number.parse::<u32>().is_ok())
    };
    let is_frame = |(index, line): (usize, &&str)| is_place(line) || lines.get(index + 1).is_some_and(is_place);
    let told: Vec<&str> =
        lines.iter().enumerate().filter(|(index, line)| !is_frame((*index, line))).map(|(_, line)| *line).collect();
    told[told.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_not_lost_behind_its_stack_trace() {
        let log =
            "one\nbuildkitd: no such snapshotter\ngithub.com/x.New\n\t/go/x/x.go:977\nmain.main\n\t/go/main.go:1\n";
        assert_eq!(tail(log), "one\nbuildkitd: no such snapshotter");
        let long = (0..40).map(|number| format!("{number}\n")).collect::<String>();
        assert_eq!(tail(&long).lines().next(), Some("25"));
        assert_eq!(tail(""), "");
    }
}
