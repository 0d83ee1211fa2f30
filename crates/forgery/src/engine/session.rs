//! What BuildKit asks its client for while it builds: secrets, and logins of registries.
//!
//! The engine opens a gRPC connection back to us over `POST /session` (an upgrade to h2c; moby's
//! `session` package). So values of secrets go nowhere else: not into the context, not into a layer.
//! bollard's own session knows no secrets; the engine keeps the first one of an id, which is ours.

use crate::{
    failure::{BuildFailure, Kind},
    registry::Registry,
};
use bollard::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets, SecretsServer},
        },
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
            GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
        },
    },
};
use bytes::Bytes;
use chassis::Secret;
use futures_util::stream::Pending;
use http_body_util::Empty;
use hyper::{Request, StatusCode, upgrade::Upgraded};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use std::{collections::BTreeMap, env, error::Error, io, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tonic::{Response, Status, service::Routes};

/// What a build may ask for.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    /// Values of secrets by id.
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Who we are where base images and caches come from; nobody, for whom we do not trust.
    pub(crate) registry: Option<Registry>,
}

/// A session that is open, not yet served.
pub(super) struct Session {
    pub(super) id: String,
    connection: Upgraded,
}

/// Methods that the engine may call; a method that is not named here it does without.
const METHODS: [&str; 2] = [
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
];
const USUAL_SOCKET: &str = "/var/run/docker.sock";

// === impl Session ===

impl Session {
    /// Opens a session at the engine that `DOCKER_HOST` names.
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable is Docker's; bollard reads it the same way"
    )]
    pub(super) async fn open() -> Result<Self, BuildFailure> {
        let host = env::var("DOCKER_HOST").unwrap_or_default();
        let id = uuid::Uuid::new_v4().to_string();
        let opened = match host.split_once("://") {
            Some(("tcp" | "http", address)) => upgrade(TcpStream::connect(address).await, &id).await,
            Some(("unix", path)) => upgrade(UnixStream::connect(path).await, &id).await,
            None => upgrade(UnixStream::connect(USUAL_SOCKET).await, &id).await,
            // Not at an engine that is somebody else's.
            Some((scheme, _)) => {
                let text = format!("builds are not made by way of {scheme} (DOCKER_HOST); use unix or tcp");
                return Err(BuildFailure::new(Kind::NotConfigured, text));
            }
        };
        let connection = opened.map_err(|error| {
            let text = format!("the engine opens no session: {error}");
            BuildFailure::new(Kind::EngineUnavailable, text)
        })?;
        Ok(Self { id, connection })
    }

    /// Answers until the engine has no more questions.
    pub(super) async fn serve(self, answers: Answers) {
        let answers = Arc::new(answers);
        let routes = Routes::new(HealthServer::new(Healthy))
            .add_service(SecretsServer::new(Known(Arc::clone(&answers))))
            .add_service(AuthServer::new(Known(answers)));
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(
            TokioIo::new(TokioIo::new(self.connection)),
            TowerToHyperService::new(routes.prepare()),
        );
        if let Err(error) = served.await {
            tracing::debug!(%error, "the session of a build ended");
        }
    }
}

async fn upgrade<S>(stream: io::Result<S>, id: &str) -> Result<Upgraded, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream?)).await?;
    let mut request = Request::post("/session")
        .header("host", "docker")
        .header("connection", "upgrade")
        .header("upgrade", "h2c")
        .header("x-docker-expose-session-uuid", id)
        .header("x-docker-expose-session-name", "forge");
    for method in METHODS {
        request = request.header("x-docker-expose-session-grpc-method", method);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let asked = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(format!("it answered {}", response.status()).into());
        }
        Ok(hyper::upgrade::on(response).await?)
    };
    let (_, upgraded) = tokio::join!(connection.with_upgrades(), asked);
    upgraded
}

struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = Pending<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: tonic::Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let status = ServingStatus::Serving.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn list(&self, _: tonic::Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("there is one service"))
    }

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again"))
    }
}

struct Known(Arc<Answers>);

#[tonic::async_trait]
impl Secrets for Known {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        let value = self.0.secrets.get(id);
        let value = value.ok_or_else(|| Status::not_found(format!("this build has no secret {id}")))?;
        let data = value.expose().as_bytes().to_vec();
        Ok(Response::new(GetSecretResponse { data }))
    }
}

#[tonic::async_trait]
impl Auth for Known {
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = &request.get_ref().host;
        let login = match &self.0.registry {
            Some(registry) => registry.login(host).await,
            None => Ok(None),
        };
        let login = login.map_err(|failure| Status::unavailable(failure.message))?;
        let login = login.map(|login| (login.user, login.password.expose().to_owned()));
        let (username, secret) = login.unwrap_or_default();
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, _: tonic::Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("ask for credentials"))
    }

    async fn get_token_authority(
        &self,
        _: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("ask for credentials"))
    }

    async fn verify_token_authority(
        &self,
        _: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("ask for credentials"))
    }
}
