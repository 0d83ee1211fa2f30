//! Files whose content Git LFS keeps beside the repository.
//!
//! Source: git-lfs `docs/spec.md` (pointers) and `docs/api/batch.md` (version 2 of the batch API, transfer
//! `basic`). Every file is checked against the digest in its pointer.

use super::{Limits, credentials::Login, tree};
use crate::failure::{BuildFailure, Kind};
use contract::{CloneUrl, Scheme};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::{collections::HashMap, path::Path, time::Duration};
use tokio::io::AsyncWriteExt as _;

/// What stands in the repository in place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) path: String,
    pub(super) size: u64,
    /// SHA-256 of the content, in hexadecimal.
    digest: String,
}

#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: HashMap<String, Action>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// A pointer has at least and at most so many bytes.
pub(super) const SMALLEST: u64 = 100;
pub(super) const LARGEST: u64 = 1_023;
/// Objects of one request.
const BATCH: usize = 100;
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_mins(1);
const KIND: &str = "application/vnd.git-lfs+json";

// === impl Pointer ===

impl Pointer {
    pub(super) fn parse(text: &[u8], path: &str) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.lines();
        if lines.next()? != "version https://git-lfs.github.com/spec/v1" {
            return None;
        }
        let fields: HashMap<_, _> = lines.filter_map(|line| line.split_once(' ')).collect();
        let digest = fields.get("oid")?.strip_prefix("sha256:")?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then_some(Self {
            path: path.to_owned(),
            size: fields.get("size")?.parse().ok()?,
            digest: digest.to_owned(),
        })
    }
}

/// Puts the content in the place of the pointers.
pub(super) async fn fetch(
    source: &CloneUrl,
    login: Login,
    files: &[Pointer],
    worktree: &Path,
    limits: &Limits,
) -> Result<(), BuildFailure> {
    if !matches!(source.scheme(), Scheme::Https | Scheme::Http) {
        let text = format!("{source} keeps files in Git LFS, which is fetched by https only");
        return Err(BuildFailure::new(Kind::CloneRefused, text));
    }
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::limited(3))
        .build()
        .map_err(|error| failed(&chassis::chain(&error)))?;
    for part in files.chunks(BATCH) {
        let mut answers = ask(&client, source, &login, part).await?;
        for file in part {
            let object = answers.remove(&file.digest);
            let object = object.ok_or_else(|| failed(&format!("{}: the server does not mention it", file.path)))?;
            download(&client, file, &object, worktree, limits).await?;
            answers.insert(file.digest.clone(), object); // Another file may be the same.
        }
    }
    Ok(())
}

async fn ask(
    client: &Client,
    source: &CloneUrl,
    login: &Login,
    files: &[Pointer],
) -> Result<HashMap<String, Object>, BuildFailure> {
    let base = source.as_str().trim_end_matches('/');
    let base = base.strip_suffix(".git").unwrap_or(base);
    let objects: Vec<_> = files
        .iter()
        .map(|file| json!({"oid": file.digest, "size": file.size}))
        .collect();
    let wanted = json!({"operation": "download", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256"});
    let mut request = client
        .post(format!("{base}.git/info/lfs/objects/batch"))
        .header("accept", KIND)
        .header("content-type", KIND)
        .body(wanted.to_string());
    if let Some((user, token)) = &login.0 {
        request = request.basic_auth(user, Some(token.expose()));
    }
    let answer = request.send().await.map_err(|error| failed(&chassis::chain(&error)))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let text = format!("Git LFS of {source} refuses the credentials");
            return Err(BuildFailure::new(Kind::CloneAuth, text));
        }
        status => return Err(failed(&format!("{source} answered {status}"))),
    }
    let body = answer.bytes().await.map_err(|error| failed(&chassis::chain(&error)))?;
    let batch: Batch = serde_json::from_slice(&body).map_err(|error| failed(&error.to_string()))?;
    Ok(batch
        .objects
        .into_iter()
        .map(|object| (object.oid.clone(), object))
        .collect())
}

async fn download(
    client: &Client,
    file: &Pointer,
    object: &Object,
    worktree: &Path,
    limits: &Limits,
) -> Result<(), BuildFailure> {
    let named = |why: &str| failed(&format!("{}: {why}", file.path));
    if let Some(error) = &object.error {
        let text = format!("Git LFS: {}: {}", file.path, error.message);
        return Err(BuildFailure::new(Kind::CloneNotFound, text));
    }
    let action = object
        .actions
        .get("download")
        .ok_or_else(|| named("there is nothing to download"))?;
    if file.size > limits.bytes {
        return Err(limits.too_large());
    }
    let mut request = client.get(&action.href);
    for (name, value) in &action.header {
        request = request.header(name, value);
    }
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|error| named(&chassis::chain(&error.without_url())))?;
    let broken = |error: std::io::Error| crate::attempt::internal("Git LFS", &error);
    let path = worktree.join(&file.path);
    if !path.parent().is_some_and(|folder| tree::make_folder(worktree, folder)) {
        return Err(named("its path leads out of the checkout"));
    }
    let modes = tokio::fs::symlink_metadata(&path).await.map_err(broken)?.permissions();
    tokio::fs::remove_file(&path).await.map_err(broken)?; // The pointer; a link would go, not what it leads to.
    let mut to = tokio::fs::File::create(&path).await.map_err(broken)?;
    to.set_permissions(modes).await.map_err(broken)?; // It may be a program.
    let (mut digest, mut size) = (seal::Digest::default(), 0_u64);
    while let Some(part) = answer
        .chunk()
        .await
        .map_err(|error| named(&chassis::chain(&error.without_url())))?
    {
        size += u64::try_from(part.len()).unwrap_or(u64::MAX);
        if size > file.size {
            return Err(named("it is larger than its pointer says"));
        }
        digest.update(&part);
        to.write_all(&part).await.map_err(broken)?;
    }
    to.flush().await.map_err(broken)?;
    if size != file.size || digest.hex() != file.digest {
        return Err(named("what came is not what its pointer says"));
    }
    Ok(())
}

fn failed(text: &str) -> BuildFailure {
    BuildFailure::new(Kind::CloneFailed, format!("Git LFS: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_what_the_specification_says() {
        let digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 12345\n");
        let pointer = Pointer::parse(text.as_bytes(), "a/b").unwrap();
        assert_eq!(
            (pointer.size, pointer.digest.as_str(), pointer.path.as_str()),
            (12345, digest, "a/b")
        );
        for bad in [
            text.replace("v1", "v9"),
            text.replace("sha256:", "sha256:../"),
            text.replace("12345", "-1"),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes(), "a"), None, "{bad}");
        }
    }
}
