//! Whether a container works: by its own health check, by a probe, or by its staying alive.

use super::containers::State;
use crate::{
    engine::Engine,
    failure::{BuildFailure, Kind},
};
use contract::HealthCheck;
use std::time::Duration;
use tokio::{net::TcpStream, time::Instant};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that one probe may take.
const PROBE: Duration = Duration::from_secs(5);
/// A container without any check is taken for healthy once it has run for so long, or for nearly as long as it may take.
const ALIVE: Duration = Duration::from_secs(5);

/// Waits until a container is healthy.
///
/// # Errors
/// When it has ended, or is not healthy in time: with the last answer of the check.
pub(super) async fn wait(
    engine: &Engine,
    container: &str,
    check: Option<&HealthCheck>,
    within: Duration,
) -> Result<(), BuildFailure> {
    let begun = Instant::now();
    let mut last = "it was never asked".to_owned();
    let alive = ALIVE.min(within.saturating_sub(PAUSE * 2));
    while begun.elapsed() < within {
        let state = engine.state(container).await?;
        if let Some(code) = state.ended {
            let text = format!("it ended with exit code {code}{}", engine.last_words(container).await);
            return Err(BuildFailure::new(Kind::Unhealthy, text));
        }
        match look(&state, check, begun.elapsed() >= alive).await {
            Ok(()) => return Ok(()),
            Err(answer) => last = answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
    let text = format!(
        "it was not healthy within {} s: {last}{}",
        within.as_secs(),
        engine.last_words(container).await
    );
    Err(BuildFailure::new(Kind::Unhealthy, text))
}

/// Looks once; why it is not healthy yet.
async fn look(state: &State, check: Option<&HealthCheck>, has_lived: bool) -> Result<(), String> {
    let address = |port: u16| match &state.address {
        Some(address) => Ok(format!("{address}:{port}")),
        None => Err("it has no address yet".to_owned()),
    };
    match check {
        Some(HealthCheck::Http { port, path }) => get(&address(*port)?, path.as_deref().unwrap_or("/")).await,
        Some(HealthCheck::Tcp { port }) => connect(&address(*port)?).await,
        // The engine itself runs those.
        Some(HealthCheck::Command { .. }) | None => match (&state.health, check) {
            (Some(Ok(())), _) => Ok(()),
            (Some(Err(answer)), _) => Err(answer.clone()),
            (None, Some(_)) => Err("its health check has not run yet".to_owned()),
            (None, None) if has_lived => Ok(()),
            (None, None) => Err("it has not run for long enough".to_owned()),
        },
    }
}

async fn connect(address: &str) -> Result<(), String> {
    match tokio::time::timeout(PROBE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("connecting to {address}: {error}")),
        Err(_elapsed) => Err(format!(
            "connecting to {address}: nothing answers; can forgery reach its network?"
        )),
    }
}

async fn get(address: &str, path: &str) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(PROBE)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| chassis::chain(&error))?;
    match client.get(format!("http://{address}{path}")).send().await {
        Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => Ok(()),
        Ok(answer) => Err(format!("GET {path} answered {}", answer.status().as_u16())),
        Err(error) => Err(format!("GET {path}: {}", chassis::chain(&error))),
    }
}
