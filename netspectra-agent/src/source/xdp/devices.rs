//! What network devices count themselves, by netlink: one request for all of them, which needs no privilege.
//!
//! Sources: `include/uapi/linux/if_link.h` (`if_stats_msg`, `rtnl_link_stats64`), since Linux 4.7.

use super::netlink::{Netlink, attributes};
use netspectra_common::model::{Interface, NicCounters, NicDelta};
use std::collections::BTreeMap;

const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;
const IFLA_STATS_LINK_64: u16 = 1;
/// `struct if_stats_msg`: family, padding, index (4), which attributes (4).
const HEADER: usize = 12;
/// Places in `rtnl_link_stats64` of the fields of [`NicCounters`], in their order.
const PLACES: [usize; NicCounters::LEN] = [0, 2, 1, 3, 15, 6, 14];

/// What devices have counted, by the kernel's index.
pub(crate) type Counted = BTreeMap<u32, NicCounters>;

/// Asks for the counters of the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Devices {
    netlink: Netlink,
    /// The kernel refused once: it was said.
    refused: bool,
}

impl Devices {
    /// A socket to ask by; without one the counters are not known, which is said in the log.
    pub(crate) fn open() -> Option<Self> {
        let netlink = Netlink::open(0);
        let netlink = netlink.inspect_err(|error| tracing::warn!(%error, "the counters of devices are not known"));
        Some(Self { netlink: netlink.ok()?, refused: false })
    }

    /// Ends a generation in which `interfaces` were observed: what each device gained since `base`, where it stood when
    /// the generation began. `base` is where it stands now. Of a device that came without a base nothing is known yet.
    ///
    /// Where the kernel does not answer nothing is gained now, and all of it the next time.
    pub(crate) fn turn(&mut self, base: &mut Counted, interfaces: &[Interface]) -> Vec<NicDelta> {
        self.read().map_or_else(Vec::new, |now| turn(&now, base, interfaces))
    }

    /// Gives a base to those of `interfaces` that have none.
    pub(crate) fn begin(&mut self, base: &mut Counted, interfaces: &[Interface]) {
        let is_new = |i: &&Interface| i.ifindex != 0 && !base.contains_key(&i.ifindex);
        if interfaces.iter().any(|i| is_new(&i))
            && let Some(now) = self.read()
        {
            let new = interfaces.iter().filter(is_new).filter_map(|i| Some((i.ifindex, *now.get(&i.ifindex)?)));
            let new: Vec<_> = new.collect();
            base.extend(new);
        }
    }

    fn read(&mut self) -> Option<Counted> {
        let request = [[0; 8].as_slice(), &1u32.to_ne_bytes()].concat();
        let all = self
            .netlink
            .dump(RTM_GETSTATS, &request, |kind, body| (kind == RTM_NEWSTATS).then(|| parse(body)).flatten());
        match all {
            Ok(all) => Some(all.into_iter().collect()),
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(%error, "the counters of devices cannot be read");
                }
                None
            }
        }
    }
}

/// The index and the counters of one device.
fn parse(body: &[u8]) -> Option<(u32, NicCounters)> {
    let [_, _, _, _, i0, i1, i2, i3, ..] = *body.first_chunk::<HEADER>()?;
    let (_, stats) = attributes(body.get(HEADER..)?).find(|(kind, _)| *kind == IFLA_STATS_LINK_64)?;
    let number = |place: usize| {
        let word = stats.get(place * 8..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*word))
    };
    let mut all = [0; NicCounters::LEN];
    for (counter, place) in all.iter_mut().zip(PLACES) {
        *counter = number(place)?;
    }
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), NicCounters::from_array(all)))
}

