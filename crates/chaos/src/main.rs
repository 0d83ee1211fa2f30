//! Proof under fire: thousands of deliveries to real services, while everything that can fail does, and a
//! ledger of its own that says in the end what was lost, doubled or stuck. `scripts/chaos.sh` runs it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "development only: what fails must stop it, loudly"
)]

mod audit;
mod channels;
mod deployer;
mod director;
mod drills;
mod floods;
mod ledger;
mod options;
mod plan;
mod proxy;
mod receiver;
mod sender;
mod server;
mod world;

use deployer::Deployer;
use director::Director;
use drills::Drills;
use floods::Floods;
use ledger::Ledger;
use options::Options;
use plan::{Item, What};
use sender::{Real, RedisUrl, Sender};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use world::World;

// Only so that the programs of the workspace are built with what the harness needs.
use {chassis as _, forgery as _};

/// Faults are spread over the sending, so far apart on the average.
const APART: Duration = Duration::from_secs(4);
/// When nothing ends for so long although everything is well, it never will. It is longer than prow waits for
/// the beginning of a build that Redis has lost.
const STUCK: Duration = Duration::from_mins(5);
const CRIPPLED: Duration = Duration::from_secs(45);
/// What can be repaired after Redis has forgotten things is repaired within this time.
const REPAIRED: Duration = Duration::from_secs(20);
/// Nothing may be anywhere for so long: prow's database may hold what is on its way for a second, unseen.
const QUIET: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(64);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let good = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            good = run(&options) => good,
            // What was started ends with the future.
            _ = tokio::signal::ctrl_c() => false,
            _ = terminate.recv() => false,
        }
    });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(options: &Options) -> bool {
    testkit::crypto();
    println!(
        "chaos --n {} --seed {} --faults {} --redis {:?} --database {:?}",
        options.n, options.seed, options.faults, options.redis, options.database
    );
    let mut world = World::start(options).await;
    let ledger = Arc::new(Ledger::default());
    let faults = plan::faults(options);
    let sender = Arc::new(sender(options, &world, &ledger, faults.len()));
    let client = sender.client.clone();
    register_pipelines(&client, &world, &sender.real).await;
    let mut director = Director::new(faults, options.seed, &ledger);

    // Where nobody takes over from dead workers, deployments prove nothing.
    let deployer = match options.switch_off {
        None => Some(Arc::new(Deployer::start(&client, &world, options.seed).await)),
        Some(_) => None,
    };
    let enough = CancellationToken::new();
    let deploying = deployer
        .clone()
        .map(|deployer| tokio::spawn(deployer.run(enough.clone())));

    let began = Instant::now();
    let say = |what: &str| println!("{:>7.1} s  {what}", began.elapsed().as_secs_f64());
    let sending = tokio::spawn(Arc::clone(&sender).send_all(plan::items(options)));
    while !(sending.is_finished() && director.is_done()) {
        let sent = ledger.books().sent;
        director.look(&mut world, sent, options.n);
        tokio::time::sleep(director::LOOK).await;
    }
    sending.await.unwrap();
    enough.cancel();
    if let Some(deploying) = deploying {
        while !deploying.is_finished() {
            director.look(&mut world, options.n, options.n);
            tokio::time::sleep(director::LOOK).await;
        }
        deploying.await.unwrap();
    }
    say("everything is sent and well again; waiting until it is quiet");
    wait_until_quiet(&mut world, &mut director, &ledger, options.n).await;
    let (mut drills, mut checks) = (Drills::default(), Vec::new());
    if options.switch_off.is_none() {
        say("quiet; drills");
        drills.run(&client, &mut world, options.seed).await;
        wait_until_quiet(&mut world, &mut director, &ledger, options.n).await;
        let floods = Floods::run(&client, &mut world, &ledger, options.seed).await;
        wait_until_quiet(&mut world, &mut director, &ledger, options.n).await;
        checks.extend(audit::of_bounds(options, &drills, &world));
        checks.extend(audit::of_floods(&floods));
    }
    if let Some(deployer) = &deployer {
        deployer.deploy_last().await;
        wait_until_quiet(&mut world, &mut director, &ledger, options.n).await;
    }
    say("looking at every build");
    let builds = audit::builds(&client, &world).await;
    let (of_builds, mut apart) = audit::of_builds(&ledger, &builds, &world);
    checks.extend(of_builds);
    checks.extend(world.channels.audit(&builds));
    checks.extend(audit::of_parts(options, &client, &ledger, &builds, &world, &mut apart).await);
    if let Some(deployer) = &deployer {
        checks.extend(deployer.audit(&world).await);
    }
    checks.extend(audit::of_redis(&ledger, &world));
    say("stopping");
    let stopped = world.stop();
    checks.extend(audit::of_machine(&world, stopped));

    report(&world, &drills, &ledger, &builds);
    verdict(&checks, &apart, options.seed)
}

/// Says what was found; whether all of it is good.
fn verdict(checks: &[audit::Check], apart: &audit::Apart, seed: u64) -> bool {
    checks.iter().for_each(audit::Check::print);
    println!(
        "and apart from that: {} forgotten by Redis, as it may with the power or in a failover; {} images replaced by \
         a worker that had slept between asking and pushing",
        apart.forgotten, apart.overtaken
    );
    let good = checks.iter().all(audit::Check::is_good);
    let verdict = if good {
        "nothing lost, nothing doubled, nothing stuck"
    } else {
        "VIOLATED"
    };
    println!("{verdict} (seed {seed})");
    good
}

