//! From Go's regular expressions to those of the `regex` crate.
//!
//! moby/patternmatcher turns an ignore pattern into a Go expression without escaping all of it (`{`, `|`, `^` and
//! what stands in brackets keep their meaning), so that the meaning of a pattern is that of its Go expression.
//! The two languages differ in what they take literally; this file knows the differences, for the subset that
//! patternmatcher can produce: groups, `.`, `*` and `?` only ever come from it, never from the pattern.
//!
//! Not translated: the few `\p{…}` names that one side knows and the other does not.

use super::go_path::BadPattern;

/// Matches nothing, as a literal that is no Unicode scalar does in Go.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// The POSIX classes both languages know.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Translates a Go expression, or says that Go would not compile it.
pub(super) fn translate(expression: &[char]) -> Result<String, BadPattern> {
    let mut reader = Reader { rest: expression };
    let mut out = String::new();
    // Go refuses to repeat a repetition, and to repeat nothing.
    let (mut repeated, mut repeatable) = (false, false);
    while let Some(first) = reader.take() {
        let (was_repeated, was_repeatable) = (repeated, repeatable);
        (repeated, repeatable) = (false, true);
        match first {
            '[' => class(&mut reader, &mut out)?,
            '\\' => escape(&mut reader, &mut out)?,
            '{' => match repetition(&mut reader) {
                None => literal(u32::from('{'), &mut out),
                Some(bounds) => {
                    if was_repeated || !was_repeatable {
                        return Err(BadPattern);
                    }
                    out.push_str(&bounds?);
                    repeated = true;
                }
            },
            '*' | '?' => {
                out.push(first);
                repeated = true;
            }
            '(' | '|' => {
                out.push(first);
                repeatable = false;
            }
            '^' | '$' | '.' | ')' => out.push(first),
            other => literal(u32::from(other), &mut out),
        }
    }
    Ok(out)
}

struct Reader<'a> {
    rest: &'a [char],
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.rest.first().copied().filter(|first| wanted(*first)).inspect(|_| self.rest = &self.rest[1..])
    }
}

fn literal(rune: u32, out: &mut String) {
    match char::from_u32(rune) {
        Some(_) => out.push_str(&format!("\\x{{{rune:X}}}")),
        None => out.push_str(NOTHING),
    }
}

/// Reads `m}`, `m,}` or `m,n}`; none when the `{` before it is meant literally.
fn repetition(reader: &mut Reader) -> Option<Result<String, BadPattern>> {
    let mut ahead = Reader { rest: reader.rest };
    let least = number(&mut ahead)?;
    let most = match ahead.take_if(|next| next == ',') {
        None => Some(least),
        Some(_) if ahead.rest.first() == Some(&'}') => None,
        Some(_) => Some(number(&mut ahead)?),
    };
    ahead.take_if(|next| next == '}')?;
    reader.rest = ahead.rest;
    let allowed = least <= 1000 && most.is_none_or(|most| most <= 1000 && least <= most);
    let most = most.map(|most| most.to_string()).unwrap_or_default();
    Some(if allowed { Ok(format!("{{{least},{most}}}")) } else { Err(BadPattern) })
}

