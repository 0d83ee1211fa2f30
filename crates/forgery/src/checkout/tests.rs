//! Checkouts from a real git server over smart HTTP, hostile ones included.

use super::*;
use contract::Scheme;
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};
use tempfile::TempDir;
use testkit::{Git as Server, GithubApi, Recorder, Repo, Ssh as SshServer};

const TOKEN: &str = "t0ken";
const MIB: u64 = 1024 * 1024;

struct Place {
    sources: Sources,
    folder: TempDir,
}

impl Place {
    fn new(server: &Server) -> Self {
        Self::with(server, |_| {})
    }

    fn with(server: &Server, change: impl FnOnce(&mut Git)) -> Self {
        testkit::crypto();
        let folder = tempfile::tempdir().unwrap();
        let mut git = Git {
            mirrors: folder.path().join("mirrors"),
            mirrors_budget: u64::MAX,
            credentials: Credentials::parse(&server.credentials()).unwrap(),
            schemes: vec![Scheme::Https, Scheme::Http],
            limits: Limits {
                bytes: 64 * MIB,
                files: 1_000,
                file: 8 * MIB,
                time: Duration::from_mins(1),
            },
            submodules: true,
            ssh: Ssh {
                command: "ssh -o BatchMode=yes".to_owned(),
                key: None,
                known: None,
            },
        };
        change(&mut git);
        let sources = Sources::open(&git, folder.path().join("a place's ssh")).unwrap();
        Self { sources, folder }
    }

    fn wanted(&self, repo: &Repo, commit: &str) -> Wanted {
        let worktree = self.folder.path().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&worktree).unwrap();
        Wanted {
            source: repo.url.parse().unwrap(),
            commit: commit.parse().unwrap(),
            hints: Vec::new(),
            worktree,
            trusted: true,
        }
    }

    /// Checks out; the folder.
    async fn get(&self, repo: &Repo, commit: &str) -> Result<PathBuf, BuildFailure> {
        let wanted = self.wanted(repo, commit);
        self.sources.check_out(wanted.clone()).await.map(|_| wanted.worktree)
    }

    /// What the mirrors have, in bytes and packs.
    fn packs(&self) -> Vec<u64> {
        let mut sizes = Vec::new();
        for mirror in fs::read_dir(self.folder.path().join("mirrors")).unwrap().flatten() {
            let packs = fs::read_dir(mirror.path().join("objects/pack")).into_iter().flatten();
            let packs = packs
                .flatten()
                .filter(|file| file.path().extension().is_some_and(|e| e == "pack"));
            sizes.extend(packs.map(|pack| pack.metadata().unwrap().len()));
        }
        sizes.sort_unstable();
        sizes
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    std::iter::repeat_with(|| uuid::Uuid::new_v4().simple().to_string())
        .take(bytes / 32)
        .collect()
}

#[tokio::test]
async fn what_was_fetched_is_not_fetched_again_and_a_new_commit_brings_only_what_is_new() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("big", &noise(400_000)), ("a", "1")]);
    let (place, first) = (Place::new(&server), repo.head());
    assert_eq!(read(&place.get(&repo, &first).await.unwrap(), "a"), "1");
    let second = repo.commit(&[("a", "2")], "second");
    assert_eq!(read(&place.get(&repo, &second).await.unwrap(), "a"), "2");
    let packs = place.packs();
    assert!(packs.len() == 2 && packs[0] < 2_000 && packs[1] > 100_000, "{packs:?}");
    assert_eq!(server.asked(), 4, "what it can do, and the pack; twice");
    drop(server); // From here on only the mirror can answer.
    for (commit, a) in [(&first, "1"), (&second, "2")] {
        let tree = place.get(&repo, commit).await.unwrap();
        assert_eq!((read(&tree, "a").as_str(), read(&tree, "big").len()), (a, 400_000));
    }
}

