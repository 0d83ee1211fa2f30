//! Where images go, and who we are there.

use crate::registry::{Ecr, Logins};
use chassis::{Secret, Setting, Values};
use std::{collections::BTreeMap, path::PathBuf};

/// Registries and logins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registries {
    /// Host and port of the registry that images are pushed to, and a path if they have one in common.
    pub(crate) prefix: Option<String>,
    pub(crate) logins: Logins,
    pub(crate) ecr: Ecr,
}

const PREFIX: Setting = Setting::new(
    "registry.prefix",
    "Registry that images are pushed to, such as registry.example:5000/team",
)
.env(&["REGISTRY", "FORGERY_REGISTRY"]);
const USER: Setting = Setting::new("registry.username", "User at the registry").env(&["REGISTRY_USERNAME"]);
const PASSWORD: Setting = Setting::new("registry.password", "Password at the registry")
    .env(&["REGISTRY_PASSWORD"])
    .secret();
const LOGINS: Setting = Setting::new(
    "registry.credentials",
    "Logins of further registries, as https://user:password@host lines",
)
.env(&["REGISTRY_CREDENTIALS"])
.secret();
const DOCKER_CONFIG: Setting = Setting::new(
    "registry.docker_config",
    "A config.json of Docker, whose logins and credential helpers are used, too",
)
.env(&["REGISTRY_DOCKER_CONFIG"]);
const ECR_HOST: Setting = Setting::new(
    "ecr.host",
    "A host that stands for Amazon's registry, besides <account>.dkr.ecr.<region>.amazonaws.com",
)
.env(&["ECR_HOST"]);
const SCAN: Setting = Setting::new(
    "ecr.scan_on_push",
    "Whether new repositories of ECR scan what is pushed",
)
.env(&["ECR_SCAN_ON_PUSH"])
.default("true");
const IMMUTABLE: Setting = Setting::new(
    "ecr.immutable_tags",
    "Whether tags in new repositories of ECR never move; then branches have none",
)
.env(&["ECR_IMMUTABLE_TAGS"])
.default("false");
const KEEP: Setting = Setting::new(
    "ecr.keep_tagged",
    "So many tagged images are kept in a repository of ECR; 0 sets no rule. Returning to what ran before needs more than 1",
)
.env(&["ECR_KEEP_TAGGED"])
.default("10");
const UNTAGGED: Setting = Setting::new(
    "ecr.untagged_days",
    "Images without a tag are kept for so many days in a repository of ECR; 0 sets no rule",
)
.env(&["ECR_UNTAGGED_DAYS"])
.default("7");
const TAGS: Setting =
    Setting::new("ecr.tags", "Tags of new repositories of ECR, as key=value,key=value").env(&["ECR_TAGS"]);

pub(super) const SETTINGS: &[Setting] = &[
    PREFIX,
    USER,
    PASSWORD,
    LOGINS,
    DOCKER_CONFIG,
    ECR_HOST,
    SCAN,
    IMMUTABLE,
    KEEP,
    UNTAGGED,
    TAGS,
];

// === impl Registries ===

impl Registries {
    pub(super) fn read(values: &mut Values) -> Option<Self> {
        let prefix: Option<String> = values.optional(&PREFIX);
        let (user, password): (Option<String>, Option<Secret>) = (values.optional(&USER), values.optional(&PASSWORD));
        let lines: Option<Secret> = values.optional(&LOGINS);
        let docker_config: Option<PathBuf> = values.optional(&DOCKER_CONFIG);
        let ecr = ecr(values);
        let prefix = prefix.map(|prefix| prefix.trim_end_matches('/').to_owned());
        if prefix
            .as_ref()
            .is_some_and(|prefix| prefix.contains("://") || prefix.contains(char::is_whitespace))
        {
            values.refuse(&PREFIX, "expected a host, perhaps with port and path, without https://");
        }
        let logins = Logins::parse(lines.as_ref().map_or("", |lines| lines.expose()), docker_config);
        let mut logins = logins.map_err(|error| values.refuse(&LOGINS, error)).ok()?;
        if let (Some(prefix), Some(user), Some(password)) = (&prefix, user, password) {
            logins.add(crate::registry::host(prefix), user, password);
        }
        Some(Self {
            prefix,
            logins,
            ecr: ecr?,
        })
    }
}

fn ecr(values: &mut Values) -> Option<Ecr> {
    let (host, scan, immutable) = (values.optional(&ECR_HOST), values.get(&SCAN), values.get(&IMMUTABLE));
    let (keep, untagged_days) = (values.get(&KEEP), values.get(&UNTAGGED));
    let text: String = values.optional(&TAGS).unwrap_or_default();
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let tags: Option<BTreeMap<_, _>> = pairs
        .map(|pair| {
            pair.split_once('=')
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect();
    if tags.is_none() {
        values.refuse(&TAGS, "expected key=value,key=value");
    }
    Some(Ecr {
        host,
        scan: scan?,
        immutable: immutable?,
        keep: keep?,
        untagged_days: untagged_days?,
        tags: tags?,
    })
}
