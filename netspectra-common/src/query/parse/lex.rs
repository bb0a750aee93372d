use super::{CmpOp, ParseError};
use std::iter::Peekable;
use std::str::Chars;

/// Characters of a token that an error shows, at most.
const SHOWN: usize = 40;

/// A comparison: `!=` is a negated `Eq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compare {
    pub(super) op: CmpOp,
    pub(super) negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Open,
    Close,
    Comma,
    Bang,
    And,
    Or,
    Compare(Compare),
    /// Keyword, name, number, address, range: told apart by its place.
    Word,
    Quoted,
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) what: What,
    /// As written; without quotes and escapes for [`What::Quoted`].
    pub(super) text: String,
    /// 1-based, characters.
    pub(super) column: usize,
}

impl Token {
    /// Whether this is the keyword `word`, in any case, without quotes.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.what == What::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// What to call the token in `found ...`.
    pub(super) fn found(&self) -> String {
        if self.what == What::End { "the end of the filter".into() } else { format!("`{}`", self.short()) }
    }

    /// The text, shortened: it comes back in answers.
    pub(super) fn short(&self) -> String {
        let mut shown: String = self.text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.text.chars().nth(SHOWN).is_some() {
            shown.push_str("...");
        }
        shown
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), column: self.column }
    }
}

pub(super) struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    /// Of the next character.
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { chars: text.chars().peekable(), column: 1 }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.column += 1;
        Some(c)
    }

    fn follows(&mut self, wanted: char) -> bool {
        let does = self.chars.peek() == Some(&wanted);
        if does {
            self.bump();
        }
        does
    }

    /// The next token; [`What::End`] from the end on.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
            self.bump();
        }
        let column = self.column;
        let Some(c) = self.bump() else { return Ok(Token { what: What::End, text: String::new(), column }) };
        let compare = |op, negated| What::Compare(Compare { op, negated });
        let (what, text) = match c {
            '(' => (What::Open, "("),
            ')' => (What::Close, ")"),
            ',' => (What::Comma, ","),
            '=' if self.follows('=') => (compare(CmpOp::Eq, false), "=="),
            '=' => (compare(CmpOp::Eq, false), "="),
            '!' if self.follows('=') => (compare(CmpOp::Eq, true), "!="),
            '!' => (What::Bang, "!"),
            '<' if self.follows('=') => (compare(CmpOp::Le, false), "<="),
            '<' => (compare(CmpOp::Lt, false), "<"),
            '>' if self.follows('=') => (compare(CmpOp::Ge, false), ">="),
            '>' => (compare(CmpOp::Gt, false), ">"),
            '&' if self.follows('&') => (What::And, "&&"),
            '|' if self.follows('|') => (What::Or, "||"),
            '&' | '|' => {
                return Err(ParseError { message: format!("`{c}` stands alone: expected `{c}{c}`"), column });
            }
            '"' | '\'' => return self.quoted(c, column),
            first => return Ok(self.word(first, column)),
        };
        Ok(Token { what, text: text.into(), column })
    }

    fn word(&mut self, first: char, column: usize) -> Token {
        let mut text = String::from(first);
        while let Some(c) = self.chars.next_if(|c| !c.is_whitespace() && !"()=!<>&|,\"'".contains(*c)) {
            self.column += 1;
            text.push(c);
        }
        Token { what: What::Word, text, column }
    }

    fn quoted(&mut self, quote: char, column: usize) -> Result<Token, ParseError> {
        let mut text = String::new();
        let open = || ParseError { message: format!("the text is not closed: expected another {quote}"), column };
        loop {
            match self.bump().ok_or_else(open)? {
                c if c == quote => return Ok(Token { what: What::Quoted, text, column }),
                '\\' => text.push(self.bump().ok_or_else(open)?),
                c => text.push(c),
            }
        }
    }
}