#[tokio::test]
async fn a_commit_is_found_by_every_name_and_from_wherever_it_hangs() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", "1")]);
    let first = repo.head();
    repo.git(&["tag", "-a", "v1", "-m", "first"]);
    repo.commit(&[("a", "2")], "second");
    let second = repo.head();
    repo.git(&["push", "-q", repo.bare(), "v1"]);
    // A pull request's commit is on no branch, and a force push takes one off it.
    repo.commit(&[("a", "pull")], "of a pull request");
    let pull = repo.head();
    repo.git(&["push", "-q", repo.bare(), "HEAD:refs/pull/7/head"]);
    repo.git(&["reset", "-q", "--hard", &first]);
    repo.commit(&[("a", "forced")], "forced");
    let tag = repo.git(&["rev-parse", "v1"]);
    for anonymous in [false, true] {
        if anonymous {
            // A server that gives only what its refs point to.
            repo.configure("uploadpack.allowAnySHA1InWant", "false");
            repo.configure("protocol.version", "0");
        }
        let place = Place::new(&server);
        for (commit, expected) in [
            (first.as_str(), "1"),
            (second.get(..9).unwrap(), "2"),
            (&second, "2"),
            (&pull, "pull"),
            (&tag, "1"),
            (tag.get(..7).unwrap(), "1"),
            (repo.head().get(..7).unwrap(), "forced"),
        ] {
            let mut wanted = place.wanted(&repo, commit);
            wanted.hints = vec!["refs/heads/gone".to_owned(), "refs/pull/7/head".to_owned()];
            let folder = wanted.worktree.clone();
            let done = place.sources.check_out(wanted).await;
            assert!(done.is_ok(), "{commit} for {expected}: {done:?}");
            assert_eq!(read(&folder, "a"), expected, "{commit}");
        }
        let unknown = place
            .get(&repo, "1234567890123456789012345678901234567890")
            .await
            .unwrap_err();
        assert_eq!(unknown.kind, Kind::CommitNotFound, "{unknown}");
    }
}

#[tokio::test]
async fn several_at_once_fetch_once_and_a_damaged_mirror_is_made_anew() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", &noise(100_000))]);
    let (place, head) = (Place::new(&server), repo.head());
    let all = futures_util::future::join_all((0..4).map(|_| place.get(&repo, &head))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(place.packs().len(), 1);
    for mirror in fs::read_dir(place.folder.path().join("mirrors")).unwrap().flatten() {
        for pack in fs::read_dir(mirror.path().join("objects/pack"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if pack.path().extension().is_some_and(|extension| extension == "pack") {
                fs::remove_file(pack.path()).unwrap();
            }
        }
    }
    place.get(&repo, &head).await.unwrap();
    assert_eq!(place.packs().len(), 1);
}

#[tokio::test]
async fn submodules_come_along_and_those_of_strangers_without_our_login() {
    let server = Server::start(TOKEN).await;
    let inner = server.repo("o/inner", &[("deep", "deep")]);
    let lib = server.repo("o/lib", &[("code", "code")]);
    lib.link("vendor/inner", "../inner.git", &inner.head());
    lib.commit(&[], "inner");
    let repo = server.repo("o/r", &[("a", "1")]);
    repo.link("libs/lib", &lib.url, &lib.head());
    repo.commit(&[], "lib");
    let (place, head) = (Place::new(&server), repo.head());
    let tree = place.get(&repo, &head).await.unwrap();
    assert_eq!(
        read(&tree, "libs/lib/code") + &read(&tree, "libs/lib/vendor/inner/deep"),
        "codedeep"
    );
    let mut wanted = Place::new(&server).wanted(&repo, &head);
    wanted.trusted = false;
    fs::create_dir_all(&wanted.worktree).unwrap();
    let refused = Place::new(&server).sources.check_out(wanted).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneAuth, "{refused}");

    repo.link("libs/evil", "ext::sh -c id", &lib.head());
    repo.commit(&[], "evil");
    let refused = place.get(&repo, &repo.head()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneRefused);
    assert!(refused.message.contains("libs/evil: its URL"), "{refused}");
}

