use super::*;
use serde::de::IgnoredAny;

const TEXTS: &[&str] = &[
    "null",
    "0",
    "-0",
    "01",
    "-",
    "1.",
    "1.5",
    ".5",
    "1e5",
    "1E+5",
    "1e",
    "1e-",
    "--1",
    "+1",
    "0x10",
    "1 2",
    "",
    " ",
    "tru",
    "truex",
    "NaN",
    "[",
    "]",
    "[]",
    "[,]",
    "[1,]",
    "[1 2]",
    "[1,2]",
    "{",
    "}",
    "{}",
    "{,}",
    "[}",
    "{]",
    "[]]",
    "{}{}",
    r#"{"a"}"#,
    r#"{"a":}"#,
    r#"{"a":1,}"#,
    r#"{"a":1 "b":2}"#,
    "{a:1}",
    "{1:1}",
    r#"{"a":1,"a":2}"#,
    " \t\r\n{ \"a\" : [ 1 , { } ] }\n",
    "\u{feff}{}",
    "\u{c}1",
    r#"""#,
    r#""a"#,
    r#""\"#,
    r#""\""#,
    r#""\\""#,
    r#""\u00e9\ud800""#,
    r#""\u00g0""#,
    r#""\u00"#,
    r#""\x""#,
    r#""\/\b\f\n\r\t""#,
    "\"\u{1}\"",
    "\"1234567\u{1f}\"",
    "\"\u{7f}é€😀\"",
    "\"123456789\\\"12345678\\\\1234567\\n\"",
    "\"12345678",
    "\"1234567\"",
    "\"12345678\"",
    "nul",
    "[1]x",
];

fn all(_name: &[u8]) -> bool {
    true
}

/// What is kept of a body.
fn kept(body: &str, wanted: Wanted) -> String {
    String::from_utf8(scan(body, "", wanted).unwrap().fields).unwrap()
}

#[test]
fn it_takes_what_serde_takes_and_writes_what_serde_writes() {
    for text in TEXTS {
        let expected = serde_json::from_str::<IgnoredAny>(text);
        let found = scan(text, "begun ", all);
        assert_eq!(found.is_ok(), expected.is_ok(), "{text:?}");
        if let Ok(document) = found {
            let escaped = String::from_utf8(document.escaped).unwrap();
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(format!("\"{}\"", escaped.strip_prefix("begun ").unwrap()), expected);
        }
    }
}

#[test]
fn nesting_is_counted_outside_of_strings_alone() {
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(scan(&nested(64), "", all).is_ok());
    assert_eq!(scan(&nested(65), "", all).unwrap_err(), "nested deeper than 64");
    let wide = format!("[{}1]", "{},".repeat(10_000));
    assert!(scan(&wide, "", all).is_ok());
    let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
    assert!(scan(&text, "", all).is_ok());
    assert!(scan(&"{\"a\":".repeat(1_000_000), "", all).is_err());
}

#[test]
fn members_that_nobody_asked_for_are_left_out() {
    let wanted: Wanted = |name| matches!(name, b"a" | b"b");
    for (body, expected) in [
        (r#"{"x":1,"a":2,"y":{"a":3},"b":[4],"z":[]}"#, r#"{"a":2,"b":[4]}"#),
        (r#"{"x":{"y":[{"a":1}]}}"#, "{}"),
        (
            r#"{ "a" : { "x" : 1 , "b" : "\"," } , "x" : [ ] }"#,
            r#"{"a":{"b":"\","}}"#,
        ),
        (
            r#"{"a":[{"x":1},{"b":null},[true,{}],-1.5e3]}"#,
            r#"{"a":[{},{"b":null},[true,{}],-1.5e3]}"#,
        ),
        (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
        // Spelt in another way it is the same name.
        (r#"{"\u0061":1,"\u0078":2}"#, r#"{"\u0061":1,"\u0078":2}"#),
        (r#"[{"x":1,"b":2},"x"]"#, r#"[{"b":2},"x"]"#),
        ("7", "7"),
    ] {
        assert_eq!(kept(body, wanted), expected, "{body}");
    }
    let deep = format!(r#"{}"b":1{}"#, r#"{"a":"#.repeat(63) + "{", "}".repeat(64));
    assert_eq!(kept(&deep, wanted), deep);
}
