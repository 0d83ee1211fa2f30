//! Whether a registry takes our login, asked as the OCI distribution specification says (`GET /v2/`).

use crate::config::Registry;
use chassis::Findings;
use reqwest::{Client, Response, StatusCode, header::WWW_AUTHENTICATE};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the registry that images are pushed to.
pub(crate) async fn examine(registry: &Registry, findings: &mut Findings) {
    let host = registry.prefix.split('/').next().unwrap_or_default();
    match login(registry, host).await {
        Ok(StatusCode::OK) if registry.user.is_none() => {
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
async fn login(registry: &Registry, host: &str) -> Result<StatusCode, reqwest::Error> {
    let client = Client::builder().timeout(PATIENCE).build()?;
    let first = match ask(&client, registry, &format!("https://{host}/v2/")).await {
        // As the engine does for registries of this machine.
        Err(_) if is_local(host) => ask(&client, registry, &format!("http://{host}/v2/")).await?,
        answer => answer?,
    };
    match (first.status(), token_url(&first)) {
        (StatusCode::UNAUTHORIZED, Some(url)) => Ok(ask(&client, registry, &url).await?.status()),
        (status, _) => Ok(status),
    }
}

async fn ask(client: &Client, registry: &Registry, url: &str) -> Result<Response, reqwest::Error> {
    let mut request = client.get(url);
    if let Some(user) = &registry.user {
        request = request.basic_auth(user, registry.password.as_ref().map(chassis::Secret::expose));
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

fn is_local(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.starts_with("127.")
}
