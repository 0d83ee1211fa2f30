use super::*;
use crate::{
    service::Concurrency,
    store::{Build, Page},
};
use contract::{BuildQueueMessage, BuildType, Message as _, Provider, SourceEvent, Strategy, WebhookDelivery};
use std::io::Read as _;

/// A database with something of everything that refers to something else.
async fn filled(database: &Database) -> Store {
    let store = Store::open(database).await.unwrap();
    for (n, id) in ["first", "second"].into_iter().enumerate() {
        let (project, url) = ("o/r".parse().unwrap(), "https://h/o/r.git".parse().unwrap());
        let commit = format!("abcdef{n}").parse().unwrap();
        let message = BuildQueueMessage::new(
            id.parse().unwrap(),
            project,
            BuildType::Dockerfile,
            url,
            commit,
            Strategy::Local,
        );
        let payload = message.to_json().unwrap();
        let mut build = Build::queued(message, payload);
        build.about = Some("refs/heads/x".to_owned());
        let at = bus::clock::now();
        let (delivery, body) = (format!("delivery-{id}").parse().unwrap(), "ünï \"code\"\n".to_owned());
        let webhook = WebhookDelivery::new(delivery, Provider::Github, "push", at, SourceEvent::Other, body);
        let builds = vec![(build, Concurrency::Supersede, Vec::new())];
        store.record(&webhook, Some("{}"), "build", None, builds).await.unwrap();
    }
    store
}

fn lines(file: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(BufReader::new(File::open(file).unwrap()))
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut lines = GzEncoder::new(Vec::new(), Compression::fast());
    lines.write_all(text.as_bytes()).unwrap();
    lines.finish().unwrap()
}

#[tokio::test]
async fn what_was_written_is_the_same_in_a_database_of_either_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let sqlite = Database::Folder(folder.path().join("a"));
    let _running = filled(&sqlite).await;
    assert_eq!(
        write(&sqlite, &path("1")).await.unwrap(),
        format!("wrote 13 rows to {}", path("1"))
    );

    let server = testkit::Postgres::start();
    let postgres = Database::Postgres(server.url().parse().unwrap());
    let other = Database::Folder(folder.path().join("b"));
    restore(&postgres, &path("1")).await.unwrap();
    write(&postgres, &path("2")).await.unwrap();
    restore(&other, &path("2")).await.unwrap();
    write(&other, &path("3")).await.unwrap();
    let first = lines(Path::new(&path("1")));
    assert!(first.contains("superseded_by\":2"), "{first}");
    assert_eq!(
        (lines(Path::new(&path("2"))), lines(Path::new(&path("3")))),
        (first.clone(), first)
    );

    // It goes on where it was: the next of everything has the next number.
    for database in [&postgres, &other] {
        let store = Store::open(database).await.unwrap();
        assert_eq!(store.add_project("o/next", None).await.unwrap().id, 2);
        assert_eq!(
            store
                .builds(&Page {
                    limit: 9,
                    ..Page::default()
                })
                .await
                .unwrap()
                .len(),
            2
        );
        let error = restore(database, &path("1")).await.unwrap_err();
        assert!(matches!(error, Error::Store(StoreError::NotEmpty)), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_whole_fills_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let database = Database::Folder(path("a"));
    drop(filled(&database).await);
    let whole = path("whole").to_string_lossy().into_owned();
    write(&database, &whole).await.unwrap();
    let text = lines(Path::new(&whole));
    let without = |line: usize| -> Vec<u8> {
        let lines: Vec<&str> = text
            .lines()
            .enumerate()
            .filter(|(n, _)| *n != line)
            .map(|(_, line)| line)
            .collect();
        packed(&lines.join("\n"))
    };
    let last = text.lines().count() - 1;
    let mut cut = fs::read(&whole).unwrap();
    cut.truncate(cut.len() / 2);
    let into = Database::Folder(path("b"));
    for (what, bytes, expected) in [
        ("nothing", Vec::new(), "end of file"),
        ("no gzip", b"hello, this is no gzip".to_vec(), "invalid gzip header"),
        ("cut", cut, ""),
        ("without its head", without(0), "it does not begin like one"),
        ("without a row", without(last - 1), "it has 12 of 13 rows"),
        ("without its end", without(last), "it has no end"),
        (
            "of tomorrow",
            packed(&text.replacen("\"version\":", "\"version\":9", 1)),
            "a newer prow wrote it",
        ),
        (
            "of another shape",
            packed(&text.replacen("\"format\":1", "\"format\":2", 1)),
            "it has the format 2",
        ),
        (
            "with a strange table",
            packed(&text.replacen("\"table\":\"audit\"", "\"table\":\"x;--\"", 1).replacen(
                "\"table\":\"builds\"",
                "\"table\":\"x;--\"",
                1,
            )),
            "a row of x;--",
        ),
    ] {
        let file = path("broken");
        fs::write(&file, bytes).unwrap();
        let error = restore(&into, &file.to_string_lossy()).await.unwrap_err();
        let text = chassis::chain(&error);
        assert!(text.contains(expected), "{what}: {text}");
    }
    // After all of these it is still empty.
    restore(&into, &whole).await.unwrap();
    let nowhere = Database::Folder(path("nowhere"));
    assert!(matches!(
        write(&nowhere, &whole).await,
        Err(Error::Store(StoreError::Missing))
    ));
    assert!(!path("nowhere").exists());
}

#[tokio::test]
async fn a_database_that_is_past_a_backup_cannot_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let used = Database::Folder(folder.path().join("used"));
    drop(Store::open(&used).await.unwrap());
    write(&used, &path("new")).await.unwrap();
    let text = lines(Path::new(&path("new")));
    let (head, rest) = text.split_once('\n').unwrap();
    let (before, _) = head.split_once("\"version\":").unwrap();
    fs::write(path("old"), packed(&format!("{before}\"version\":12}}}}\n{rest}"))).unwrap();
    let error = restore(&used, &path("old")).await.unwrap_err();
    assert!(
        chassis::chain(&error).contains("take one that was never used"),
        "{error}"
    );
    restore(&used, &path("new")).await.unwrap();
}