#[tokio::test]
async fn a_repository_that_is_made_to_harm_does_none() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", "1")]);
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let blob = repo.object("blob", b"owned");
    let link = repo.object("blob", out.as_bytes());
    let entry = |mode: &str, name: &str, id: &str| {
        let mut bytes = format!("{mode} {name}\0").into_bytes();
        bytes.extend(seal::hex_to_bytes(id).unwrap());
        bytes
    };
    let folder = repo.object("tree", &entry("100644", "owned", &blob));
    let hook = repo.object("tree", &entry("100755", "post-checkout", &blob));
    for (what, tree) in [
        ("a path upwards", entry("40000", "..", &folder)),
        ("a path from the root", entry("100644", "/owned", &blob)),
        ("git's own folder", entry("40000", ".git", &hook)),
        ("git's own folder, spelt otherwise", entry("40000", ".GIT", &hook)),
        (
            "a link and a folder of one name",
            [entry("120000", "x", &link), entry("40000", "x", &folder)].concat(),
        ),
        (
            "a folder and a link of one name",
            [entry("40000", "x", &folder), entry("120000", "x", &link)].concat(),
        ),
        (
            "two files of one name",
            [entry("100644", "x", &blob), entry("100644", "x", &blob)].concat(),
        ),
    ] {
        let tree = repo.object("tree", &tree);
        let commit = repo.commit_of(&tree);
        let place = Place::new(&server);
        let done = place.get(&repo, &commit).await;
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        for entry in fs::read_dir(place.folder.path()).unwrap().flatten() {
            assert_ne!(entry.file_name(), "owned", "{what}");
        }
        if let Err(refused) = done {
            assert_eq!(refused.kind, Kind::CloneRefused, "{what}: {refused}");
        } else {
            assert!(what.starts_with("two files"), "{what} was written");
        }
    }
}

#[tokio::test]
async fn links_stay_links_and_filters_of_the_repository_are_not_run() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[(".gitattributes", "a filter=evil\n"), ("a", "1")]);
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("link")).unwrap();
    repo.commit(&[], "link");
    let place = Place::new(&server);
    let tree = place.get(&repo, &repo.head()).await.unwrap();
    assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(read(&tree, "a"), "1");
}

#[tokio::test]
async fn limits_are_kept() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", "1")]);
    let zeros = "\0".repeat(9 * 1024 * 1024);
    repo.commit(&[("zeros", &zeros)], "a bomb, as packs go");
    let large = Place::new(&server).get(&repo, &repo.head()).await.unwrap_err();
    assert_eq!(large.kind, Kind::CloneRefused, "{large}");
    assert!(
        large.message.contains("a file of more than 8 MiB (git.max_file_mib)"),
        "{large}"
    );

    repo.git(&["rm", "-q", "zeros"]);
    let many: Vec<(String, String)> = (0..1_001).map(|n| (format!("f/{n}"), n.to_string())).collect();
    let many: Vec<_> = many.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    repo.commit(&many, "many");
    let failed = Place::new(&server).get(&repo, &repo.head()).await.unwrap_err();
    assert!(
        failed.message.contains("more than 1000 files (git.max_files)"),
        "{failed}"
    );

    let repo = server.repo(
        "o/huge",
        &[("a", &noise(6 * 1024 * 1024)), ("b", &noise(6 * 1024 * 1024))],
    );
    let small = |git: &mut Git| git.limits.bytes = 2 * MIB;
    let failed = Place::with(&server, small).get(&repo, &repo.head()).await.unwrap_err();
    assert!(failed.message.contains("more than 2 MiB (git.max_mib)"), "{failed}");

    let quick = |git: &mut Git| git.limits.time = Duration::from_millis(1);
    let failed = Place::with(&server, quick).get(&repo, &repo.head()).await.unwrap_err();
    assert!(failed.message.contains("git.timeout_seconds"), "{failed}");
}

