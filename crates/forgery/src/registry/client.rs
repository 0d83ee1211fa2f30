//! What we ask of a registry ourselves: manifests (OCI distribution specification 1.1).
//!
//! Layers are the engine's business. A tag is only another name of a manifest, which needs no push.

use super::{Registry, host, is_local};
use crate::failure::{BuildFailure, Kind};
use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use std::time::Duration;

/// A client for one repository.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    registry: &'a Registry,
    host: &'a str,
    name: &'a str,
    /// What is sent as authorization, once the registry has said how.
    authorization: Option<String>,
}

/// A manifest as the registry keeps it, byte for byte.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) kind: String,
    pub(crate) bytes: Bytes,
}

/// Registries keep manifests below 4 MiB.
const LARGEST: usize = 4 * 1_024 * 1_024;
const KINDS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// So often is asked for what fails on its way.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

// === impl Manifest ===

impl Manifest {
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", seal::digest(&self.bytes))
    }
}

// === impl Client ===

impl<'a> Client<'a> {
    /// A client for `host/name`.
    pub(crate) fn new(registry: &'a Registry, repository: &'a str) -> Self {
        let host = host(repository);
        Self {
            registry,
            host,
            name: repository
                .strip_prefix(host)
                .unwrap_or_default()
                .trim_start_matches('/'),
            authorization: None,
        }
    }

    /// A manifest, by tag or digest.
    pub(crate) async fn get(&mut self, reference: &str) -> Result<Manifest, BuildFailure> {
        let mut answer = self.ask(Method::GET, reference, None).await?;
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        let broken = |error| self.failed(&chassis::chain(&error));
        while let Some(part) = answer.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&part);
            if bytes.len() > LARGEST {
                return Err(self.failed("its manifest is too large"));
            }
        }
        Ok(Manifest {
            kind,
            bytes: bytes.into(),
        })
    }

    /// Gives a manifest a name.
    pub(crate) async fn put(&mut self, reference: &str, manifest: &Manifest) -> Result<(), BuildFailure> {
        self.ask(Method::PUT, reference, Some(manifest)).await.map(drop)
    }

    async fn ask(
        &mut self,
        method: Method,
        reference: &str,
        body: Option<&Manifest>,
    ) -> Result<Response, BuildFailure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.once(&method, reference, body).await {
                Err(failure) if failure.kind == Kind::PushFailed && attempt < ATTEMPTS => {
                    tracing::debug!(%failure, "asking a registry again");
                    tokio::time::sleep(PAUSE * attempt).await;
                }
                done => return done,
            }
        }
    }

    async fn once(
        &mut self,
        method: &Method,
        reference: &str,
        body: Option<&Manifest>,
    ) -> Result<Response, BuildFailure> {
        let answer = self.send(method, reference, body).await?;
        let answer = if answer.status() == StatusCode::UNAUTHORIZED {
            self.authorization = self.log_in(&answer).await?;
            self.send(method, reference, body).await?
        } else {
            answer
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let text = format!(
                    "{}/{} refuses {method} of {reference}: {}",
                    self.host,
                    self.name,
                    answer.status()
                );
                Err(BuildFailure::new(Kind::PushDenied, text))
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(self.failed(&format!("it answered {status}")))
            }
            status => {
                let text = format!(
                    "{}/{} answered {status} to {method} of {reference}",
                    self.host, self.name
                );
                Err(BuildFailure::new(Kind::PushRefused, text))
            }
        }
    }

    async fn send(&self, method: &Method, reference: &str, body: Option<&Manifest>) -> Result<Response, BuildFailure> {
        let scheme = if is_local(self.host) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/manifests/{reference}", self.host, self.name);
        let mut request = self.registry.http.request(method.clone(), url).header(ACCEPT, KINDS);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(manifest) = body {
            request = request
                .header(CONTENT_TYPE, &manifest.kind)
                .body(manifest.bytes.clone());
        }
        self.sent(request).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, BuildFailure> {
        let sent = request.send().await;
        sent.map_err(|error| self.failed(&chassis::chain(&error.without_url())))
    }

    /// What the registry wants to see, by its challenge (RFC 7235; distribution's token specification).
    async fn log_in(&self, answer: &Response) -> Result<Option<String>, BuildFailure> {
        let challenge = answer
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default();
        let login = self.registry.login(self.host).await?;
        if let Some(rest) = challenge.strip_prefix("Bearer ") {
            let field = |name: &str| Some(rest.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
            let realm = field("realm").ok_or_else(|| self.failed("its challenge names no realm"))?;
            if !is_local(self.host) && !realm.starts_with("https://") {
                return Err(self.failed("its realm is not https"));
            }
            let scope = format!("repository:{}:pull,push", self.name);
            let wanted = [("service", field("service").unwrap_or_default()), ("scope", scope)];
            let url = reqwest::Url::parse_with_params(&realm, wanted);
            let url = url.map_err(|_bad| self.failed("its realm is no URL"))?;
            let mut request = self.registry.http.get(url);
            if let Some(login) = login {
                request = request.basic_auth(login.user, Some(login.password.expose()));
            }
            let answer = self.sent(request).await?;
            if !answer.status().is_success() {
                return Ok(None);
            }
            let body = answer
                .bytes()
                .await
                .map_err(|error| self.failed(&chassis::chain(&error)))?;
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let token = body.get("token").or_else(|| body.get("access_token"));
            return Ok(token
                .and_then(|token| token.as_str())
                .map(|token| format!("Bearer {token}")));
        }
        let plain = login.map(|login| format!("{}:{}", login.user, login.password.expose()));
        Ok(plain.map(|plain| format!("Basic {}", seal::bytes_to_base64(plain.as_bytes()))))
    }

    fn failed(&self, why: &str) -> BuildFailure {
        BuildFailure::new(Kind::PushFailed, format!("{}/{}: {why}", self.host, self.name))
    }
}
