//! Variables in a compose file (Compose Specification, "Interpolation"). Pure.

use std::collections::BTreeMap;

/// How deep a default may have variables in it.
const DEEPEST: usize = 8;

/// The longest text that variables may lead to, in bytes.
const LONGEST: usize = 64 * 1024;

/// Puts the values of variables into a text.
pub(super) fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    within(text, variables, 0)
}

fn within(text: &str, variables: &BTreeMap<String, String>, depth: usize) -> Result<String, String> {
    if depth > DEEPEST {
        return Err("variables are nested too deeply".to_owned());
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        if done.len() > LONGEST {
            return Err(format!("variables lead to a text of more than {} KiB", LONGEST / 1024));
        }
        if let Some(after) = after.strip_prefix('$') {
            done.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| format!("${{ without }} in {text:?}"))?;
            let (expression, after) = inner.split_at(end);
            done.push_str(&value(expression, variables, depth)?);
            rest = after.get(1..).unwrap_or_default();
        } else {
            let (name, after) = name_of(after);
            if name.is_empty() {
                return Err(format!(
                    "a $ that names no variable in {text:?}; write $$ for one of its own"
                ));
            }
            done.push_str(variables.get(name).map_or("", String::as_str));
            rest = after;
        }
    }
    done.push_str(rest);
    Ok(done)
}

/// The value of what stands in `${…}`.
fn value(expression: &str, variables: &BTreeMap<String, String>, depth: usize) -> Result<String, String> {
    let (name, operation) = name_of(expression);
    let set = variables.get(name);
    let (empty_counts, operation) = match operation.strip_prefix(':') {
        Some(operation) => (false, operation),
        None => (true, operation),
    };
    let given = set.filter(|value| empty_counts || !value.is_empty());
    let mut parts = operation.chars();
    let (operator, operand) = (parts.next(), parts.as_str());
    match (name, operator) {
        ("", _) => Err(format!("${{{expression}}} names no variable")),
        (_, None) if empty_counts => Ok(set.cloned().unwrap_or_default()),
        (_, Some('-')) => given.map_or_else(|| within(operand, variables, depth + 1), |value| Ok(value.clone())),
        (_, Some('+')) => given.map_or_else(|| Ok(String::new()), |_| within(operand, variables, depth + 1)),
        (_, Some('?')) => given.cloned().ok_or_else(|| {
            let why = if operand.is_empty() { "is not set" } else { operand };
            format!("the variable {name}: {why}")
        }),
        _ => Err(format!("${{{expression}}} is no form that Compose knows")),
    }
}

/// Where the brace closes that was opened before.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn name_of(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_specification() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "a".to_owned()),
            ("EMPTY".to_owned(), String::new()),
            ("LONG".to_owned(), "x".repeat(1_000)),
        ]);
        for (text, expected) in [
            ("x", Ok("x")),
            ("$A-${A}", Ok("a-a")),
            ("$$A", Ok("$A")),
            ("${NONE}|${EMPTY}", Ok("|")),
            ("${NONE:-d}${NONE-d}", Ok("dd")),
            ("${EMPTY:-d}|${EMPTY-d}", Ok("d|")),
            ("${NONE:-${A}}", Ok("a")),
            ("${A:+yes}${NONE:+yes}${EMPTY+set}", Ok("yesset")),
            ("${NONE:?who}", Err("the variable NONE: who")),
            ("${EMPTY?}", Ok("")),
            ("${EMPTY:?}", Err("the variable EMPTY: is not set")),
            ("${A", Err("without }")),
            ("$", Err("names no variable")),
            (&"$LONG".repeat(70), Err("more than 64 KiB")),
            ("${A!x}", Err("no form that Compose knows")),
        ] {
            match (interpolate(text, &variables), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