fn turn(now: &Counted, base: &mut Counted, interfaces: &[Interface]) -> Vec<NicDelta> {
    let before = std::mem::take(base);
    let mut deltas: Vec<NicDelta> = Vec::new();
    // One that was renamed has two slots: the later name counts.
    for i in interfaces.iter().rev().filter(|i| i.ifindex != 0) {
        let Some(now) = now.get(&i.ifindex) else { continue };
        if base.insert(i.ifindex, *now).is_none()
            && let Some(before) = before.get(&i.ifindex)
        {
            let (gained, reset) = now.since(*before);
            deltas.push(NicDelta { ifindex: i.ifindex, iface: i.name.clone(), gained, reset });
        }
    }
    deltas.reverse();
    deltas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn interfaces(list: &[(u8, u32, &str)]) -> Vec<Interface> {
        list.iter()
            .map(|(slot, ifindex, name)| Interface { slot: *slot, ifindex: *ifindex, name: (*name).into() })
            .collect()
    }

    fn counted(list: &[(u32, u64)]) -> Counted {
        list.iter().map(|(i, n)| (*i, NicCounters { rx_packets: *n, ..NicCounters::default() })).collect()
    }

    fn gains(deltas: &[NicDelta]) -> Vec<(&str, u64, bool)> {
        deltas.iter().map(|d| (&*d.iface, d.gained.rx_packets, d.reset)).collect()
    }

    #[test]
    fn gains_are_of_observed_devices_since_the_generation_began() {
        let seen = interfaces(&[(0, 2, "eth0"), (1, 3, "eth1"), (2, 9, "gone"), (127, 0, "other")]);
        let mut base = counted(&[(2, 100), (9, 7)]);
        let deltas = turn(&counted(&[(2, 130), (3, 50), (4, 1)]), &mut base, &seen);
        assert_eq!(gains(&deltas), [("eth0", 30, false)], "eth1 has come, gone has left, 4 is not observed");
        assert_eq!(base, counted(&[(2, 130), (3, 50)]));
        let deltas = turn(&counted(&[(2, 5), (3, 60)]), &mut base, &seen);
        assert_eq!(
            gains(&deltas),
            [("eth0", 0, true), ("eth1", 10, false)],
            "a device that began anew gained nothing known"
        );
        let deltas = turn(&counted(&[(2, 9), (3, 60)]), &mut base, &seen);
        assert_eq!(gains(&deltas), [("eth0", 4, false), ("eth1", 0, false)]);
    }

    #[test]
    fn a_renamed_device_counts_once_under_its_later_name() {
        let seen = interfaces(&[(0, 2, "eth0"), (1, 2, "uplink")]);
        let deltas = turn(&counted(&[(2, 8)]), &mut counted(&[(2, 3)]), &seen);
        assert_eq!(gains(&deltas), [("uplink", 5, false)]);
    }

    #[test]
    fn the_loopback_of_this_machine_has_counters() {
        let lo = super::super::list_links().unwrap().into_iter().find(|l| l.name == "lo").unwrap();
        let seen = interfaces(&[(0, lo.index, "lo")]);
        let (mut devices, mut base) = (Devices::open().unwrap(), Counted::new());
        devices.begin(&mut base, &seen);
        let before = base[&lo.index];
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 100], "127.0.0.1:9").unwrap();
        let deltas = devices.turn(&mut base, &seen);
        // 100 bytes, UDP, IPv4; loopback counts without its Ethernet header.
        assert!(
            deltas[0].gained.tx_bytes >= 128 && deltas[0].gained.rx_packets >= 1,
            "{:?} after {before:?}",
            deltas[0]
        );
    }

    /// Of the namespace in which the program runs.
    #[test]
    #[ignore = "measures"]
    #[allow(clippy::print_stdout, reason = "what it is for")]
    fn what_reading_the_counters_costs() {
        let mut devices = Devices::open().unwrap();
        let mut took: Vec<_> = (0..201)
            .map(|_| {
                let begin = std::time::Instant::now();
                let read = devices.read().unwrap();
                (begin.elapsed(), read.len())
            })
            .collect();
        took.sort();
        println!("{} devices: median {:?}, 99 % {:?}", took[0].1, took[100].0, took[198].0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((_, counters)) = parse(&bytes) {
                prop_assert!(bytes.len() >= HEADER + 4 + 8 * 16, "{counters:?}");
            }
        }
    }
}
