//! The images that a Dockerfile is built from (<https://docs.docker.com/reference/dockerfile/>): services may be built from
//! each other's, by other names than those they have on the engine.

use super::service::tagged;
use std::ops::Range;

/// Where the name of an image stands in a line.
struct Base {
    line: usize,
    at: Range<usize>,
}

/// The images that a Dockerfile names; its own stages are none.
pub(super) fn bases(dockerfile: &str) -> Vec<String> {
    let lines: Vec<_> = dockerfile.lines().collect();
    let found = find(&lines).into_iter();
    found
        .filter_map(|base| lines.get(base.line)?.get(base.at).map(tagged))
        .collect()
}

/// A Dockerfile with other names for some images.
pub(super) fn with_bases(dockerfile: &str, names: &[(String, String)]) -> String {
    let mut lines: Vec<_> = dockerfile.lines().map(ToOwned::to_owned).collect();
    for base in find(&dockerfile.lines().collect::<Vec<_>>()) {
        let Some(line) = lines.get_mut(base.line) else { continue };
        let known = line.get(base.at.clone()).map(tagged);
        if let Some((_, local)) = names.iter().find(|(name, _)| Some(name) == known.as_ref()) {
            line.replace_range(base.at, local);
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn find(lines: &[&str]) -> Vec<Base> {
    let (mut found, mut stages) = (Vec::new(), Vec::new());
    // Of a here-document, until its last line; and whether a line goes on with the one before.
    let (mut document, mut goes_on): (Option<String>, bool) = (None, false);
    for (n, line) in lines.iter().enumerate() {
        if let Some(end) = &document {
            if line.trim() == end {
                document = None;
            }
            continue;
        }
        let (is_first, all) = (!goes_on, words(line));
        let is_comment = all.first().is_some_and(|(_, word)| word.starts_with('#'));
        goes_on = if is_comment {
            goes_on
        } else {
            line.trim_end().ends_with('\\')
        };
        let Some(((_, first), rest)) = all.split_first().filter(|_| is_first && !is_comment) else {
            continue;
        };
        document = here_document(first, rest);
        let named = if first.eq_ignore_ascii_case("from") {
            let mut plain = rest.iter().filter(|(_, word)| !word.starts_with("--"));
            let image = plain.next().copied();
            if let (Some((_, word)), Some((_, stage))) = (plain.next(), plain.next())
                && word.eq_ignore_ascii_case("as")
            {
                stages.push((n, stage.to_lowercase()));
            }
            image
        } else if first.eq_ignore_ascii_case("copy") {
            let from = "--from=";
            let mut asked = rest
                .iter()
                .filter_map(|(at, word)| Some((at + from.len(), word.strip_prefix(from)?)));
            asked.next()
        } else {
            None
        };
        // A stage by its name, if it is one above, or by its number.
        let is_stage = |name: &str| {
            let lower = name.to_lowercase();
            stages.iter().any(|(of, stage)| *of < n && *stage == lower) || name.parse::<usize>().is_ok()
        };
        if let Some((at, name)) = named.filter(|(_, name)| !is_stage(name)) {
            let at = at..at + name.len();
            found.push(Base { line: n, at });
        }
    }
    found
}

/// Words of a line, and where they begin.
fn words(line: &str) -> Vec<(usize, &str)> {
    let (mut words, mut at) = (Vec::new(), 0);
    for part in line.split_inclusive(|c: char| c.is_ascii_whitespace()) {
        let word = part.trim_end_matches(|c: char| c.is_ascii_whitespace());
        if !word.is_empty() {
            words.push((at, word));
        }
        at += part.len();
    }
    words
}

/// The last line of what an instruction has behind it, if it has.
fn here_document(instruction: &str, rest: &[(usize, &str)]) -> Option<String> {
    let may = ["run", "copy", "add"]
        .iter()
        .any(|name| instruction.eq_ignore_ascii_case(name));
    let word = rest
        .iter()
        .find_map(|(_, word)| word.strip_prefix("<<"))
        .filter(|_| may)?;
    let end = word.trim_start_matches('-').trim_matches(['"', '\'']);
    let plain = !end.is_empty() && end.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| end.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_and_stages_are_not() {
        let dockerfile = "# FROM nothing\nFROM --platform=linux/amd64 base AS app\nRUN <<EOF\nFROM here\nEOF\n\
            COPY --chown=www --from=www /a /b\nRUN echo \\\n  && true \\\nFROM x\nFROM app\nCOPY --from=App /o /o\n\
            COPY --from=0 /o /o\nfrom web:2\n";
        assert_eq!(bases(dockerfile), ["base:latest", "www:latest", "web:2"]);
        let names = [
            ("www:latest".to_owned(), "local/w:1".to_owned()),
            ("app:latest".to_owned(), "wrong".to_owned()),
            ("x:latest".to_owned(), "wrong".to_owned()),
        ];
        let changed = with_bases(dockerfile, &names);
        assert!(
            changed.contains("COPY --chown=www --from=local/w:1 /a /b\n"),
            "{changed}"
        );
        assert!(
            !changed.contains("wrong") && changed.contains("\nFROM app\n"),
            "{changed}"
        );
    }
}
