//! Which addresses that users name Krake connects to. Its processes stand where users do not: they must not reach for them
//! what only their own machine can reach. Pure; [`crate::dial`] asks it for every connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// Addresses at which clouds serve credentials to their machines, outside of the link-local range.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// A range of addresses, for example `10.0.0.0/8`. An address alone is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    fn holds(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u8| {
            let host = u32::from(bits - self.prefix);
            ours.checked_shr(host).unwrap_or(0) == theirs.checked_shr(host).unwrap_or(0)
        };
        match (self.network, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(ours.to_bits().into(), theirs.to_bits().into(), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no range of addresses; write for example 10.0.0.0/8 or 127.0.0.1");
        let (network, prefix) = text.split_once('/').map_or((text, None), |(one, other)| (one, Some(other)));
        let network: IpAddr = network.parse().map_err(|_| wrong())?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
        if prefix > longest {
            return Err(wrong());
        }
        Ok(Self { network, prefix })
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Krake does not connect to {address}: {why}")]
pub struct Refusal {
    /// The address. Where an IPv6 address stands for an IPv4 address, the latter.
    pub address: IpAddr,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Unspecified,
    LinkLocal,
    Metadata,
    Multicast,
    Loopback,
    Clear,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Unspecified => "it is no address of a machine",
            Why::LinkLocal => "it is a link-local address",
            Why::Metadata => "a cloud serves credentials of its machines there",
            Why::Multicast => "it is the address of a group of machines",
            Why::Loopback => "it is an address of Krake's own machine",
            Why::Clear => "credentials would go there without TLS",
        })
    }
}

/// The rule. By default a process connects to no address of its own machine, whatever the address of its API: that may be
/// the near end of a tunnel or of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Addresses of the process's own machine may be connected to.
    pub loopback: bool,
    /// Ranges that may be connected to, whatever else holds.
    pub allowed: Vec<Cidr>,
}

impl AddressPolicy {
    /// Checks an address; `clear` if credentials would go there without TLS.
    ///
    /// # Errors
    /// When it must not be connected to.
    pub fn check(&self, address: IpAddr, clear: bool) -> Result<(), Refusal> {
        let meant = meant(address);
        if self.allowed.iter().any(|range| range.holds(meant) || range.holds(address)) {
            return Ok(());
        }
        match why_not(meant) {
            Some(Why::Loopback) if self.loopback => Ok(()),
            Some(why) => Err(Refusal { address: meant, why }),
            None if clear => Err(Refusal { address: meant, why: Why::Clear }),
            None => Ok(()),
        }
    }
}

/// The address that the host of a URL is, in brackets or not; `None` for names.
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let embedded =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => embedded(high, low),
        _ => address,
    }
}

fn why_not(address: IpAddr) -> Option<Why> {
    let (unspecified, link_local, multicast) = match address {
        IpAddr::V4(v4) => {
            (v4.octets()[0] == 0, v4.is_link_local(), v4.is_multicast() || v4.octets()[0] >= 240)
        }
        IpAddr::V6(v6) => (v6.is_unspecified(), v6.is_unicast_link_local(), v6.is_multicast()),
    };
    let reasons = [
        (unspecified, Why::Unspecified),
        (link_local, Why::LinkLocal),
        (METADATA.contains(&address), Why::Metadata),
        (multicast, Why::Multicast),
        (address.is_loopback(), Why::Loopback),
    ];
    reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("192.0.2.7", None)]
    #[case("10.0.0.1", None)]
    #[case("fd00::1", None)]
    #[case("0.0.0.0", Some(Why::Unspecified))]
    #[case("0.1.2.3", Some(Why::Unspecified))]
    #[case("::", Some(Why::Unspecified))]
    #[case("169.254.169.254", Some(Why::LinkLocal))]
    #[case("::ffff:169.254.169.254", Some(Why::LinkLocal))]
    #[case("::169.254.169.254", Some(Why::LinkLocal))]
    #[case("64:ff9b::a9fe:a9fe", Some(Why::LinkLocal))]
    #[case("2002:a9fe:a9fe::1", Some(Why::LinkLocal))]
    #[case("fe80::1", Some(Why::LinkLocal))]
    #[case("fd00:ec2::254", Some(Why::Metadata))]
    #[case("100.100.100.200", Some(Why::Metadata))]
    #[case("224.0.0.1", Some(Why::Multicast))]
    #[case("255.255.255.255", Some(Why::Multicast))]
    #[case("127.0.0.1", Some(Why::Loopback))]
    #[case("::1", Some(Why::Loopback))]
    #[case("::ffff:127.0.0.1", Some(Why::Loopback))]
    fn addresses(#[case] address: &str, #[case] refused: Option<Why>) {
        let address = address.parse().unwrap();
        let checked = AddressPolicy::default().check(address, false);
        assert_eq!(checked.err().map(|error| error.why), refused);
        let everything = ["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap()).to_vec();
        let allows = AddressPolicy { loopback: false, allowed: everything };
        assert_eq!(allows.check(address, true), Ok(()));
    }

    #[test]
    fn loopback_is_allowed_by_those_who_know_that_only_their_machine_reaches_the_api() {
        let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
        assert_eq!(policy.check("127.0.0.1".parse().unwrap(), true), Ok(()));
        assert!(policy.check("169.254.169.254".parse().unwrap(), false).is_err());
    }

    #[test]
    fn credentials_need_tls() {
        let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
        let error = policy.check("192.0.2.7".parse().unwrap(), true).unwrap_err();
        assert!(error.to_string().contains("192.0.2.7: credentials would go there without TLS"), "{error}");
        assert_eq!(policy.check("192.0.2.7".parse().unwrap(), false), Ok(()));
    }

    #[rstest]
    #[case("10.0.0.0/8", "10.255.0.1", true)]
    #[case("10.0.0.0/8", "11.0.0.1", false)]
    #[case("0.0.0.0/0", "11.0.0.1", true)]
    #[case("127.0.0.1", "127.0.0.1", true)]
    #[case("127.0.0.1", "127.0.0.2", false)]
    #[case("fd00::/8", "fd12::1", true)]
    #[case("::/0", "127.0.0.1", false)]
    fn ranges(#[case] range: &str, #[case] address: &str, #[case] holds: bool) {
        assert_eq!(range.parse::<Cidr>().unwrap().holds(address.parse().unwrap()), holds);
    }

    #[rstest]
    #[case("10.0.0.0/33")]
    #[case("10.0.0/8")]
    #[case("example.org")]
    #[case("")]
    fn no_ranges(#[case] text: &str) {
        assert!(text.parse::<Cidr>().is_err());
        assert!(serde_json::from_value::<Cidr>(text.into()).is_err());
    }
}