fn sender(options: &Options, world: &World, ledger: &Arc<Ledger>, faults: usize) -> Sender {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    Sender {
        seed: options.seed,
        ports: world.ports,
        ledger: Arc::clone(ledger),
        heard: Arc::clone(&world.receiver.heard),
        real: repositories(world, &plan::items(options), options.seed),
        redis: match &world.server {
            server::Server::One { redis, .. } => RedisUrl::Port(redis.port()),
            server::Server::Set(set) => RedisUrl::Sentinel(set.sentinel_port()),
        },
        client: client.build().unwrap(),
        pause: APART * u32::try_from(faults).unwrap() / u32::try_from(options.n).unwrap(),
        uids: tokio::sync::Mutex::default(),
    }
}

/// What every second of them is built by: a container with a volume and a network, and images.
const PIPELINE: &str = "image: busybox\nsteps:\n- {name: make, script: 'echo begun; sleep 1; date > made'}\n\
    - {name: image, type: build}\n- {name: push, type: push}\n";

/// Tells prow which repositories are built by their pipelines, before anything fails.
async fn register_pipelines(client: &reqwest::Client, world: &World, real: &HashMap<usize, Real>) {
    let post = async |path: &str, body: Value| -> Value {
        let url = format!("http://127.0.0.1:{}/v1/cicd/{path}", world.ports.prow);
        let request = client.post(url).bearer_auth(world::API_TOKEN);
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let mut numbers: Vec<_> = real.keys().collect();
    numbers.sort();
    for real in numbers.into_iter().step_by(2).filter_map(|n| real.get(n)) {
        let project = post("projects", json!({"name": real.name})).await;
        let service = json!({"project_id": project["id"], "name": "default", "recipe": {"type": "pipeline"}});
        let service = post("services", service).await;
        assert!(service["id"].is_i64(), "{service}");
    }
}

/// The repositories that are built for real.
fn repositories(world: &World, items: &[Item], seed: u64) -> HashMap<usize, Real> {
    let real = items.iter().filter(|item| item.what == What::Real);
    let repository = |item: &Item| {
        let unique = format!("{seed}-{}", item.n);
        let dockerfile = format!("FROM busybox\nENV UNIQUE={unique}\nRUN echo begun && sleep 1\nCOPY . /app\n");
        let files = [("Dockerfile", dockerfile.as_str()), (".forge.yml", PIPELINE)];
        let repo = world.git.repo(&format!("chaos/real{}", item.n), &files);
        let real = Real {
            name: repo.name.clone(),
            url: repo.url.clone(),
            commit: repo.head(),
        };
        (item.n, real)
    };
    real.map(repository).collect()
}

async fn wait_until_quiet(world: &mut World, director: &mut Director, ledger: &Ledger, n: usize) {
    let (mut ended, mut since) = (0, Instant::now());
    // Where a duty is switched off, what is stuck stays so; two leases are enough to be sure.
    let patience = if world.is_crippled() { CRIPPLED } else { STUCK };
    let mut quiet_since = None;
    loop {
        director.look(world, n, n);
        let now = world.receiver.ended();
        if now != ended {
            (ended, since) = (now, Instant::now());
        }
        let (builds, maybe_lost) = ledger.expected();
        let all = ended + maybe_lost >= builds;
        let repaired = ended >= builds || since.elapsed() > REPAIRED;
        let quiet = all && repaired && audit::left(world).is_empty();
        quiet_since = quiet.then(|| quiet_since.unwrap_or_else(Instant::now));
        if quiet_since.is_some_and(|since: Instant| since.elapsed() > QUIET) || since.elapsed() > patience {
            return;
        }
        tokio::time::sleep(director::LOOK * if all { 5 } else { 1 }).await;
    }
}

fn report(world: &World, drills: &Drills, ledger: &Ledger, builds: &HashMap<String, Vec<Value>>) {
    let books = ledger.books();
    let mut by_status = BTreeMap::<&str, usize>::new();
    let mut again = 0;
    for build in builds.values().flatten() {
        *by_status
            .entry(build["status"].as_str().unwrap_or_default())
            .or_default() += 1;
        again += usize::from(build["attempts"].as_i64() > Some(1));
    }
    let worst = |times: &[Duration]| times.iter().max().map_or(0.0, Duration::as_secs_f64);
    let memory: Vec<_> = world
        .memory
        .iter()
        .map(|(name, kib)| format!("{name} {} MiB", kib / 1024))
        .collect();
    println!("\n{} sent, {} times again", books.sent, books.resent);
    println!("builds {by_status:?}, {again} of them in more than one attempt");
    println!(
        "dead workers noticed after {:.1} s; cancelled builds gone after {:.2} s, {:.2} s when the message was lost",
        worst(&drills.noticed),
        worst(&drills.heard),
        worst(&drills.deaf)
    );
    println!("most memory: {}\n", memory.join(", "));
}
