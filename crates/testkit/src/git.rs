//! A git server over smart HTTP: `git http-backend` behind a login.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path as UrlPath, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
    routing::{any, get},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};

/// A server of bare repositories.
#[derive(Debug)]
pub struct Git {
    root: PathBuf,
    address: String,
    token: String,
    task: JoinHandle<()>,
    lfs: Lfs,
    asked: Arc<AtomicUsize>,
    /// Removed with the server, if it made it.
    folder: Option<TempDir>,
}

/// A repository on the server, and a clone of it to commit in.
#[derive(Debug)]
pub struct Repo {
    /// `org/repo`.
    pub name: String,
    /// Where to clone it from.
    pub url: String,
    bare: PathBuf,
    work: TempDir,
}

struct Backend {
    root: PathBuf,
    token: String,
    lfs: Lfs,
    asked: Arc<AtomicUsize>,
}

/// What Git LFS keeps, by digest.
type Lfs = Arc<Mutex<HashMap<String, Vec<u8>>>>;

impl Git {
    /// Serves a new folder on a free port; any user with this token may read and write.
    pub async fn start(token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let mut git = Self::serve(&root, "127.0.0.1:0", token).await;
        git.folder = Some(folder);
        git
    }

    /// Serves a folder at an address.
    pub async fn serve(root: &Path, address: &str, token: &str) -> Self {
        std::fs::create_dir_all(root).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (lfs, asked) = (Lfs::default(), Arc::<AtomicUsize>::default());
        let backend = Arc::new(Backend {
            root: root.to_owned(),
            token: token.to_owned(),
            lfs: Arc::clone(&lfs),
            asked: Arc::clone(&asked),
        });
        let routes = Router::new()
            .route("/lfs/{digest}", get(object))
            .fallback(any(answer))
            .layer(DefaultBodyLimit::disable())
            .with_state(backend);
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            root: root.to_owned(),
            address,
            token: token.to_owned(),
            task,
            lfs,
            asked,
            folder: None,
        }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.address
    }

    /// `user:token` for this server.
    pub fn login(&self) -> String {
        format!("ci:{}", self.token)
    }

    /// A line of a credentials file for this server.
    pub fn credentials(&self) -> String {
        format!("http://{}@{}", self.login(), self.address)
    }

    /// Makes a repository with one commit of these files on `main`.
    pub fn repo(&self, name: &str, files: &[(&str, &str)]) -> Repo {
        let bare = self.root.join(format!("{name}.git"));
        std::fs::create_dir_all(&bare).unwrap();
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        git(&bare, &["config", "http.receivepack", "true"]);
        let work = tempfile::tempdir().unwrap();
        git(work.path(), &["init", "--quiet", "--initial-branch=main"]);
        let url = format!("http://{}/{name}.git", self.address);
        let repo = Repo {
            name: name.to_owned(),
            url,
            bare,
            work,
        };
        repo.commit(files, "first commit");
        repo
    }

    /// How many requests there were since this was last asked.
    pub fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    /// Has Git LFS give this content for a digest, whether it is its own or not.
    pub fn keep_lfs(&self, digest: &str, content: &[u8]) {
        self.lfs.lock().unwrap().insert(digest.to_owned(), content.to_vec());
    }

    /// Waits for ever.
    pub async fn forever(&mut self) {
        (&mut self.task).await.ok();
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        self.task.abort();
        drop(self.folder.take());
    }
}

impl Repo {
    /// Commits files to `main` and pushes them; the commit's name.
    pub fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        let work = self.work.path();
        for (name, text) in files {
            let path = work.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(work, &["add", "--all"]);
        git(work, &["commit", "--quiet", "--allow-empty", "-m", message]);
        git(
            work,
            &[
                "push",
                "--quiet",
                "--force",
                &self.bare.to_string_lossy(),
                "HEAD:refs/heads/main",
            ],
        );
        self.head()
    }

