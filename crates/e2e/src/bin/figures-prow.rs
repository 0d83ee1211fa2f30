//! prow with 100,000 builds, 1,000,000 webhooks and a log of a million lines: printed, not asserted. The baseline of
//! each list is the same list of a database with a hundred rows, measured in the same run.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for the shell; what fails must stop it"
)]

use bus::{Appended, Bus, Settings};
use contract::{LogChunk, LogLine, Stage, Stream};
use e2e::{API_TOKEN, PATIENCE};
use std::{process::Command, time::Duration};
use tempfile::TempDir;
use testkit::{Postgres, Process, Redis, binary, free_port, within};
use tokio::time::Instant;

/// A prow of its own.
struct Lab {
    redis: Redis,
    url: String,
    client: reqwest::Client,
    _prow: Process,
    folder: TempDir,
}

const BUILDS: u64 = 100_000;
const EVENTS: u64 = 1_000_000;
const SMALL: u64 = 100;
const REQUESTS: u64 = 300;
const LINES: u64 = 1_000_000;
const LINES_A_CHUNK: u64 = 200;

#[tokio::main]
async fn main() {
    testkit::crypto();
    for name in ["SQLite", "PostgreSQL"] {
        let postgres = (name == "PostgreSQL").then(Postgres::start);
        let lab = Lab::start(postgres.as_ref()).await;
        lab.fill(postgres.as_ref(), SMALL, SMALL);
        let small = lab.lists().await;
        lab.fill(postgres.as_ref(), BUILDS, EVENTS);
        let large = lab.lists().await;
        for ((what, few), (_, many)) in small.into_iter().zip(large) {
            let (mut few, mut many) = (few, many);
            let (p50, p99) = (at(&mut many, 0.5), at(&mut many, 0.99));
            let ratio = p50 / at(&mut few, 0.5);
            println!(
                "{name:<10} {what:<28} {:>6.1} ms p50, {:>6.1} ms p99   (aim 50; {ratio:.1} × that of {SMALL} rows)",
                p50 * 1e3,
                p99 * 1e3
            );
        }
        if let Some(postgres) = &postgres {
            lab.log(postgres).await;
        }
    }
}

