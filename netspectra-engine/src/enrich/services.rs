//! Names of services by protocol and port.

use super::EnrichError;
use hashbrown::HashMap;
use netspectra_common::schema::protocol_number;
use std::path::Path;
use std::sync::{Arc, LazyLock};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// The names that there are without a file, as IANA has them where it has one: of protocol, port and name.
const BUILTIN: &[(&[u8], u16, &str)] = &[
    (&[TCP, UDP], 7, "echo"),
    (&[TCP, UDP], 9, "discard"),
    (&[TCP, UDP], 13, "daytime"),
    (&[TCP, UDP], 19, "chargen"),
    (&[TCP], 20, "ftp-data"),
    (&[TCP], 21, "ftp"),
    (&[TCP], 22, "ssh"),
    (&[TCP], 23, "telnet"),
    (&[TCP], 25, "smtp"),
    (&[TCP, UDP], 37, "time"),
    (&[TCP], 43, "whois"),
    (&[TCP, UDP], 49, "tacacs"),
    (&[TCP, UDP], 53, "domain"),
    (&[UDP], 67, "bootps"),
    (&[UDP], 68, "bootpc"),
    (&[UDP], 69, "tftp"),
    (&[TCP], 70, "gopher"),
    (&[TCP], 79, "finger"),
    (&[TCP], 80, "http"),
    (&[TCP, UDP], 88, "kerberos"),
    (&[TCP], 102, "iso-tsap"),
    (&[TCP], 110, "pop3"),
    (&[TCP, UDP], 111, "sunrpc"),
    (&[TCP], 113, "auth"),
    (&[TCP], 119, "nntp"),
    (&[UDP], 123, "ntp"),
    (&[TCP, UDP], 135, "epmap"),
    (&[TCP, UDP], 137, "netbios-ns"),
    (&[TCP, UDP], 138, "netbios-dgm"),
    (&[TCP, UDP], 139, "netbios-ssn"),
    (&[TCP], 143, "imap"),
    (&[TCP, UDP], 161, "snmp"),
    (&[TCP, UDP], 162, "snmptrap"),
    (&[TCP], 179, "bgp"),
    (&[TCP], 194, "irc"),
    (&[UDP], 319, "ptp-event"),
    (&[UDP], 320, "ptp-general"),
    (&[TCP, UDP], 389, "ldap"),
    (&[TCP, UDP], 427, "svrloc"),
    // UDP: HTTP/3 over QUIC.
    (&[TCP, UDP, SCTP], 443, "https"),
    (&[TCP, UDP], 445, "microsoft-ds"),
    (&[TCP, UDP], 464, "kpasswd"),
    (&[TCP], 465, "submissions"),
    (&[UDP], 500, "isakmp"),
    (&[TCP], 502, "mbap"),
    (&[TCP], 513, "login"),
    (&[TCP], 514, "shell"),
    (&[UDP], 514, "syslog"),
    (&[TCP], 515, "printer"),
    (&[UDP], 520, "router"),
    (&[UDP], 521, "ripng"),
    (&[UDP], 546, "dhcpv6-client"),
    (&[UDP], 547, "dhcpv6-server"),
    (&[TCP], 548, "afpovertcp"),
    (&[TCP], 554, "rtsp"),
    (&[TCP], 563, "nntps"),
    (&[TCP], 587, "submission"),
    (&[TCP], 593, "http-rpc-epmap"),
    (&[UDP], 623, "asf-rmcp"),
    (&[TCP, UDP], 631, "ipp"),
    (&[TCP], 636, "ldaps"),
    (&[TCP], 646, "ldp"),
    (&[UDP], 646, "ldp"),
    (&[TCP], 749, "kerberos-adm"),
    (&[TCP, UDP], 853, "domain-s"),
    (&[TCP], 860, "iscsi"),
    (&[TCP], 873, "rsync"),
    (&[TCP], 989, "ftps-data"),
    (&[TCP], 990, "ftps"),
    (&[TCP], 993, "imaps"),
    (&[TCP], 995, "pop3s"),
    (&[TCP], 1080, "socks"),
    (&[UDP], 1194, "openvpn"),
    (&[TCP], 1194, "openvpn"),
    (&[TCP], 1433, "ms-sql-s"),
    (&[UDP], 1434, "ms-sql-m"),
    (&[TCP], 1521, "oracle"),
    (&[UDP], 1701, "l2tp"),
    (&[TCP], 1723, "pptp"),
    (&[UDP], 1812, "radius"),
    (&[UDP], 1813, "radius-acct"),
    (&[TCP], 1883, "mqtt"),
    (&[UDP], 1900, "ssdp"),
    (&[TCP, UDP], 2049, "nfs"),
    (&[TCP], 2181, "zookeeper"),
    (&[UDP], 2152, "gtp-user"),
    (&[UDP], 2123, "gtp-control"),
    (&[TCP], 2375, "docker"),
    (&[TCP], 2376, "docker-s"),
    (&[TCP], 2379, "etcd-client"),
    (&[TCP], 2380, "etcd-server"),
    (&[SCTP], 2905, "m3ua"),
    (&[TCP], 3128, "squid"),
    (&[TCP], 3260, "iscsi-target"),
    (&[TCP], 3268, "msft-gc"),
    (&[TCP], 3269, "msft-gc-ssl"),
    (&[TCP], 3306, "mysql"),
    (&[TCP, UDP], 3389, "ms-wbt-server"),
    (&[TCP, UDP], 3478, "stun"),
    (&[UDP], 3544, "teredo"),
    (&[UDP], 3702, "ws-discovery"),
    (&[SCTP], 3868, "diameter"),
    (&[TCP], 3868, "diameter"),
    (&[TCP], 4369, "epmd"),
    (&[UDP], 4500, "ipsec-nat-t"),
    (&[UDP], 4739, "ipfix"),
    (&[TCP], 4739, "ipfix"),
    (&[UDP], 4789, "vxlan"),
    (&[TCP, UDP], 5060, "sip"),
    (&[TCP], 5061, "sips"),
    (&[TCP], 5222, "xmpp-client"),
    (&[TCP], 5269, "xmpp-server"),
    (&[UDP], 5353, "mdns"),
    (&[TCP, UDP], 5355, "llmnr"),
    (&[TCP], 5432, "postgresql"),
    (&[TCP], 5671, "amqps"),
    (&[TCP], 5672, "amqp"),
    (&[UDP], 5683, "coap"),
    (&[UDP], 5684, "coaps"),
    (&[TCP], 5900, "rfb"),
    (&[TCP], 5985, "wsman"),
    (&[TCP], 5986, "wsmans"),
    (&[UDP], 6081, "geneve"),
    (&[UDP], 6343, "sflow"),
    (&[TCP], 6379, "redis"),
    (&[TCP], 6443, "sun-sr-https"),
    (&[TCP], 6514, "syslog-tls"),
    (&[TCP], 6667, "ircu"),
    (&[TCP], 8080, "http-alt"),
    (&[TCP], 8086, "influxdb"),
    (&[TCP], 8123, "clickhouse"),
    (&[TCP], 8443, "pcsync-https"),
    (&[TCP], 8883, "secure-mqtt"),
    (&[TCP], 9042, "cassandra"),
    (&[TCP], 9090, "prometheus"),
    (&[TCP], 9092, "kafka"),
    (&[TCP], 9100, "pdl-datastream"),
    (&[TCP], 9200, "elasticsearch"),
    (&[UDP], 9995, "netflow"),
    (&[TCP], 10_250, "kubelet"),
    (&[TCP], 11_211, "memcache"),
    (&[UDP], 11_211, "memcache"),
    (&[TCP], 27_017, "mongodb"),
    (&[SCTP], 36_412, "s1-control"),
    (&[SCTP], 38_412, "ng-control"),
    (&[UDP], 51_820, "wireguard"),
];

