//! HTTP conversations made here.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use super::super::testing::{MS, key, stream_any_way};
use super::*;
use Side::{Forward, Reverse};
use std::time::Duration;

/// `method host target`, or `status method latency in ms`.
fn lines(script: &[(Side, &[u8])]) -> Vec<String> {
    stream_any_way(key(6, 8080), script).iter().map(line).collect()
}

fn line(o: &Observation) -> String {
    match o {
        Observation::HttpRequest(r) => format!("{} {} {}", r.method, r.host.as_deref().unwrap_or("-"), r.target),
        Observation::HttpResponse(r) => {
            let latency = r.latency.map_or("-".into(), |l| (l.as_nanos() / u128::from(MS)).to_string());
            format!("{} {} {latency}", r.status, r.method.as_deref().unwrap_or("-"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_head_says() {
    let request = b"POST /a?b=c HTTP/1.1\r\nHost: example.org:81\r\nUser-Agent: x/1\r\nContent-Type: text/plain\r\n\
                    Content-Length: 3\r\n\r\nabc";
    let said = stream_any_way(key(6, 1), &[(Forward, request)]);
    let expected = HttpRequest {
        method: "POST".into(),
        target: "/a?b=c".into(),
        host: Some("example.org:81".into()),
        minor_version: 1,
        user_agent: Some("x/1".into()),
        content_type: Some("text/plain".into()),
        content_length: Some(3),
    };
    assert_eq!(said, [Observation::HttpRequest(Box::new(expected))]);
    let mut session = Http { without_query: true }.open(&key(6, 80));
    let mut said = Vec::new();
    session.stream(Forward, request, Nanos(0), &mut |o| said.push(line(&o)));
    assert_eq!(said, ["POST example.org:81 /a"]);
}

#[test]
fn pipelined_requests_and_their_responses_are_paired_in_order() {
    let requests =
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: b\r\n\r\nGET /3 HTTP/1.1\r\nHost: c\r\n\r\n";
    let responses = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nHTTP/1.1 999 no head\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n\
                      HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\nHTTP/1.1 408 \r\n\r\n";
    assert_eq!(
        lines(&[(Forward, requests), (Reverse, responses)]),
        ["GET a /1", "HEAD b /2", "GET c /3", "200 GET 1", "200 HEAD 1", "304 GET 1", "408 - -"]
    );
}

#[test]
fn chunked_bodies_are_passed_over_with_extensions_and_trailers() {
    let responses = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n\
                      1b;name=value\r\nGET /in-a-body HTTP/1.1\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n\
                      HTTP/1.0 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2 \nab\n0\n\n\
                      HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(lines(&[(Reverse, responses)]), ["200 - -", "404 - -", "500 - -"]);
    let upload = b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n";
    assert_eq!(lines(&[(Forward, upload)]), ["PUT - /x", "GET - /y"]);
}

#[test]
fn interim_responses_do_not_answer() {
    let responses =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(
        lines(&[(Forward, b"PUT /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), (Reverse, responses)]),
        ["PUT - /x", "100 - -", "103 - -", "204 PUT 1"]
    );
}

#[test]
fn a_tunnel_is_not_read() {
    for (request, response, expected) in [
        (
            &b"CONNECT a:443 HTTP/1.1\r\n\r\n"[..],
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            ["CONNECT a:443 a:443", "200 CONNECT 1"],
        ),
        (b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 x\r\n\r\n", ["GET - /ws", "101 GET 1"]),
    ] {
        let inside = b"GET /inside HTTP/1.1\r\n\r\n";
        assert_eq!(lines(&[(Forward, request), (Reverse, response), (Forward, inside)]), expected);
    }
    let refused =
        [(Forward, &b"CONNECT a:1 HTTP/1.1\r\n\r\n"[..]), (Reverse, b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n")];
    let again = (Forward, &b"CONNECT a:2 HTTP/1.1\r\n\r\n"[..]);
    assert_eq!(lines(&[refused[0], refused[1], again]), ["CONNECT a:1 a:1", "407 CONNECT 1", "CONNECT a:2 a:2"]);
}

#[test]
fn old_and_sloppy_syntax_is_read() {
    let request =
        b"\r\n\nGET http://user@host.example:8000/p HTTP/1.0\nX-Folded: a\n\tb\r\n c\nContent-Length: 2, 2\n\nok\
                    BREW /pot HTTP/1.1\r\nHost: \r\n\r\n";
    let said = lines(&[(Forward, b"OPTIONS * HTTP/1.1\r\n\r\n"), (Forward, request)]);
    assert_eq!(said, ["OPTIONS - *", "GET host.example:8000 http://user@host.example:8000/p", "BREW - /pot"]);
    assert_eq!(lines(&[(Forward, b"BREW /pot HTTP/1.1\r\n\r\n")]), ["BREW - /pot"]);
}

#[test]
fn a_body_until_the_end_and_a_contradictory_length_end_reading() {
    for response in [
        &b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let script = [(Reverse, response)];
        let whole = super::super::testing::stream(key(6, 80), &script, &[usize::MAX]);
        assert_eq!(whole.iter().map(line).collect::<Vec<_>>(), ["200 - -"], "{}", response.escape_ascii());
    }
}

#[test]
fn a_head_that_is_cut_off_says_what_is_there() {
    assert_eq!(lines(&[(Forward, b"GET /x HTTP/1.1\r\nHost: a\r\nCook")]), ["GET a /x"]);
    assert_eq!(lines(&[(Forward, b"GET /x HT")]), [""; 0]);
    let long = [&b"GET /x HTTP/1.1\r\nHost: a\r\n"[..], &b"X: y\r\n".repeat(20_000)].concat();
    assert_eq!(lines(&[(Forward, &long)]), ["GET a /x"]);
}

#[test]
fn a_gap_in_a_body_costs_nothing_and_one_elsewhere_what_it_covers() {
    let mut said = Vec::new();
    let mut session = Http::default().open(&key(6, 80));
    let mut say = |o: Observation| said.push(line(&o));
    session.stream(Reverse, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab", Nanos(0), &mut say);
    session.gap(Reverse, 98);
    session.stream(Reverse, b"HTTP/1.1 201 x\r\nContent-Length: 10\r\n\r\nab", Nanos(0), &mut say);
    session.gap(Reverse, 50);
    session.stream(Reverse, b"the rest of something", Nanos(0), &mut say);
    session.stream(Reverse, b"HTTP/1.1 202 x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 203 x\r\nServ", Nanos(0), &mut say);
    session.gap(Reverse, 7);
    session.end(Reverse, &mut say);
    assert_eq!(said, ["200 - -", "201 - -", "202 - -", "203 - -"]);
}

#[test]
fn the_latency_is_that_of_the_heads() {
    let said = stream_any_way(
        key(6, 80),
        &[
            (Forward, b"GET / HTTP/1.1\r\n"),
            (Forward, b"\r\n"),
            (Reverse, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
            (Reverse, b"\r\n"),
            (Reverse, b"ok"),
        ],
    );
    let Observation::HttpResponse(r) = &said[1] else { panic!("{said:?}") };
    assert_eq!(r.latency, Some(Duration::from_nanos(2 * MS)));
}

#[test]
fn other_protocols_are_not_claimed() {
    for bytes in
        [&b"GETX"[..], b"get / HTTP/1.1\r\n", b"HTTP/2.0 200\r\n", b"PRI * HTTP/2.0\r\n", b" GET", b"\x16\x03\x01"]
    {
        assert_ne!(head::looks_like(bytes), Claim::Yes, "{}", bytes.escape_ascii());
    }
    assert_eq!(head::looks_like(&[b'A'; 100]), Claim::No);
}

/// What is said of the first bytes of messages, of which a source sends no more; a number stands for bytes that it left out.
fn lines_of_pieces(script: &[(Side, Result<&str, u64>)]) -> Vec<String> {
    let mut session = Http::default().open(&key(6, 8080));
    let mut said = Vec::new();
    for (n, (side, piece)) in script.iter().enumerate() {
        match piece {
            Ok(bytes) => {
                session.stream(*side, bytes.as_bytes(), Nanos(n as u64 * MS), &mut |o| said.push(line(&o)));
            }
            Err(missing) => {
                session.left_out(*side, *missing);
            }
        }
    }
    said
}

#[test]
fn bodies_that_are_left_out_part_no_request_from_its_response() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f40\r\nxxx";
    const LENGTH: &str = "HTTP/1.1 201 Created\r\nContent-Length: 9000\r\n\r\n";
    let said = lines_of_pieces(&[
        (Forward, Err(0)),
        (Forward, Ok("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")),
        (Reverse, Err(0)),
        (Reverse, Ok(CHUNKED)),
        (Forward, Ok("GET /2 HTTP/1.1\r\nHost: b\r\n\r\n")),
        (Reverse, Err(8005)),
        (Reverse, Ok(LENGTH)),
        (Forward, Ok("GET /3 HTTP/1.1\r\nHost: c\r\n\r\n")),
        (Reverse, Err(9000)),
        (Reverse, Ok("HTTP/1.1 304 Not Modified\r\n\r\n")),
    ]);
    assert_eq!(said, ["GET a /1", "200 GET 2", "GET b /2", "201 GET 2", "GET c /3", "304 GET 2"]);
}

#[test]
fn a_message_that_is_left_out_leaves_no_response_to_a_wrong_request() {
    let said = lines_of_pieces(&[
        (Forward, Ok("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")),
        // Another request, whose first bytes were lost.
        (Forward, Err(40)),
        (Reverse, Ok("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
    ]);
    assert_eq!(said, ["GET a /1", "200 - -"]);
}
