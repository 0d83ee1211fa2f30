//! The order in which a service starts and stops.

#[cfg(feature = "failpoints")]
use crate::failpoints;
use crate::{Findings, Life, Policy, Setting, Values, admin, config, http, life::Configuration, telemetry};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// What a service is called and what can be configured.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name, also in logs and traces.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Default address of `/live`, `/ready`, `/metrics` and `/health`.
    pub admin_listen: &'static str,
    /// Default of how long running work may go on after a stop was asked for, in seconds.
    pub grace_seconds: &'static str,
    /// Its own settings.
    pub settings: &'static [&'static [Setting]],
    /// What the program can do besides, once: `<service> <name> <argument>`.
    pub errands: &'static [Errand],
}

/// Something that a service's program does once, and then ends.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// The word that asks for it.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What its argument is called.
    pub argument: &'static str,
}

/// An errand that was asked for, and its argument.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub argument: String,
}

/// Why a service cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something it depends on is missing or unfit.
    #[error("{0}")]
    Dependency(String),
    /// What an errand was about is not as it should be.
    #[error("{0}")]
    Refused(String),
    /// It cannot listen on its address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

const REFUSED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;
const DEPENDENCY_MISSING: u8 = 69;
const BUG: u8 = 70;
const GRACE_RAN_OUT: u8 = 75;
/// The longest that looking at everything may take.
const CHECK_PATIENCE: Duration = Duration::from_mins(1);
/// The longest a probe waits for an answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);

const ADMIN: Setting = Setting::new("admin.listen", "Address of the admin endpoints").env(&["ADMIN_LISTEN"]);
const GRACE: Setting = Setting::new(
    "grace_seconds",
    "How long running work may go on after a stop was asked for, in seconds",
)
.env(&["GRACE_SECONDS"]);
const LEVEL: Setting = Setting::new(
    "log.level",
    "trace, debug, info, warn, error, or a filter such as info,bus=debug",
)
.env(&["LOG_LEVEL"])
.default("info");
const FORMAT: Setting = Setting::new("log.format", "json or human")
    .env(&["LOG_FORMAT"])
    .default("human");
const OTLP: Setting = Setting::new(
    "otlp.endpoint",
    "OTLP/HTTP receiver of traces, such as http://127.0.0.1:4318; none by default",
)
.env(&["OTEL_EXPORTER_OTLP_ENDPOINT"]);

struct Common {
    admin: SocketAddr,
    grace: Duration,
    telemetry: telemetry::Settings,
}

/// Runs a service: `read` turns values into its configuration, `check` looks at what it needs, `run` starts
/// its tasks and returns.
///
/// With the argument `check` it only looks, says what it found, and exits: 0 when it can work, 64 when its
/// configuration is wrong, 69 when something else is. A service that starts looks too, and logs it.
///
/// The first word of `args` is the program's name, as in [`std::env::args_os`].
pub fn launch<C, K, L, F, R>(
    args: impl IntoIterator<Item = OsString>,
    service: &Service,
    read: fn(&mut Values) -> Option<C>,
    check: K,
    run: R,
) -> ExitCode
where
    C: Clone,
    K: FnOnce(C) -> L,
    L: Future<Output = Findings> + Send + 'static,
    R: FnOnce(C, Life) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let none = async |_: C, asked: Asked| Err(Failure::Dependency(format!("{} is no errand", asked.name)));
    launch_with(args, service, read, check, run, none)
}

