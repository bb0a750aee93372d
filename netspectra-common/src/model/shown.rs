//! Rows as people and other programs read them. Their fields are those of the catalogue, in its order.

use super::{Alert, AppMessage, Observation};
use crate::schema::{ALERT_FIELDS, MESSAGE_FIELDS};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

/// A row, to be written with the fields that the catalogue names.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a, R>(pub &'a R);

impl Serialize for Shown<'_, Alert> {
    /// As an object with the names of [`ALERT_FIELDS`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let a = self.0;
        let mut s = serializer.serialize_struct("Alert", ALERT_FIELDS.len())?;
        s.serialize_field("at", &a.at.to_string())?;
        s.serialize_field("phase", a.phase.name())?;
        s.serialize_field("severity", a.severity.name())?;
        s.serialize_field("detector", &a.detector)?;
        s.serialize_field("subject", &a.subject)?;
        s.serialize_field("why", &a.why)?;
        s.serialize_field("first_seen", &a.first_seen.to_string())?;
        s.serialize_field("last_seen", &a.last_seen.to_string())?;
        s.serialize_field("score", &a.score)?;
        s.serialize_field("threshold", &a.threshold)?;
        s.serialize_field("evidence", &Evidences(a))?;
        s.serialize_field("flows", &a.flows.iter().map(|flow| hex(*flow)).collect::<Vec<_>>())?;
        s.serialize_field("node", &a.node)?;
        s.serialize_field("id", &hex(a.id))?;
        s.end()
    }
}

/// Numbers by name.
struct Evidences<'a>(&'a Alert);

impl Serialize for Evidences<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.evidence.len()))?;
        for evidence in &self.0.evidence {
            map.serialize_entry(&evidence.name, &evidence.value)?;
        }
        map.end()
    }
}

impl Serialize for Shown<'_, AppMessage> {
    /// As an object with the names of [`MESSAGE_FIELDS`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let m = self.0;
        let mut s = serializer.serialize_struct("Message", MESSAGE_FIELDS.len())?;
        s.serialize_field("at", &m.at.to_string())?;
        s.serialize_field("app", m.what.protocol())?;
        s.serialize_field("message", m.what.kind().name())?;
        s.serialize_field("name", &m.name)?;
        s.serialize_field("code", &m.what.code())?;
        s.serialize_field("latency_us", &m.what.latency().map(|l| l.as_micros() as u64))?;
        s.serialize_field("src_ip", &m.src_ip)?;
        s.serialize_field("dst_ip", &m.dst_ip)?;
        s.serialize_field("src_port", &m.src_port)?;
        s.serialize_field("dst_port", &m.dst_port)?;
        s.serialize_field("proto", &m.src_ip.map(|_| m.proto))?;
        s.serialize_field("vlan", &m.vlan)?;
        s.serialize_field("detail", &Detail(&m.what))?;
        s.serialize_field("node", &m.node)?;
        s.serialize_field("id", &hex(m.id))?;
        s.end()
    }
}

/// What a message says, without the name of its kind.
struct Detail<'a>(&'a Observation);

impl Serialize for Detail<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Observation::Dns(message) => message.serialize(serializer),
            Observation::HttpRequest(request) => request.serialize(serializer),
            Observation::HttpResponse(response) => response.serialize(serializer),
            Observation::TlsClient(hello) => hello.serialize(serializer),
            Observation::TlsServer(hello) => hello.serialize(serializer),
            Observation::Other { fields, .. } => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

/// An identity, 16 hexadecimal digits.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}
