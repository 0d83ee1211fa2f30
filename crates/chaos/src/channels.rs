//! Receivers that are no webhooks, which now and then fail: Slack, GitHub, a dashboard, an agent, a mail server. What each
//! has understood in the end must be what has become of every build.

use crate::audit::{Check, is_drill};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use testkit::{Asked, Mail, Recorder};

/// All of them.
#[derive(Debug)]
pub(crate) struct Channels {
    understood: Arc<Mutex<Understood>>,
    server: Recorder,
    mail: Mail,
}

/// What they have understood.
#[derive(Debug, Default)]
struct Understood {
    /// Slack's messages by their names.
    messages: HashMap<String, String>,
    /// The dashboard's words by build.
    words: HashMap<String, String>,
    /// The last status of each commit. GitHub has those only that are built for real: it is where their repositories are.
    statuses: HashMap<String, String>,
    /// Builds that the agent is to recover.
    recovered: HashSet<String>,
}

/// What notifier calls them.
pub(crate) const NAMES: [&str; 5] = ["slack-bot", "github-status", "dashboard", "agent", "email"];
/// One request in so many fails, in one way or another.
const FAILING: u32 = 20;

// === impl Channels ===

impl Channels {
    pub(crate) async fn start() -> Self {
        let understood = Arc::new(Mutex::new(Understood::default()));
        let (theirs, asked_so_far) = (Arc::clone(&understood), AtomicU32::new(0));
        let server = Recorder::start(move |asked, _| {
            let n = asked_so_far.fetch_add(1, Ordering::Relaxed);
            match (n % FAILING, n % (3 * FAILING)) {
                (0, 0) => (429, vec![("retry-after", "1".to_owned())], json!({})),
                (0, _) => (503, Vec::new(), json!({})),
                _ => answer(asked, n, &mut theirs.lock().unwrap()),
            }
        })
        .await;
        Self {
            understood,
            server,
            mail: Mail::start(None).await,
        }
    }

    /// What notifier has to know of them.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let (user, password) = Mail::USER;
        let at = |path: &str| format!("{}{path}", self.server.url());
        vec![
            ("SLACK_TOKEN", "xoxb-1".to_owned()),
            ("SLACK_CHANNEL", "#builds".to_owned()),
            ("SLACK_API_URL", at("slack")),
            ("GITHUB_STATUS_TOKEN", "ghp_1".to_owned()),
            ("GITHUB_API_URL", at("github/")),
            ("API_URL", at("dashboard")),
            ("API_KEY", "k-1".to_owned()),
            ("AGENTAPI_BASE_URL", at("agent")),
            ("SMTP_URL", format!("smtp://{user}:{password}@{}", self.mail.host())),
            ("EMAIL_TO", "ann@example.org".to_owned()),
            ("CHANNELS_PER_SECOND", "1000".to_owned()),
        ]
    }

    /// What they have understood of builds that have ended.
    pub(crate) fn audit(&self, builds: &HashMap<String, Vec<Value>>) -> Vec<Check> {
        let understood = self.understood.lock().unwrap();
        let mails: HashSet<String> = self.mail.taken().iter().filter_map(thread).collect();
        let mut slack = Check::new("Slack shows what has become of each build", 0);
        let mut github = Check::new("GitHub shows what has become of each commit of its", 0);
        let mut dashboard = Check::new("the dashboard shows what has become of each build", 0);
        let mut agent = Check::new("the agent is asked to recover what has failed", 0);
        let mut mail = Check::new("who wants mail has one of each build that has ended", 0);
        let messages: HashSet<&String> = understood.messages.values().collect();
        for build in builds.values().flatten().filter(|build| !is_drill(build)) {
            let text = |name: &str| build[name].as_str().unwrap_or_default();
            let (uid, status) = (text("uid"), text("status"));
            let commit = text("commit").get(..7).unwrap_or_default();
            let (word, shown, state) = match status {
                "success" => ("succeeded", "BUILDED", "success"),
                "failed" => ("failed", "FAILED", "failure"),
                "timed_out" => ("timed out", "FAILED", "failure"),
                "lost" => ("lost", "FAILED", "error"),
                "cancelled" => ("cancelled", "CANCELLED", "error"),
                "superseded" => ("superseded", "CANCELLED", "error"),
                _ => continue,
            };
            slack.look(|| {
                let title = format!("Build {word}: {} {commit}", text("project"));
                let found = messages.iter().any(|message| message.starts_with(&title));
                (!found).then_some(title)
            });
            if text("project").starts_with("chaos/real") {
                let shown = understood.statuses.get(text("commit")).map(String::as_str);
                github.look(|| (shown != Some(state)).then(|| format!("{uid} is {status}, it shows {shown:?}")));
            }
            dashboard.look(|| {
                let word = understood.words.get(uid);
                (word.map(String::as_str) != Some(shown)).then(|| format!("{uid} is {status}, it shows {word:?}"))
            });
            mail.look(|| (!mails.contains(&seal::digest(uid.as_bytes()))).then(|| uid.to_owned()));
            if ["failed", "timed_out", "lost"].contains(&status) {
                agent.look(|| (!understood.recovered.contains(uid)).then(|| uid.to_owned()));
            }
        }
        vec![slack, github, dashboard, agent, mail]
    }
}

fn answer(asked: &Asked, n: u32, understood: &mut Understood) -> testkit::Reply {
    let fine = |body: Value| (200, Vec::new(), body);
    let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
    let path: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    match path.as_slice() {
        ["slack", "chat.postMessage"] => {
            let name = format!("1700000000.{n}");
            understood.messages.insert(name.clone(), text("text"));
            fine(json!({"ok": true, "channel": "C1", "ts": name}))
        }
        ["slack", "chat.update"] => match understood.messages.get_mut(&text("ts")) {
            Some(message) => {
                *message = text("text");
                fine(json!({"ok": true, "channel": "C1", "ts": text("ts")}))
            }
            None => fine(json!({"ok": false, "error": "message_not_found"})),
        },
        ["github", "repos", _, _, "statuses", commit] => {
            understood.statuses.insert((*commit).to_owned(), text("state"));
            (201, Vec::new(), json!({}))
        }
        ["dashboard", "webhooks", "deployments", uid, "status"] => {
            understood.words.insert((*uid).to_owned(), text("status"));
            fine(json!({}))
        }
        ["agent", "recovery", "failure"] => {
            let uid = asked.body["check_data"]["id"].as_str().unwrap_or_default();
            understood.recovered.insert(uid.to_owned());
            fine(json!({"recovery_id": "r"}))
        }
        ["dashboard" | "agent", ..] => fine(json!({})),
        _ => (404, Vec::new(), json!({})),
    }
}

/// The thing that a mail is about, as it names its conversation.
fn thread(mail: &Value) -> Option<String> {
    let text = mail["text"].as_str()?.split_once("References: <")?.1;
    Some(text.split_once(".forge@")?.0.to_owned())
}
