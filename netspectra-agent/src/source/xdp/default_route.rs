//! The interface of the default route, from the kernel's route tables.

use std::fs;

const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// The interface of the IPv4 default route with the lowest metric, else of the IPv6 one.
pub fn default_route_interface() -> Option<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    default_v4(&read("/proc/self/net/route")).or_else(|| default_v6(&read("/proc/self/net/ipv6_route")))
}

/// Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask ...; addresses and flags in hexadecimal.
fn default_v4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let hex = |i: usize| u32::from_str_radix(columns.get(i)?, 16).ok();
        let flags = hex(3)?;
        let is_default = hex(1)? == 0 && hex(7)? == 0 && flags & UP != 0 && flags & REJECT == 0;
        is_default.then_some((columns.get(6)?.parse::<u32>().ok()?, *columns.first()?))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, name)| name.to_owned())
}

/// Columns: destination, prefix length, source, prefix length, next hop, metric, references, uses, flags, interface.
fn default_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let hex = |i: usize| u32::from_str_radix(columns.get(i)?, 16).ok();
        let any = columns.first()?.bytes().all(|b| b == b'0') && hex(1)? == 0;
        let (flags, name) = (hex(8)?, *columns.get(9)?);
        // The kernel lists its own unreachable default on `lo`.
        (any && flags & UP != 0 && flags & REJECT == 0 && name != "lo").then_some((hex(5)?, name))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_lowest_metric_wins_and_only_default_routes_count() {
        let table = format!(
            "{HEAD}wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             tun0\t00000000\t0100A8C0\t0003\t0\t0\t50\t00000080\t0\t0\t0\n"
        );
        assert_eq!(default_v4(&table).as_deref(), Some("eth0"));
    }

    #[test]
    fn routes_that_are_down_or_reject_do_not_count() {
        let table = format!("{HEAD}eth0\t00000000\t0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert_eq!(default_v4(&table), None);
        assert_eq!(default_v4("garbage\nmore garbage\n\n"), None);
    }

    #[test]
    fn ipv6_skips_the_unreachable_default_of_the_loopback() {
        let zero = "0".repeat(32);
        let next = "fe800000000000000000000000000001";
        let lo = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        assert_eq!(default_v6(&lo), None);
        let eth = format!("{zero} 00 {zero} 00 {next} 00000400 00000001 00000000 00000003     eth0\n");
        assert_eq!(default_v6(&format!("{lo}{eth}")).as_deref(), Some("eth0"));
    }
}
