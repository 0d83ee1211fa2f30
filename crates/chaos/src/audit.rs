//! What must be true in the end, looked at from outside.

use crate::{
    channels,
    drills::Drills,
    floods::{COPIES, FLOOD, Floods},
    ledger::{Books, CancelAnswer, Entry, Ledger},
    options::Options,
    plan::What,
    receiver::{Heard, LAST},
    sender::page,
    world::{FORGERIES, World},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

/// One line of the verdict.
#[derive(Debug)]
pub(crate) struct Check {
    what: &'static str,
    looked_at: usize,
    wrong: Vec<String>,
}

/// The most memory a service may ever take, in MiB, however many deliveries there are.
const MEMORY: &[(&str, u64)] = &[("gateway", 64), ("prow", 128), ("forgery", 96), ("notifier", 64)];
/// A dead worker must be noticed within this time.
const NOTICED: Duration = Duration::from_secs(30);
/// Nothing of a cancelled build may be alive after this time; steps get no grace to end by themselves.
const CANCELLED: Duration = Duration::from_secs(4);
/// Every list, by what the keys beside it begin with.
const LISTS: &[&str] = &[
    "{forge:webhooks}",
    "{forge:builds}",
    "{forge:builds}:events",
    "{forge:deployments}",
    "{forge:deployments}:events",
    "{forge:notifications}",
];

impl Check {
    pub(crate) fn new(what: &'static str, looked_at: usize) -> Self {
        Self {
            what,
            looked_at,
            wrong: Vec::new(),
        }
    }

    pub(crate) fn expect(&mut self, good: bool, wrong: impl FnOnce() -> String) {
        if !good {
            self.wrong.push(wrong());
        }
    }

    /// Looks at one more; what is wrong with it, if something is.
    pub(crate) fn look(&mut self, wrong: impl FnOnce() -> Option<String>) {
        self.looked_at += 1;
        self.wrong.extend(wrong());
    }

    pub(crate) fn print(&self) {
        let verdict = if self.wrong.is_empty() { "ok" } else { "WRONG" };
        println!("{:<66} {:>7}  {verdict}", self.what, self.looked_at);
        for wrong in self.wrong.iter().take(8) {
            println!("    {wrong}");
        }
        if self.wrong.len() > 8 {
            println!("    … and {} more", self.wrong.len() - 8);
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Every build that prow knows, by commit.
pub(crate) async fn builds(client: &reqwest::Client, world: &World) -> HashMap<String, Vec<Value>> {
    let mut all: HashMap<String, Vec<Value>> = HashMap::new();
    let mut before = None;
    loop {
        let page = page(client, world.ports.prow, before).await.expect("prow answers");
        let Some(last) = page.last() else { return all };
        before = last["id"].as_i64();
        for build in page {
            all.entry(text(&build["commit"])).or_default().push(build);
        }
    }
}

/// What is not as it should be, and cannot be better: told apart from what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    /// Deliveries or ends that Redis lost with the power or in a failover.
    pub(crate) forgotten: usize,
    /// Images that a worker replaced which had slept between asking whether the build was its own and pushing. A
    /// registry has no fencing tokens.
    pub(crate) overtaken: usize,
}

impl Apart {
    /// Whether the image that was reported may have been replaced although nobody did anything wrong; then it counts.
    fn may_be_replaced(&mut self, books: &Books, build: &Value) -> bool {
        let [from, to] = ["started_at", "finished_at"].map(|name| text(&build[name]));
        if books.may_be_forgotten(&to, &to) {
            self.forgotten += 1; // That it had ended, so it was built again.
            return true;
        }
        let overtaken = build["attempts"].as_i64() > Some(1) && books.was_paused(&from, &to);
        self.overtaken += usize::from(overtaken);
        overtaken
    }
}

/// What can be checked while everything runs.
pub(crate) fn of_builds(ledger: &Ledger, builds: &HashMap<String, Vec<Value>>, world: &World) -> (Vec<Check>, Apart) {
    let books = ledger.books();
    let mut apart = Apart::default();
    let mut once = Check::new("every accepted delivery has exactly one outcome", books.entries.len());
    let mut right = Check::new("every build ended once, and as it had to", 0);
    let mut effect = Check::new("what a build left behind is what was reported", 0);
    let mut told = Check::new("every build's begin and end was told at least once, under one id", 0);
    let heard = world.receiver.heard.lock().unwrap();
    for (commit, entry) in &books.entries {
        let found = builds.get(commit).map_or(&[][..], Vec::as_slice);
        let Some(natural) = entry.item.ends_as() else {
            once.expect(found.is_empty(), || format!("{commit}: a deletion became a build"));
            continue;
        };
        let [build] = found else {
            if found.is_empty() && books.may_be_lost(entry.accepted_at) {
                apart.forgotten += 1;
            } else {
                once.wrong.push(format!(
                    "{commit} ({:?}) became {} builds",
                    entry.item.what,
                    found.len()
                ));
            }
            continue;
        };
        let status = text(&build["status"]);
        right.looked_at += 1;
        let forgotten = status == natural && cancel_is_forgotten(&books, entry, build);
        right.expect(forgotten || is_right(entry, natural, build), || {
            format!("{commit} ({entry:?}) is {status}: {}", build["reason"])
        });
        if status == "success" && entry.item.what != What::Real {
            effect.looked_at += 1;
            let left = std::fs::read_to_string(world.path("rehearsal/images").join(text(&build["uid"])));
            let same = left.as_ref().is_ok_and(|left| *left == text(&build["digest"]));
            if !same && left.is_ok() && apart.may_be_replaced(&books, build) {
                continue;
            }
            effect.expect(same, || {
                format!("{commit}: reported {}, left {left:?}", build["digest"])
            });
        }
        told.looked_at += 1;
        let types = heard.accepted.get(&text(&build["uid"]));
        let last: Vec<_> = types
            .into_iter()
            .flatten()
            .filter(|(kind, _)| LAST.contains(&kind.as_str()))
            .collect();
        let one_id = |ids: &Vec<String>| ids.iter().all(|id| Some(id) == ids.first());
        let queued = types.and_then(|types| types.get("build.queued")).is_some_and(one_id);
        let good = matches!(last.as_slice(), [(kind, ids)] if one_id(ids) && kind.ends_with(word(&status))) && queued;
        told.expect(good, || format!("{commit} is {status}, told was {types:?}"));
    }
    let strangers = builds.iter().filter(|(commit, _)| !books.entries.contains_key(*commit));
    let unknown = strangers
        .flat_map(|(_, found)| found)
        .filter(|build| !is_drill(build))
        .count();
    once.expect(unknown == 0, || format!("{unknown} builds that nobody asked for"));
    let [answers, signed] = of_answers(&books, builds, &heard);
    let newest = of_shared_branches(&books, builds);
    (vec![answers, once, right, effect, told, newest, signed], apart)
}

/// The newest build of a branch takes the place of others, and nothing takes its own.
fn of_shared_branches(books: &Books, builds: &HashMap<String, Vec<Value>>) -> Check {
    let mut newest: HashMap<String, &Value> = HashMap::new();
    let shared = books.entries.iter().filter(|(_, entry)| entry.item.is_shared());
    for build in shared.filter_map(|(commit, _)| builds.get(commit)?.first()) {
        let known = newest.entry(text(&build["project"])).or_insert(build);
        if known["id"].as_i64() < build["id"].as_i64() {
            *known = build;
        }
    }
    let mut check = Check::new("the newest build of a branch is superseded by none", newest.len());
    for (project, build) in newest {
        check.expect(build["status"] != "superseded", || format!("{project}: {build}"));
    }
    check
}

/// What gateway and prow answered, and what the receiver was sent.
fn of_answers(books: &Books, builds: &HashMap<String, Vec<Value>>, heard: &Heard) -> [Check; 2] {
    let mut answers = Check::new("every request was answered as it deserved", books.sent);
    answers.wrong.clone_from(&books.wrong_answers);
    answers.expect(books.unanswered_cancels == 0, || {
        format!("{} cancels were never answered", books.unanswered_cancels)
    });
    let signalled = |entry: &&Entry| entry.cancel == Some(CancelAnswer::Signalled);
    let (told_to_stop, stopped) = (
        books.entries.values().filter(signalled).count(),
        by_status(builds, "cancelled"),
    );
    answers.expect(told_to_stop < 5 || stopped > 0, || {
        format!("{told_to_stop} were told to stop, none did")
    });
    let mut signed = Check::new(
        "every notification was signed",
        usize::try_from(heard.requests).unwrap(),
    );
    signed.expect(heard.unsigned == 0, || format!("{} were not", heard.unsigned));
    [answers, signed]
}

/// Images that were really pushed, and logs.
pub(crate) async fn of_parts(
    options: &Options,
    client: &reqwest::Client,
    ledger: &Ledger,
    builds: &HashMap<String, Vec<Value>>,
    world: &World,
    apart: &mut Apart,
) -> Vec<Check> {
    let entries: Vec<(String, Entry)> = ledger
        .books()
        .entries
        .iter()
        .map(|(c, e)| (c.clone(), e.clone()))
        .collect();
    let mut pushed = Check::new("what the registry has is what was reported", 0);
    let mut logs = Check::new("logs are whole, and say nothing twice", 0);
    for (commit, entry) in entries {
        let Some(build) = builds.get(&commit).and_then(|found| found.first()) else {
            continue;
        };
        if build["status"] != "success" {
            continue;
        }
        if entry.item.what == What::Real {
            pushed.looked_at += 1;
            let digest = world.registry.digest(&text(&build["project"]), &commit).await;
            let same = digest.as_deref() == build["digest"].as_str();
            if !same && digest.is_some() && apart.may_be_replaced(&ledger.books(), build) {
                continue;
            }
            pushed.expect(same, || {
                format!(
                    "{commit}: reported {}, the registry has {digest:?}: {build}",
                    build["digest"]
                )
            });
        } else if logs.looked_at < 200 {
            logs.looked_at += 1;
            let url = format!(
                "http://127.0.0.1:{}/v1/cicd/builds/{}/logs",
                world.ports.prow, build["id"]
            );
            let log = client
                .get(url)
                .bearer_auth(crate::world::API_TOKEN)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let last = format!(" rehearsing attempt {}\n", build["attempts"]);
            let whole = log
                .split_once(&last)
                .is_some_and(|(_, after)| after.matches(" built rehearsal/").count() == 1 && !after.contains(&last));
            // That it began may be forgotten, too; its log knows.
            let begun = log.split(' ').next().unwrap_or_default();
            let [from, to] = ["started_at", "finished_at"].map(|name| text(&build[name]));
            if !whole && ledger.books().may_be_forgotten(begun.min(from.as_str()), &to) {
                continue;
            }
            logs.expect(whole, || format!("{commit}, attempt {}:\n{log}", build["attempts"]));
        }
    }
    for check in [&mut pushed, &mut logs] {
        let n = check.looked_at;
        check.expect(n > 0 || options.n < 100, || "there was nothing to look at".to_owned());
    }
    vec![pushed, logs]
}

/// What is left in Redis while the services run and have nothing to do.
pub(crate) fn of_redis(ledger: &Ledger, world: &World) -> Vec<Check> {
    let mut nothing = Check::new("nothing is left in any list, slot or pause", 0);
    for key in left(world) {
        nothing.wrong.push(format!("{key}{}", told_of(world, &key)));
    }
    let mut dead = Check::new("dead letters are exactly what cannot be done", 0);
    let books = ledger.books();
    let breaking = books.entries.values().filter(|e| e.item.what == What::Breaking).count();
    let known = |list: &str| world.server.cli(&["LLEN", list]).parse::<usize>().unwrap_or_default();
    let letters = world.server.cli(&["--raw", "LRANGE", "{forge:builds}:dead", "0", "-1"]);
    let reasons: Vec<&str> = letters.lines().filter(|line| line.contains("\"reason\":")).collect();
    let because = |why: &str| reasons.iter().filter(|line| line.contains(why)).count();
    let (junk, broken, crashed) = (
        because("not JSON"),
        because("broke too often"),
        because("died too often"),
    );
    dead.looked_at = reasons.len();
    let lossy = !books.losses.is_empty();
    dead.expect(junk == books.junk || lossy && junk <= books.junk, || {
        format!("{junk} of {} pieces of junk", books.junk)
    });
    dead.expect(broken <= breaking, || {
        format!("{broken} letters about {breaking} builds that break their workers")
    });
    let others = reasons.len() - junk - broken - crashed;
    let failures =
        because("rehearse") + because("engine") + because("another worker") + because("clone") + because("push");
    dead.expect(others <= failures, || {
        format!("{others} letters that nobody expected: {reasons:?}")
    });
    // What is left of a foreign build when Redis has lost it together with its beginning.
    let headless = known("{forge:builds}:events:dead");
    dead.looked_at += headless;
    dead.expect(headless == 0 || lossy, || {
        format!("{headless} events without a beginning")
    });
    for list in ["{forge:webhooks}:dead", "{forge:notifications}:dead"] {
        let n = known(list);
        dead.expect(n == 0, || format!("{n} in {list}"));
    }
    // The receiver that answers 410 is turned off when it does so for the first time.
    let wanted = world.receiver.heard.lock().unwrap().accepted.len();
    let off = world
        .server
        .cli(&["HGET", &delivery_key("to", &endpoint(&world.gone.url)), "off"]);
    dead.looked_at += wanted;
    dead.expect(wanted == 0 || off.contains("410"), || {
        format!("the endpoint that is gone is not off, but {off:?}")
    });
    let buried = world
        .server
        .cli(&["--raw", "ZRANGE", "{forge:notifications}:deliveries:dead", "0", "-1"]);
    let own = endpoint(&world.receiver.url);
    let ours = |id: &&str| {
        id.rsplit_once('/')
            .is_some_and(|(_, to)| to == own || channels::NAMES.contains(&to))
    };
    for id in buried.lines().filter(ours) {
        dead.wrong.push(format!("delivery {id}"));
    }
    vec![nothing, dead]
}

/// Where messages of any list may wait.
const LANES: [&str; 8] = [
    "",
    ":high",
    ":low",
    ":delayed",
    ":deployment",
    ":validation",
    ":workflow",
    ":recovery",
];

/// Keys that a quiet system does not have. Those of one list are asked for in one step, so that nothing moves from one to
/// another unseen; those of different lists are not, so that a Cluster answers as well.
pub(crate) fn left(world: &World) -> Vec<String> {
    let foreign = [
        "forge:webhooks",
        "forge:builds",
        "forge:deployments",
        "forge:notifications",
    ]
    .map(|list| vec![list.to_owned()]);
    let lists = LISTS.iter().map(|list| {
        let own = LANES.map(|side| format!("{list}{side}"));
        own.into_iter().chain(slots(world, list)).collect()
    });
    let own = endpoint(&world.receiver.url);
    let endpoints = channels::NAMES.into_iter().chain([own.as_str()]);
    let deliveries = endpoints.flat_map(|name| ["due", "out"].map(|kind| delivery_key(kind, name)));
    let deliveries = deliveries.chain(["{forge:notifications}:deliveries:held".to_owned()]);
    let exists = |keys: &[String]| {
        let keys = keys.iter().map(String::as_str);
        world
            .server
            .cli(&["EXISTS"].into_iter().chain(keys).collect::<Vec<_>>())
            != "0"
    };
    let groups = foreign.into_iter().chain(lists).chain([deliveries.collect::<Vec<_>>()]);
    let left = groups.filter(|keys| exists(keys)).flat_map(|keys| {
        let some = keys
            .iter()
            .filter(|key| exists(std::slice::from_ref(*key)))
            .cloned()
            .collect::<Vec<_>>();
        if some.is_empty() { keys } else { some } // What was there a moment ago has moved on.
    });
    left.chain((world.spooled() > 0).then(|| "the spool".to_owned()))
        .collect()
}

/// What can be said of deliveries that are left.
fn told_of(world: &World, key: &str) -> String {
    let waiting = world.server.cli(&["--raw", "ZRANGE", key, "0", "2", "WITHSCORES"]);
    let fields = |id: &str| {
        let record = format!("{{forge:notifications}}:deliveries:d:{id}");
        world.server.cli(&["HGETALL", &record]).replace('\n', " ")
    };
    let lines = waiting.lines().map(|line| format!("\n      {line} {}", fields(line)));
    let now = world.server.cli(&["TIME"]).replace('\n', ".");
    format!(" at {now}{}", lines.collect::<String>())
}

/// A key that notifier has for an endpoint.
fn delivery_key(kind: &str, endpoint: &str) -> String {
    format!("{{forge:notifications}}:deliveries:{kind}:{endpoint}")
}

/// What notifier calls the endpoint at a URL.
fn endpoint(url: &str) -> String {
    seal::digest(url.as_bytes()).chars().take(12).collect()
}

/// The slots of every worker that is registered.
fn slots(world: &World, list: &str) -> Vec<String> {
    let workers = world
        .server
        .cli(&["--raw", "ZRANGE", &format!("{list}:workers"), "0", "-1"]);
    let of_one = |worker: &str| -> Vec<String> {
        let count = worker.rsplit('.').next().and_then(|count| count.parse().ok());
        let count: usize = count.unwrap_or_default();
        (0..count).map(|n| format!("{list}:proc:{worker}:{n}")).collect()
    };
    workers.lines().flat_map(of_one).collect()
}

/// Slots that hold something, whoever's they are. A worker's last report may come when prow stops, too; the next prow
/// finds it.
fn orphans(world: &World) -> Vec<String> {
    let keys = world.server.cli(&["--scan", "--pattern", "*:proc:*"]);
    let matter = keys.lines().filter(|key| !key.starts_with("{forge:workers}"));
    matter.map(|key| format!("slot {key}")).collect()
}

fn by_status(builds: &HashMap<String, Vec<Value>>, status: &str) -> usize {
    builds
        .values()
        .flatten()
        .filter(|build| build["status"] == status)
        .count()
}

/// What is left once every service has stopped.
pub(crate) fn of_machine(world: &World, stopped: Vec<String>) -> Vec<Check> {
    let mut left = Check::new(
        "no container, image, volume, network, folder or registration is left",
        0,
    );
    left.expect(world.server.cli(&["PING"]) == "PONG", || {
        "Redis does not say what it has".to_owned()
    });
    left.expect(!world.engine.lines(&["version"]).is_empty(), || {
        "the engine does not say what it has".to_owned()
    });
    left.wrong.extend(orphans(world));
    for (what, args) in [
        // Those of deployments have a service.
        (
            "container",
            &[
                "ps",
                "--all",
                "--format",
                r#"{{if not (.Label "forge.service")}}{{.ID}}{{end}}"#,
            ][..],
        ),
        ("volume", &["volume", "ls", "--quiet"]),
        (
            "network",
            &["network", "ls", "--quiet", "--filter", "label=forge.build"],
        ),
        ("image", &["images", "--filter", "reference=forge-build/*", "--quiet"]),
    ] {
        for id in world.engine.lines(args).into_iter().filter(|id| !id.is_empty()) {
            left.wrong.push(format!("{what} {id}"));
        }
    }
    let names = |path: &Path| {
        let found = std::fs::read_dir(path).into_iter().flatten().flatten();
        found
            .map(|entry| entry.path().display().to_string())
            .collect::<Vec<_>>()
    };
    for n in 0..FORGERIES {
        let work = names(&world.work_dir(n)).into_iter();
        left.wrong.extend(work.filter(|path| !path.ends_with("/mirrors")));
        // These are kept; of what a killed one was removing, the next one frees the machine after an hour.
        let kept = |path: &String| {
            [".git", ".used", ".written", ".gone"]
                .iter()
                .any(|kind| path.ends_with(kind))
        };
        let mirrors = names(&world.work_dir(n).join("mirrors")).into_iter();
        left.wrong.extend(mirrors.filter(|path| !kept(path)));
    }
    let alive = |name: &String| {
        let pid = name.rsplit('+').next().unwrap_or_default();
        Path::new("/proc").join(pid).exists()
    };
    left.wrong
        .extend(names(&world.path("rehearsal/running")).into_iter().filter(alive));
    for list in LISTS {
        let workers = world
            .server
            .cli(&["--raw", "ZRANGE", &format!("{list}:workers"), "0", "-1"]);
        left.wrong
            .extend(workers.lines().map(|worker| format!("worker {worker} of {list}")));
    }
    let mut clean = Check::new(
        "every service stopped well when asked, and never by itself",
        world.services.len(),
    );
    clean.wrong = stopped;
    clean.wrong.extend(world.crashes.iter().cloned());
    vec![left, clean]
}

/// Bounds on time and memory.
pub(crate) fn of_bounds(options: &Options, drills: &Drills, world: &World) -> Vec<Check> {
    let within = |what, times: &[Duration], most: Duration| {
        let mut check = Check::new(what, times.len());
        check.expect(!times.is_empty(), || "it was never tried".to_owned());
        for time in times.iter().filter(|time| **time > most) {
            check.wrong.push(format!("{:.1} s", time.as_secs_f64()));
        }
        check
    };
    let noticed = within("a dead worker is noticed within 30 s", &drills.noticed, NOTICED);
    let heard = within("a cancelled build is gone within 4 s", &drills.heard, CANCELLED);
    let deaf = within(
        "the same when the message on the channel was lost",
        &drills.deaf,
        CANCELLED,
    );
    let mut memory = Check::new("memory does not grow with the number of deliveries", options.n);
    for (name, most) in MEMORY {
        let mib = world.memory.get(name).copied().unwrap_or_default() / 1024;
        memory.expect(mib <= *most, || format!("{name} took {mib} MiB, the bound is {most}"));
    }
    vec![noticed, heard, deaf, memory]
}

/// What floods of webhooks did to others, and what came of them.
pub(crate) fn of_floods(floods: &Floods) -> Vec<Check> {
    let mut lanes = Check::new("a flood in one lane keeps no other lane waiting", FLOOD);
    lanes.expect(floods.overtaken > FLOOD / 2, || {
        format!("a push was planned when {} of the flood were left", floods.overtaken)
    });
    let mut same = Check::new("the same delivery many times is one build", COPIES);
    same.expect(
        floods.answers == BTreeMap::from([(200, COPIES - 1), (202, 1)]) && floods.builds == 1,
        || format!("answers {:?}, {} builds", floods.answers, floods.builds),
    );
    vec![lanes, same]
}

/// Whether Redis may have forgotten a cancel, which then never was; or that the build had ended before it.
fn cancel_is_forgotten(books: &Books, entry: &Entry, build: &Value) -> bool {
    let Some(cancelled_at) = entry.cancelled_at else {
        return false;
    };
    let ended_at = text(&build["finished_at"]);
    books.may_be_lost(cancelled_at) || books.may_be_forgotten(&ended_at, &ended_at)
}

fn is_right(entry: &Entry, natural: &str, build: &Value) -> bool {
    let status = build["status"].as_str().unwrap_or_default();
    match entry.cancel {
        None | Some(CancelAnswer::TooLate) => {}
        Some(CancelAnswer::Ended) => return status == "cancelled",
        Some(CancelAnswer::Signalled | CancelAnswer::Unknown) => {
            if status == "cancelled" {
                return true; // Or it was faster, and ended by itself.
            }
        }
    }
    if entry.item.is_shared() && status == "superseded" {
        return build["superseded_by"].as_i64() > build["id"].as_i64();
    }
    // Three failures of the infrastructure, or three dead workers, are an end too, and these runs make both.
    let attempts = build["attempts"].as_i64().unwrap_or_default();
    let unlucky =
        attempts >= 3 && (status == "lost" || (status == "failed" && build["failure"]["kind"] != "build_failed"));
    status == natural || unlucky || (entry.cancel == Some(CancelAnswer::TooLate) && status == "cancelled")
}

/// Whether a build is of those that only the drills are about.
pub(crate) fn is_drill(build: &Value) -> bool {
    text(&build["project"]).starts_with("chaos/drill")
}

fn word(status: &str) -> &str {
    if status == "success" { "succeeded" } else { status }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