#[tokio::test]
async fn what_git_lfs_keeps_is_fetched_and_checked() {
    let server = Server::start(TOKEN).await;
    let content = noise(50_000);
    let digest = seal::digest(content.as_bytes());
    let pointer = |digest: &str| {
        format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {}\n",
            content.len()
        )
    };
    let attributes = (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    let repo = server.repo(
        "o/r",
        &[
            attributes,
            ("data/a.bin", &pointer(&digest)),
            ("b.bin", &pointer(&digest)),
        ],
    );
    repo.git(&["update-index", "--chmod=+x", "b.bin"]);
    repo.git(&["commit", "-qm", "a program"]);
    repo.git(&["push", "-q", repo.bare(), "HEAD:refs/heads/main"]);
    server.keep_lfs(&digest, content.as_bytes());
    let place = Place::new(&server);
    let tree = place.get(&repo, &repo.head()).await.unwrap();
    assert_eq!(read(&tree, "data/a.bin"), content);
    assert_eq!(read(&tree, "b.bin"), content);
    let modes = |name: &str| tree.join(name).metadata().unwrap().permissions().mode() & 0o111;
    assert_eq!((modes("data/a.bin"), modes("b.bin") != 0), (0, true));

    let other = seal::digest(b"other");
    repo.commit(&[("b.bin", &pointer(&other))], "missing");
    let missing = Place::new(&server).get(&repo, &repo.head()).await.unwrap_err();
    assert_eq!(missing.kind, Kind::CloneNotFound, "{missing}");
    server.keep_lfs(&other, content.as_bytes());
    let forged = Place::new(&server).get(&repo, &repo.head()).await.unwrap_err();
    assert!(
        forged.message.contains("b.bin: what came is not what its pointer says"),
        "{forged}"
    );
}

#[tokio::test]
async fn who_we_are_is_told_to_nobody_else() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", "1")]);
    let nobody = |git: &mut Git| git.credentials = Credentials::default();
    let refused = Place::with(&server, nobody).get(&repo, &repo.head()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneAuth, "{refused}");
    let place = Place::new(&server);
    place.get(&repo, &repo.head()).await.unwrap();
    let found = Command::new("grep")
        .args(["-r", TOKEN])
        .arg(place.folder.path())
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[tokio::test]
async fn whom_a_server_sends_us_to_does_not_hear_who_we_are() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", "1")]);
    let other = Recorder::start(|_, _| {
        let wanted = vec![("www-authenticate", "Basic realm=x".to_owned())];
        (401, wanted, serde_json::Value::Null)
    })
    .await;
    let there = other.url();
    let sending = Recorder::start(move |asked, _| {
        let to = format!("{}{}", there.trim_end_matches('/'), asked.path);
        (302, vec![("location", to)], serde_json::Value::Null)
    })
    .await;
    let place = Place::with(&server, |git| {
        let line = sending.url().replace("http://", "http://me:hush@");
        git.credentials = Credentials::parse(&line).unwrap();
    });
    let mut moved = server.repo("o/moved", &[("a", "1")]);
    moved.url = format!("{}o/moved.git", sending.url());
    for commit in [repo.head(), "abcdef1".to_owned()] {
        let refused = place.get(&moved, &commit).await.unwrap_err();
        assert_eq!(refused.kind, Kind::CloneAuth, "{refused}");
    }
    assert!(!other.asked().is_empty(), "it was asked");
    for asked in other.asked() {
        assert_eq!(asked.header("authorization"), "", "{asked:?}");
    }
}

#[tokio::test]
async fn what_a_stranger_names_as_submodule_is_fetched_as_anybody_could_even_if_we_have_it() {
    let server = Server::start(TOKEN).await;
    let (lib, repo) = (
        server.repo("o/private", &[("secret", "1")]),
        server.repo("o/r", &[("a", "1")]),
    );
    repo.link("lib", &lib.url, &lib.head());
    repo.commit(&[("a", "2")], "with a submodule");
    let place = Place::new(&server);
    let tree = place.get(&repo, &repo.head()).await.unwrap();
    assert_eq!(read(&tree, "lib/secret"), "1");
    let mut wanted = place.wanted(&repo, &repo.head());
    wanted.trusted = false;
    let refused = place.sources.check_out(wanted.clone()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneAuth, "{refused}");
    assert_eq!(read(&wanted.worktree, "lib/secret"), "");
}

