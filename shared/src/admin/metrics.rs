//! What a process tells of itself, by name, and how it is written down.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The name and value of a label.
pub type Label = (&'static str, &'static str);

/// All metrics of a process. Names carry their base unit; counters get `_total` when they are written.
pub struct Metrics {
    registry: Registry,
    /// Those whose names are another's convention.
    foreign: Registry,
}

impl Metrics {
    /// The metrics of a binary; the first says which that is.
    pub fn new(component: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("slotwatch");
        let info = Family::<Vec<Label>, One>::default();
        info.get_or_create_owned(&vec![("component", component), ("version", version)]);
        registry.register("build_info", "What runs here", info);
        Self { registry, foreign: Registry::default() }
    }

    /// Metrics that are made when someone asks, under names of their own.
    pub fn collect(&mut self, collector: Box<dyn Collector>) {
        self.foreign.register_collector(collector);
    }

    /// A counter.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.registry.register(name, help, counter.clone());
        counter
    }

    /// A counter for each value of a label. They are looked up here, once.
    pub fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        let family = Family::<Vec<Label>, Counter>::default();
        self.registry.register(name, help, family.clone());
        values.map(|value| family.get_or_create_owned(&vec![(label, value)]))
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.registry.register(name, help, gauge.clone());
        gauge
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&mut self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(bounds.iter().copied());
        self.registry.register(name, help, histogram.clone());
        histogram
    }

    /// A number that is counted elsewhere, and read when someone asks.
    pub fn counted(&mut self, name: &str, help: &str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.registry.register(name, help, Counted(read));
    }

    /// A number that goes up and down elsewhere, and is read when someone asks.
    pub fn measured(&mut self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.registry.register(name, help, Measured(read));
    }

    /// The present values, as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &self.foreign))
            .and_then(|()| text::encode_eof(&mut text));
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The value of a metric that only has labels.
#[derive(Clone, Debug, Default)]
struct One;

impl EncodeMetric for One {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        ConstGauge::new(1_i64).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl prometheus_client::metrics::TypedMetric for One {
    const TYPE: MetricType = MetricType::Gauge;
}

struct Counted<F>(F);

impl<F: Fn() -> u64> EncodeMetric for Counted<F> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<Vec<Label>, _, u64>(&(self.0)(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl<F> fmt::Debug for Counted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

struct Measured<F>(F);

impl<F: Fn() -> f64> EncodeMetric for Measured<F> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&(self.0)())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl<F> fmt::Debug for Measured<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measured")
    }
}
