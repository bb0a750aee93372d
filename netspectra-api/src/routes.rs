//! The table of routes and parameters that everything else is made from.

use netspectra_common::query::Quantity;

/// A path and what it takes.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) endpoint: Endpoint,
    /// One line.
    pub(crate) summary: &'static str,
    pub(crate) params: &'static [&'static Param],
}

impl Route {
    /// Whether `param` is one of its parameters.
    pub(crate) fn takes(&self, param: &Param) -> bool {
        self.params.iter().any(|p| p.name == param.name)
    }
}

/// What answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Index,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Schema,
    Flows,
    Alerts,
    Messages,
    Top,
    Series,
    Cardinality,
    Quantiles,
    Ledger,
    Now,
}

impl Endpoint {
    /// Whether a bearer token is needed.
    pub(crate) const fn protected(self) -> bool {
        !matches!(self, Self::Index | Self::Live | Self::Ready | Self::OpenApi)
    }

    /// Whether it asks the store: then rate and concurrency are limited. Probes and metrics are not, so that an
    /// overloaded process can still be observed.
    pub(crate) const fn asks(self) -> bool {
        matches!(
            self,
            Self::Flows
                | Self::Alerts
                | Self::Messages
                | Self::Top
                | Self::Series
                | Self::Cardinality
                | Self::Quantiles
                | Self::Ledger
                | Self::Now
        )
    }
}

/// A parameter of the query string.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
    pub(crate) default: Option<&'static str>,
    pub(crate) required: bool,
}

/// The values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A time, or `all`.
    Time,
    /// A filter expression, such as this one.
    Filter(&'static str),
    /// Comma list of roll-up dimensions.
    Dimensions,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An integer in this range.
    Integer(usize, usize),
    /// Comma list of numbers in 0..=1.
    Fractions,
    /// A length of time.
    Step,
    /// `true` or `false`.
    Flag,
    /// Text of an earlier answer.
    Cursor,
}

/// Largest page and largest number of groups.
pub(crate) const MAX_ROWS: usize = 10_000;

