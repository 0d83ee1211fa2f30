//! Logs as JSON or for people; traces by OTLP when asked for, and free when not.

use crate::{Setting, Values};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    runtime::Tokio,
    trace::{SdkTracerProvider, span_processor_with_async_runtime::BatchSpanProcessor},
};
use std::{io::IsTerminal as _, time::Duration};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What is logged, how, and where traces go.
#[derive(Debug)]
pub(crate) struct Settings {
    level: String,
    json: bool,
    otlp: Option<String>,
}

/// Holds the exporter until everything was sent.
#[derive(Debug)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn read(values: &mut Values, level: &Setting, format: &Setting, otlp: &Setting) -> Option<Self> {
        let filter: Option<String> = values.get(level);
        if let Some(Err(error)) = filter.as_deref().map(filter_of) {
            values.refuse(level, error);
        }
        let json = match values.get::<String>(format)?.as_str() {
            "json" => Some(true),
            "human" => Some(false),
            _ => {
                values.refuse(format, "expected json or human");
                None
            }
        };
        Some(Self {
            level: filter?,
            json: json?,
            otlp: values.optional(otlp),
        })
    }
}

/// A filter of logs. A word alone must be a level: as the name of a program's part, which it might be as well, a
/// misspelt level would turn everything else off.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for word in parts.iter().filter(|part| !part.contains(['=', '['])) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word}: expected trace, debug, info, warn, error, off, or part=level"
            ));
        }
    }
    EnvFilter::try_new(parts.join(",")).map_err(|error| error.to_string())
}

/// Starts logging, and tracing if an endpoint is configured.
pub(crate) fn start(name: &'static str, settings: &Settings) -> Telemetry {
    let filter = filter_of(&settings.level).unwrap_or_default();
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if settings.json {
        logs.json().flatten_event(true).boxed()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).compact().boxed()
    };
    let provider = settings.otlp.as_deref().map(|endpoint| exporter(name, endpoint));
    let (provider, problem) = match provider {
        Some(Ok(provider)) => (Some(provider), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("forge")));
    let subscriber = Registry::default().with(filter).with(logs).with(traces);
    subscriber.try_init().ok(); // Fails only when a test has set one already.
    if let Some(problem) = problem {
        tracing::warn!(error = problem, "traces are not exported");
    }
    Telemetry { provider }
}

fn exporter(name: &'static str, endpoint: &str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let processor = BatchSpanProcessor::builder(exporter, Tokio).build();
    let resource = Resource::builder().with_service_name(name).build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource)
        .build())
}

// === impl Telemetry ===

impl Telemetry {
    /// Sends what is left, for a while.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.provider else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("some traces were not exported");
        }
    }
}

/// An error and all its causes, joined by colons.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_misspelt_level_is_refused() {
        for (text, filter) in [
            ("info", "info"),
            ("INFO", "info"),
            ("off", "off"),
            (" info ", "info"),
            ("info,bus=debug", "bus=debug,info"),
            ("bus=debug, info", "bus=debug,info"),
            ("warn, fred=off,", "fred=off,warn"),
        ] {
            assert_eq!(super::filter_of(text).unwrap().to_string(), filter, "{text}");
        }
        for bad in ["inf", "info,bus", "verbose", "info,bus=loud"] {
            assert!(super::filter_of(bad).is_err(), "{bad}");
        }
    }
}
