//! Words and numbers as a person reads them: sizes, times, counts, and foreign text made harmless.

use std::time::Duration;

/// Bytes in binary units: `340 MiB`, `1.2 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        // Compared as it will be rounded, so that no `1024 MiB` is ever written.
        if value.round() < 1024.0 {
            let precise = unit != "B" && value < 9.95;
            return if precise { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A phase of a run as people read it; the reports' JSON keeps the older word.
pub(crate) fn phase_name(name: &str) -> &str {
    if name == "donors" { "caches" } else { name }
}

/// A time in seconds: `240 ms`, `3.4 s`, `2m 05s`, `1h 02m`.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{}m {:02}s", whole / 60, whole % 60);
    }
    format!("{}h {:02}m", whole / 3600, whole % 3600 / 60)
}

/// A [`Duration`] as [`seconds`] writes it.
pub(crate) fn duration(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

/// A count with its noun: `1 step`, `12 steps`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The first digits of a digest, enough to find it: `sha256:1f2e3d4c5b6a`.
pub(crate) fn short_digest(digest: &str) -> String {
    let keep = digest.find(':').map_or(0, |colon| colon + 1) + 12;
    digest.chars().take(keep).collect()
}

/// Text from elsewhere without what would move a terminal's cursor or change its colors; tabs and line breaks become blanks.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                // A control sequence ends with its first letter (ECMA-48, 5.4).
                characters.by_ref().skip(1).find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            '\t' | '\n' => clean.push(' '),
            character if character.is_control() => {}
            // Marks that turn the direction of text can make one command look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            character => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits_that_matter() {
        let sizes = [0, 999, 1024, 10 << 20, (1 << 20) - 1, 1_288_490_189, 5 << 40].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KiB", "10 MiB", "1.0 MiB", "1.2 GiB", "5.0 TiB"]);
    }

    #[test]
    fn times_grow_into_minutes_and_hours() {
        let times = [0.0, 0.24, 0.9999, 3.42, 59.99, 125.0, 3720.0, f64::NAN].map(seconds);
        assert_eq!(times, ["0 s", "240 ms", "1.0 s", "3.4 s", "1m 00s", "2m 05s", "1h 02m", "0 s"]);
    }

    #[test]
    fn a_terminal_is_not_commanded_by_foreign_text() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\r\u{7}\tplain\u{1b}]0;x"), "red plain]0;x");
        assert_eq!(short_digest("sha256:1f2e3d4c5b6a7988"), "sha256:1f2e3d4c5b6a");
    }

    proptest! {
        #[test]
        fn cleaned_text_has_no_control_character(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }
    }
}
