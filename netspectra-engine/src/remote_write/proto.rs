//! The messages of remote write 1.0. A request's series are a repeated field, so requests of encoded series are made by
//! putting bytes one behind the other.
//!
//! Source: Prometheus, `prompb/remote.proto` and `prompb/types.proto`; the remote-write specification 1.0.

use prost::Message;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    /// Sorted by name, each name once.
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    /// In the order of their times.
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

impl TimeSeries {
    /// One sample of the series with `labels`, in any order, `__name__` among them.
    pub(super) fn new(labels: &[(&str, &str)], value: f64, timestamp: i64) -> Self {
        let named = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
        let mut labels: Vec<Label> = labels.iter().map(named).collect();
        labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self { labels, samples: vec![Sample { value, timestamp }] }
    }
}

/// Encoded: a piece of a [`WriteRequest`].
pub(super) fn encode(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    WriteRequest { timeseries }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_request_has_the_bytes_that_the_definitions_say() {
        let series = TimeSeries::new(&[("node", "n1"), ("__name__", "x")], 1.5, 1_000);
        let label = |name: &[u8], value: &[u8]| {
            let inner = [&[0x0a, name.len() as u8], name, &[0x12, value.len() as u8], value].concat();
            [&[0x0a, inner.len() as u8][..], &inner].concat()
        };
        // Field 1, a double, little-endian; field 2, a varint: 1000 is 0x68 + 7 * 128.
        let sample = [&[0x09][..], &1.5f64.to_le_bytes(), &[0x10, 0xe8, 0x07]].concat();
        let sample = [&[0x12, sample.len() as u8][..], &sample].concat();
        let inner = [label(b"__name__", b"x"), label(b"node", b"n1"), sample].concat();
        let expected = [&[0x0a, inner.len() as u8][..], &inner].concat();
        assert_eq!(encode(vec![series]), expected);
    }

    #[test]
    fn pieces_one_behind_the_other_are_one_request() {
        let series = |n: i64| TimeSeries::new(&[("__name__", "x"), ("n", &n.to_string())], n as f64, n);
        let joined = [encode(vec![series(1), series(2)]), encode(vec![series(3)])].concat();
        let read = WriteRequest::decode(&*joined).unwrap();
        assert_eq!(read.timeseries, [series(1), series(2), series(3)]);
    }
}
