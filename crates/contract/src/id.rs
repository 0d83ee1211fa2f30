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

fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= 128
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b"._:@+-".contains(&b))
}
