//! Which cluster a cluster is, so that an address that leads to another one is noticed. Pure.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What a cluster is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// uid of its namespace `kube-system`, which lives as long as the cluster. Empty if it may not be read.
    pub kube_system_uid: String,
    /// SHA-256 of the certificate authorities in its kubeconfig, in hexadecimal digits. Empty if there are none.
    pub ca_sha256: String,
}

/// What a person can do about a cluster that is another one.
const ADVICE: &str = "restore the kubeconfig or, if the other one is meant, run: rok kube cluster update NAME -k FILE \
                      --accept-new-identity";

impl ClusterIdentity {
    /// Whether the uid is known, and not only the certificate authority.
    pub fn is_verified(&self) -> bool {
        !self.kube_system_uid.is_empty()
    }

    /// What is known of the cluster once it was seen as `seen`. `is_new`: by a kubeconfig that never showed this identity.
    ///
    /// # Errors
    /// When it is another cluster, or cannot be told from another one; the text says why.
    pub fn verify(&self, seen: &ClusterIdentity, is_new: bool) -> Result<ClusterIdentity, String> {
        let [known_uid, seen_uid] = [self, seen].map(|identity| &identity.kube_system_uid);
        let [known_ca, seen_ca] = [self, seen].map(|identity| &identity.ca_sha256);
        if !known_uid.is_empty() && !seen_uid.is_empty() {
            if known_uid != seen_uid {
                return Err(format!(
                    "another cluster answers: the uid of its namespace kube-system is {seen_uid}, that of the \
                     registered one is {known_uid}; {ADVICE}"
                ));
            }
            // The authority of a cluster may be renewed.
            return Ok(seen.clone());
        }
        if !known_ca.is_empty() && known_ca != seen_ca {
            return Err(format!(
                "it may be another cluster: its kubeconfig has another certificate authority, and its namespace \
                 kube-system may not be read; let Krake read it, or {ADVICE}"
            ));
        }
        if !known_uid.is_empty() && is_new {
            // One authority may have signed for many clusters.
            return Err(format!(
                "it may be another cluster: its kubeconfig has changed, and by the new one its namespace kube-system may \
                 not be read, whose uid was {known_uid}; let Krake read it, or {ADVICE}"
            ));
        }
        let either =
            |known: &String, seen: &String| if seen.is_empty() { known.clone() } else { seen.clone() };
        Ok(ClusterIdentity {
            kube_system_uid: either(known_uid, seen_uid),
            ca_sha256: either(known_ca, seen_ca),
        })
    }
}

/// An identity that a cluster was registered with, or reached as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The identity.
    pub identity: ClusterIdentity,
    /// It was seen by another kubeconfig than the present one.
    pub by_another_kubeconfig: bool,
}

/// SHA-256 of the certificate authorities of a kubeconfig, whatever their order and form; empty if there are none.
pub(crate) fn ca_sha256(pem: &[u8]) -> String {
    let mut digests: Vec<[u8; 32]> = CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter_map(|certificate| digest(&SHA256, &certificate).as_ref().try_into().ok())
        .collect();
    if digests.is_empty() {
        return String::new();
    }
    digests.sort_unstable();
    let all = digest(&SHA256, &digests.concat());
    all.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn identity(text: &str) -> ClusterIdentity {
        let (uid, ca) = text.split_once('/').unwrap();
        ClusterIdentity { kube_system_uid: uid.to_owned(), ca_sha256: ca.to_owned() }
    }

    #[rstest]
    #[case::first_contact("/", "u/c", Some("u/c"))]
    #[case::first_contact_hidden("/", "/c", Some("/c"))]
    #[case::the_same("u/c", "u/c", Some("u/c"))]
    #[case::its_authority_was_renewed("u/c", "u/d", Some("u/d"))]
    #[case::another("u/c", "v/c", None)]
    #[case::another_with_another_authority("u/c", "v/d", None)]
    #[case::its_uid_is_hidden_by_now("u/c", "/c", Some("u/c"))]
    #[case::its_uid_is_readable_by_now("/c", "u/c", Some("u/c"))]
    #[case::hidden_with_another_authority("/c", "/d", None)]
    #[case::its_uid_is_hidden_and_its_authority_another("u/c", "/d", None)]
    #[case::its_uid_is_readable_and_its_authority_another("/c", "u/d", None)]
    #[case::hidden_without_the_known_authority("/c", "/", None)]
    #[case::its_uid_is_hidden_and_its_authority_left_out("u/c", "/", None)]
    #[case::without_any("/", "/", Some("/"))]
    #[case::without_authority("u/", "u/", Some("u/"))]
    fn identities(#[case] known: &str, #[case] seen: &str, #[case] expected: Option<&str>) {
        assert_eq!(identity(known).verify(&identity(seen), false).ok(), expected.map(identity));
    }

    #[rstest]
    #[case::the_same("u/c", "u/c", Some("u/c"))]
    #[case::its_authority_was_renewed("u/c", "u/d", Some("u/d"))]
    #[case::hidden_under_the_same_authority("u/c", "/c", None)]
    #[case::hidden_without_authorities("u/", "/", None)]
    #[case::hidden_from_the_beginning("/c", "/c", Some("/c"))]
    #[case::first_contact_hidden("/", "/c", Some("/c"))]
    fn a_new_kubeconfig_has_to_show_the_uid_that_is_known(
        #[case] known: &str,
        #[case] seen: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(identity(known).verify(&identity(seen), true).ok(), expected.map(identity));
    }

    #[test]
    fn authorities_count_without_their_order_and_form() {
        let pem = |der: &str| format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        let (one, other) = (pem("AAAA"), pem("AAAB"));
        let both = ca_sha256(format!("{one}{other}").as_bytes());
        assert_eq!(both, ca_sha256(format!("# a comment\n{other}\n\n{one}").as_bytes()));
        assert_ne!(both, ca_sha256(one.as_bytes()));
        assert_eq!(both.len(), 64);
        assert_eq!(ca_sha256(b"no certificate"), "");
    }
}
