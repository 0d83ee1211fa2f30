//! Identifiers: of a build, of a webhook delivery.

use crate::text::text_type;

text_type! {
    /// Names one build for ever, across retries and redeliveries.
    ///
    /// It becomes part of Redis keys, directory names and container labels, so its alphabet is
    /// narrow.
    ///
    /// # Examples
    /// ```
    /// use contract::BuildId;
    /// assert!("9f3c-build.1".parse::<BuildId>().is_ok());
    /// assert!("../etc".parse::<BuildId>().is_err());
    /// ```
    BuildId, InvalidBuildId,
    "expected 1 to 128 of A-Z a-z 0-9 . _ : @ + -, starting with a letter or digit",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$",
    valid: is_id
}

text_type! {
    /// Names one deployment for ever. Its alphabet is that of a [`BuildId`], for the same reasons.
    DeploymentId, InvalidDeploymentId,
    "expected 1 to 128 of A-Z a-z 0-9 . _ : @ + -, starting with a letter or digit",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$",
    valid: is_id
}

text_type! {
    /// One of the things that are built of a repository and run.
    ///
    /// # Examples
    /// ```
    /// use contract::ServiceName;
    /// assert!("api".parse::<ServiceName>().is_ok());
    /// assert!("-x".parse::<ServiceName>().is_err());
    /// ```
    ServiceName, InvalidServiceName,
    "expected 1 to 64 of A-Z a-z 0-9 . _ -, the first none of . and -",
    pattern: "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
    valid: is_service_name
}

text_type! {
    /// An image by its tag or its digest, as registries and engines name it (OCI distribution specification).
    ///
    /// # Examples
    /// ```
    /// use contract::ImageReference;
    /// assert!("registry.example:5000/org/repo:main".parse::<ImageReference>().is_ok());
    /// assert!("two words".parse::<ImageReference>().is_err());
    /// ```
    ImageReference, InvalidImageReference,
    "expected 1 to 512 of A-Z a-z 0-9 . _ : @ / + -, starting with a letter or digit",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,511}$",
    valid: is_image_reference
}

text_type! {
    /// What a git forge calls one delivery of one event (GitHub: `X-GitHub-Delivery`).
    ///
    /// # Examples
    /// ```
    /// use contract::DeliveryId;
    /// assert!("72d3162e-cc78-11e3-81ab-4c9367dc0958".parse::<DeliveryId>().is_ok());
    /// ```
    DeliveryId, InvalidDeliveryId,
    "expected 1 to 128 of A-Z a-z 0-9 . _ : @ + -, starting with a letter or digit",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$",
    valid: is_id
}

fn is_service_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 64 && text.starts_with(first) && text.chars().all(|c| first(c) || matches!(c, '.' | '-'))
}

fn is_image_reference(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric();
    let others = |c: char| first(c) || matches!(c, '.' | '_' | ':' | '@' | '/' | '+' | '-');
    text.len() <= 512 && text.starts_with(first) && text.chars().all(others)
}

fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= 128
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b"._:@+-".contains(&b))
}
