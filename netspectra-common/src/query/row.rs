//! What filters and groupings see of flow records and roll-ups.

use super::Row;
use crate::model::{Direction, FlowRecord, Rollup};
use crate::schema::Dimension;
use std::net::IpAddr;

/// What tells IP from the rest: a non-IP frame has no protocol and no ports, though its row carries zeros there.
fn if_ip(ip: Option<IpAddr>, number: u16) -> Option<u16> {
    ip.map(|_| number)
}

macro_rules! common {
    () => {
        fn number(&self, d: Dimension) -> Option<u16> {
            match d {
                Dimension::SrcPort => if_ip(self.src_ip, self.src_port),
                Dimension::DstPort => if_ip(self.src_ip, self.dst_port),
                Dimension::Proto => if_ip(self.src_ip, self.proto.into()),
                Dimension::EtherType => Some(self.ether_type),
                Dimension::Vlan => self.vlan,
                Dimension::SrcIp
                | Dimension::DstIp
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
            Dimension::State => Some(self.state.name()),
            Dimension::EndReason => Some(self.end_reason.name()),
            Dimension::SrcIp
            | Dimension::DstIp
            | Dimension::SrcPort
            | Dimension::DstPort
            | Dimension::Proto
            | Dimension::EtherType
            | Dimension::Vlan
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
            | Dimension::State
            | Dimension::EndReason => None,
        }
    }
}
