//! A flag that may stand alone takes its value only behind `=`; of one of them a value is also understood that stands apart.

use std::ffi::OsString;

/// The arguments with `--prove disk` as `--prove=disk`. A directory of that name is `./disk` there.
pub(super) fn joined(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut is_ours = true;
    for argument in arguments {
        match joined.last_mut() {
            Some(last) if is_ours && last == "--prove" && argument == "disk" => last.push("=disk"),
            _ => {
                is_ours &= argument != "--";
                joined.push(argument);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_value_before_another_programs_line_is_joined() {
        let line = |text: &str| joined(text.split(' ').map(OsString::from)).join(" ".as_ref());
        for (typed, means) in [
            ("cachewarm warm --prove disk .", "cachewarm warm --prove=disk ."),
            ("cachewarm warm --prove .", "cachewarm warm --prove ."),
            ("cachewarm warm disk --prove", "cachewarm warm disk --prove"),
            ("cachewarm warm -- --prove disk", "cachewarm warm -- --prove disk"),
        ] {
            assert_eq!(line(typed), means);
        }
    }
}
