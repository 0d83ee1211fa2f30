//! The least that an intake can do: read, check the seal, LPUSH, answer. No bounds, no parsing, no second thoughts.

use bytes::Bytes;
use fred::prelude::{Builder, ClientLike as _, Config, ListInterface as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::hmac;
use std::{convert::Infallible, sync::Arc};
use tokio::net::TcpListener;

/// Takes deliveries until it is killed.
pub(crate) async fn run(port: u16, redis: u16) {
    let config = Config::from_url(&format!("redis://127.0.0.1:{redis}")).unwrap();
    let redis = Builder::from_config(config).build().unwrap();
    redis.init().await.unwrap();
    let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, crate::SECRET.as_bytes()));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    while let Ok((stream, _peer)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (redis, key) = (redis.clone(), Arc::clone(&key));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (redis, key) = (redis.clone(), Arc::clone(&key));
                async move { Ok::<_, Infallible>(take(request, &redis, &key).await) }
            });
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok(); // The load hangs up.
        });
    }
}

async fn take(request: Request<Incoming>, redis: &fred::clients::Client, key: &hmac::Key) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seal = head
        .headers
        .get("x-hub-signature-256")
        .and_then(|seal| seal.to_str().ok());
    let seal = seal.and_then(|seal| seal::hex_to_bytes(seal.strip_prefix("sha256=")?));
    let mut response = Response::new(Empty::new());
    if seal.is_some_and(|seal| hmac::verify(key, &body, &seal).is_ok()) {
        let _length: u64 = redis.lpush("forge:webhooks", body).await.unwrap();
        *response.status_mut() = StatusCode::ACCEPTED;
    } else {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}
