//! The library's C interface. All `unsafe` of this tool is here.

use anyhow::{Context, Result, bail};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

type Connection = *mut c_void;
type Answer = *mut c_void;
type Stream = *mut c_void;

type Connect = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Connection;
type Query = unsafe extern "C" fn(
    Connection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> Answer;
type StreamInsert = unsafe extern "C" fn(Connection, *const c_char, usize, *const c_char, usize) -> Stream;
type Append = unsafe extern "C" fn(Stream, *const c_void, usize) -> c_int;
type OfStream = unsafe extern "C" fn(Stream) -> Answer;
type TextOf = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type LengthOf = unsafe extern "C" fn(*mut c_void) -> usize;
type Free = unsafe extern "C" fn(*mut c_void);

/// The functions that are used. The library is never unloaded: its threads go on.
pub(crate) struct Chdb {
    connect: Connect,
    query: Query,
    stream_insert: StreamInsert,
    stream_append: Append,
    stream_done: OfStream,
    stream_error: TextOf,
    stream_free: Free,
    answer_error: TextOf,
    answer_bytes: TextOf,
    answer_length: LengthOf,
    answer_free: Free,
}

/// A connection to the engine of this process. One statement at a time.
pub(crate) struct Session {
    connection: Connection,
}

// SAFETY: the library lets any thread use a connection, one at a time; `&mut self` sees to that.
unsafe impl Send for Session {}

impl Chdb {
    /// Loads the library.
    pub(crate) fn load(path: &Path) -> Result<&'static Self> {
        let context = || format!("`{}` cannot be loaded", path.display());
        // SAFETY: the library's initialisers are those of ClickHouse, which may run in any process.
        let library = unsafe { Library::new(path) }.with_context(context)?;
        let library: &'static Library = Box::leak(Box::new(library));
        macro_rules! symbol {
            ($name:literal, $type:ty) => {{
                // SAFETY: the type is that of the function in the library's header.
                let found = unsafe { library.get::<$type>(concat!($name, "\0").as_bytes()) };
                *found.with_context(|| format!("`{}` has no `{}`: take another version", path.display(), $name))?
            }};
        }
        Ok(Box::leak(Box::new(Self {
            connect: symbol!("chdb_connect", Connect),
            query: symbol!("chdb_query_with_params_n", Query),
            stream_insert: symbol!("chdb_stream_insert_n", StreamInsert),
            stream_append: symbol!("chdb_stream_append", Append),
            stream_done: symbol!("chdb_stream_done", OfStream),
            stream_error: symbol!("chdb_stream_insert_error", TextOf),
            stream_free: symbol!("chdb_destroy_insert_stream", Free),
            answer_error: symbol!("chdb_result_error", TextOf),
            answer_bytes: symbol!("chdb_result_buffer", TextOf),
            answer_length: symbol!("chdb_result_length", LengthOf),
            answer_free: symbol!("chdb_destroy_query_result", Free),
        })))
    }

    /// A connection to the tables in `data`. The first one says by `config`, a file as ClickHouse's server has it, what holds
    /// for all.
    pub(crate) fn session(&self, data: &Path, config: Option<&Path>) -> Result<Session> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).with_context(|| format!("`{}` is not UTF-8", path.display()))
        };
        let path = text(data)?;
        let mut args = vec![CString::new("clickhouse")?, CString::new(format!("--path={path}"))?];
        if let Some(config) = config {
            args.push(CString::new(format!("--config-file={}", text(config)?))?);
        }
        let count = c_int::try_from(args.len())?;
        let mut argv: Vec<*mut c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
        argv.push(ptr::null_mut());
        // SAFETY: `argv` has `count` strings, which live until the call returns, and a null behind them.
        let connection = unsafe { (self.connect)(count, argv.as_mut_ptr()) };
        if connection.is_null() {
            bail!("the engine does not open `{path}`: another process may have it open");
        }
        // SAFETY: not null, so it points to the connection, which is never closed.
        let connection = unsafe { *connection };
        Ok(Session { connection })
    }

    /// Runs a statement; the bytes of its result in `format` where the text names no other.
    pub(crate) fn query(
        &self,
        session: &mut Session,
        sql: &str,
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<Vec<u8>> {
        let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_ptr().cast::<c_char>()).collect();
        let name_lens: Vec<_> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = parameters.iter().map(|(_, value)| value.as_ptr().cast::<c_char>()).collect();
        let value_lens: Vec<_> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: each pointer goes with its length, the four lists have as many entries as is said, and all live until
        // the call returns.
        let answer = unsafe {
            (self.query)(
                session.connection,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lens.as_ptr(),
                values.as_ptr(),
                value_lens.as_ptr(),
                parameters.len(),
            )
        };
        self.take(answer)
    }

    /// Inserts rows: `sql` without its FORMAT, and rows in `format`.
    pub(crate) fn insert(&self, session: &mut Session, sql: &str, format: &str, rows: &[u8]) -> Result<()> {
        // SAFETY: pointers with their lengths, that live until the call returns.
        let stream = unsafe {
            (self.stream_insert)(
                session.connection,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
            )
        };
        let result = self.feed(stream, rows);
        if !stream.is_null() {
            // SAFETY: the stream is freed once, here, and is not null.
            unsafe { (self.stream_free)(stream) };
        }
        result
    }

    fn feed(&self, stream: Stream, rows: &[u8]) -> Result<()> {
        let error = || {
            // SAFETY: the stream lives.
            let error = unsafe { (self.stream_error)(stream) };
            text(error)
        };
        if let Some(error) = error() {
            bail!(error);
        }
        for part in rows.chunks(1 << 20) {
            // SAFETY: the library copies the bytes.
            let state = unsafe { (self.stream_append)(stream, part.as_ptr().cast(), part.len()) };
            if state != 0 {
                bail!(error().unwrap_or_else(|| "the rows were refused".into()));
            }
        }
        // SAFETY: the stream lives; its answer is freed by `take`.
        let answer = unsafe { (self.stream_done)(stream) };
        self.take(answer).map(drop)
    }

    /// The bytes of an answer, or its error; frees it.
    fn take(&self, answer: Answer) -> Result<Vec<u8>> {
        if answer.is_null() {
            bail!("the engine gave no answer");
        }
        // SAFETY: not null, and freed below only.
        let error = text(unsafe { (self.answer_error)(answer) });
        // SAFETY: as above.
        let bytes = unsafe { (self.answer_bytes)(answer) }.cast::<u8>();
        // SAFETY: as above.
        let length = unsafe { (self.answer_length)(answer) };
        let copied = if bytes.is_null() || length == 0 {
            Vec::new()
        } else {
            // SAFETY: the answer has `length` bytes there until it is freed.
            unsafe { std::slice::from_raw_parts(bytes, length) }.to_vec()
        };
        // SAFETY: freed once.
        unsafe { (self.answer_free)(answer) };
        match error {
            Some(error) => bail!(error),
            None => Ok(copied),
        }
    }
}

/// A copy of a text of the library; `None` for null.
fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and the library's texts end with 0.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
