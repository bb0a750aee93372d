//! Names of addresses by the DNS answers that were seen ("passive DNS").

use super::held::Held;
use netspectra_common::model::{DnsKind, DnsMessage, DnsRecord, Nanos, Observation, Observed};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest time that a record's TTL is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longest name that is kept: what is longer has escapes for bytes that no host name has.
const NAME: usize = 255;
/// Types of records that hold an address.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Names by node and address.
pub(crate) type Names = Held<IpAddr, Arc<str>>;

/// Takes the names of addresses from what `node` saw: the answers' addresses are called what was asked for. Of each node
/// `most` are kept, each for the record's TTL and at least `hold`.
pub(crate) fn learn(names: &mut Names, node: &Arc<str>, observed: &[Observed], (most, hold): (usize, Duration)) {
    if most == 0 {
        return;
    }
    for Observed { at, what, .. } in observed {
        if let Observation::Dns(message) = what
            && message.response
            && message.rcode == 0
        {
            learn_answer(names, node, (message, *at), (most, hold));
        }
    }
}

fn learn_answer(
    names: &mut Names,
    node: &Arc<str>,
    (message, at): (&DnsMessage, Nanos),
    (most, hold): (usize, Duration),
) {
    // An answer of multicast DNS has no question: its records are called what they are.
    let asked = match (&message.question, message.kind) {
        (Some(question), DnsKind::Dns | DnsKind::Llmnr) => Some(cleaned(&question.name)),
        (_, DnsKind::Dns | DnsKind::Llmnr | DnsKind::Mdns) => None,
    };
    for record in &message.records {
        let Some(address) = address(record) else { continue };
        let name = asked.clone().unwrap_or_else(|| cleaned(&record.name));
        let Some(name) = name else { continue };
        let holds = Duration::from_secs(record.ttl.into()).min(LONGEST).max(hold);
        names.hold(node, address, name, (at, at.plus(holds)), most);
    }
}

/// The address of an A or AAAA record; lists of blocked names answer with addresses that are nobody's.
fn address(record: &DnsRecord) -> Option<IpAddr> {
    let address: IpAddr = match record.rtype {
        A | AAAA => record.data.parse().ok()?,
        _ => return None,
    };
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

fn cleaned(name: &str) -> Option<Arc<str>> {
    let name = name.trim_end_matches('.');
    (!name.is_empty() && name.len() <= NAME).then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::dns;
    use netspectra_common::model::{DnsQuestion, FlowKey};

    const HOLD: Duration = Duration::from_secs(60);

    fn record(name: &str, rtype: u16, ttl: u32, data: &str) -> DnsRecord {
        DnsRecord { name: name.into(), rtype, ttl, data: data.into() }
    }

    fn answer(kind: DnsKind, asked: Option<&str>, records: Vec<DnsRecord>) -> DnsMessage {
        DnsMessage {
            question: asked.map(|name| DnsQuestion { name: name.into(), qtype: A, qclass: 1 }),
            questions: u16::from(asked.is_some()),
            answers: records.len() as u16,
            records,
            ..dns(kind, true)
        }
    }

    fn told(names: &mut Names, at: u64, message: DnsMessage) {
        let said =
            Observed { at: Nanos::from_secs(at), key: FlowKey::default(), what: Observation::Dns(Box::new(message)) };
        learn(names, &"n".into(), &[said], (100, HOLD));
    }

    #[test]
    fn an_address_is_called_what_was_asked_for_while_the_answer_holds() {
        let mut names = Names::default();
        let chain = vec![
            record("WWW.example.com", 5, 300, "edge.cdn.example"),
            record("edge.cdn.example", A, 300, "192.0.2.1"),
            record("edge.cdn.example", AAAA, 5, "2001:db8::1"),
            record("edge.cdn.example", A, u32::MAX, "192.0.2.2"),
            record("edge.cdn.example", A, 300, "0.0.0.0"),
            record("edge.cdn.example", A, 300, "cut"),
        ];
        told(&mut names, 1000, answer(DnsKind::Dns, Some("WWW.example.com."), chain));
        assert_eq!(names.len(), 3);
        let of = |names: &Names, ip: &str, from, to| {
            let span = (Nanos::from_secs(from), Nanos::from_secs(to));
            ip.parse().ok().and_then(|ip| names.at("n", &ip, span)).map(|name| name.to_string())
        };
        let www = Some("www.example.com".to_owned());
        assert_eq!(of(&names, "192.0.2.1", 1001, 1002), www);
        assert_eq!(of(&names, "192.0.2.1", 990, 999), None, "before it was said");
        assert_eq!((of(&names, "192.0.2.1", 1300, 2000), of(&names, "192.0.2.1", 1301, 2000)), (www.clone(), None));
        // At least the time to hold, at most a day.
        assert_eq!((of(&names, "2001:db8::1", 1060, 1061), of(&names, "2001:db8::1", 1061, 1062)), (www.clone(), None));
        assert_eq!(of(&names, "192.0.2.2", 1000 + 86_400, 1_000_000), www);
        assert_eq!(of(&names, "192.0.2.2", 1001 + 86_400, 1_000_000), None);
        // The later answer counts.
        told(
            &mut names,
            1100,
            answer(DnsKind::Dns, Some("other.example"), vec![record("other.example", A, 60, "192.0.2.1")]),
        );
        assert_eq!(of(&names, "192.0.2.1", 1001, 1200), Some("other.example".into()));
    }

    #[test]
    fn multicast_answers_name_their_owners_and_others_say_nothing() {
        let mut names = Names::default();
        told(&mut names, 0, answer(DnsKind::Mdns, None, vec![record("Printer.local", A, 120, "10.0.0.9")]));
        assert_eq!(names.len(), 1);
        let mut refused = answer(DnsKind::Dns, Some("a.example"), vec![record("a.example", A, 60, "192.0.2.9")]);
        refused.rcode = 3;
        told(&mut names, 0, refused.clone());
        told(&mut names, 0, DnsMessage { rcode: 0, response: false, ..refused.clone() });
        told(&mut names, 0, answer(DnsKind::Dns, Some("."), vec![record(".", A, 60, "192.0.2.9")]));
        told(&mut names, 0, answer(DnsKind::Dns, Some(&"a".repeat(256)), vec![record("a", A, 60, "192.0.2.9")]));
        told(&mut names, 0, answer(DnsKind::Dns, Some("a.example"), vec![record("a.example", 12, 60, "192.0.2.9")]));
        assert_eq!(names.len(), 1);
    }
}
