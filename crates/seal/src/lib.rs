#![doc = include_str!("../README.md")]

mod key;
mod rs256;
mod standard;
mod token;

pub use key::{Key, Seal, base64_to_bytes, bytes_to_base64, bytes_to_hex, hex_to_bytes};
pub use rs256::{InvalidKey, SigningKey};
pub use standard::{InvalidSecret, StandardSecret};
pub use token::{Digest, digest, same, token};