const fn param(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Param {
    Param { name, kind, doc, default, required: false }
}

pub(crate) const FROM: Param = param(
    "from",
    Kind::Time,
    Some("-1h"),
    "begin of the range: RFC 3339, Unix seconds, `now`, `now-1h`, `-15m`, or `all` for the earliest data",
);
pub(crate) const TO: Param = param("to", Kind::Time, Some("now"), "end of the range, not included; written as `from`");
pub(crate) const FILTER: Param =
    param("filter", Kind::Filter("src_ip in 10.0.0.0/8 and dst_port = 443"), None, "which traffic");
pub(crate) const ALERT_FILTER: Param =
    param("filter", Kind::Filter("severity = high and detector = port_scan"), None, "which alerts");
pub(crate) const MESSAGE_FILTER: Param =
    param("filter", Kind::Filter("app = dns and code = 3 and src_ip in 10.0.0.0/8"), None, "which messages");
pub(crate) const BY: Param = param("by", Kind::Dimensions, Some("src_ip"), "comma list of the dimensions of a group");
pub(crate) const SERIES_BY: Param =
    param("by", Kind::Dimensions, None, "comma list of the dimensions of a line; one line of everything without it");
pub(crate) const METRIC: Param =
    param("metric", Kind::Word(&["bytes", "packets", "flows", "peers"]), Some("bytes"), "what ranks the groups");
pub(crate) const PAGE_LIMIT: Param = param("limit", Kind::Integer(1, MAX_ROWS), Some("100"), "rows of a page");
pub(crate) const TOP_LIMIT: Param = param("limit", Kind::Integer(1, MAX_ROWS), Some("10"), "number of groups");
pub(crate) const CURSOR: Param = param(
    "cursor",
    Kind::Cursor,
    None,
    "`next_cursor` of the page before; `from`, `to` and `filter` must be repeated as they were. The range stays that of \
     the first page",
);
pub(crate) const STEP: Param = param(
    "step",
    Kind::Step,
    None,
    "length of a point, `10s`, `1m`, `1h` or a number of seconds: a multiple of 1 s, or of 10 s with `filter` or `by`; \
     without it at most about 400 points of at least 10 s",
);
pub(crate) const EXACT: Param = param(
    "exact",
    Kind::Flag,
    Some("false"),
    "`true` adds up the exact roll-ups also where sketches could answer faster",
);
/// Names of [`Quantity`].
const QUANTITIES: [&str; Quantity::ALL.len()] = {
    let [a, b, c, d, e] = Quantity::ALL;
    [a.name(), b.name(), c.name(), d.name(), e.name()]
};
pub(crate) const CARDINALITY_OF: Param = Param {
    name: "of",
    kind: Kind::Dimensions,
    doc: "comma list of dimensions: distinct combinations of their values are counted",
    default: None,
    required: true,
};
pub(crate) const QUANTILES_OF: Param = Param {
    name: "of",
    kind: Kind::Word(&QUANTITIES),
    doc: "frame length in bytes (takes no filter); seconds from the first to the last packet of ended flows; seconds from \
          SYN to SYN+ACK, or from SYN+ACK to the initiator's ACK, of TCP flows; seconds from DNS query to response (takes \
          no filter)",
    default: None,
    required: true,
};
pub(crate) const Q: Param =
    param("q", Kind::Fractions, Some("0.5,0.9,0.99"), "comma list of quantiles, each in 0..=1, at most 32");
pub(crate) const FORMAT: Param = param(
    "format",
    Kind::Word(&["json", "ndjson", "csv"]),
    None,
    "encoding; without it the `Accept` header decides, JSON where it does not",
);

/// Every route.
pub(crate) static ROUTES: [Route; 15] = [
    Route { path: "/", endpoint: Endpoint::Index, summary: "what is here", params: &[] },
    Route {
        path: "/api/v1/flows",
        endpoint: Endpoint::Flows,
        summary: "flow records that overlap the range, newest first, in pages",
        params: &[&FROM, &TO, &FILTER, &PAGE_LIMIT, &CURSOR, &FORMAT],
    },
    Route {
        path: "/api/v1/alerts",
        endpoint: Endpoint::Alerts,
        summary: "what detectors said in the range, newest first, in pages; an incident may be spoken of several times",
        params: &[&FROM, &TO, &ALERT_FILTER, &PAGE_LIMIT, &CURSOR, &FORMAT],
    },
    Route {
        path: "/api/v1/messages",
        endpoint: Endpoint::Messages,
        summary: "DNS, HTTP, TLS and other messages of the range, newest first, in pages",
        params: &[&FROM, &TO, &MESSAGE_FILTER, &PAGE_LIMIT, &CURSOR, &FORMAT],
    },
    Route {
        path: "/api/v1/top",
        endpoint: Endpoint::Top,
        summary: "the groups with the most bytes, packets, flows or peers",
        params: &[&FROM, &TO, &FILTER, &BY, &METRIC, &TOP_LIMIT, &EXACT, &FORMAT],
    },
    Route {
        path: "/api/v1/series",
        endpoint: Endpoint::Series,
        summary: "packets, bytes and new flows over time",
        params: &[&FROM, &TO, &FILTER, &SERIES_BY, &STEP, &FORMAT],
    },
    Route {
        path: "/api/v1/cardinality",
        endpoint: Endpoint::Cardinality,
        summary: "how many distinct values",
        params: &[&FROM, &TO, &FILTER, &CARDINALITY_OF],
    },
    Route {
        path: "/api/v1/quantiles",
        endpoint: Endpoint::Quantiles,
        summary: "quantiles of frame sizes, flow durations, TCP round-trip times and DNS latencies",
        params: &[&FROM, &TO, &FILTER, &QUANTILES_OF, &Q],
    },
    Route {
        path: "/api/v1/ledger",
        endpoint: Endpoint::Ledger,
        summary: "where every frame of the range went",
        params: &[&FROM, &TO],
    },
    Route {
        path: "/api/v1/now",
        endpoint: Endpoint::Now,
        summary: "what a cluster sees now, from its live board: active flows, and the latest ten seconds",
        params: &[&TOP_LIMIT],
    },
    Route {
        path: "/api/v1/schema",
        endpoint: Endpoint::Schema,
        summary: "the dimensions that can be filtered and grouped by",
        params: &[],
    },
    Route {
        path: "/api/v1/openapi.json",
        endpoint: Endpoint::OpenApi,
        summary: "this interface as OpenAPI 3.1",
        params: &[],
    },
    Route {
        path: "/healthz",
        endpoint: Endpoint::Live,
        summary: "200 while the process does its work, else 503",
        params: &[],
    },
    Route {
        path: "/readyz",
        endpoint: Endpoint::Ready,
        summary: "200 when questions can be answered, else 503; with each check",
        params: &[],
    },
    Route {
        path: "/metrics",
        endpoint: Endpoint::Metrics,
        summary: "metrics of the process as OpenMetrics text",
        params: &[],
    },
];

/// The name of the route at `path`, for metrics and logs: a closed set, whatever clients send.
pub(crate) fn route_label(path: &str) -> &'static str {
    ROUTES.iter().find(|r| r.path == path).map_or("unmatched", |r| r.path)
}