/// Longest name of a service, bytes.
const LONGEST: usize = 64;

static WITHOUT_FILE: LazyLock<Services> = LazyLock::new(|| {
    let mut services = Services::default();
    for (protocols, port, name) in BUILTIN {
        let name: Arc<str> = (*name).into();
        protocols.iter().for_each(|proto| services.add(*proto, *port, &name));
    }
    services
});

/// Names by protocol and port.
#[derive(Debug, Default)]
pub(super) struct Services(HashMap<(u8, u16), Arc<str>>);

impl Services {
    /// Those that need no file.
    pub(super) fn builtin() -> &'static Self {
        &WITHOUT_FILE
    }

    /// Those of a file in the format of `/etc/services`: name, port and protocol, aliases, and comments behind `#`. Of several
    /// names of a port the first counts; protocols without ports here are left out.
    pub(super) fn read(path: &Path) -> Result<Self, EnrichError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| EnrichError::Services { path: path.to_owned(), source })?;
        let mut services = Self::default();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(name) = words.next() else { continue };
            let refused = || EnrichError::Service {
                path: path.to_owned(),
                line: at + 1,
                found: line.chars().take(64).collect::<String>(),
            };
            let (port, proto) = words.next().and_then(|word| word.split_once('/')).ok_or_else(refused)?;
            let port = port.parse().map_err(|_| refused())?;
            if name.len() > LONGEST {
                return Err(refused());
            }
            if let Some(proto @ (TCP | UDP | SCTP)) = protocol_number(&proto.to_ascii_lowercase()) {
                services.add(proto, port, &name.into());
            }
        }
        Ok(services)
    }

    fn add(&mut self, proto: u8, port: u16, name: &Arc<str>) {
        self.0.entry((proto, port)).or_insert_with(|| name.clone());
    }

    /// The service of what is between two ports: that of the lower one, else that of the other.
    pub(super) fn of(&self, proto: u8, [a, b]: [u16; 2]) -> Option<Arc<str>> {
        if !matches!(proto, TCP | UDP | SCTP) {
            return None;
        }
        self.0.get(&(proto, a.min(b))).or_else(|| self.0.get(&(proto, a.max(b)))).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_service_is_that_of_the_lower_port_in_either_direction() {
        let of = |proto, ports| Services::builtin().of(proto, ports).map(|name| name.to_string());
        assert_eq!(of(TCP, [50_000, 443]).as_deref(), Some("https"));
        assert_eq!(of(TCP, [443, 50_000]).as_deref(), Some("https"));
        assert_eq!(of(UDP, [53, 5353]).as_deref(), Some("domain"));
        assert_eq!(of(UDP, [1024, 514]).as_deref(), Some("syslog"));
        assert_eq!(of(TCP, [1024, 514]).as_deref(), Some("shell"));
        assert_eq!(of(UDP, [40_000, 51_820]).as_deref(), Some("wireguard"));
        assert_eq!((of(TCP, [40_000, 50_000]), of(1, [0, 0]), of(UDP, [80, 81])), (None, None, None));
    }

    #[test]
    fn the_list_has_no_port_twice() {
        let all = || BUILTIN.iter().flat_map(|(protocols, port, _)| protocols.iter().map(move |p| (*p, *port)));
        let distinct: std::collections::BTreeSet<(u8, u16)> = all().collect();
        assert_eq!(distinct.len(), all().count());
        assert_eq!(Services::builtin().0.len(), distinct.len());
    }

    #[test]
    fn a_file_takes_the_place_of_the_list_and_a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Services::read(&path)
        };
        let services =
            read("# ours\nintranet 8080/tcp web # http\nother 8080/tcp\nintranet 8080/UDP\nx 1/ddp\n\n").unwrap();
        assert_eq!(services.of(TCP, [50_000, 8080]).as_deref(), Some("intranet"));
        assert_eq!(services.of(UDP, [8080, 1]).as_deref(), Some("intranet"));
        assert_eq!(services.of(TCP, [50_000, 443]), None);
        for bad in ["http", "http 80", "http tcp/80", "http 65536/tcp"] {
            let error = read(&format!("ok 1/tcp\n{bad} # c\n")).unwrap_err().to_string();
            let expected = format!(
                "`{}` line 2: `{bad} # c`: expected a name, a port and a protocol, such as `https 443/tcp`",
                path.display()
            );
            assert_eq!(error, expected);
        }
        assert!(Services::read(dir.path()).unwrap_err().to_string().contains("cannot be read"));
    }
}
