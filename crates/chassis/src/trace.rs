//! Trace context across services, as W3C `traceparent` text.

use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The one header we carry.
struct Carrier(Option<String>);

/// Makes `span` a child of the span that `traceparent` names, if tracing is on and it is valid.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let Some(text) = traceparent else { return };
    let context = TraceContextPropagator::new().extract(&Carrier(Some(text.to_owned())));
    span.set_parent(context).ok(); // Fails only when the span is not recorded at all.
}

/// What a message made within `span` should carry: the span's own context, else the given one.
pub fn carry(span: &Span, incoming: Option<&str>) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return incoming.map(ToOwned::to_owned);
    }
    let mut carrier = Carrier(None);
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0
}

// === impl Carrier ===

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        if key == "traceparent" { self.0.as_deref() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}
