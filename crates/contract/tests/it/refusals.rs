//! What must not be accepted is refused with the field and the reason.

use crate::util::files;
use contract::BuildQueueMessage;
use proptest::prelude::*;

#[test]
fn every_invalid_sample_is_refused_with_its_field_and_reason() {
    let refused: Vec<_> = files("examples/build-queue-message/invalid")
        .into_iter()
        .map(|(name, bytes)| format!("{name}: {}", BuildQueueMessage::parse(&bytes).expect_err(&name)))
        .collect();
    assert_eq!(
        refused,
        [
            "bad-created-at.json: created_at: expected a date and time as in RFC 3339, such as 2024-01-01T00:00:00Z",
            "commit-option.json: commit_hash: expected 4 to 64 hexadecimal digits",
            "ext-source.json: source: expected an https, http, ssh or file URL, or user@host:path, without credentials, spaces or options",
            "missing-source.json: source: is required",
            "not-json.txt: $: not JSON: expected ident at line 1 column 2",
            "option-injection-source.json: source: expected an https, http, ssh or file URL, or user@host:path, without credentials, spaces or options",
            "path-in-project.json: project_name: expected org/repo: 2 to 8 parts of A-Z a-z 0-9 . _ -, none starting with . or -, at most 255 bytes",
            "secret-path.json: options: expected a letter or _, then letters, digits, _ and -, at most 64",
            "unknown-strategy.json: strategy: expected one of local, operator, prow",
            "unknown-type.json: type: expected one of dockerfile, compose, pipeline",
        ]
    );
}

#[test]
fn all_wrong_fields_are_named_at_once_with_their_paths() {
    let error = BuildQueueMessage::parse(
        br#"{"id": "a b", "type": 7, "metadata": {"traceparent": 1}, "timeout_seconds": 0, "push_artifact": "yes"}"#,
    )
    .unwrap_err();
    let fields: Vec<_> = error.fields().map(|f| f.field().to_owned()).collect();
    assert_eq!(
        fields,
        [
            "id",
            "project_name",
            "type",
            "source",
            "commit_hash",
            "strategy",
            "push_artifact",
            "metadata.traceparent",
            "timeout_seconds",
        ]
    );
}

#[test]
fn hostile_addresses_are_refused() {
    for source in [
        "https://user:pw@host/x",
        "https://token@host/x",
        "ssh://git:pw@host/x",
        "ext::sh",
        "-u@host:x",
        "git@-host:x",
        "git@host:-x",
        "https://",
        "https://host",
        "https://ho st/x",
        "ftp://host/x",
        "file://host/x",
        "/etc",
        "../x",
        "https://host/\u{0}",
        "git@host::x",
        "ssh://-oProxyCommand=x/y",
    ] {
        assert!(source.parse::<contract::CloneUrl>().is_err(), "{source}");
    }
    for source in [
        "https://h:8443/x.git",
        "http://[::1]:80/x",
        "ssh://git@h:22/x",
        "git@github.com:o/r.git",
        "file:///srv/x",
    ] {
        assert!(source.parse::<contract::CloneUrl>().is_ok(), "{source}");
    }
}

#[test]
fn branch_names_follow_git() {
    for bad in [
        "", "-x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a", "a/.b",
        "a.lock", "a.", "@", "a@{1}",
    ] {
        assert!(bad.parse::<contract::Branch>().is_err(), "{bad}");
    }
    for good in ["main", "feature/x-1", "dépôt", "a@b", "v1.2.3"] {
        assert!(good.parse::<contract::Branch>().is_ok(), "{good}");
    }
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        BuildQueueMessage::parse(&bytes).ok();
    }

    #[test]
    fn a_timestamp_keeps_its_text_and_its_instant(millis in 0_i64..4_000_000_000_000) {
        let t = contract::Timestamp::from_millis(millis);
        let again: contract::Timestamp = t.as_str().parse().unwrap();
        prop_assert_eq!(again.as_millis(), millis);
        prop_assert_eq!(again, t);
    }
}
