//! Flow records and roll-ups as rows.

use super::filter::Row;
use crate::model::{Direction, FlowRecord, Rollup};
use crate::schema::Dimension;
use std::net::IpAddr;

impl Row for FlowRecord {
    fn number(&self, d: Dimension) -> Option<u16> {
        let ip = self.src_ip.is_some();
        match d {
            Dimension::SrcPort => ip.then_some(self.src_port),
            Dimension::DstPort => ip.then_some(self.dst_port),
            Dimension::Proto => ip.then_some(u16::from(self.proto)),
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
        if d == Dimension::SrcIp { self.src_ip } else { self.dst_ip.filter(|_| d == Dimension::DstIp) }
    }

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
    fn number(&self, d: Dimension) -> Option<u16> {
        let ip = self.src_ip.is_some();
        match d {
            Dimension::SrcPort => ip.then_some(self.src_port),
            Dimension::DstPort => ip.then_some(self.dst_port),
            Dimension::Proto => ip.then_some(u16::from(self.proto)),
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
        if d == Dimension::SrcIp { self.src_ip } else { self.dst_ip.filter(|_| d == Dimension::DstIp) }
    }

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
