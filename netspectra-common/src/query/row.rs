//! What filters and groupings see of rows. Dimensions that a kind of row does not have are none in all of its rows.
#![expect(clippy::wildcard_enum_match_arm, reason = "no row has most of the dimensions")]

use super::Row;
use crate::model::{Alert, AppMessage, Country, Direction, FlowRecord, Place, Rollup};
use crate::schema::Dimension;
use std::net::IpAddr;

/// What tells IP from the rest: a non-IP frame has no protocol and no ports, though its row carries zeros there.
fn if_ip(ip: Option<IpAddr>, number: u16) -> Option<u32> {
    ip.map(|_| number.into())
}

macro_rules! numbers_and_addresses {
    ($($dimension:ident => $value:expr),*) => {
        fn number(&self, d: Dimension) -> Option<u32> {
            match d {
                Dimension::SrcPort => if_ip(self.src_ip, self.src_port),
                Dimension::DstPort => if_ip(self.src_ip, self.dst_port),
                Dimension::Proto => if_ip(self.src_ip, self.proto.into()),
                Dimension::Vlan => self.vlan.map(u32::from),
                $(Dimension::$dimension => $value(self),)*
                _ => None,
            }
        }

        fn address(&self, d: Dimension) -> Option<IpAddr> {
            match d {
                Dimension::SrcIp => self.src_ip,
                Dimension::DstIp => self.dst_ip,
                _ => None,
            }
        }
    };
}

/// What is known of where the two ends are, as text.
fn place_text<'a>(d: Dimension, src: &'a Place, dst: &'a Place) -> Option<&'a str> {
    match d {
        Dimension::SrcCountry => src.country.as_ref().map(Country::as_str),
        Dimension::DstCountry => dst.country.as_ref().map(Country::as_str),
        Dimension::SrcNetwork => src.network.as_deref(),
        Dimension::DstNetwork => dst.network.as_deref(),
        Dimension::SrcName => src.name.as_deref(),
        Dimension::DstName => dst.name.as_deref(),
        Dimension::SrcPod => src.pod_name(),
        Dimension::DstPod => dst.pod_name(),
        Dimension::SrcNamespace => src.namespace(),
        Dimension::DstNamespace => dst.namespace(),
        Dimension::SrcWorkload => src.workload(),
        Dimension::DstWorkload => dst.workload(),
        Dimension::SrcProcess => src.process(),
        Dimension::DstProcess => dst.process(),
        Dimension::SrcCgroup => src.cgroup(),
        Dimension::DstCgroup => dst.cgroup(),
        _ => None,
    }
}

impl Row for FlowRecord {
    numbers_and_addresses!(
        EtherType => |row: &Self| Some(row.ether_type.into()),
        TunnelId => |row: &Self| row.tunnel_id,
        SrcAs => |row: &Self| row.src_place.asn,
        DstAs => |row: &Self| row.dst_place.asn,
        Sampling => |row: &Self| Some(row.sampling)
    );

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Iface => Some(&self.iface),
            Dimension::Node => Some(&self.node),
            Dimension::Tunnel => self.tunnel.as_deref(),
            Dimension::Service => self.service.as_deref(),
            Dimension::State => Some(self.state.name()),
            Dimension::EndReason => Some(self.end_reason.name()),
            _ => place_text(d, &self.src_place, &self.dst_place),
        }
    }
}

impl Row for Rollup {
    numbers_and_addresses!(
        EtherType => |row: &Self| Some(row.ether_type.into()),
        TunnelId => |row: &Self| row.tunnel_id,
        SrcAs => |row: &Self| row.src_place.asn,
        DstAs => |row: &Self| row.dst_place.asn,
        Sampling => |row: &Self| Some(row.sampling)
    );

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Iface => Some(&self.iface),
            Dimension::Node => Some(&self.node),
            Dimension::Tunnel => self.tunnel.map(|t| t.name()),
            Dimension::Service => self.service.as_deref(),
            Dimension::Direction => self.direction.map(|d| match d {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            }),
            _ => place_text(d, &self.src_place, &self.dst_place),
        }
    }
}

impl Row for AppMessage {
    numbers_and_addresses!(Code => |row: &Self| row.what.code().map(u32::from));

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Node => Some(&self.node),
            Dimension::App => Some(self.what.protocol()),
            Dimension::Message => Some(self.what.kind().name()),
            Dimension::Name => self.name.as_deref(),
            _ => None,
        }
    }
}

impl Row for Alert {
    fn number(&self, _: Dimension) -> Option<u32> {
        None
    }

    fn address(&self, _: Dimension) -> Option<IpAddr> {
        None
    }

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Node => Some(&self.node),
            Dimension::Detector => Some(&self.detector),
            Dimension::Severity => Some(self.severity.name()),
            Dimension::Phase => Some(self.phase.name()),
            Dimension::Subject => Some(&self.subject),
            _ => None,
        }
    }
}
