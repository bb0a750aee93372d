use netspectra_common::query::parse_filter;

/// A filter's text.
///
/// What is accepted can be written down again, and reads as the same filter; what is refused has an error that points into
/// the text.
pub fn filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_filter(&text) {
        Ok(filter) => {
            let written = filter.to_string();
            // Longer than it was when it was short for something; then the limit may refuse it.
            if let Ok(again) = parse_filter(&written) {
                assert_eq!(again, filter, "`{text}` was written as `{written}`");
            } else {
                assert!(written.len() > text.len(), "`{text}` was written as `{written}`, which is refused");
            }
        }
        Err(error) => assert!(!error.render(&text).is_empty()),
    }
}
