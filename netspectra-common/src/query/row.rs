//! What filters and groupings see of flow records and roll-ups.

use super::Row;
use crate::model::{Direction, FlowRecord, Rollup};
use crate::schema::Dimension;
use std::net::IpAddr;

/// What tells IP from the rest: a non-IP frame has no protocol and no ports, though its row carries zeros there.
fn if_ip(ip: Option<IpAddr>, number: u16) -> Option<u32> {
    ip.map(|_| number.into())
}

macro_rules! common {
    () => {
        fn number(&self, d: Dimension) -> Option<u32> {
            match d {
                Dimension::SrcPort => if_ip(self.src_ip, self.src_port),
                Dimension::DstPort => if_ip(self.src_ip, self.dst_port),
                Dimension::Proto => if_ip(self.src_ip, self.proto.into()),
                Dimension::EtherType => Some(self.ether_type.into()),
                Dimension::Vlan => self.vlan.map(u32::from),
                Dimension::TunnelId => self.tunnel_id,
                Dimension::SrcIp
                | Dimension::DstIp
                | Dimension::Tunnel
                | Dimension::Iface
                | Dimension::Node
                | Dimension::Direction
                | Dimension::State
                | Dimension::EndReason => None,
            }
        }

        fn address(&self, d: Dimension) -> Option<IpAddr> {
            match d {
                Dimension::SrcIp => self.src_ip,
                Dimension::DstIp => self.dst_ip,
                Dimension::SrcPort
                | Dimension::DstPort
                | Dimension::Proto
                | Dimension::EtherType
                | Dimension::Vlan
                | Dimension::Tunnel
                | Dimension::TunnelId
                | Dimension::Iface
                | Dimension::Node
                | Dimension::Direction
                | Dimension::State
                | Dimension::EndReason => None,
            }
        }
    };
}

impl Row for FlowRecord {
    common!();

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Iface => Some(&self.iface),
            Dimension::Node => Some(&self.node),
            Dimension::Tunnel => self.tunnel.as_deref(),
            Dimension::State => Some(self.state.name()),
            Dimension::EndReason => Some(self.end_reason.name()),
            Dimension::SrcIp
            | Dimension::DstIp
            | Dimension::SrcPort
            | Dimension::DstPort
            | Dimension::Proto
            | Dimension::EtherType
            | Dimension::Vlan
            | Dimension::TunnelId
            | Dimension::Direction => None,
        }
    }
}

impl Row for Rollup {
    common!();

    fn text(&self, d: Dimension) -> Option<&str> {
        match d {
            Dimension::Iface => Some(&self.iface),
            Dimension::Node => Some(&self.node),
            Dimension::Tunnel => self.tunnel.map(|t| t.name()),
            Dimension::Direction => self.direction.map(|d| match d {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            }),
            Dimension::SrcIp
            | Dimension::DstIp
            | Dimension::SrcPort
            | Dimension::DstPort
            | Dimension::Proto
            | Dimension::EtherType
            | Dimension::Vlan
            | Dimension::TunnelId
            | Dimension::State
            | Dimension::EndReason => None,
        }
    }
}
