//! Whom an endpoint's certificate is to be signed by, and who we say we are to it.

use crate::{client, guard::Guard};
use reqwest::{Certificate, Client, Identity};
use serde::{Deserialize, Serialize};

/// What an endpoint has of its own for TLS; all in PEM (RFC 7468).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// Who signs its certificate, and nobody else; those that the system trusts, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// Our certificate, with those between it and who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// Its key: a secret, which is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

// === impl Tls ===

impl Tls {
    /// A client for it; `None` if it is like all others.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn client(&self, guard: Option<&Guard>) -> Result<Option<Client>, String> {
        if *self == Self::default() {
            return Ok(None);
        }
        let mut building = client::usual(guard);
        if let Some(ca) = &self.ca {
            let all = Certificate::from_pem_bundle(ca.as_bytes());
            let all = all.map_err(|error| format!("tls.ca: {}", chassis::chain(&error)))?;
            if all.is_empty() {
                return Err("tls.ca: there is no certificate in it".to_owned());
            }
            building = building.tls_certs_only(all);
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let identity = Identity::from_pem(format!("{key}\n{certificate}").as_bytes());
                let wrong = |error| format!("tls.certificate, tls.key: {}", chassis::chain(&error));
                building = building.identity(identity.map_err(wrong)?);
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err("tls: a certificate needs its key (tls.certificate, tls.key)".to_owned());
            }
        }
        let client = building.build();
        client
            .map(Some)
            .map_err(|error| format!("tls: {}", chassis::chain(&error)))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
