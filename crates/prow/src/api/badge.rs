//! A picture of how the newest build of a project ended, for its README.

use super::{
    Shared, auth,
    extract::{Path, Query},
    problem::Problem,
};
use crate::service::USUAL;
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use contract::{BuildStatus, Terminal};
use serde::Deserialize;

/// Of which builds.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Only of this branch; without it of what was pushed, wherever.
    branch: Option<String>,
    /// Only of this service; all without it.
    service: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Of {
    path: String,
}

/// `GET /badge/<project>.svg`: for whoever asks where `BADGES` is `public`, else with a token.
pub(super) async fn show(
    State(shared): State<Shared>,
    Path(Of { path }): Path<Of>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = path.strip_suffix(".svg").ok_or(Problem::NotFound)?;
    let caller = if shared.0.public_badges {
        None
    } else {
        Some(auth::who(&shared, &headers).await?)
    };
    let store = &shared.0.store;
    let project = store.project_named(name).await?;
    let project = project.filter(|project| caller.as_ref().is_none_or(|caller| caller.sees(project.id)));
    let project = project.ok_or(Problem::NotFound)?;
    let about = wanted.branch.map(|branch| format!("refs/heads/{branch}"));
    let newest = store
        .newest_outcome(project.id, wanted.service.as_deref(), about.as_deref())
        .await?;
    let label = match wanted.service {
        Some(service) if service != USUAL => service,
        Some(_) | None => "build".to_owned(),
    };
    let (word, colour) = match newest {
        Some(BuildStatus::Ended(Terminal::Success)) => ("passing", "#2da44e"),
        Some(_) => ("failing", "#cf222e"),
        None => ("unknown", "#6e7781"),
    };
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg(&label, word, colour)).into_response())
}

/// Two words side by side.
fn svg(label: &str, word: &str, colour: &str) -> String {
    /// About how wide a character is at this size, and what is left and right of a word, in pixels.
    const CHARACTER: usize = 7;
    const MARGIN: usize = 10;
    let width = |text: &str| text.chars().count() * CHARACTER + MARGIN;
    let (left, right) = (width(label), width(word));
    let label = escaped(label);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{label}: {word}"><title>{label}: {word}</title><rect width="{whole}" height="20" rx="3" fill="#444c56"/><path fill="{colour}" d="M{left} 0h{stem}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z"/><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle"><text x="{at}" y="14">{label}</text><text x="{then}" y="14">{word}</text></g></svg>"##,
        whole = left + right,
        stem = right - 3,
        at = left / 2,
        then = left + right / 2,
    )
}

/// Text as XML has it (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_says_what_it_shows_and_nothing_gets_out_of_it() {
        let badge = svg("a<b>&\"\u{1}", "passing", "#2da44e");
        assert!(
            badge.contains(r#"aria-label="a&lt;b&gt;&amp;&quot;: passing""#),
            "{badge}"
        );
        assert!(!badge.contains('\u{1}'));
    }
}