#[tokio::test]
async fn a_source_is_fetched_over_ssh_by_a_key_from_servers_that_are_known() {
    let (server, ssh) = (Server::start(TOKEN).await, SshServer::start());
    let mut repo = server.repo("o/r", &[("a", "1")]);
    repo.url = ssh.url(&repo);
    let keyed = |git: &mut Git| {
        git.schemes = vec![Scheme::Ssh];
        (git.ssh.key, git.ssh.known) = (Some(ssh.key().parse().unwrap()), Some(ssh.known()));
    };
    let (place, first) = (Place::with(&server, keyed), repo.head());
    assert_eq!(read(&place.get(&repo, &first).await.unwrap(), "a"), "1");
    repo.commit(&[("a", "2")], "second");
    let short: String = repo.head().chars().take(9).collect();
    assert_eq!(read(&place.get(&repo, &short).await.unwrap(), "a"), "2");
    let key = place.folder.path().join("a place's ssh/key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let mut missing = server.repo("o/missing", &[("a", "1")]);
    missing.url = format!("{}-not", ssh.url(&missing));
    let refused = place.get(&missing, &first).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneNotFound, "{refused}");

    let lost = Place::with(&server, |git| {
        keyed(git);
        git.ssh.command = "no-such-ssh".to_owned();
    });
    let refused = lost.get(&repo, &first).await.unwrap_err();
    assert_eq!(refused.kind, Kind::NotConfigured, "{refused}");

    let loud = Place::with(&server, |git| {
        keyed(git);
        git.ssh.command = "sh -c 'yes >&2'".to_owned();
    });
    loud.get(&repo, &first).await.unwrap_err();
    let mirrors = fs::read_dir(loud.folder.path().join("mirrors")).unwrap();
    let said = mirrors.flatten().map(|entry| entry.path().join("ssh.said"));
    let said: u64 = said.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    assert!((1..=64 * 1024).contains(&said), "{said}");

    let other = SshServer::start();
    let stranger = Place::with(&server, |git| {
        keyed(git);
        git.ssh.key = Some(other.key().parse().unwrap());
    });
    let refused = stranger.get(&repo, &first).await.unwrap_err();
    assert_eq!(refused.kind, Kind::CloneAuth, "{refused}");
    let impostor = Place::with(&server, |git| {
        keyed(git);
        git.ssh.known = Some(other.known());
    });
    let refused = impostor.get(&repo, &first).await.unwrap_err();
    assert!(
        refused.kind == Kind::CloneAuth && refused.message.contains("git.ssh_known_hosts"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_github_app_gives_a_token_for_the_repository_alone() {
    let (server, github) = (Server::start(TOKEN).await, GithubApi::start("").await);
    let (ours, other) = (
        server.repo("o/ours", &[("a", "1")]),
        server.repo("o/other", &[("a", "1")]),
    );
    github.installs("o/ours", TOKEN);
    let pem = Command::new("openssl")
        .args(["genrsa", "2048"])
        .output()
        .unwrap()
        .stdout;
    let key = seal::SigningKey::from_pem(&String::from_utf8(pem).unwrap()).unwrap();
    let place = Place::with(&server, |git| {
        git.credentials = Credentials::default();
        git.credentials.set_app(App::of(
            &format!("http://{}", server.host()),
            github.url(),
            "7".to_owned(),
            Arc::new(key),
        ));
    });
    let folder = place.get(&ours, &ours.head()).await.unwrap();
    assert_eq!(read(&folder, "a"), "1");
    let wanted = serde_json::json!({"repositories": ["ours"], "permissions": {"contents": "read"}});
    assert_eq!(github.granted(), [wanted]);
    let claims = github.tokens()[0].split('.').nth(1).unwrap().to_owned();
    let padded = claims.replace('-', "+").replace('_', "/") + &"=".repeat((4 - claims.len() % 4) % 4);
    let claims: serde_json::Value = serde_json::from_slice(&seal::base64_to_bytes(&padded).unwrap()).unwrap();
    assert_eq!(claims["iss"], "7");
    assert!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 600,
        "GitHub takes ten minutes"
    );

    let refused = place.get(&other, &other.head()).await.unwrap_err();
    assert_eq!(
        refused.kind,
        Kind::CloneAuth,
        "where it is not installed we are nobody: {refused}"
    );
}

#[tokio::test]
async fn a_checkout_that_nobody_waits_for_ends() {
    let server = Server::start(TOKEN).await;
    let repo = server.repo("o/r", &[("a", &noise(4_000_000))]);
    let place = Place::new(&server);
    let wanted = place.wanted(&repo, &repo.head());
    let given_up = tokio::time::timeout(Duration::from_millis(30), place.sources.check_out(wanted)).await;
    assert!(given_up.is_err());
    // The writer's lock is free again, and what was half fetched does no harm.
    place.get(&repo, &repo.head()).await.unwrap();
}
