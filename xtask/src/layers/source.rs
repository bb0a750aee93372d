//! Rust sources as far as the rules need them: identifiers and paths, without comments and literals.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Relative to the workspace's root.
    pub(super) file: PathBuf,
    text: String,
    /// `text` with comments and literals turned into spaces, byte for byte.
    code: Vec<u8>,
}

/// An identifier in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Byte offset.
    pub(super) at: usize,
}

/// All `.rs` files below `folder`, in the order of their paths.
///
/// # Errors
/// A folder or file cannot be read.
pub(super) fn read_all(root: &Path, folder: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths)?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok(Source::new(path.strip_prefix(root).unwrap_or(&path).to_owned(), text))
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

impl Source {
    /// Reads `text` as the file `file`.
    pub(super) fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let code = blank(text.as_bytes());
        Self { file: file.into(), text, code }
    }

    /// The same, without the items behind attributes that begin with one of `attributes`, such as `#[cfg(test)]`.
    pub(super) fn without(&self, attributes: &[&str]) -> Self {
        let mut code = self.code.clone();
        for attribute in attributes {
            for (at, _) in self.text.match_indices(attribute) {
                if self.code[at] == b'#' {
                    let end = item_end(&self.code, at + attribute.len());
                    code[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
                }
            }
        }
        Self { code, ..self.clone() }
    }

    /// The line of byte `at`, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count()
    }

    /// Every identifier and keyword, in order.
    pub(super) fn words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        let mut at = 0;
        while at < self.code.len() {
            let len = self.code[at..].iter().take_while(|b| is_word(**b)).count();
            if len > 0 {
                // Only ASCII is ever a word here, see `blank`.
                words.extend(self.text.get(at..at + len).map(|text| Word { text, at }));
            }
            at += len.max(1);
        }
        words
    }

    /// What follows `word`, without leading space.
    pub(super) fn after(&self, word: Word<'_>) -> &[u8] {
        self.code[word.at + word.text.len()..].trim_ascii_start()
    }

    /// What comes before `word`, without trailing space.
    pub(super) fn before(&self, word: Word<'_>) -> &[u8] {
        self.code[..word.at].trim_ascii_end()
    }

    /// What stands between two words that follow each other.
    pub(super) fn between(&self, first: Word<'_>, second: Word<'_>) -> &[u8] {
        &self.code[first.at + first.text.len()..second.at]
    }

    /// Whether `word` begins a path: `word::…`, not `x::word` and not a method.
    pub(super) fn begins_path(&self, word: Word<'_>) -> bool {
        let before = self.before(word);
        let continues = match before.strip_suffix(b"::") {
            // `::word` is absolute unless something stands before the colons.
            Some(rest) => rest.trim_ascii_end().last().is_some_and(|b| is_word(*b) || *b == b'>'),
            None => before.ends_with(b"."),
        };
        !continues && self.after(word).starts_with(b"::")
    }
}

/// Bytes of identifiers. Others than ASCII do not occur in the names that rules speak of.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of the item that begins at `from`: its `;` or the brace that closes it.
fn item_end(code: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// `text` with comments, strings and characters turned into spaces. Line ends stay.
fn blank(text: &[u8]) -> Vec<u8> {
    let mut code = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let end = literal_end(text, at);
        if let Some(end) = end {
            code[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
            at = end;
        } else if is_word(text[at]) {
            // A whole word at once, so that the `r` of `for"` begins no raw string.
            at += text[at..].iter().take_while(|b| is_word(**b)).count();
        } else {
            if !text[at].is_ascii() {
                code[at] = b' ';
            }
            at += 1;
        }
    }
    code
}

/// The end of the comment or literal that begins at `at`, if one does. An unclosed one ends with the text.
fn literal_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    let len = match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'b' | b'c', b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'b', b'\'', ..] => 1 + quoted(&rest[1..], b'\''),
        [b'r', b'"' | b'#', ..] => raw_string(rest, 1)?,
        [b'b' | b'c', b'r', b'"' | b'#', ..] => raw_string(rest, 2)?,
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', first, ..] => {
            // A character, else a lifetime.
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if rest.get(1 + width) != Some(&b'\'') {
                return None;
            }
            width + 2
        }
        _ => return None,
    };
    Some((at + len).min(text.len()))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `None` for a raw identifier.
fn raw_string(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let len = rest[open + 1..].windows(close.len()).position(|w| w == close);
    Some(len.map_or(rest.len(), |len| open + 1 + len + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Source::new("x.rs", text).words().into_iter().map(|w| w.text.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_have_no_words() {
        let text = r####"a // aya::x
            b /* aya /* nested */ still */ c "aya \" aya" d r#"aya " aya"# e 'x' '\'' 'é' b"aya" br"aya" f"####;
        assert_eq!(words(text), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_not_literals() {
        assert_eq!(words("fn f<'a>(x: &'a r#type) { y }"), ["fn", "f", "a", "x", "a", "r", "type", "y"]);
    }

    #[test]
    fn unclosed_and_strange_text_ends() {
        for text in ["\"", "/*", "r#\"", "'", "'\\", "b'", "\\", "/* /*", "é", "\"\\"] {
            assert!(words(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn only_the_first_part_begins_a_path() {
        let source = Source::new("x.rs", "aya::a; crate::aya::b; ::aya::c; x.aya::<u8>(); aya;\n<T>::aya::d");
        let begins: Vec<bool> =
            source.words().into_iter().filter(|w| w.text == "aya").map(|w| source.begins_path(w)).collect();
        assert_eq!(begins, [true, false, true, false, false, false]);
    }

    #[test]
    fn gated_items_are_left_out_and_lines_stay() {
        let text = "one;\n#[cfg(test)]\nmod tests {\n  fn f() { two }\n}\n// #[cfg(test)]\nthree";
        let source = Source::new("x.rs", text).without(&["#[cfg(test)]"]);
        assert_eq!(
            source.words().iter().map(|w| (w.text, source.line_of(w.at))).collect::<Vec<_>>(),
            [("one", 1), ("three", 7)]
        );
    }
}
