use std::fmt;

/// What a frame begins with: a LINKTYPE number of the registry that pcap and pcapng share.
///
/// Numbers that mean the same on different systems are folded into one when a file is read (`12` and `14` are
/// [`LinkType::RAW`], `11` is [`LinkType::ATM_RFC1483`]). Any other number is kept as it stands in the file.
///
/// Source: <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

/// Longest captured frame that a reader takes; longer ones mean a damaged file. The same bound as Wireshark's.
const MAX_CAPTURED: u32 = 262_144;

impl LinkType {
    /// BSD loopback: the address family in the capturing host's byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Token Ring.
    pub const IEEE802_5: Self = Self(6);
    /// SLIP, with a 16-byte pseudo-header.
    pub const SLIP: Self = Self(8);
    /// PPP.
    pub const PPP: Self = Self(9);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session packets, without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// LLC/SNAP over AAL5 (RFC 1483).
    pub const ATM_RFC1483: Self = Self(100);
    /// IPv4 or IPv6, told apart by the version nibble.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// Wi-Fi.
    pub const IEEE802_11: Self = Self(105);
    /// Frame Relay.
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IP over Fibre Channel (RFC 2625).
    pub const IP_OVER_FC: Self = Self(122);
    /// Sun ATM pseudo-header.
    pub const SUNATM: Self = Self(123);
    /// Wi-Fi behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Per-packet information header, which names the link type of the rest.
    pub const PPI: Self = Self(192);
    /// Solaris ipnet.
    pub const IPNET: Self = Self(226);
    /// IPv4 only.
    pub const IPV4: Self = Self(228);
    /// IPv6 only.
    pub const IPV6: Self = Self(229);
    /// D-Bus messages.
    pub const DBUS: Self = Self(231);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// USB packets as USBPcap writes them.
    pub const USBPCAP: Self = Self(249);
    /// Elektrobit high-speed capture and replay.
    pub const EBHSCR: Self = Self(279);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// The file names a link layer that has no LINKTYPE number; its frames can be counted, not parsed.
    pub const UNKNOWN: Self = Self(u16::MAX);

    /// Folds the numbers that only some systems use into the ones of the registry.
    pub(super) const fn from_file(number: u16) -> Self {
        match number {
            11 => Self::ATM_RFC1483,
            12 | 14 => Self::RAW,
            other => Self(other),
        }
    }

    /// Longest captured frame of this type, in bytes.
    pub(super) const fn max_captured(self) -> u32 {
        match self {
            Self::DBUS | Self::USBPCAP => 128 * 1024 * 1024,
            Self::EBHSCR => 32 * 1024 * 1024,
            _ => MAX_CAPTURED,
        }
    }

    /// The registry's name, without `LINKTYPE_`; `None` for types this reader has no name for.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NULL => "NULL",
            Self::ETHERNET => "ETHERNET",
            Self::IEEE802_5 => "IEEE802_5",
            Self::SLIP => "SLIP",
            Self::PPP => "PPP",
            Self::FDDI => "FDDI",
            Self::PPP_HDLC => "PPP_HDLC",
            Self::PPP_ETHER => "PPP_ETHER",
            Self::ATM_RFC1483 => "ATM_RFC1483",
            Self::RAW => "RAW",
            Self::C_HDLC => "C_HDLC",
            Self::IEEE802_11 => "IEEE802_11",
            Self::FRELAY => "FRELAY",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IP_OVER_FC => "IP_OVER_FC",
            Self::SUNATM => "SUNATM",
            Self::IEEE802_11_RADIOTAP => "IEEE802_11_RADIOTAP",
            Self::PPI => "PPI",
            Self::IPNET => "IPNET",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::DBUS => "DBUS",
            Self::NFLOG => "NFLOG",
            Self::USBPCAP => "USBPCAP",
            Self::EBHSCR => "EBHSCR",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            Self::UNKNOWN => "UNKNOWN",
            Self(_) => return None,
        })
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "LINKTYPE {}", self.0),
        }
    }
}
