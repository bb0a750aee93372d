//! Requests of ClickHouse's HTTP interface.

use anyhow::{Context, Result, bail};
use bytes::Bytes;

/// Parameters of the URL that are no settings of the engine, and mean nothing here.
const IGNORED: [&str; 9] = [
    "compress",
    "session_id",
    "query_id",
    "user",
    "password",
    "wait_end_of_query",
    "buffer_size",
    "send_progress_in_http_headers",
    "quota_key",
];

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    /// Format of the result where the text names none.
    pub(crate) format: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) settings: Vec<(String, String)>,
    /// Names (without `param_`) and values of `{name:Type}`.
    pub(crate) parameters: Vec<(String, String)>,
    /// Rows of an insert, in the format that its text names.
    pub(crate) rows: Option<Bytes>,
}

/// Reads a request: `query` of the URL or a field or body of that meaning, settings, parameters, and rows.
pub(crate) fn read(url: &str, content_type: Option<&str>, body: Bytes) -> Result<Statement> {
    let mut statement = Statement::default();
    let mut query = None;
    let mut compressed = false;
    for (name, value) in form_urlencoded::parse(url.as_bytes()) {
        match &*name {
            "query" => query = Some(value.into_owned()),
            "database" => statement.database = Some(value.into_owned()),
            "default_format" => statement.format = Some(value.into_owned()),
            "decompress" => compressed = value == "1",
            name if name.starts_with("param_") => {
                statement.parameters.push((name["param_".len()..].to_owned(), value.into_owned()));
            }
            name if IGNORED.contains(&name) => {}
            name => statement.settings.push((name.to_owned(), value.into_owned())),
        }
    }
    let boundary = content_type.and_then(|t| t.strip_prefix("multipart/form-data; boundary="));
    if let Some(boundary) = boundary {
        for (name, value) in fields(&body, boundary.trim_matches('"'))? {
            match name.strip_prefix("param_") {
                Some(parameter) => statement.parameters.push((parameter.to_owned(), value)),
                None if name == "query" => query = Some(value),
                None => bail!("field `{name}` of the form: expected `query` or `param_...`"),
            }
        }
        statement.sql = query.context("the form has no field `query`")?;
        return Ok(statement);
    }
    match query {
        // As the server has it: the body goes on where the query ends.
        Some(query) if is_insert(&query) => {
            statement.sql = query;
            statement.rows = Some(if compressed { decompress(&body)?.into() } else { body });
        }
        Some(query) => statement.sql = format!("{query}{}", std::str::from_utf8(&body)?),
        None => statement.sql = std::str::from_utf8(&body).context("the query is not UTF-8")?.to_owned(),
    }
    Ok(statement)
}

/// Whether rows follow the text.
pub(crate) fn is_insert(sql: &str) -> bool {
    let start: String = sql.trim_start().chars().take(6).collect();
    start.eq_ignore_ascii_case("insert") && sql.to_ascii_uppercase().contains(" FORMAT ")
}

/// Fields of a form (RFC 7578): names and values.
fn fields(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).context("the form is not UTF-8")?;
    let mut found = Vec::new();
    for part in text.split(&format!("--{boundary}")).skip(1) {
        let Some(part) = part.strip_prefix("\r\n") else { continue };
        let (head, value) = part.split_once("\r\n\r\n").context("a field of the form has no end of its head")?;
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
        let value = value.strip_suffix("\r\n").context("a field of the form has no end")?;
        found.push((name.context("a field of the form has no name")?.to_owned(), value.to_owned()));
    }
    Ok(found)
}

/// ClickHouse's compressed blocks: checksum (16 bytes, not looked at), method, sizes, data.
fn decompress(mut body: &[u8]) -> Result<Vec<u8>> {
    const LZ4: u8 = 0x82;
    let mut out = Vec::new();
    while !body.is_empty() {
        let head: [u8; 9] = body.get(16..25).context("a compressed block ends early")?.try_into()?;
        let size = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (packed, plain) = (size(1), size(5));
        if head[0] != LZ4 {
            bail!("a block is compressed by method {:#04x}: expected LZ4 ({LZ4:#04x})", head[0]);
        }
        let data = body.get(25..16 + packed).context("a compressed block ends early")?;
        out.extend(lz4_flex::block::decompress(data, plain).context("a compressed block is damaged")?);
        body = &body[16 + packed..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_query_has_settings_and_parameters() {
        let found =
            read("database=d&default_format=TSV&param_x=5&max_threads=1&query_id=7", None, "SELECT {x:UInt8}".into());
        let found = found.unwrap();
        assert_eq!((found.sql.as_str(), found.database.as_deref(), found.rows), ("SELECT {x:UInt8}", Some("d"), None));
        assert_eq!(found.settings, [("max_threads".to_owned(), "1".to_owned())]);
        assert_eq!(found.parameters, [("x".to_owned(), "5".to_owned())]);
    }

    #[test]
    fn a_form_has_the_query_and_parameters() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\na\nb\r\n--b--\r\n";
        let found = read("", Some("multipart/form-data; boundary=b"), body.into()).unwrap();
        assert_eq!((found.sql.as_str(), found.parameters), ("SELECT {x:String}", vec![("x".into(), "a\nb".into())]));
        assert!(read("", Some("multipart/form-data; boundary=b"), "--b--\r\n".into()).is_err());
    }

    #[test]
    fn rows_of_an_insert_are_unpacked() {
        let data = lz4_flex::block::compress(b"hello hello hello hello");
        let mut block = vec![0; 16];
        block.push(0x82);
        block.extend(((data.len() + 9) as u32).to_le_bytes());
        block.extend(23u32.to_le_bytes());
        block.extend(&data);
        let url = "query=INSERT+INTO+t+FORMAT+RowBinary&decompress=1";
        let twice = [block.clone(), block.clone()].concat();
        assert_eq!(&*read(url, None, twice.into()).unwrap().rows.unwrap(), b"hello hello hello hello".repeat(2));
        block.truncate(20);
        assert!(read(url, None, block.into()).unwrap_err().to_string().contains("ends early"));
    }
}
