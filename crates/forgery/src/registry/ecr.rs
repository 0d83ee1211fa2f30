//! Amazon's Elastic Container Registry: repositories, their life-cycle policies, and tokens.

use super::Login;
use crate::failure::{BuildFailure, Kind};
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ecr::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{ImageScanningConfiguration, ImageTagMutability, Tag},
};
use aws_smithy_http_client::tls;
use bus::clock;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};
use tokio::sync::Mutex;

/// How repositories are made.
#[derive(Clone, Debug)]
pub(crate) struct Ecr {
    /// A host that stands for Amazon's.
    pub(crate) host: Option<String>,
    pub(crate) scan: bool,
    pub(crate) immutable: bool,
    /// So many tagged images are kept; 0: no rule.
    pub(crate) keep: u32,
    /// Untagged ones are kept for so many days; 0: no rule.
    pub(crate) untagged_days: u32,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Amazon's registries, by region.
#[derive(Debug)]
pub(crate) struct Amazon {
    ecr: Ecr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<String, Client>,
    /// Logins by host, and until when they are good, in milliseconds since 1970.
    logins: HashMap<String, (Login, i64)>,
    /// Repositories that were seen to be as they should.
    prepared: HashSet<String>,
}

/// A login that is good for less than this is not begun with.
const SPARE: i64 = 5 * 60 * 1_000;

// === impl Ecr ===

impl Default for Ecr {
    fn default() -> Self {
        Self {
            host: None,
            scan: true,
            immutable: false,
            keep: 10,
            untagged_days: 7,
            tags: BTreeMap::new(),
        }
    }
}

impl Ecr {
    /// The policy as ECR takes it (Amazon ECR User Guide, "Lifecycle policy parameters").
    fn policy(&self) -> Option<String> {
        let mut rules = Vec::new();
        if self.untagged_days > 0 {
            rules.push(json!({
                "rulePriority": 1,
                "description": "Forge: images without a tag",
                "selection": {
                    "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days",
                    "countNumber": self.untagged_days,
                },
                "action": {"type": "expire"},
            }));
        }
        if self.keep > 0 {
            rules.push(json!({
                "rulePriority": 2,
                "description": "Forge: the newest images with a tag",
                "selection": {
                    "tagStatus": "tagged", "tagPatternList": ["*"], "countType": "imageCountMoreThan",
                    "countNumber": self.keep,
                },
                "action": {"type": "expire"},
            }));
        }
        (!rules.is_empty()).then(|| json!({"rules": rules}).to_string())
    }
}

// === impl Amazon ===

impl Amazon {
    pub(crate) fn new(ecr: Ecr) -> Self {
        Self {
            ecr,
            state: Mutex::default(),
        }
    }

    pub(crate) fn is_its(&self, host: &str) -> bool {
        self.ecr.host.as_deref() == Some(host) || region(host).is_some()
    }

    pub(crate) const fn is_immutable(&self) -> bool {
        self.ecr.immutable
    }

    /// A login for a host: kept for as long as it is good.
    pub(crate) async fn login(&self, host: &str) -> Result<Login, BuildFailure> {
        let mut state = self.state.lock().await;
        if let Some((login, until)) = state.logins.get(host)
            && until - clock::now_ms() > SPARE
        {
            return Ok(login.clone());
        }
        let client = client(&mut state, host).await;
        let answer = client.get_authorization_token().send().await;
        let answer = answer.map_err(|error| explain("gives no token", &error))?;
        let given = answer.authorization_data().first();
        let token = given.and_then(|data| data.authorization_token());
        let plain = token
            .and_then(seal::base64_to_bytes)
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let login = plain
            .as_deref()
            .and_then(|plain| plain.split_once(':'))
            .and_then(|(user, password)| {
                Some(Login {
                    user: user.to_owned(),
                    password: password.parse().ok()?,
                })
            });
        let login = login.ok_or_else(|| BuildFailure::new(Kind::PushFailed, "ECR: its token cannot be read"))?;
        let until = given
            .and_then(|data| data.expires_at())
            .and_then(|at| at.to_millis().ok());
        state
            .logins
            .insert(host.to_owned(), (login.clone(), until.unwrap_or_default()));
        Ok(login)
    }

    /// Forgets a login that was refused.
    pub(crate) async fn forget(&self, host: &str) {
        self.state.lock().await.logins.remove(host);
    }

