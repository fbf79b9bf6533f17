//! The part of the clients' connectors that judges every address which is dialled: after DNS, and for each connection.
//!
//! A connector asks a resolver for names only. The host of a URL that is an address is therefore judged by
//! [`Dialler::check_host`], before each request that could go to another host than the one before.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::address::{AddressPolicy, Refusal, literal};

/// What one client may connect to, and how errors say what to do.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// Which addresses it may connect to.
    pub policy: AddressPolicy,
    /// Credentials go there without TLS.
    pub clear: bool,
    /// Name of the process, such as `adapter`.
    pub process: &'static str,
    /// Its option that allows more addresses, such as `--allow-cluster-address`.
    pub option: &'static str,
}

/// An address that is not connected to, and what to do if it is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}. Start the {process} with {option} {} if it is right", refusal.address)]
pub struct DialError {
    refusal: Refusal,
    process: &'static str,
    option: &'static str,
}

impl Dialler {
    /// Checks an address.
    ///
    /// # Errors
    /// When it must not be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), DialError> {
        let refused = |refusal| DialError { refusal, process: self.process, option: self.option };
        self.policy.check(address, self.clear).map_err(refused)
    }

    /// Checks the host of a URL if it is an address, in brackets or not. The addresses of names are checked when they are
    /// resolved.
    ///
    /// # Errors
    /// When it must not be connected to.
    pub fn check_host(&self, host: &str) -> Result<(), DialError> {
        literal(host).map_or(Ok(()), |address| self.check(address))
    }

    /// The addresses of a name that may be connected to, with port 0.
    ///
    /// # Errors
    /// When there are none: the resolver's error, or [`DialError`].
    pub fn resolve(
        &self,
        name: String,
    ) -> impl Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send + use<> {
        let dialler = self.clone();
        async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            dialler.allowed(addresses).map(Vec::into_iter)
        }
    }

    /// The addresses that may be connected to.
    fn allowed(&self, addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let mut refusal = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match self.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if allowed.is_empty() => Err(io::Error::other(error)),
            _ => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialler() -> Dialler {
        let policy = AddressPolicy::default();
        Dialler { policy, clear: false, process: "adapter", option: "--allow-cluster-address" }
    }

    #[test]
    fn of_a_name_only_allowed_addresses_are_dialled() {
        let addresses = ["192.0.2.7:6443", "169.254.169.254:6443"].map(|text| text.parse().unwrap());
        assert_eq!(dialler().allowed(addresses.into_iter()).unwrap(), addresses[..1]);
        let error = dialler().allowed(addresses[1..].iter().copied()).unwrap_err();
        assert!(error.to_string().contains("link-local"), "{error}");
    }

    #[test]
    fn an_error_names_the_address_and_what_to_do() {
        assert_eq!(
            dialler().check_host("[::ffff:169.254.169.254]").unwrap_err().to_string(),
            "Krake does not connect to 169.254.169.254: it is a link-local address. Start the adapter with \
             --allow-cluster-address 169.254.169.254 if it is right"
        );
        assert_eq!(
            dialler().check_host("metadata.example"),
            Ok(()),
            "its addresses are checked when it is resolved"
        );
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_when_it_is_resolved() {
        let error = dialler().resolve("localhost".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("own machine"), "{error}");
        let policy = AddressPolicy { loopback: true, ..AddressPolicy::default() };
        assert!(Dialler { policy, ..dialler() }.resolve("localhost".to_owned()).await.unwrap().count() > 0);
    }
}
