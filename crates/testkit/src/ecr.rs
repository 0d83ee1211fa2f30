//! Amazon's registry: the API and the registry of ministack, behind what Amazon puts before them.
//!
//! ministack lets everybody in; here a token of the API is asked for, as Amazon asks for it, and may be made to expire,
//! to be refused, or to be too busy to be given.

use crate::{port::free_port, process::Process};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::json;
use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering::SeqCst},
    },
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

/// A registry as Amazon's.
#[derive(Debug)]
pub struct Elastic {
    front: Arc<Front>,
    address: String,
    task: JoinHandle<()>,
    _process: Process,
    _folder: TempDir,
}

#[derive(Debug)]
struct Front {
    behind: String,
    client: reqwest::Client,
    /// Tokens of older generations are refused.
    generation: AtomicU32,
    /// Writes until the next generation begins; none, if negative.
    until_expiry: AtomicI64,
    /// Calls of the API that are answered with throttling.
    throttled: AtomicU32,
    /// Whether the API denies everything.
    denied: AtomicU32,
    tokens: AtomicU32,
}

impl Elastic {
    /// Starts it and waits until it answers.
    pub async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let program = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../.forge/python/bin/ministack"
        ));
        assert!(program.is_file(), "ministack; run scripts/setup.sh --tests first");
        let mut command = Command::new(program);
        command.current_dir(folder.path()).envs([
            ("BIND_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", &port.to_string()),
            ("SFTP_ENABLED", "0"),
            ("IOT_MTLS_ENABLED", "0"),
            ("MINISTACK_ACCOUNT_ID", "123456789012"),
        ]);
        let process = Process::start(&mut command, &folder.path().join("log"));
        crate::crypto();
        let front = Arc::new(Front {
            behind: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            generation: AtomicU32::new(1),
            until_expiry: AtomicI64::new(-1),
            throttled: AtomicU32::new(0),
            denied: AtomicU32::new(0),
            tokens: AtomicU32::new(0),
        });
        crate::eventually("ministack answers", async || {
            let answer = front.client.get(format!("{}/v2/", front.behind)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let routes = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&front));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            front,
            address,
            task,
            _process: process,
            _folder: folder,
        }
    }

    /// Host and port of the registry.
    pub fn host(&self) -> &str {
        &self.address
    }

    /// What a program needs to know to use its API.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL_ECR", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ]
    }

    /// The tokens that were given so far are no good any more.
    pub fn expire(&self) {
        self.front.generation.fetch_add(1, SeqCst);
    }

    /// The same, after so many more writes to the registry.
    pub fn expire_after(&self, writes: i64) {
        self.front.until_expiry.store(writes, SeqCst);
    }

    /// The API is too busy for so many calls.
    pub fn throttle(&self, calls: u32) {
        self.front.throttled.store(calls, SeqCst);
    }

    /// Whether the API denies everything.
    pub fn deny(&self, denied: bool) {
        self.front.denied.store(u32::from(denied), SeqCst);
    }

    /// How many tokens were given.
    pub fn tokens(&self) -> u32 {
        self.front.tokens.load(SeqCst)
    }

    /// Asks with boto3, as anybody else would: an expression of a client `ecr`; what it prints as JSON.
    pub async fn boto3(&self, expression: &str) -> serde_json::Value {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.forge/python/bin/python");
        let script =
            format!("import boto3, json\necr = boto3.client('ecr')\nprint(json.dumps({expression}, default=str))");
        let mut command = tokio::process::Command::new(program);
        let output = command
            .args(["-c", &script])
            .envs(self.variables())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Elastic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(front): State<Arc<Front>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path().starts_with("/v2") {
        if method != Method::GET && method != Method::HEAD && front.until_expiry.fetch_sub(1, SeqCst) == 1 {
            front.generation.fetch_add(1, SeqCst);
        }
        let expected = format!("Basic {}", front.token());
        if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(&expected) {
            let errors = json!({"errors": [{"code": "DENIED", "message": "Your authorization token has expired."}]});
            return Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(
                    header::WWW_AUTHENTICATE,
                    r#"Basic realm="ecr",service="ecr.amazonaws.com""#,
                )
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(errors.to_string()))
                .unwrap();
        }
    } else if let Some(refused) = front.api(&headers) {
        return refused;
    }
    front.forward(method, &uri, headers, body).await
}

impl Front {
    fn token(&self) -> String {
        seal::bytes_to_base64(format!("AWS:token-{}", self.generation.load(SeqCst)).as_bytes())
    }

    /// What the API says by itself.
    fn api(&self, headers: &HeaderMap) -> Option<Response> {
        let target = headers.get("x-amz-target")?.to_str().ok()?;
        let error = |kind: &str, message: &str| {
            let body = json!({"__type": kind, "message": message}).to_string();
            Some(amazon(StatusCode::BAD_REQUEST, body))
        };
        if self.denied.load(SeqCst) == 1 {
            return error(
                "AccessDeniedException",
                "User: arn:aws:iam::123456789012:user/test is not authorized to perform this",
            );
        }
        let busy = self
            .throttled
            .fetch_update(SeqCst, SeqCst, |calls| calls.checked_sub(1));
        if busy.is_ok() {
            return error("ThrottlingException", "Rate exceeded");
        }
        if !target.ends_with("GetAuthorizationToken") {
            return None;
        }
        self.tokens.fetch_add(1, SeqCst);
        let data = json!({"authorizationData": [{
            "authorizationToken": self.token(), "expiresAt": 4_000_000_000.0, "proxyEndpoint": "http://localhost",
        }]});
        Some(amazon(StatusCode::OK, data.to_string()))
    }

    async fn forward(&self, method: Method, uri: &Uri, mut headers: HeaderMap, body: Bytes) -> Response {
        headers.remove(header::HOST);
        headers.remove(header::AUTHORIZATION);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        let url = format!("{}{uri}", self.behind);
        let answer = self
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .send()
            .await
            .unwrap();
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if name == header::LOCATION {
                // Where the engine goes on must be here.
                let path = value.to_str().unwrap();
                let path = path.strip_prefix(&self.behind).unwrap_or(path);
                response = response.header(name, path);
            } else if name != header::TRANSFER_ENCODING && name != header::CONNECTION {
                response = response.header(name, value);
            }
        }
        response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
    }
}

fn amazon(status: StatusCode, body: String) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .body(Body::from(body))
        .unwrap()
}
