//! The API as OpenAPI 3.1 tells of it, and as a page for people: no scripts, nothing from elsewhere.

use super::problem::Problem;
use aide::{
    openapi::{OpenApi, Operation, Parameter, ReferenceOr, SecurityScheme},
    transform::TransformOpenApi,
};
use indexmap::IndexMap;
use std::fmt::Write as _;

const ABOUT: &str = "Builds of Forge: what was pushed, what became of it, and what may be done about it. Every request \
    has a bearer token. Lists are newest first; the header X-Next-Cursor names the next page while there is one. \
    Answers in JSON have an ETag. A POST with an Idempotency-Key is done once, however often it is sent. Errors are \
    problem details (RFC 9457).";

/// What holds for every operation.
pub(super) fn describe(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let bearer = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: None,
        description: Some("The administrator's token, or one of /v1/tokens.".to_owned()),
        extensions: IndexMap::default(),
    };
    api.title("Forge")
        .description(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .security_scheme("token", bearer)
        .security_requirement("token")
        .default_response::<Problem>()
}

/// The same for people to read.
pub(super) fn page(api: &OpenApi) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Forge: the API</title>\
         <style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
         code{background:#f3f3f3;padding:.1em .3em;border-radius:.2em}dt{margin-top:1.2em}dd{margin:.2em 0 0 1.5em}\
         .m{display:inline-block;min-width:4.5em;font-weight:bold}</style><h1>Forge: the API</h1>",
    );
    write!(page, "<p>{}</p>", escaped(ABOUT)).ok();
    page.push_str("<p>For programs: <a href=/openapi.json>/openapi.json</a> (OpenAPI 3.1).</p><dl>");
    for (path, item) in api.paths.iter().flat_map(|paths| &paths.paths) {
        let ReferenceOr::Item(item) = item else { continue };
        for (method, operation) in item.iter() {
            write!(
                page,
                "<dt><span class=m>{}</span> <code>{}</code></dt><dd>{}{}</dd>",
                method.to_uppercase(),
                escaped(path),
                escaped(operation.summary.as_deref().unwrap_or_default()),
                parameters(operation),
            )
            .ok();
        }
    }
    page.push_str("</dl>");
    page
}

fn parameters(operation: &Operation) -> String {
    let mut list = String::new();
    for parameter in &operation.parameters {
        let ReferenceOr::Item(parameter @ (Parameter::Query { .. } | Parameter::Header { .. })) = parameter else {
            continue;
        };
        let data = parameter.parameter_data_ref();
        let text = escaped(data.description.as_deref().unwrap_or_default());
        write!(list, "<li><code>{}</code> {text}</li>", escaped(&data.name)).ok();
    }
    if list.is_empty() {
        list
    } else {
        format!("<ul>{list}</ul>")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
