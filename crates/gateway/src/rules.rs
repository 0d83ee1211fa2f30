//! What may change while the gateway runs: who may ask, with which secrets, about what.

use crate::{
    address::{Cidr, Networks, ProxyHeader},
    schema::{self, Schemas, Texts},
    secrets::Secrets,
};
use chassis::{Secret, Setting, Values, tls};
use contract::QueueType;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
};

/// The rules as they are written, to be compared with what is written later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    secrets: Vec<Secret>,
    secrets_file: Option<Secret>,
    only_allowed: bool,
    allowed: Networks,
    proxies: Networks,
    proxy_header: ProxyHeader,
    agents: Vec<String>,
    validate: bool,
    schemas: Texts,
    events: Vec<String>,
    queues: BTreeMap<String, QueueType>,
    copies: BTreeMap<String, String>,
    certificate: Option<Pem>,
}

/// The rules in a form that can be asked.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) secrets: Secrets,
    /// Who may ask; everybody when there is none.
    pub(crate) allowed: Option<Networks>,
    pub(crate) proxies: Networks,
    pub(crate) proxy_header: ProxyHeader,
    /// What `User-Agent` must begin with, one of them; anything when there are none.
    pub(crate) agents: Vec<String>,
    pub(crate) schemas: Schemas,
    /// Events that go on; all that are known when there are none.
    pub(crate) events: Vec<String>,
    /// Lanes of some events that are not the usual ones.
    pub(crate) queues: BTreeMap<String, QueueType>,
    /// Lists that get a copy of some events.
    pub(crate) copies: BTreeMap<String, String>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pem {
    chain: String,
    key: Secret,
}

const SECRET: Setting = Setting::new(
    "security.secret",
    "Secret of the webhooks of every forge; several, comma-separated, while it is rotated",
)
.env(&["GITHUB_WEBHOOK_SECRET", "WEBHOOK_SECRET"])
.aliases(&["webhook.security.secret"])
.secret();
const SECRETS_FILE: Setting = Setting::new(
    "security.secrets_file",
    "File of secrets per forge, owner and repository: github: {default: …, acme: …, acme/shop: [new, old]}",
)
.env(&["WEBHOOK_SECRETS_FILE"]);
const ONLY_ALLOWED: Setting = Setting::new("security.enable_ip_whitelist", "Refuse addresses that are not allowed")
    .env(&["WEBHOOK_ENABLE_IP_WHITELIST"])
    .aliases(&["webhook.security.enableIPWhitelist", "security.enableIPWhitelist"])
    .default("false");
const ALLOWED: Setting = Setting::new(
    "security.allowed_ips",
    "Addresses and networks that may send, comma-separated, such as 140.82.112.0/20",
)
.env(&["WEBHOOK_ALLOWED_IPS"])
.aliases(&["webhook.security.allowedIPs", "security.allowedIPs"]);
const PROXIES: Setting = Setting::new(
    "security.trusted_proxies",
    "Addresses and networks whose word on who asks is believed, comma-separated",
)
.env(&["WEBHOOK_TRUSTED_PROXIES"]);
const PROXY_HEADER: Setting = Setting::new(
    "security.proxy_header",
    "Header in which these proxies say who asks: x-forwarded-for or forwarded; any other is ignored",
)
.env(&["WEBHOOK_PROXY_HEADER"])
.default("x-forwarded-for");
const AGENTS: Setting = Setting::new(
    "security.user_agents",
    "What User-Agent must begin with, comma-separated, such as GitHub-Hookshot/; anything by default",
)
.env(&["WEBHOOK_USER_AGENTS"]);
const VALIDATE: Setting = Setting::new(
    "security.enable_payload_validation",
    "Check payloads against the schemas of security.schemas",
)
.env(&["WEBHOOK_ENABLE_PAYLOAD_VALIDATION"])
.aliases(&[
    "webhook.security.enablePayloadValidation",
    "security.enablePayloadValidation",
])
.default("true");
const SCHEMAS: Setting = Setting::new(
    "security.schemas",
    "Folder of JSON Schemas that payloads must fit: EVENT.json, or FORGE.EVENT.json",
)
.env(&["WEBHOOK_SCHEMAS"]);
const EVENTS: Setting = Setting::new(
    "events.only",
    "Events that go on, in the forge's words, comma-separated; every one that Forge knows by default",
)
.env(&["WEBHOOK_EVENTS"]);
const QUEUES: Setting = Setting::new(
    "events.queues",
    "Lanes of events that are not the usual ones, such as release=default,status=workflow",
)
.env(&["WEBHOOK_QUEUES"]);
const COPIES: Setting = Setting::new(
    "events.copies",
    "Lists that get a copy of some events, for programs of your own, such as release=my:releases",
)
.env(&["WEBHOOK_COPIES"]);
const CERTIFICATE: Setting = Setting::new(
    "server.tls_certificate",
    "File of the certificate chain, PEM; makes it HTTPS",
)
.env(&["WEBHOOK_TLS_CERTIFICATE"]);
const KEY: Setting = Setting::new("server.tls_key", "File of the certificate's key, PEM").env(&["WEBHOOK_TLS_KEY"]);

