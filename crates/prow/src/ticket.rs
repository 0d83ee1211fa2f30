//! Tickets of issue trackers that a change names, such as `ABC-123`. Pure.

/// Most tickets that are taken of one change.
const MOST: usize = 5;
/// Longest key of a team, and longest number.
const KEY: usize = 10;
const NUMBER: usize = 9;

/// The tickets that a branch and texts name, in upper case, each once, in that order. Branches are written in lower case
/// often, texts are not: there `ABC-123` is a ticket and `utf-8` is none.
pub(crate) fn named_in(branch: Option<&str>, texts: &[&str]) -> Vec<String> {
    let branch = branch.map(str::to_uppercase);
    let mut found: Vec<String> = Vec::new();
    for text in branch.as_deref().into_iter().chain(texts.iter().copied()) {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            let Some(ticket) = first_of(word).filter(|ticket| !found.contains(ticket)) else {
                continue;
            };
            found.push(ticket);
            if found.len() == MOST {
                return found;
            }
        }
    }
    found
}

/// `ABC-123` of `ABC-123-fix-it`.
fn first_of(word: &str) -> Option<String> {
    let mut parts = word.split('-').peekable();
    while let Some(key) = parts.next() {
        let number = parts.peek()?;
        let is_key = (1..=KEY).contains(&key.len())
            && key.starts_with(|c: char| c.is_ascii_uppercase())
            && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let is_number = (1..=NUMBER).contains(&number.len())
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit());
        if is_key && is_number {
            return Some(format!("{key}-{number}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_found_where_people_write_them_and_utf_8_is_none() {
        let found = |branch: Option<&str>, texts: &[&str]| named_in(branch, texts).join(" ");
        assert_eq!(found(Some("ann/abc-123-fix-it"), &[]), "ABC-123");
        assert_eq!(
            found(Some("feature/x"), &["Fix ENG-7 (see ENG-8, ENG-7)"]),
            "ENG-7 ENG-8"
        );
        assert_eq!(
            found(None, &["closes https://linear.app/acme/issue/ABC-1/title"]),
            "ABC-1"
        );
        assert_eq!(
            found(None, &["abc-123 utf-8 A-0 -1 A- 2026-11-22 ABCDEFGHIJK-1 X-1234567890"]),
            ""
        );
        assert_eq!(found(Some("main"), &[]), "");
        let many: Vec<_> = (1..100).map(|n| format!("T-{n}")).collect();
        assert_eq!(named_in(None, &[&many.join(" ")]).len(), MOST);
    }
}
