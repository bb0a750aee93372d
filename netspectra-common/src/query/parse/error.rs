/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub struct ParseError {
    /// What was expected and found.
    pub message: String,
    /// 1-based, characters. One after the last character when the text ends too early.
    pub column: usize,
}

impl ParseError {
    /// The error, and under it `text` (which it came from) with a caret below the column: three lines.
    ///
    /// Control characters are shown as spaces, so that the caret stays below its character.
    pub fn render(&self, text: &str) -> String {
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let caret = self.column.saturating_sub(1).min(shown.chars().count());
        format!("{self}\n{shown}\n{}^", " ".repeat(caret))
    }
}