/// The same for a service whose program has errands: `errand` does one, and returns what is to be said of it.
///
/// It exits with 0, with 1 when what it is about is not as it should be, or with 69 when it could not be done.
pub fn launch_with<C, K, L, F, R, E>(
    args: impl IntoIterator<Item = OsString>,
    service: &Service,
    read: fn(&mut Values) -> Option<C>,
    check: K,
    run: R,
    errand: E,
) -> ExitCode
where
    C: Clone,
    K: FnOnce(C) -> L,
    L: Future<Output = Findings> + Send + 'static,
    R: FnOnce(C, Life) -> F,
    F: Future<Output = Result<(), Failure>>,
    E: AsyncFnOnce(C, Asked) -> Result<String, Failure>,
{
    let own = [
        ADMIN.default(service.admin_listen),
        GRACE.default(service.grace_seconds),
        LEVEL,
        FORMAT,
        OTLP,
    ];
    let settings: Vec<Setting> = own
        .into_iter()
        .chain(service.settings.iter().copied().flatten().copied())
        .collect();
    let matches = match config::command(service, &settings).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            error.print().ok(); // Nobody is left to tell when this fails.
            return if error.use_stderr() {
                ExitCode::from(BAD_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if let Some(path) = matches.get_one::<String>("probe") {
        let mut values = Values::gather(&matches, &settings, environment());
        return admin_address(&mut values, service).map_or(ExitCode::FAILURE, |admin| ask(admin, path));
    }
    let mut values = Values::gather(&matches, &settings, environment());
    if matches.get_flag("print-config") {
        say(&mut std::io::stdout(), &values.describe(&settings));
    }
    // The only provider in the workspace, for what reads certificates, too; a second call cannot happen and would change nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = read(&mut values);
    let common = common(&mut values, service);
    let errors = values.errors();
    let (Some(config), Some(common), true) = (config, common, errors.is_empty()) else {
        say(
            &mut std::io::stderr(),
            &format!("{}: bad configuration:\n  {}\n", service.name, errors.join("\n  ")),
        );
        return ExitCode::from(BAD_CONFIGURATION);
    };
    if matches.get_flag("print-config") {
        return ExitCode::SUCCESS;
    }
    more_files();
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        say(&mut std::io::stderr(), "cannot start threads\n");
        return ExitCode::from(DEPENDENCY_MISSING);
    };
    if let Some(asked) = asked(service, &matches) {
        return ExitCode::from(runtime.block_on(run_errand(service, errand(config, asked))));
    }
    let findings = check(config.clone());
    let code = if matches.subcommand_matches("check").is_some() {
        runtime.block_on(examine(service, findings))
    } else {
        let configuration = Configuration {
            at_start: values.fingerprints(&settings),
            settings: settings.clone(),
            gather: Box::new(move || Values::gather(&matches, &settings, environment())),
        };
        runtime.block_on(live(service, common, configuration, findings, |life| run(config, life)))
    };
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// `<service> --probe PATH`.
fn ask(admin: SocketAddr, path: &str) -> ExitCode {
    match probe(admin, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("{admin}{path}: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The errand that was asked for, if one was.
fn asked(service: &Service, matches: &clap::ArgMatches) -> Option<Asked> {
    let (word, found) = matches.subcommand()?;
    let errand = service.errands.iter().find(|errand| errand.name == word)?;
    let argument = found.get_one::<String>(errand.argument)?.clone();
    Some(Asked {
        name: errand.name,
        argument,
    })
}

/// `<service> <errand>`: standard output may be what it makes, so what it says goes to standard error.
async fn run_errand(service: &Service, errand: impl Future<Output = Result<String, Failure>>) -> u8 {
    let (code, text) = match errand.await {
        Ok(text) => (0, text),
        Err(failure @ Failure::Refused(_)) => (REFUSED, chain(&failure)),
        Err(failure) => (DEPENDENCY_MISSING, chain(&failure)),
    };
    say(&mut std::io::stderr(), &format!("{}: {text}\n", service.name));
    code
}

/// `<service> check`.
async fn examine(service: &Service, findings: impl Future<Output = Findings>) -> u8 {
    let Ok(findings) = tokio::time::timeout(CHECK_PATIENCE, findings).await else {
        say(
            &mut std::io::stderr(),
            &format!("{}: the check took too long\n", service.name),
        );
        return DEPENDENCY_MISSING;
    };
    say(
        &mut std::io::stdout(),
        &format!("{} {}\n{findings}", service.name, env!("CARGO_PKG_VERSION")),
    );
    if findings.is_fit() { 0 } else { DEPENDENCY_MISSING }
}

async fn live<F, L>(
    service: &Service,
    common: Common,
    configuration: Configuration,
    findings: L,
    run: impl FnOnce(Life) -> F,
) -> u8
where
    F: Future<Output = Result<(), Failure>>,
    L: Future<Output = Findings> + Send + 'static,
{
    #[cfg(feature = "failpoints")]
    let _read = failpoints::read();
    let telemetry = telemetry::start(service.name, &common.telemetry);
    let life = Life::new(common.grace, configuration);
    tracing::info!(service = service.name, version = env!("CARGO_PKG_VERSION"), "starting");
    life.spawn("check", Policy::BestEffort, {
        let stopping = life.stopping();
        async move {
            tokio::select! {
                findings = tokio::time::timeout(CHECK_PATIENCE, findings) => match findings {
                    Ok(findings) => findings.log(),
                    Err(_elapsed) => tracing::warn!("looking at what the service needs took too long"),
                },
                () = stopping.cancelled() => {}
            }
        }
    });
    let code = tokio::select! {
        code = serve(&common, &life, run) => code,
        () = second_signal() => BUG,
    };
    telemetry.flush().await;
    code
}

async fn serve<F>(common: &Common, life: &Life, run: impl FnOnce(Life) -> F) -> u8
where
    F: Future<Output = Result<(), Failure>>,
{
    if let Err(failure) = admin::start(common.admin, life).await {
        tracing::error!(error = %chain(&failure), "cannot start");
        return DEPENDENCY_MISSING;
    }
    let started = tokio::select! {
        started = run(life.clone()) => Some(started),
        () = a_signal() => None, // Before it was ready: what has begun already ends with the rest.
    };
    let mut code = 0;
    match started {
        None => tracing::info!("stopping before everything was there"),
        Some(Err(failure)) => {
            tracing::error!(error = %chain(&failure), "cannot start");
            code = DEPENDENCY_MISSING;
        }
        Some(Ok(())) => tokio::select! {
            () = a_signal() => tracing::info!(grace_seconds = common.grace.as_secs(), "stopping"),
            task = life.broken() => {
                tracing::error!(task, "an essential task ended");
                code = BUG;
            }
        },
    }
    life.stop();
    if tokio::time::timeout(common.grace, life.drained()).await.is_err() {
        tracing::error!("the grace period ran out");
        return GRACE_RAN_OUT;
    }
    tracing::info!("stopped");
    code
}

fn common(values: &mut Values, service: &Service) -> Option<Common> {
    let admin = admin_address(values, service);
    let grace = values
        .get(&GRACE.default(service.grace_seconds))
        .map(Duration::from_secs);
    let telemetry = telemetry::Settings::read(values, &LEVEL, &FORMAT, &OTLP);
    Some(Common {
        admin: admin?,
        grace: grace?,
        telemetry: telemetry?,
    })
}

fn admin_address(values: &mut Values, service: &Service) -> Option<SocketAddr> {
    let setting = ADMIN.default(service.admin_listen);
    let text: String = values.get(&setting)?;
    let usual = service
        .admin_listen
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or_default();
    http::address(&text, usual)
        .map_err(|error| values.refuse(&setting, error))
        .ok()
}

/// Asks an admin endpoint on this machine; what health checks of containers need, without curl.
fn probe(admin: SocketAddr, path: &str) -> std::io::Result<()> {
    let local = SocketAddr::from(([127, 0, 0, 1], admin.port()));
    let mut stream = std::net::TcpStream::connect_timeout(&local, PROBE_PATIENCE)?;
    stream.set_read_timeout(Some(PROBE_PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(std::io::Error::other("not well"))
    }
}

/// The one place where the environment is read.
/// A connection is a file, and 1,024 of them, the usual bound, are few; the hard one is for us to use.
fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, all).ok(); // Then it stays as it was.
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect()
}

/// Waits for SIGTERM or SIGINT.
async fn a_signal() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

async fn second_signal() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    tracing::warn!("a second signal, exiting at once");
}

fn say(to: &mut impl std::io::Write, text: &str) {
    to.write_all(text.as_bytes()).ok(); // Nobody is left to tell when this fails.
    std::io::stdout().flush().ok();
}

fn chain(failure: &Failure) -> String {
    crate::chain(failure)
}