impl Lab {
    async fn start(postgres: Option<&Postgres>) -> Self {
        let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new(binary("prow"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs([
            ("REDIS_URL", redis.url()),
            ("ADMIN_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("PROW_LISTEN", format!("127.0.0.1:{port}")),
            ("PROW_DATA_DIR", folder.path().to_string_lossy().into_owned()),
            (
                "BUILD_LOG_DIR",
                folder.path().join("logs").to_string_lossy().into_owned(),
            ),
            ("ADMIN_TOKEN", API_TOKEN.to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ]);
        command.envs(postgres.map(|postgres| ("DATABASE_URL", postgres.url())));
        let lab = Self {
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _prow: Process::start(&mut command, &folder.path().join("log")),
            redis,
            folder,
        };
        within(PATIENCE, "prow answers", async || {
            let answer = lab.client.get(format!("{}/health", lab.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        lab
    }

    /// Fills the tables up to so many rows.
    fn fill(&self, postgres: Option<&Postgres>, builds: u64, events: u64) {
        let message = r#"{"id":"b-NNN","project_name":"o/rPPP","type":"dockerfile","source":"https://h/o/r.git","commit_hash":"0123456789012345678901234567890123456789","branch":"main","strategy":"local","push_artifact":true,"metadata":{"correlation_id":"c-NNN"}}"#;
        let message = format!("replace(replace('{message}', 'NNN', cast(n AS TEXT)), 'PPP', cast(n % 50 AS TEXT))");
        let numbers = |to: u64| match postgres {
            Some(_) => format!("generate_series(1, {to}) AS t(n)"),
            None => format!(
                "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {to}) SELECT n FROM t)"
            ),
        };
        let sql = [
            format!("INSERT INTO projects (name, created_at) SELECT 'o/r' || n, 1 FROM {} WHERE true ON CONFLICT DO NOTHING", numbers(50)),
            "INSERT INTO services (project_id, name, created_at) SELECT id, 'default', 1 FROM projects WHERE true ON CONFLICT DO NOTHING".to_owned(),
            format!(
                "INSERT INTO builds (uid, project_id, service_id, message, status, image_tag, log_done, created_at, started_at, finished_at, updated_at)
                 SELECT 'b-' || n, 1 + n % 50, 1 + n % 50, {message}, 'success', 'i', 1, n, n, 9999999999999, n FROM {} WHERE true ON CONFLICT DO NOTHING",
                numbers(builds)
            ),
            format!(
                "INSERT INTO webhooks (delivery, provider, event, repository, received_at, result)
                 SELECT 'd-' || n, 'github', 'push', 'o/r' || n % 50, 9000000000000 + n, 'build' FROM {} WHERE true ON CONFLICT DO NOTHING",
                numbers(events)
            ),
        ];
        if let Some(postgres) = postgres {
            for sql in sql {
                postgres.query(&sql);
            }
            postgres.query("ANALYZE");
            return;
        }
        // There is no program of SQLite on every machine, but Python has it.
        let program = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=60)\nfor q in sys.argv[2:]: c.execute(q)\nc.commit()";
        let mut command = Command::new("python3");
        command
            .args(["-c", program])
            .arg(self.folder.path().join("prow.db"))
            .args(sql);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    async fn lists(&self) -> Vec<(&'static str, Vec<Duration>)> {
        let mut all = Vec::new();
        for (what, path) in [
            ("newest builds", "/v1/cicd/builds?limit=50"),
            ("builds of a service", "/v1/cicd/services/7/builds?limit=50"),
            ("builds in the middle", "/v1/cicd/builds?limit=50&cursor=50000"),
            ("a build", "/v1/cicd/builds/b-77"),
            ("newest webhooks", "/v1/events?limit=50"),
            ("webhooks of a repository", "/v1/events?limit=50&repository=o/r7"),
        ] {
            let mut times = Vec::new();
            for _ in 0..REQUESTS {
                let begun = Instant::now();
                self.get(path).await;
                times.push(begun.elapsed());
            }
            all.push((what, times));
        }
        all
    }

    async fn get(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(API_TOKEN);
        request
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// A build that writes a million lines.
    async fn log(&self, postgres: &Postgres) {
        // Heard of just now, so that the reconciler leaves it alone.
        let begun = "UPDATE builds SET log_done = 0, finished_at = NULL, status = 'building', attempt = 1,
                 started_at = extract(epoch FROM now()) * 1000, updated_at = 9999999999999 WHERE uid = 'b-1'";
        postgres.query(begun);
        let bus = Bus::start(Settings::new(self.redis.url())).unwrap();
        let writer = bus.log_writer(&"b-1".parse().unwrap());
        let begun = Instant::now();
        for n in 0..LINES / LINES_A_CHUNK {
            while writer.append(&chunk(n)).await.unwrap() == Appended::Full {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        postgres.query("UPDATE builds SET finished_at = 9999999999999, status = 'success' WHERE uid = 'b-1'");
        within(Duration::from_mins(5), "all of it is stored", async || {
            (postgres.query("SELECT log_done FROM builds WHERE uid = 'b-1'") == "1").then_some(())
        })
        .await;
        let seconds = begun.elapsed().as_secs_f64();
        let [bytes, packed] = [
            "SELECT log_bytes FROM builds WHERE uid = 'b-1'",
            "SELECT count(*) FROM log_segments",
        ]
        .map(|sql| postgres.query(sql).parse::<u64>().unwrap());
        println!(
            "log: {LINES} lines, {} MB, written and stored in {seconds:.1} s, {packed} segments",
            bytes / 1_000_000
        );
        let path = "/v1/cicd/builds/b-1/logs";
        for (what, path, aim) in [
            ("its last 1,000 lines", format!("{path}?tail=1000"), 1.0),
            ("all of it", path.to_owned(), 1.0),
            ("grep for one line of them", format!("{path}?grep=line+777777$"), 2.0),
        ] {
            let begun = Instant::now();
            let text = self.get(&path).await;
            println!(
                "log: {what:<28} {:>6.2} s, {} lines   (aim {aim})",
                begun.elapsed().as_secs_f64(),
                text.lines().count()
            );
        }
    }
}

fn chunk(n: u64) -> LogChunk {
    let line = |i| LogLine {
        t: 1_700_000_000_000,
        stage: Stage::Building,
        stream: Stream::Stdout,
        step: None,
        text: format!(
            "some words of a program that talks a lot, as they do: line {}",
            n * LINES_A_CHUNK + i
        ),
    };
    let lines: Vec<LogLine> = (0..LINES_A_CHUNK).map(line).collect();
    serde_json::from_value(serde_json::json!({"attempt": 1, "n": n + 1, "lines": lines})).unwrap()
}

/// A quantile, in seconds.
fn at(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of few"
    )]
    let index = ((times.len() as f64 * quantile) as usize).min(times.len() - 1);
    times[index].as_secs_f64()
}