    /// Makes a repository with its policy, if there is none. What is there is left as its owner has it.
    pub(crate) async fn prepare(&self, host: &str, name: &str) -> Result<(), BuildFailure> {
        let mut state = self.state.lock().await;
        let key = format!("{host}/{name}");
        if state.prepared.contains(&key) {
            return Ok(());
        }
        let client = client(&mut state, host).await;
        let mutability = if self.ecr.immutable {
            ImageTagMutability::Immutable
        } else {
            ImageTagMutability::Mutable
        };
        let tags = self.ecr.tags.iter().map(|(key, value)| {
            let tag = Tag::builder().key(key).value(value).build();
            tag.map_err(|error| BuildFailure::new(Kind::NotConfigured, format!("ecr.tags: {error}")))
        });
        let scan = ImageScanningConfiguration::builder()
            .scan_on_push(self.ecr.scan)
            .build();
        let made = client
            .create_repository()
            .repository_name(name)
            .image_scanning_configuration(scan)
            .image_tag_mutability(mutability)
            .set_tags(Some(tags.collect::<Result<_, _>>()?))
            .send()
            .await;
        match made {
            Ok(_) => {
                if let Some(policy) = self.ecr.policy() {
                    let put = client
                        .put_lifecycle_policy()
                        .repository_name(name)
                        .lifecycle_policy_text(policy);
                    put.send()
                        .await
                        .map_err(|error| explain("takes no life-cycle policy", &error))?;
                }
            }
            Err(SdkError::ServiceError(error)) if error.err().is_repository_already_exists_exception() => {}
            Err(error) => return Err(explain(&format!("does not make the repository {name}"), &error)),
        }
        state.prepared.insert(key);
        Ok(())
    }
}

/// The client for a host's region; credentials come as they do for every program of AWS.
async fn client(state: &mut State, host: &str) -> Client {
    if let Some(client) = state.clients.get(host) {
        return client.clone();
    }
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(4)
                .with_initial_backoff(Duration::from_millis(200)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                .operation_attempt_timeout(Duration::from_secs(10))
                .operation_timeout(Duration::from_secs(30))
                .build(),
        );
    if let Some(region) = region(host) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let client = Client::new(&loader.load().await);
    state.clients.insert(host.to_owned(), client.clone());
    client
}

/// The region in `<account>.dkr.ecr[-fips].<region>.amazonaws.com[.cn]`.
fn region(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once(".dkr.ecr")?;
    let rest = rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?;
    let (region, domain) = rest.split_once('.')?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    (is_account && matches!(domain, "amazonaws.com" | "amazonaws.com.cn")).then_some(region)
}

/// Whose fault it is: what AWS refuses stays refused; what it is too busy for does not.
fn explain<E, R>(what: &str, error: &SdkError<E, R>) -> BuildFailure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let said = error.as_service_error();
    let code = said.and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned();
    let message = said.and_then(ProvideErrorMetadata::message).map(ToOwned::to_owned);
    let text = message.unwrap_or_else(|| DisplayErrorContext(error).to_string());
    let denied = [
        "AccessDenied",
        "UnrecognizedClient",
        "InvalidSignature",
        "ExpiredToken",
        "IncompleteSignature",
    ];
    let kind = if denied.iter().any(|word| code.starts_with(word)) {
        Kind::PushDenied
    } else if code.starts_with("LimitExceeded") || code.starts_with("InvalidParameter") {
        Kind::PushRefused
    } else {
        Kind::PushFailed
    };
    let code = if code.is_empty() {
        String::new()
    } else {
        format!(" ({code})")
    };
    BuildFailure::new(kind, format!("ECR {what}{code}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_amazon_says_its_region() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some("eu-west-1")),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("evil.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("registry.example:5000", None),
        ] {
            assert_eq!(region(host), expected, "{host}");
        }
    }

    #[test]
    fn the_policy_keeps_what_is_asked_for() {
        let policy = Ecr::default().policy().unwrap();
        assert!(
            policy.contains(r#""countNumber":10"#) && policy.contains(r#""countNumber":7"#),
            "{policy}"
        );
        let none = Ecr {
            keep: 0,
            untagged_days: 0,
            ..Ecr::default()
        };
        assert_eq!(none.policy(), None);
    }
}
