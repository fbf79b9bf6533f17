//! The peer of a connection, and the number of connections of each peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::certificate::CertificateNames;

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
pub struct PeerCounts {
    limit: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl PeerCounts {
    /// At most `limit` for each.
    pub fn new(limit: usize) -> Self {
        PeerCounts { limit, open: Arc::default() }
    }

    /// A place for one more, given back when it is dropped; `None` at the limit.
    pub fn admit(&self, peer: SocketAddr) -> Option<PeerPlace> {
        let peer = peer_network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&peer).copied().unwrap_or_default() >= self.limit {
            return None;
        }
        *open.entry(peer).or_default() += 1;
        Some(PeerPlace { peer, open: self.open.clone() })
    }
}

/// See [`PeerCounts::admit`].
#[derive(Debug)]
pub struct PeerPlace {
    peer: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_limit_and_gets_places_back() {
        let counts = PeerCounts::new(2);
        let peer = |address: &str| address.parse::<SocketAddr>().unwrap();
        let first = counts.admit(peer("10.0.0.1:1")).unwrap();
        let _second = counts.admit(peer("[::ffff:10.0.0.1]:2")).unwrap();
        assert!(counts.admit(peer("10.0.0.1:3")).is_none(), "the same address, written otherwise");
        let other = counts.admit(peer("10.0.0.2:1")).unwrap();
        drop((first, other));
        assert!(counts.admit(peer("10.0.0.1:4")).is_some());
        assert_eq!(counts.open.lock().unwrap().len(), 1, "who has nothing open takes no memory");
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