pub(crate) const SETTINGS: &[Setting] = &[
    SECRET,
    SECRETS_FILE,
    ONLY_ALLOWED,
    ALLOWED,
    PROXIES,
    PROXY_HEADER,
    AGENTS,
    VALIDATE,
    SCHEMAS,
    EVENTS,
    QUEUES,
    COPIES,
    CERTIFICATE,
    KEY,
];

// === impl Text ===

impl Text {
    /// Reads the settings and the files that they name.
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let text = Self {
            secrets: values.list(&SECRET),
            secrets_file: file(values, &SECRETS_FILE).ok()?.map(|text| secret(&text)),
            only_allowed: values.get(&ONLY_ALLOWED)?,
            allowed: Networks::new(values.list::<Cidr>(&ALLOWED)),
            proxies: Networks::new(values.list::<Cidr>(&PROXIES)),
            proxy_header: values.get(&PROXY_HEADER)?,
            agents: values.list(&AGENTS),
            validate: values.get(&VALIDATE)?,
            schemas: schemas(values)?,
            events: values.list(&EVENTS),
            queues: pairs(values, &QUEUES),
            copies: pairs::<ListName>(values, &COPIES)
                .into_iter()
                .map(|(event, list)| (event, list.0))
                .collect(),
            certificate: certificate(values).ok()?,
        };
        if text.only_allowed && text.allowed.is_empty() {
            values.refuse(&ALLOWED, "is required, or nobody may send");
        }
        text.rules()
            .map_err(|(setting, error)| values.refuse(&setting, error))
            .ok()?;
        text.tls().map_err(|error| values.refuse(&CERTIFICATE, error)).ok()?;
        Some(text)
    }

    /// What can be asked; that it can be made was seen when it was read.
    pub(crate) fn rules(&self) -> Result<Rules, (Setting, String)> {
        let file = self.secrets_file.as_ref().map(Secret::expose);
        let none = Texts::new();
        Ok(Rules {
            secrets: Secrets::new(&self.secrets, file).map_err(|error| (SECRETS_FILE, error))?,
            allowed: self.only_allowed.then(|| self.allowed.clone()),
            proxies: self.proxies.clone(),
            proxy_header: self.proxy_header,
            agents: self.agents.clone(),
            schemas: Schemas::new(if self.validate { &self.schemas } else { &none })
                .map_err(|error| (SCHEMAS, error))?,
            events: self.events.clone(),
            queues: self.queues.clone(),
            copies: self.copies.clone(),
        })
    }

    /// Every event that something is configured for.
    pub(crate) fn events(&self) -> BTreeSet<&str> {
        let named = self.events.iter().chain(self.queues.keys()).chain(self.copies.keys());
        let schemas = self.schemas.keys().map(|name| schema::event_of(name));
        named.map(String::as_str).chain(schemas).collect()
    }

    /// The certificate in a form that can be used; `None` where there is none.
    pub(crate) fn tls(&self) -> Result<Option<Arc<tls::Config>>, tls::TlsError> {
        let used = |pem: &Pem| tls::server(pem.chain.as_bytes(), pem.key.expose().as_bytes());
        self.certificate.as_ref().map(used).transpose()
    }
}

/// What is wrong has been remembered with the values.
struct Refused;

/// The text of a file that a setting names, if it names one.
fn file(values: &mut Values, setting: &Setting) -> Result<Option<String>, Refused> {
    let Some(path) = values.optional::<PathBuf>(setting) else {
        return Ok(None);
    };
    std::fs::read_to_string(&path).map(Some).map_err(|error| {
        values.refuse(setting, format!("{}: {error}", path.display()));
        Refused
    })
}

fn schemas(values: &mut Values) -> Option<Texts> {
    let Some(folder) = values.optional::<PathBuf>(&SCHEMAS) else {
        return Some(Texts::new());
    };
    schema::read(&folder)
        .map_err(|error| values.refuse(&SCHEMAS, error))
        .ok()
}

fn certificate(values: &mut Values) -> Result<Option<Pem>, Refused> {
    let (chain, key) = (file(values, &CERTIFICATE)?, file(values, &KEY)?);
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some(Pem {
            chain,
            key: secret(&key),
        })),
        (None, None) => Ok(None),
        _ => {
            values.refuse(&KEY, "is required with server.tls_certificate, and the other way round");
            Err(Refused)
        }
    }
}

fn secret(text: &str) -> Secret {
    let Ok(secret) = text.parse();
    secret
}

/// `EVENT=WHAT`, comma-separated.
fn pairs<T: FromStr<Err: Display>>(values: &mut Values, setting: &Setting) -> BTreeMap<String, T> {
    let pairs = values.list::<Pair<T>>(setting);
    pairs.into_iter().map(|Pair(event, what)| (event, what)).collect()
}

struct Pair<T>(String, T);

impl<T: FromStr<Err: Display>> FromStr for Pair<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (event, what) = text
            .split_once('=')
            .ok_or("expected an event, = and what belongs to it")?;
        let what = what.trim().parse().map_err(|error| format!("{event}: {error}"))?;
        Ok(Self(event.trim().to_owned(), what))
    }
}

/// The name of a list of somebody else's; a hash tag is welcome.
struct ListName(String);

impl FromStr for ListName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        let own = text.trim_start_matches('{').starts_with("forge:");
        (fits && !own)
            .then(|| Self(text.to_owned()))
            .ok_or("expected 1 to 128 printable characters without spaces, and none of Forge's own lists")
    }
}
