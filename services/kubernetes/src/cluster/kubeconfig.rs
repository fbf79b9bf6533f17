//! From a stored kubeconfig to what the client is made of. What it may hold is judged where the state service judges it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use krake_runtime::kubeconfig::{Identity, judge};
use kube::Config;
use kube::config::Kubeconfig;
use serde_json::Value;

/// A kubeconfig that cannot be used. Names the field, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// The state service would refuse it.
    #[error("kubeconfig: {0}")]
    Refused(String),
    /// Everything is there, but this adapter cannot use it: it may not connect to that address, for example.
    #[error("kubeconfig: {0}")]
    Unusable(String),
}

/// What a client is made of. Holds credentials.
pub(crate) struct Parts {
    /// Without the client certificate.
    pub(crate) config: Config,
    /// The client certificate.
    pub(crate) identity: Option<Identity>,
    /// The certificate authorities, as PEM.
    pub(crate) authorities: Option<Vec<u8>>,
}

/// Reads a kubeconfig.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read(document: &Value) -> Result<Parts, KubeconfigError> {
    let judged = judge(document).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        KubeconfigError::Refused(problems.join("; "))
    })?;
    let mut document = judged.document;
    if let Some(Value::Object(user)) = document.pointer_mut("/users/0/user") {
        // The client would refuse certificates of version 1, which is for the cluster to decide.
        user.remove("client-certificate-data");
        user.remove("client-key-data");
    }
    let unusable = "has a field of the wrong type";
    let mut parsed: Kubeconfig =
        serde_json::from_value(document).map_err(|_| KubeconfigError::Unusable(unusable.to_owned()))?;
    parsed.current_context = Some(judged.context);
    let authorities = authorities(&parsed);
    let config = Config::try_from(parsed).map_err(|error| KubeconfigError::Unusable(error.to_string()))?;
    Ok(Parts { config, identity: judged.identity, authorities })
}

fn authorities(config: &Kubeconfig) -> Option<Vec<u8>> {
    let cluster = config.clusters.first()?.cluster.as_ref()?;
    STANDARD.decode(cluster.certificate_authority_data.as_ref()?).ok()
}

#[cfg(test)]
mod tests;
