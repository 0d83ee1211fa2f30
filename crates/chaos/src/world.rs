//! Every process of a run, kept running as an orchestrator would.

use crate::{
    channels::Channels,
    options::{Database, Options},
    receiver::{Mood, Receiver},
    server::Server,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use testkit::{Engine, Git, Postgres, Process, Registry, binary, free_port};
use tokio::time::Instant;

/// The whole system.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) engine: Engine,
    /// Where prow remembers, if that is not in files of its own.
    postgres: Option<Postgres>,
    pub(crate) git: Git,
    pub(crate) registry: Registry,
    pub(crate) receiver: Receiver,
    /// Refuses everything, for good.
    pub(crate) gone: Receiver,
    pub(crate) channels: Channels,
    pub(crate) services: Vec<Service>,
    pub(crate) ports: Ports,
    pub(crate) folder: TempDir,
    /// The most memory each kind of service ever took, in KiB.
    pub(crate) memory: BTreeMap<&'static str, u64>,
    /// Exits that nobody asked for.
    pub(crate) crashes: Vec<String>,
    switch_off: Option<String>,
    logs: usize,
}

/// Where the services listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) gateway: u16,
    pub(crate) prow: u16,
}

/// One service, dead or alive.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) n: usize,
    pub(crate) process: Option<Process>,
    pub(crate) log: PathBuf,
    /// We ended it; it is started again at this time.
    pub(crate) back_at: Option<Instant>,
    pub(crate) paused: bool,
    /// It was asked to stop; another one takes its place.
    pub(crate) stopping: bool,
}

pub(crate) const WEBHOOK_SECRET: &str = "chaos-webhooks";
pub(crate) const API_TOKEN: &str = "chaos-api-token-0123";
const SINK_SECRET: &str = "chaos-notifications";
const GIT_TOKEN: &str = "chaos-git";
pub(crate) const FORGERIES: usize = 3;
const NOTIFIERS: usize = 2;
pub(crate) const SLOTS: usize = 8;
/// A service that ended because something it needs was away is started again after this long.
const RESTART: Duration = Duration::from_millis(700);
const DEPENDENCY_MISSING: i32 = 69;

// === impl World ===

