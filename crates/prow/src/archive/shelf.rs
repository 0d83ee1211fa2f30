//! Where segments are kept: a folder, or a bucket of any store that speaks S3.

use chassis::Findings;
use object_store::{
    ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use std::{path::PathBuf, sync::Arc};

/// Where logs are kept, as configured.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Folder(PathBuf),
    /// A bucket, and what each name begins with; who may use it is told by the variables of AWS's tools.
    Bucket {
        name: String,
        prefix: String,
    },
}

/// Keeps objects; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shelf(Arc<dyn ObjectStore>);

/// Looked for by the doctor, and never there.
const PROBE: &str = "forge-check";

// === impl Place ===

impl Place {
    /// Where an object is, for people.
    pub(crate) fn shown(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).to_string_lossy().into_owned(),
            Self::Bucket { name: bucket, prefix } => {
                let parts = [bucket.as_str(), prefix, name]
                    .into_iter()
                    .filter(|part| !part.is_empty());
                format!("s3://{}", parts.collect::<Vec<_>>().join("/"))
            }
        }
    }
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let path = url.strip_prefix("s3://").ok_or("expected s3://bucket/prefix")?;
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let is_sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if name.is_empty() || !path.chars().all(is_sound) {
            return Err("expected s3://bucket/prefix");
        }
        Ok(Self::Bucket {
            name: name.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }
}

// === impl Shelf ===

impl Shelf {
    /// Opens it, making the folder if need be.
    pub(super) fn open(place: &Place) -> Result<Self, object_store::Error> {
        match place {
            Place::Folder(folder) => {
                let failed = |source: std::io::Error| object_store::Error::Generic {
                    store: "folder",
                    source: source.into(),
                };
                std::fs::create_dir_all(folder).map_err(failed)?;
                let files = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
                Ok(Self(Arc::new(files)))
            }
            Place::Bucket { name, prefix } => {
                // An endpoint without TLS is somebody's own store on their own network, said in so many words.
                let bucket = AmazonS3Builder::from_env()
                    .with_bucket_name(name)
                    .with_allow_http(true)
                    .build()?;
                Ok(Self(Arc::new(PrefixStore::new(bucket, prefix.as_str()))))
            }
        }
    }

    /// Keeps an object; it is there for good once this returns.
    pub(super) async fn put(&self, name: &str, object: Vec<u8>) -> Result<(), object_store::Error> {
        self.0.put(&Path::from(name), object.into()).await.map(drop)
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), object_store::Error> {
        match self.0.delete(&Path::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Vec<u8>, object_store::Error> {
        let object = self.0.get(&Path::from(name)).await?.bytes().await?;
        Ok(object.into())
    }
}

/// Whether logs can be kept there.
pub(crate) async fn examine(place: &Place, findings: &mut Findings) {
    if let Place::Folder(folder) = place {
        return findings.folder("logs", folder);
    }
    let looked = match Shelf::open(place) {
        Ok(shelf) => shelf.get(PROBE).await.map(drop),
        Err(error) => Err(error),
    };
    match looked {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => findings.fine("logs", place.shown("")),
        Err(error) => findings.wrong(
            "logs",
            format!("{}: {}", place.shown(""), chassis::chain(&error)),
            "see that the bucket is there, and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL are right",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_its_url() {
        let place: Place = "s3://logs/forge/".parse().unwrap();
        assert_eq!(place.shown("b/1.gz"), "s3://logs/forge/b/1.gz");
        let place: Place = "s3://logs".parse().unwrap();
        assert_eq!(place.shown("b/1.gz"), "s3://logs/b/1.gz");
        for wrong in ["", "s3://", "s3:///x", "https://h/b", "s3://b?x", "logs"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
