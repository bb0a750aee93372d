//! A network: an address and how many of its first bits count.

use crate::abi::Family;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 network. Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network: expected an address, or an address with a prefix length (`10.0.0.0/8`)")]
pub struct NetError(String);

impl Net {
    /// The family, the address in the first bytes, and the length of the prefix in bits.
    pub fn parts(&self) -> (Family, [u8; 16], u8) {
        match self.address {
            IpAddr::V4(v4) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&v4.octets());
                (Family::V4, bytes, self.bits)
            }
            IpAddr::V6(v6) => (Family::V6, v6.octets(), self.bits),
        }
    }

    /// Length of the prefix in bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` lies inside of this network.
    pub fn has(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self { address, bits: self.bits }.masked() == *self
    }

    /// Whether `other` lies inside of this network, or is it.
    pub fn holds(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.has(other.address)
    }

    fn masked(self) -> Self {
        let bits = u32::from(self.bits);
        let address = match self.address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()),
        };
        Self { address, ..self }
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let error = || NetError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |b| b.parse().map_err(|_| error()))?;
        if bits > most { Err(error()) } else { Ok(Self { address, bits }.masked()) }
    }
}

impl TryFrom<String> for Net {
    type Error = NetError;

    fn try_from(text: String) -> Result<Self, NetError> {
        text.parse()
    }
}

impl From<Net> for String {
    fn from(net: Net) -> Self {
        net.to_string()
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn networks_are_read_and_hold_one_another() {
        let net = |text: &str| text.parse::<Net>().unwrap();
        assert_eq!(net("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(net("0.0.0.0/0"), net("9.9.9.9/0"));
        assert_eq!(net("2001:db8::1").to_string(), "2001:db8::1/128");
        assert!(net("10.0.0.0/8").holds(&net("10.9.0.0/16")) && net("::/0").holds(&net("::1")));
        assert!(!net("10.0.0.0/8").holds(&net("11.0.0.0/16")) && !net("0.0.0.0/0").holds(&net("::/0")));
        assert!(!net("10.9.0.0/16").holds(&net("10.0.0.0/8")));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "host"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }
}
