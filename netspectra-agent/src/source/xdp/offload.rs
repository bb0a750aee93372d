//! What a device does to packets before the stack sees them, by the ethtool system call.

use std::os::fd::AsRawFd;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

/// Receive offloads of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The driver's name, empty where the kernel does not say.
    pub driver: String,
    /// The device takes VLAN tags off: they are beside the packet then, where XDP does not see them.
    pub rx_vlan: bool,
    /// The device merges packets, and the original ones cannot be told any more.
    pub lro: bool,
    /// The stack merges packets, and keeps how many there were.
    pub gro: bool,
}

/// The offloads of `iface`; what the kernel does not say is off.
pub fn offloads(iface: &str) -> Offloads {
    let flags = value(iface, GET_FLAGS).unwrap_or(0);
    Offloads {
        driver: driver(iface).unwrap_or_default(),
        rx_vlan: flags & FLAG_RX_VLAN != 0,
        lro: flags & FLAG_LRO != 0,
        gro: value(iface, GET_GRO).unwrap_or(0) != 0,
    }
}

/// `struct ethtool_value`.
fn value(iface: &str, command: u32) -> Option<u32> {
    let mut value = [command, 0];
    ask(iface, value.as_mut_ptr().cast()).then(|| value[1])
}

/// The second field of `struct ethtool_drvinfo`.
fn driver(iface: &str) -> Option<String> {
    const LEN: usize = 196;
    let mut info = [0u32; LEN / 4];
    info[0] = GET_DRIVER;
    if !ask(iface, info.as_mut_ptr().cast()) {
        return None;
    }
    let bytes: Vec<u8> = info[1..9].iter().flat_map(|w| w.to_ne_bytes()).collect();
    Some(super::netlink::text(&bytes))
}

/// Lets the kernel fill in the structure at `data`, which must be as large as the command in its first field asks.
fn ask(iface: &str, data: *mut libc::c_char) -> bool {
    let Ok(socket) = std::net::UdpSocket::bind(("0.0.0.0", 0)) else { return false };
    // SAFETY: an all-zero request is a valid one to fill in.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(iface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data;
    // SAFETY: the request and, by the contract above, the structure it points to outlive the call and have its size.
    unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_merges_nothing_in_hardware_and_an_unknown_device_has_no_offloads() {
        assert!(!offloads("lo").lro);
        assert_eq!(offloads("no-such-iface"), Offloads::default());
    }
}
