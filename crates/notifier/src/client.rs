//! The HTTP client: no redirects, no proxies, every wait bounded.

use crate::{endpoint::Signed, outcome::Reply};
use futures_util::StreamExt as _;
use reqwest::{Client, header::RETRY_AFTER, redirect};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(20);
/// How much of a reply is read; the rest is of no interest.
const MOST_READ: usize = 16 * 1024;

/// A client for webhooks.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT)
        .timeout(WHOLE)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Sends a request; every failure to get a reply is [`Reply::Nothing`], and logged.
pub(crate) async fn send(client: &Client, signed: Signed) -> Reply {
    let mut request = client.post(signed.url).body(signed.body);
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            tracing::info!(error = %chassis::chain(&error.without_url()), "no reply");
            return Reply::Nothing;
        }
    };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let mut body = response.bytes_stream();
    let mut read = 0;
    while let Some(Ok(part)) = body.next().await {
        read += part.len();
        if read > MOST_READ {
            break;
        }
    }
    Reply::Status(status, retry_after)
}
