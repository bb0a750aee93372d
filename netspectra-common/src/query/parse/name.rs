use super::ParseError;
use super::lex::Token;
use crate::schema::{Dimension, EITHER, ValueKind};

/// What the left side of a comparison names.
#[derive(Debug)]
pub(super) struct Name {
    /// For errors.
    pub(super) text: &'static str,
    pub(super) any_of: &'static [Dimension],
    pub(super) kind: ValueKind,
    /// Decides between the numbers that are legal.
    pub(super) first: Dimension,
}

/// All names, with what they stand for.
fn names() -> impl Iterator<Item = (&'static str, &'static [Dimension])> {
    EITHER
        .iter()
        .map(|(name, any_of)| (*name, &any_of[..]))
        .chain(Dimension::ALL.iter().map(|d| (d.name(), std::slice::from_ref(d))))
}

impl Name {
    pub(super) fn read(token: &Token) -> Result<Self, ParseError> {
        let found = names().find(|(name, _)| name.eq_ignore_ascii_case(&token.text));
        match found {
            Some((text, any_of @ [first, ..])) => Ok(Self { text, any_of, kind: first.kind(), first: *first }),
            Some(_) | None => Err(unknown(token)),
        }
    }
}

fn unknown(token: &Token) -> ParseError {
    let near = nearest(&token.text, names().map(|(name, _)| name));
    let near = near.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
    let all: Vec<_> = names().map(|(name, _)| name).collect();
    token.error(format!("`{}` is not a dimension: {near}expected one of {}", token.short(), all.join(", ")))
}

/// The candidate that `text` most likely stands for: at most a third of its letters (and at least one) differ.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text: Vec<char> = text.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    candidates
        .map(|candidate| (distance(&text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from `a` to `b` (optimal string alignment).
/// Cost: product of the lengths.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // Rows of the table: for the last letter but one of `b`, for the last one, and the one being made.
    let mut older = vec![0; a.len() + 1];
    let mut old: Vec<usize> = (0..=a.len()).collect();
    for i in 0..b.len() {
        let mut row = vec![i + 1];
        for j in 0..a.len() {
            let replaced = old[j] + usize::from(a[j] != b[i]);
            let mut least = replaced.min(old[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[j] == b[i - 1] && a[j - 1] == b[i] {
                least = least.min(older[j - 1] + 1);
            }
            row.push(least);
        }
        older = std::mem::replace(&mut old, row);
    }
    old[a.len()]
}
