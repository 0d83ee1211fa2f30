//! Where repositories come from.

use crate::checkout::{App, Credentials, Limits, Ssh};
use chassis::{Secret, Setting, Values};
use contract::Scheme;
use seal::SigningKey;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// How repositories are fetched and kept.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// Folder of the mirrors.
    pub(crate) mirrors: PathBuf,
    /// What all mirrors may have together, in bytes.
    pub(crate) mirrors_budget: u64,
    pub(crate) credentials: Credentials,
    /// Transports that may be used, by submodules too.
    pub(crate) schemes: Vec<Scheme>,
    pub(crate) limits: Limits,
    pub(crate) submodules: bool,
    pub(crate) ssh: Ssh,
}

const MIRRORS: Setting = Setting::new(
    "git.mirrors_dir",
    "Folder of what was fetched before, kept between builds; by default `mirrors` in the work folder",
)
.env(&["GIT_MIRRORS_DIR"]);
const MIRRORS_MIB: Setting = Setting::new(
    "git.mirrors_max_mib",
    "What all mirrors may have together, in MiB; past it those go that were not used for longest",
)
.env(&["GIT_MIRRORS_MAX_MIB"])
.default("10240");
const HTTP: Setting = Setting::new("git.allow_http", "Whether plain http sources are cloned")
    .env(&["GIT_ALLOW_HTTP"])
    .default("false");
const FILE: Setting = Setting::new("git.allow_file", "Whether file sources are cloned")
    .env(&["GIT_ALLOW_FILE"])
    .default("false");
const LOGINS: Setting = Setting::new(
    "git.credentials",
    "Credentials of git servers, as https://user:token@host lines",
)
.env(&["GIT_CREDENTIALS"])
.secret();
const TOKEN: Setting = Setting::new("git.github_token", "Token for github.com")
    .env(&["GITHUB_TOKEN"])
    .secret();
const API: Setting = Setting::new(
    "github.api",
    "GitHub's REST API; an Enterprise Server's ends in /api/v3",
)
.env(&["GITHUB_API_URL"])
.default("https://api.github.com");
const APP_ID: Setting = Setting::new(
    "github.app_id",
    "Number or client id of a GitHub App that gives a token for each repository that is fetched",
)
.env(&["GITHUB_APP_ID"]);
const APP_KEY: Setting = Setting::new("github.app_private_key", "The app's private key, as PEM")
    .env(&["GITHUB_APP_PRIVATE_KEY"])
    .secret();
const SSH: Setting = Setting::new("git.ssh_command", "Command that makes connections of ssh sources")
    .env(&["GIT_SSH_COMMAND"])
    .default("ssh -o BatchMode=yes");
const SSH_KEY: Setting = Setting::new(
    "git.ssh_key",
    "Private key for ssh sources, as ssh-keygen writes it, without a passphrase",
)
.env(&["GIT_SSH_KEY"])
.secret();
const SSH_KNOWN: Setting = Setting::new(
    "git.ssh_known_hosts",
    "The ssh servers that are known, as ssh-keyscan prints them; nothing is fetched from others",
)
.env(&["GIT_SSH_KNOWN_HOSTS"])
.secret();
const SUBMODULES: Setting = Setting::new("git.submodules", "Whether submodules are fetched")
    .env(&["GIT_SUBMODULES"])
    .default("true");
const MAX_MIB: Setting = Setting::new(
    "git.max_mib",
    "The most that is fetched of a repository at once, and that its files may have together, in MiB",
)
.env(&["GIT_MAX_MIB"])
.default("4096");
const MAX_FILE_MIB: Setting = Setting::new("git.max_file_mib", "The largest file of a repository, in MiB")
    .env(&["GIT_MAX_FILE_MIB"])
    .default("256");
const MAX_FILES: Setting = Setting::new("git.max_files", "The most files of a checkout, its submodules included")
    .env(&["GIT_MAX_FILES"])
    .default("200000");
const TIMEOUT: Setting = Setting::new(
    "git.timeout_seconds",
    "The longest that a checkout may take, in seconds",
)
.env(&["GIT_TIMEOUT_SECONDS"])
.default("600");

pub(super) const SETTINGS: &[Setting] = &[
    MIRRORS,
    MIRRORS_MIB,
    HTTP,
    FILE,
    LOGINS,
    TOKEN,
    API,
    APP_ID,
    APP_KEY,
    SSH,
    SSH_KEY,
    SSH_KNOWN,
    SUBMODULES,
    MAX_MIB,
    MAX_FILE_MIB,
    MAX_FILES,
    TIMEOUT,
];

const MIB: u64 = 1_024 * 1_024;

// === impl Git ===

impl Git {
    pub(super) fn read(values: &mut Values, work_dir: Option<&PathBuf>) -> Option<Self> {
        let mirrors = values.optional(&MIRRORS);
        let mirrors_mib: Option<u64> = values.get(&MIRRORS_MIB);
        let optional = [(Scheme::Http, values.get(&HTTP)?), (Scheme::File, values.get(&FILE)?)];
        let allowed = optional
            .into_iter()
            .filter(|(_, allowed)| *allowed)
            .map(|(scheme, _)| scheme);
        let credentials = credentials(values);
        let (bytes, file): (Option<u64>, Option<u64>) = (values.get(&MAX_MIB), values.get(&MAX_FILE_MIB));
        let (files, seconds): (Option<usize>, Option<u64>) = (values.get(&MAX_FILES), values.get(&TIMEOUT));
        let (command, submodules) = (values.get(&SSH), values.get(&SUBMODULES));
        let (key, known): (Option<Secret>, Option<Secret>) = (values.optional(&SSH_KEY), values.optional(&SSH_KNOWN));
        Some(Self {
            mirrors: mirrors.or_else(|| Some(work_dir?.join("mirrors")))?,
            mirrors_budget: mirrors_mib?.saturating_mul(MIB),
            schemes: [Scheme::Https, Scheme::Ssh].into_iter().chain(allowed).collect(),
            credentials: credentials?,
            limits: Limits {
                bytes: bytes?.saturating_mul(MIB),
                files: files?,
                file: file?.saturating_mul(MIB),
                time: Duration::from_secs(seconds?),
            },
            submodules: submodules?,
            ssh: Ssh {
                command: command?,
                key,
                known: known.map(|lines| lines.expose().to_owned()),
            },
        })
    }
}

fn credentials(values: &mut Values) -> Option<Credentials> {
    let lines: Option<Secret> = values.optional(&LOGINS);
    let parsed = Credentials::parse(lines.as_ref().map_or("", |lines| lines.expose()));
    let parsed = parsed.map_err(|error| values.refuse(&LOGINS, error)).ok();
    let token = values.optional::<Secret>(&TOKEN);
    let app = app(values);
    let mut credentials = parsed?;
    if let Some(token) = token {
        credentials.add("https://github.com", "x-access-token", token);
    }
    app?.into_iter().for_each(|app| credentials.set_app(app));
    Some(credentials)
}

/// The app, if there is one; nothing, if it is not as it should be.
fn app(values: &mut Values) -> Option<Vec<App>> {
    let api: Option<String> = values.get(&API);
    let (id, key): (Option<String>, Option<Secret>) = (values.optional(&APP_ID), values.optional(&APP_KEY));
    let Some(id) = id else { return Some(Vec::new()) };
    let Some(key) = key else {
        values.refuse(&APP_KEY, "is required with github.app_id");
        return None;
    };
    let key = SigningKey::from_pem(key.expose())
        .map_err(|error| values.refuse(&APP_KEY, error))
        .ok()?;
    Some(vec![App::new(&api?, id, Arc::new(key))])
}
