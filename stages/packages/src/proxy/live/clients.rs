//! Who may use the proxy. Nobody but this machine, unless it is said.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses of a network: `192.0.2.0/24`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: expected an address like `192.0.2.7`, or with a length like `192.0.2.0/24`")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NetworkError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, bits)| (a, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = width(&address);
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| error())?;
        if bits > most {
            return Err(error());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits_of(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Network {
    fn contains(&self, address: &IpAddr) -> bool {
        let differing = bits_of(&self.address) ^ bits_of(address);
        self.address.is_ipv4() == address.is_ipv4() && differing.leading_zeros() >= u32::from(self.bits)
    }
}

/// Everybody who may ask: this machine, and the networks that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    allowed: Vec<Network>,
}

impl Clients {
    /// This machine alone.
    pub const fn local() -> Self {
        Self { allowed: Vec::new() }
    }

    /// These networks, too.
    pub fn and(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Whether a client may ask. An IPv4 client of a listener for both families has an address that only looks like one
    /// of IPv6.
    pub fn admit(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_loopback() || self.allowed.iter().any(|network| network.contains(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allowed: &str, client: &str, expected: bool) {
        let allowed = allowed.split_whitespace().map(|text| text.parse().unwrap()).collect();
        assert_eq!(Clients::and(allowed).admit(client.parse().unwrap()), expected, "{client}");
    }

    #[test]
    fn loopback_and_what_is_allowed() {
        for client in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            check("", client, true);
        }
        check("", "192.0.2.1", false);
        check("192.0.2.0/24 2001:db8::/32", "192.0.2.255", true);
        check("192.0.2.0/24 2001:db8::/32", "::ffff:192.0.2.9", true);
        check("192.0.2.0/24 2001:db8::/32", "2001:db8::7", true);
        check("192.0.2.0/24 2001:db8::/32", "192.0.3.0", false);
        check("192.0.2.0/24 2001:db8::/32", "2001:db9::", false);
        check("192.0.2.7", "192.0.2.6", false);
        check("0.0.0.0/0", "198.51.100.1", true);
        check("0.0.0.0/0", "2001:db8::7", false);
    }

    #[test]
    fn not_networks() {
        for bad in ["", "lan", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2/24", "::/129", "192.0.2.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!("::/0".parse::<Network>().unwrap().to_string(), "::/0");
    }
}