    /// The newest commit of `main`.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Gives it a history of so many commits over so many files, and pushes it.
    pub fn grow(&self, commits: usize, files: usize) {
        let mut script = String::new();
        for n in 0..commits {
            let text = format!("{n} {}\n", "some text of a file ".repeat(20 + n % 50));
            writeln!(
                script,
                "commit refs/heads/main\ncommitter Test <test@example.org> {} +0000\ndata 6\nchange\n{}M 100644 inline files/{}\ndata {}\n{text}",
                1_700_000_000 + n,
                if n == 0 { "from refs/heads/main^0\n" } else { "" },
                n % files,
                text.len(),
            ).unwrap();
        }
        let work = self.work.path();
        let mut child = Command::new("git")
            .current_dir(work)
            .args(["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        self.git(&["reset", "-q", "--hard", "main"]);
        self.git(&["push", "-q", "--force", self.bare(), "HEAD:refs/heads/main"]);
        git(&self.bare, &["gc", "-q"]);
    }

    /// Runs git in the clone.
    pub fn git(&self, args: &[&str]) -> String {
        git(self.work.path(), args)
    }

    /// The clone.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The repository on the server, as git takes it.
    pub fn bare(&self) -> &str {
        self.bare.to_str().unwrap()
    }

    /// Sets something of the repository on the server.
    pub fn configure(&self, name: &str, value: &str) {
        git(&self.bare, &["config", name, value]);
    }

    /// Makes a submodule of a commit; `commit` takes it in.
    pub fn link(&self, path: &str, url: &str, commit: &str) {
        let file = self.work.path().join(".gitmodules");
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(
            &file,
            format!("{known}[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"),
        )
        .unwrap();
        self.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},{path}"),
        ]);
        std::fs::create_dir_all(self.work.path().join(path)).unwrap();
    }

    /// Writes an object of any content into the repository on the server; its name.
    pub fn object(&self, kind: &str, content: &[u8]) -> String {
        let file = self.work.path().join(".git/object");
        std::fs::write(&file, content).unwrap();
        let args = ["hash-object", "-t", kind, "-w", "--literally", "--no-filters"];
        git(&self.bare, &[&args[..], &[file.to_str().unwrap()]].concat())
    }

    /// Makes a commit of a tree there, and a branch to it.
    pub fn commit_of(&self, tree: &str) -> String {
        let commit = git(&self.bare, &["commit-tree", tree, "-m", "made by hand"]);
        git(&self.bare, &["update-ref", "refs/heads/made", &commit]);
        commit
    }
}

/// Runs git as somebody who is nobody in particular; what it printed.
fn git(folder: &Path, args: &[&str]) -> String {
    let identity = [
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.org",
        "-c",
        "commit.gpgsign=false",
    ];
    let output = Command::new("git")
        .current_dir(folder)
        .args(identity)
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn answer(
    State(backend): State<Arc<Backend>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    backend.asked.fetch_add(1, Ordering::Relaxed);
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if !backend.token.is_empty() && !logged_in(&text("authorization"), &backend.token) {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED);
        return refused
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
            .body(Body::empty())
            .unwrap();
    }
    if uri.path().ends_with("/info/lfs/objects/batch") {
        return batch(&backend, &text("host"), &body);
    }
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &backend.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_USER", "ci")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    tokio::spawn(async move { input.write_all(&body).await.ok() });
    response(&child.wait_with_output().await.unwrap().stdout)
}

/// The batch API of Git LFS, as far as it gives.
fn batch(backend: &Backend, host: &str, body: &[u8]) -> Response {
    let wanted: Value = serde_json::from_slice(body).unwrap();
    let known = backend.lfs.lock().unwrap();
    let object = |object: &Value| {
        let digest = object["oid"].as_str().unwrap();
        let href = format!("http://{host}/lfs/{digest}");
        match known.get(digest) {
            Some(_) => json!({"oid": digest, "size": object["size"], "actions": {"download": {"href": href}}}),
            None => json!({"oid": digest, "error": {"code": 404, "message": "Object does not exist"}}),
        }
    };
    let objects: Vec<_> = wanted["objects"].as_array().unwrap().iter().map(object).collect();
    let answer = json!({"transfer": "basic", "objects": objects});
    let kind = "application/vnd.git-lfs+json";
    Response::builder()
        .header("content-type", kind)
        .body(Body::from(answer.to_string()))
        .unwrap()
}

async fn object(State(backend): State<Arc<Backend>>, UrlPath(digest): UrlPath<String>) -> Response {
    let content = backend.lfs.lock().unwrap().get(&digest).cloned();
    Response::new(Body::from(content.unwrap_or_default()))
}

/// What a CGI program printed (RFC 3875), as a response.
fn response(output: &[u8]) -> Response {
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("a CGI header");
    let (head, body) = output.split_at(end);
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(head).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = if name.eq_ignore_ascii_case("status") {
            response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap())
        } else {
            response.header(name, value)
        };
    }
    let body = body.get(4..).unwrap_or_default().to_vec();
    response.body(Body::from(body)).unwrap()
}

/// Basic authentication (RFC 7617) with any user and this token.
fn logged_in(authorization: &str, token: &str) -> bool {
    let encoded = authorization.strip_prefix("Basic ").unwrap_or_default();
    let decoded = seal::base64_to_bytes(encoded).unwrap_or_default();
    String::from_utf8_lossy(&decoded)
        .split_once(':')
        .is_some_and(|(_, given)| given == token)
}