impl World {
    pub(crate) async fn start(options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rehearsal/images", "rehearsal/running", "logs"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut world = Self {
            server: Server::start(options.redis).await,
            engine: Engine::start(),
            postgres: (options.database == Database::Postgres).then(Postgres::start),
            git: Git::start(GIT_TOKEN).await,
            registry: Registry::start().await,
            receiver: Receiver::start(SINK_SECRET, Mood::Kind).await,
            gone: Receiver::start(SINK_SECRET, Mood::Gone).await,
            channels: Channels::start().await,
            services: Vec::new(),
            ports: Ports {
                gateway: free_port(),
                prow: free_port(),
            },
            folder,
            memory: BTreeMap::new(),
            crashes: Vec::new(),
            switch_off: options.switch_off.clone(),
            logs: 0,
        };
        for n in 0..FORGERIES {
            // A small disk each, that can be filled.
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
                .arg(world.work_dir(n))
                .status();
            assert!(mount.unwrap().success(), "cannot mount; the chaos harness needs root");
        }
        let forgeries = (0..FORGERIES).map(|n| ("forgery", n));
        let notifiers = (0..NOTIFIERS).map(|n| ("notifier", n));
        let second = world.postgres.iter().map(|_| ("prow", 1));
        for (name, n) in [("gateway", 0), ("prow", 0)]
            .into_iter()
            .chain(forgeries)
            .chain(notifiers)
            .chain(second.collect::<Vec<_>>())
        {
            world.services.push(Service {
                name,
                n,
                process: None,
                log: PathBuf::new(),
                back_at: None,
                paused: false,
                stopping: false,
            });
            world.run(world.services.len() - 1);
        }
        testkit::within(Duration::from_mins(1), "every service is ready", async || {
            world
                .services
                .iter()
                .all(|s| head(&s.log).contains("ready"))
                .then_some(())
        })
        .await;
        world
    }

    /// Starts a service (again).
    pub(crate) fn run(&mut self, index: usize) {
        let (name, n) = (self.services[index].name, self.services[index].n);
        self.logs += 1;
        let log = self.path(&format!("logs/{name}-{n}-{}.log", self.logs));
        let mut command = Command::new(binary(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs([
                ("REDIS_URL", self.server.url()),
                ("ADMIN_LISTEN", format!("127.0.0.1:{}", free_port())),
                ("LOG_LEVEL", "info,prow=warn,gateway=warn,notifier=warn".to_owned()),
                ("GRACE_SECONDS", "30".to_owned()),
            ]);
        if let Some(duty) = &self.switch_off {
            command.env("FAILPOINTS", format!("{duty}=return"));
        }
        command.envs(self.own(name, n));
        let service = &mut self.services[index];
        service.process = Some(Process::start(&mut command, &log));
        service.log = log;
        service.back_at = None;
        service.paused = false;
        service.stopping = false;
    }

    fn own(&self, name: &str, n: usize) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        match name {
            "gateway" => vec![
                ("WEBHOOK_LISTEN", format!("127.0.0.1:{}", self.ports.gateway)),
                ("GITHUB_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
                ("WEBHOOK_SPOOL", path("spool")),
            ],
            "prow" => {
                let port = if n == 0 { self.ports.prow } else { free_port() };
                let mut own = vec![
                    ("PROW_LISTEN", format!("127.0.0.1:{port}")),
                    ("PROW_DATA_DIR", path(&format!("prow-{n}"))),
                    ("BUILD_LOG_DIR", path("build-logs")),
                    ("ADMIN_TOKEN", API_TOKEN.to_owned()),
                    ("PROW_RECONCILE_SECONDS", "5".to_owned()),
                ];
                own.extend(self.postgres.iter().map(|postgres| ("DATABASE_URL", postgres.url())));
                own
            }
            "forgery" => vec![
                ("DOCKER_HOST", self.engine.host()),
                ("WORK_DIR", self.work_dir(n).to_string_lossy().into_owned()),
                // These disks are small, and get full on purpose.
                ("FORGERY_MIN_FREE_MIB", "0".to_owned()),
                ("FORGERY_REHEARSAL_DIR", path("rehearsal")),
                ("FORGERY_SLOTS", SLOTS.to_string()),
                // The first one hears nothing, as if every message on the channel were lost.
                (
                    "REDIS_CANCEL_CHANNEL_NAME",
                    if n == 0 { "forge:nothing" } else { "forge:cancel" }.to_owned(),
                ),
                ("GIT_CREDENTIALS", self.git.credentials()),
                ("GIT_ALLOW_HTTP", "true".to_owned()),
                ("REGISTRY", self.registry.host()),
                ("REGISTRY_USERNAME", Registry::USER.to_owned()),
                ("REGISTRY_PASSWORD", Registry::PASSWORD.to_owned()),
            ],
            _ => {
                let mut own = self.channels.settings();
                own.extend([
                    ("WEBHOOK_URL", format!("{},{}", self.receiver.url, self.gone.url)),
                    ("WEBHOOK_HMAC_SECRET", SINK_SECRET.to_owned()),
                    ("WEBHOOK_SCHEDULE", "short".to_owned()),
                    ("WEBHOOK_CIRCUIT_SECONDS", "3".to_owned()),
                ]);
                own
            }
        }
    }

    /// Ends the database at once.
    pub(crate) fn kill_database(&mut self) {
        self.postgres.iter_mut().for_each(Postgres::kill);
    }

    pub(crate) fn restart_database(&mut self) {
        self.postgres.iter_mut().for_each(Postgres::restart);
    }

    /// Pauses every service of a name, or lets all of them go on.
    pub(crate) fn pause_all(&mut self, name: &str, paused: bool) {
        for index in 0..self.services.len() {
            if self.services[index].name == name {
                self.pause(index, paused);
            }
        }
    }

    /// Starts what has ended, notes what nobody asked for, and how much memory each takes.
    pub(crate) fn supervise(&mut self) {
        for index in 0..self.services.len() {
            let service = &mut self.services[index];
            if let Some(process) = &mut service.process {
                if let Some(status) = process.status() {
                    let asked = service.stopping && status.success();
                    if !asked && status.code() != Some(DEPENDENCY_MISSING) {
                        let tail: String = process.log().lines().rev().take(3).collect::<Vec<_>>().join(" / ");
                        self.crashes
                            .push(format!("{} ended by itself with {status}: {tail}", service.name));
                    }
                    service.process = None;
                    service.back_at = Some(Instant::now() + RESTART);
                } else {
                    let memory = self.memory.entry(service.name).or_default();
                    *memory = process.memory_kib().max(*memory);
                }
            }
            if service.back_at.is_some_and(|at| at <= Instant::now()) {
                self.run(index);
            }
        }
    }

    /// Ends a service at once; it comes back a moment later.
    pub(crate) fn kill(&mut self, index: usize) {
        let service = &mut self.services[index];
        service.process = None;
        service.back_at = Some(Instant::now() + RESTART);
    }

    /// Asks a service to stop; another one takes its place.
    pub(crate) fn replace(&mut self, index: usize) {
        let service = &mut self.services[index];
        if let Some(process) = &service.process {
            process.signal("TERM");
            service.stopping = true;
        }
    }

    pub(crate) fn pause(&mut self, index: usize, paused: bool) {
        let service = &mut self.services[index];
        if let Some(process) = &service.process {
            process.signal(if paused { "STOP" } else { "CONT" });
            service.paused = paused;
        }
    }

    /// Asks every service to stop; what did not stop well.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        for process in self.services.iter().filter_map(|service| service.process.as_ref()) {
            process.signal("TERM");
        }
        let mut wrong = Vec::new();
        for service in &mut self.services {
            let Some(process) = &mut service.process else { continue };
            match process.wait(Duration::from_secs(40)) {
                Some(status) if status.success() => {}
                status => wrong.push(format!("{} {} stopped with {status:?}", service.name, service.n)),
            }
        }
        wrong
    }

    /// How many deliveries wait in the gateway's spool.
    pub(crate) fn spooled(&self) -> usize {
        let files = std::fs::read_dir(self.path("spool")).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|kind| kind == "json"))
            .count()
    }

    /// Whether a duty is switched off.
    pub(crate) const fn is_crippled(&self) -> bool {
        self.switch_off.is_some()
    }

    pub(crate) fn work_dir(&self, n: usize) -> PathBuf {
        let path = self.path(&format!("work-{n}"));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for n in 0..FORGERIES {
            Command::new("umount")
                .args(["--quiet", "--lazy"])
                .arg(self.path(&format!("work-{n}")))
                .output()
                .ok();
        }
        if std::thread::panicking() || std::env::var_os("CHAOS_KEEP").is_some() {
            let kept = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap()).keep();
            eprintln!("kept {}", kept.display());
        }
    }
}

impl Service {
    /// The name by which a forgery joined the list of builds.
    pub(crate) fn worker(&self) -> Option<String> {
        let text = head(&self.log);
        let (_, after) = text.split_once("worker=\"")?;
        Some(after.split('"').next()?.to_owned())
    }
}

/// The beginning of a file.
fn head(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        file.take(1024 * 1024).read_to_end(&mut text).ok();
    }
    String::from_utf8_lossy(&text).into_owned()
}
