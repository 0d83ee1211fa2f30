//! Writes the JSON Schema of every message, and of pipelines, into a folder: `contract-schemas contracts/schemas`.

use schemars::{JsonSchema, generate::SchemaSettings};
use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "contracts/schemas".to_owned());
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    write::<contract::BuildQueueMessage>(folder, "build-queue-message")?;
    write::<contract::WebhookDelivery>(folder, "webhook-delivery")?;
    write::<contract::BuildEvent>(folder, "build-event")?;
    write::<contract::DeploymentQueueMessage>(folder, "deployment-queue-message")?;
    write::<contract::DeploymentEvent>(folder, "deployment-event")?;
    write::<contract::WorkerReport>(folder, "worker-report")?;
    write::<contract::CancelRequest>(folder, "cancel-request")?;
    write::<contract::LogChunk>(folder, "log-chunk")?;
    write::<contract::Notification>(folder, "notification")?;
    write::<contract::Pipeline>(folder, "pipeline")
}

fn write<T: JsonSchema>(folder: &Path, name: &str) -> io::Result<()> {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    let text = serde_json::to_string_pretty(&schema)?;
    fs::write(folder.join(format!("{name}.schema.json")), text + "\n")
}
