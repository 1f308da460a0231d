//! Sizes as docker and BuildKit read them (`RAMInBytes` of docker/go-units): every unit is a power of 1024.

use anyhow::{Context, bail, ensure};

/// Bytes, or a number with a unit: `64m`, `1.5gb`, `2GiB`.
///
/// # Errors
/// When it is no number, not positive, too large, or of an unknown unit.
pub(crate) fn size(text: &str) -> anyhow::Result<u64> {
    let invalid = || format!("invalid size: '{text}'");
    let digits = text.rfind(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == ' ');
    let (number, unit) = text.split_at(digits.with_context(invalid)? + 1);
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().with_context(invalid)?;
    let unit = unit.to_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => bail!("invalid suffix: '{unit}' in the size '{text}'"),
    };
    let bytes = number * 1024f64.powi(power);
    ensure!((0.0..9.0e18).contains(&bytes), invalid());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked just above")]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_however_they_are_written() {
        let sizes = [("64m", 64 << 20), ("1g", 1 << 30), ("1.5GiB", 3 << 29), ("2 kb", 2048), ("512", 512), ("7b", 7)];
        for (text, bytes) in sizes {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for broken in ["", "m", "-1", "1x", "1kbb", "1e400"] {
            assert!(size(broken).is_err(), "{broken}");
        }
    }
}
