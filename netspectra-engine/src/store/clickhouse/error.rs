//! Errors of the client as errors of a port.

use clickhouse::error::Error;
use netspectra_common::ports::PortError;

/// Codes of ClickHouse for which the same statement may succeed later: memory, parts, timeouts, replicas, disk.
const TRANSIENT: [u32; 17] = [3, 159, 164, 201, 202, 203, 209, 210, 225, 241, 242, 243, 252, 279, 285, 319, 999];

/// What failed, with its cause; transient where the same may succeed later.
pub(super) fn port_error(what: &str, error: Error) -> PortError {
    let transient = if let Error::BadResponse(text) = &error {
        // Not ClickHouse's words: a proxy in front of a server that is away.
        code(text).is_none_or(|code| TRANSIENT.contains(&code))
    } else {
        matches!(error, Error::Network(_) | Error::TimedOut)
    };
    let made = if transient { PortError::transient(what) } else { PortError::permanent(what) };
    made.because(error)
}

/// `Code: 241. DB::Exception: ...`
fn code(text: &str) -> Option<u32> {
    text.split("Code: ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let transient = |text: &str| port_error("x", Error::BadResponse(text.into())).transient;
        assert!(transient("Code: 241. DB::Exception: Memory limit exceeded"));
        assert!(transient("Code: 252. DB::Exception: Too many parts"));
        assert!(transient("<html>502 Bad Gateway</html>"));
        assert!(!transient("Code: 60. DB::Exception: Unknown table"));
        assert!(!transient("Code: 497. DB::Exception: Not enough privileges"));
        assert!(port_error("x", Error::TimedOut).transient);
    }
}
