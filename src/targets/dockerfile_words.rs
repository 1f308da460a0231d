//! The words of one Dockerfile instruction, with its quotes, and the heredocs it opens.
//!
//! Only for looking: variables are not expanded, and an open quote reaches to the end.

/// One heredoc that an instruction opens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The line that ends it.
    pub(super) name: String,
    /// Whether tabs before that line do not count (`<<-`).
    pub(super) strips_tabs: bool,
}

/// Words parted by white space, without their quotes and escapes.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    split(text, escape).into_iter().map(|word| word.text).collect()
}

/// The heredocs that a RUN, COPY or ADD opens, in order.
pub(super) fn heredocs(text: &str, escape: char) -> Vec<Heredoc> {
    let words = split(text, escape);
    let mut names = words.iter().map(|word| word.text.to_uppercase()).filter(|word| word != "ONBUILD");
    if !matches!(names.next().as_deref(), Some("RUN" | "COPY" | "ADD")) {
        return Vec::new();
    }
    words.iter().filter_map(heredoc).collect()
}

/// `[n]<<[-]NAME`, where only NAME may be quoted.
fn heredoc(word: &Word) -> Option<Heredoc> {
    let descriptor = word.text.find(|letter: char| !letter.is_ascii_digit())?;
    let rest = word.text.get(descriptor..)?.strip_prefix("<<")?;
    if word.quoted_from.is_some_and(|quoted| quoted < descriptor + 2) {
        return None;
    }
    let strips_tabs = rest.starts_with('-');
    let name = rest.strip_prefix('-').unwrap_or(rest);
    (!name.is_empty() && !name.contains('<')).then(|| Heredoc { name: name.to_owned(), strips_tabs })
}

struct Word {
    text: String,
    /// The byte of `text` where the first quote opened.
    quoted_from: Option<usize>,
}

fn split(text: &str, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| Word { text: String::new(), quoted_from: None });
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '"' || letter == '\'' => {
                quote = Some(letter);
                word.quoted_from.get_or_insert(word.text.len());
            }
            _ if letter == escape && quote != Some('\'') => word.text.extend(letters.next()),
            _ => word.text.push(letter),
        }
    }
    words.extend(word);
    words
}
