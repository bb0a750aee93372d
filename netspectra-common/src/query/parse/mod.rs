//! The filter language.
//!
//! ```text
//! filter     = [ or ]                                  empty text: every row
//! or         = and { ("or" | "||") and }
//! and        = unary { ("and" | "&&") unary }
//! unary      = ("not" | "!") unary | "(" or ")" | "all" | comparison
//! comparison = name ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") value
//!            | name ["not"] "in" ( value | "(" value { "," value } ")" )
//! value      = address ["/" prefix] | number | number ".." number | word | quoted text
//! ```
//! Names are those of [`Dimension`](crate::schema::Dimension), and `ip` (or `host`) and `port` for either side. Words
//! are the same in upper and lower case, except the texts of `iface` and `node`.

mod error;
mod lex;
mod name;
#[cfg(test)]
mod tests;
mod value;

pub use error::ParseError;

use super::{CmpOp, Filter, Predicate, Value};
use crate::schema::ValueKind;
use lex::{Lexer, Token, What};
use name::Name;

/// Bytes of the longest text that is read.
pub const MAX_FILTER_LEN: usize = 8 * 1024;
/// Parentheses and negations inside each other, at most.
pub const MAX_FILTER_DEPTH: usize = 64;

/// Reads a filter expression, such as `src_ip in 10.0.0.0/8 and dst_port = 443`. The empty text is [`Filter::ALL`].
///
/// # Errors
/// [`ParseError`] with the column of what is wrong: more than [`MAX_FILTER_LEN`] bytes, more than
/// [`MAX_FILTER_DEPTH`] levels, an unknown name, a value that does not fit, or text that is no filter.
pub fn parse_filter(text: &str) -> Result<Filter, ParseError> {
    parse_up_to(text, MAX_FILTER_LEN)
}

/// [`parse_filter`] of texts of up to `most` bytes.
pub(super) fn parse_up_to(text: &str, most: usize) -> Result<Filter, ParseError> {
    if text.len() > most {
        let message = format!("the filter has {} bytes: expected at most {most}", text.len());
        return Err(ParseError { message, column: 1 });
    }
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None, depth: 0 };
    if parser.peek()?.what == What::End {
        return Ok(Filter::ALL);
    }
    let filter = parser.or()?;
    let rest = parser.next()?;
    match rest.what {
        What::End => Ok(filter),
        What::Close => Err(rest.error("`)` has no `(` before it: leave it out, or open it")),
        What::Open | What::Comma | What::Bang | What::And | What::Or | What::Compare(_) | What::Word | What::Quoted => {
            Err(rest.error(format!("expected `and`, `or` or the end of the filter, found {}", rest.found())))
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Result<&Token, ParseError> {
        let token = match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.next()?,
        };
        Ok(self.ahead.insert(token))
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    /// Takes the next token when it satisfies `wanted`.
    fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> Result<Option<Token>, ParseError> {
        if wanted(self.peek()?) { self.next().map(Some) } else { Ok(None) }
    }

    fn or(&mut self) -> Result<Filter, ParseError> {
        let first = self.and()?;
        let mut parts = vec![first];
        while self.take(|t| t.what == What::Or || t.is_word("or"))?.is_some() {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn and(&mut self) -> Result<Filter, ParseError> {
        let first = self.unary()?;
        let mut parts = vec![first];
        while self.take(|t| t.what == What::And || t.is_word("and"))?.is_some() {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn unary(&mut self) -> Result<Filter, ParseError> {
        let token = self.next()?;
        if token.what == What::Bang || token.is_word("not") {
            self.enter(&token)?;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Filter::Not(Box::new(inner)));
        }
        if token.what == What::Open {
            self.enter(&token)?;
            let inner = self.or()?;
            self.depth -= 1;
            let close = self.next()?;
            return match close.what {
                What::Close => Ok(inner),
                What::End => Err(token.error("`(` is not closed: expected a `)` after it")),
                What::Open
                | What::Comma
                | What::Bang
                | What::And
                | What::Or
                | What::Compare(_)
                | What::Word
                | What::Quoted => Err(close.error(format!("expected `and`, `or` or `)`, found {}", close.found()))),
            };
        }
        if token.is_word("all") {
            return Ok(Filter::ALL);
        }
        if token.what != What::Word || ["and", "or", "in"].into_iter().any(|w| token.is_word(w)) {
            let message = format!("expected a condition such as `dst_port = 443`, found {}", token.found());
            return Err(token.error(message));
        }
        self.comparison(&token)
    }

    fn enter(&mut self, token: &Token) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_FILTER_DEPTH {
            let message = format!(
                "the filter is more than {MAX_FILTER_DEPTH} levels deep: expected fewer parentheses and negations inside each other"
            );
            return Err(token.error(message));
        }
        Ok(())
    }

    fn comparison(&mut self, token: &Token) -> Result<Filter, ParseError> {
        let name = Name::read(token)?;
        let (negated, op, values) = self.operator_and_values(&name)?;
        let is = Filter::Is(Predicate { any_of: name.any_of.to_vec(), op, values });
        Ok(if negated { Filter::Not(Box::new(is)) } else { is })
    }

    fn operator_and_values(&mut self, name: &Name) -> Result<(bool, CmpOp, Vec<Value>), ParseError> {
        let operator = self.next()?;
        if operator.is_word("in") {
            return Ok((false, CmpOp::Eq, self.one_or_list(name)?));
        }
        if operator.is_word("not") {
            let word = self.next()?;
            if word.is_word("in") {
                return Ok((true, CmpOp::Eq, self.one_or_list(name)?));
            }
            return Err(word.error(format!("expected `in` after `{} not`, found {}", name.text, word.found())));
        }
        let What::Compare(compare) = operator.what else {
            return Err(operator.error(format!(
                "expected one of =, !=, <, <=, >, >=, in, not in after `{}`, found {}",
                name.text,
                operator.found()
            )));
        };
        if compare.op != CmpOp::Eq && !matches!(name.kind, ValueKind::U16 | ValueKind::U32) {
            return Err(operator.error(format!(
                "`{}` has no order: expected =, !=, in or not in, found `{}`",
                name.text, operator.text
            )));
        }
        let token = self.next()?;
        let value = value::read(name, &token)?;
        if compare.op != CmpOp::Eq && !matches!(value, Value::Number(_)) {
            return Err(token.error(format!("expected one number after `{}`, found {}", operator.text, token.found())));
        }
        Ok((compare.negated, compare.op, vec![value]))
    }

    fn one_or_list(&mut self, name: &Name) -> Result<Vec<Value>, ParseError> {
        let Some(open) = self.take(|t| t.what == What::Open)? else {
            let token = self.next()?;
            return Ok(vec![value::read(name, &token)?]);
        };
        let mut values = Vec::new();
        loop {
            let token = self.next()?;
            values.push(value::read(name, &token)?);
            let after = self.next()?;
            match after.what {
                What::Comma => {}
                What::Close => return Ok(values),
                What::End => return Err(open.error("`(` is not closed: expected a `)` after it")),
                What::Open | What::Bang | What::And | What::Or | What::Compare(_) | What::Word | What::Quoted => {
                    return Err(after.error(format!("expected `,` or `)` in the list, found {}", after.found())));
                }
            }
        }
    }
}
