//! The peer of a connection, and the number of connections of each peer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::certificate::CertificateNames;
use crate::counts::{Counts, Place};

/// The other end of a connection. Every request has it as the extension `Arc<Peer>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address and port. Behind a proxy: the proxy's.
    pub address: SocketAddr,
    /// The names in the client's certificate, which the configured authority vouches for; `None` without one.
    pub certificate: Option<CertificateNames>,
}

/// The address that limits count by: of IPv6 the /64 network, since one host has all of it.
pub fn peer_network(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Counts what each peer has open, up to a limit; clones share the counts.
#[derive(Clone, Debug)]
pub struct PeerCounts(Counts<IpAddr>);

impl PeerCounts {
    /// At most `limit` for each.
    pub fn new(limit: usize) -> Self {
        PeerCounts(Counts::new(limit))
    }

    /// A place for one more, given back when it is dropped; `None` at the limit.
    pub fn admit(&self, peer: SocketAddr) -> Option<PeerPlace> {
        self.0.admit(peer_network(peer))
    }
}

/// See [`PeerCounts::admit`].
pub type PeerPlace = Place<IpAddr>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_limit_however_its_address_is_written() {
        let counts = PeerCounts::new(2);
        let peer = |address: &str| address.parse::<SocketAddr>().unwrap();
        let _first = counts.admit(peer("10.0.0.1:1")).unwrap();
        let _second = counts.admit(peer("[::ffff:10.0.0.1]:2")).unwrap();
        assert!(counts.admit(peer("10.0.0.1:3")).is_none());
        assert!(counts.admit(peer("10.0.0.2:1")).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_peer() {
        let counts = PeerCounts::new(1);
        let peer = |address: &str| address.parse::<SocketAddr>().unwrap();
        let _held = counts.admit(peer("[2001:db8::1]:1")).unwrap();
        assert!(counts.admit(peer("[2001:db8::2]:1")).is_none());
        assert!(counts.admit(peer("[2001:db8:0:1::1]:1")).is_some());
    }
}
