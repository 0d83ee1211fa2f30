//! Whether a registry takes our login, asked as the OCI distribution specification says (`GET /v2/`).

use super::{Login, Registry, host, is_local};
use chassis::Findings;
use reqwest::{Client, Response, StatusCode, header::WWW_AUTHENTICATE};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the registry that images are pushed to.
pub(crate) async fn examine(registry: &Registry, prefix: &str, findings: &mut Findings) {
    let host = host(prefix);
    let own = match registry.login(host).await {
        Ok(own) => own,
        Err(failure) => {
            let cure = "see the credentials, the region and the permissions of AWS";
            return findings.wrong("registry", failure.message, cure);
        }
    };
    match login(own.as_ref(), host).await {
        Ok(StatusCode::OK) if own.is_none() => {
            findings.fine("registry", format!("{host} answers; no login is set"));
        }
        Ok(StatusCode::OK) => findings.fine("registry", format!("{host} takes the login")),
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            let cure = "set registry.username and registry.password (REGISTRY_USERNAME, REGISTRY_PASSWORD)";
            findings.wrong("registry", format!("{host} refuses the login"), cure);
        }
        Ok(status) => findings.doubtful(
            "registry",
            format!("{host} answers {status}"),
            "see whether it is a registry",
        ),
        Err(error) => {
            let text = format!("{host}: {}", chassis::chain(&error));
            findings.wrong("registry", text, "start it, or put registry.prefix (REGISTRY) right");
        }
    }
}

/// The status that the registry, or whoever gives out its tokens, answers the login with.
async fn login(own: Option<&Login>, host: &str) -> Result<StatusCode, reqwest::Error> {
    let client = Client::builder().timeout(PATIENCE).build()?;
    let first = match ask(&client, own, &format!("https://{host}/v2/")).await {
        // As the engine does for registries of this machine.
        Err(_) if is_local(host) => ask(&client, own, &format!("http://{host}/v2/")).await?,
        answer => answer?,
    };
    match (first.status(), token_url(&first)) {
        (StatusCode::UNAUTHORIZED, Some(url)) => Ok(ask(&client, own, &url).await?.status()),
        (status, _) => Ok(status),
    }
}

async fn ask(client: &Client, own: Option<&Login>, url: &str) -> Result<Response, reqwest::Error> {
    let mut request = client.get(url);
    if let Some(own) = own {
        request = request.basic_auth(&own.user, Some(own.password.expose()));
    }
    request.send().await
}

/// Where the token of `Bearer realm="…",service="…"` is to be had.
fn token_url(answer: &Response) -> Option<String> {
    let challenge = answer
        .headers()
        .get(WWW_AUTHENTICATE)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")?;
    let field = |name: &str| {
        let (_, after) = challenge.split_once(&format!("{name}=\""))?;
        after.split('"').next()
    };
    Some(format!(
        "{}?service={}",
        field("realm")?,
        field("service").unwrap_or_default()
    ))
}