fn number(reader: &mut Reader) -> Option<u32> {
    let first = reader.take_if(|next| next.is_ascii_digit())?;
    let mut value = first.to_digit(10)?;
    while let Some(digit) = reader.take_if(|next| next.is_ascii_digit()).and_then(|next| next.to_digit(10)) {
        if first == '0' {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(digit);
    }
    Some(value)
}

/// Reads what follows a backslash outside of brackets.
fn escape(reader: &mut Reader, out: &mut String) -> Result<(), BadPattern> {
    match reader.rest.first() {
        Some('A') => out.push_str(r"\A"),
        Some('z') => out.push_str(r"\z"),
        // Go's word boundaries are those of ASCII.
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        Some('Q') => {
            reader.take();
            while let Some(next) = reader.take() {
                if next == '\\' && reader.take_if(|next| next == 'E').is_some() {
                    break;
                }
                literal(u32::from(next), out);
            }
            return Ok(());
        }
        _ => {
            if let Some(set) = set(reader)? {
                out.push_str(&format!("[{set}]"));
            } else {
                literal(escaped_rune(reader)?, out);
            }
            return Ok(());
        }
    }
    reader.take();
    Ok(())
}

/// Reads `d`, `D`, `s`, `S`, `w`, `W` or a `p{…}` after a backslash, as members of a class.
fn set(reader: &mut Reader) -> Result<Option<String>, BadPattern> {
    let found = match reader.rest.first() {
        Some('d') => r"0-9",
        Some('D') => r"[^0-9]",
        Some('s') => r"\t\n\x0C\r\x20",
        Some('S') => r"[^\t\n\x0C\r\x20]",
        Some('w') => r"0-9A-Za-z_",
        Some('W') => r"[^0-9A-Za-z_]",
        Some('p' | 'P') => return unicode_set(reader).map(Some),
        _ => return Ok(None),
    };
    reader.take();
    Ok(Some(found.to_owned()))
}

fn unicode_set(reader: &mut Reader) -> Result<String, BadPattern> {
    let sign = reader.take().ok_or(BadPattern)?;
    let mut name = String::new();
    match reader.take().ok_or(BadPattern)? {
        '{' => loop {
            match reader.take().ok_or(BadPattern)? {
                '}' => break,
                next => name.push(next),
            }
        },
        letter => name.push(letter),
    }
    Ok(format!("\\{sign}{{{name}}}"))
}

/// Reads an escaped character: `\.`, `\n`, `\x2A`, `\x{2A}`, `\052`. May be no Unicode scalar.
fn escaped_rune(reader: &mut Reader) -> Result<u32, BadPattern> {
    let octal = |reader: &mut Reader| reader.take_if(|next| next.is_digit(8)).and_then(|next| next.to_digit(8));
    let first = reader.take().ok_or(BadPattern)?;
    match first {
        '0'..='7' => {
            let mut value = first.to_digit(8).ok_or(BadPattern)?;
            let second = octal(reader);
            // One digit other than 0 would be a back-reference.
            if second.is_none() && first != '0' {
                return Err(BadPattern);
            }
            for digit in second.into_iter().chain(second.and_then(|_| octal(reader))) {
                value = value * 8 + digit;
            }
            Ok(value)
        }
        'x' => hexadecimal(reader),
        'a' => Ok(0x07),
        'f' => Ok(0x0C),
        'n' => Ok(0x0A),
        'r' => Ok(0x0D),
        't' => Ok(0x09),
        'v' => Ok(0x0B),
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(u32::from(other)),
        _ => Err(BadPattern),
    }
}

fn hexadecimal(reader: &mut Reader) -> Result<u32, BadPattern> {
    let digit = |reader: &mut Reader| reader.take().and_then(|next| next.to_digit(16)).ok_or(BadPattern);
    if reader.take_if(|next| next == '{').is_none() {
        return Ok(digit(reader)? * 16 + digit(reader)?);
    }
    let mut value = digit(reader)?;
    while reader.take_if(|next| next == '}').is_none() {
        value = value * 16 + digit(reader)?;
        if value > u32::from(char::MAX) {
            return Err(BadPattern);
        }
    }
    Ok(value)
}

/// Reads a class after its `[`.
fn class(reader: &mut Reader, out: &mut String) -> Result<(), BadPattern> {
    let negated = reader.take_if(|next| next == '^').is_some();
    let mut members = String::new();
    let mut first = true;
    while first || reader.take_if(|next| next == ']').is_none() {
        first = false;
        if let Some(name) = posix_class(reader)? {
            members.push_str(&name);
            continue;
        }
        if reader.rest.first() == Some(&'\\') {
            let mut ahead = Reader { rest: &reader.rest[1..] };
            if let Some(set) = set(&mut ahead)? {
                reader.rest = ahead.rest;
                members.push_str(&set);
                continue;
            }
        }
        let low = class_rune(reader)?;
        // `-` before `]` stands for itself.
        let is_range = matches!(reader.rest, ['-', next, ..] if *next != ']');
        let high = if is_range {
            reader.take();
            class_rune(reader)?
        } else {
            low
        };
        if high < low {
            return Err(BadPattern);
        }
        // Surrogates are runes to Go, and never in a string.
        let low = char::from_u32(low).map_or(0xE000, u32::from);
        let high = char::from_u32(high).map_or(0xD7FF, u32::from);
        if low <= high {
            members.push_str(&format!("\\x{{{low:X}}}-\\x{{{high:X}}}"));
        }
    }
    match (members.is_empty(), negated) {
        (true, false) => out.push_str(NOTHING),
        (true, true) => out.push_str(r"[\x{0}-\x{10FFFF}]"),
        (false, _) => out.push_str(&format!("[{}{members}]", if negated { "^" } else { "" })),
    }
    Ok(())
}

fn class_rune(reader: &mut Reader) -> Result<u32, BadPattern> {
    match reader.take().ok_or(BadPattern)? {
        '\\' => escaped_rune(reader),
        other => Ok(u32::from(other)),
    }
}

/// Reads `[:name:]` inside a class; a `[:` that is never closed stands for itself.
fn posix_class(reader: &mut Reader) -> Result<Option<String>, BadPattern> {
    let ['[', ':', rest @ ..] = reader.rest else { return Ok(None) };
    let Some(end) = rest.windows(2).position(|pair| pair == [':', ']']) else { return Ok(None) };
    let name: String = rest[..end].iter().collect();
    if !POSIX.contains(&name.strip_prefix('^').unwrap_or(&name)) {
        return Err(BadPattern);
    }
    reader.rest = &rest[end + 2..];
    Ok(Some(format!("[:{name}:]")))
}
