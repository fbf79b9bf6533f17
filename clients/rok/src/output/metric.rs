//! What tables show of a metric, global or not.

use krake_proto::krake::core::v1::Metric;

use super::{Columns, text};

impl Columns for Metric {
    const LIST: &'static [&'static str] = &["provider", "min", "max"];

    fn cells(&self) -> Vec<String> {
        let details = self.details();
        let cell =
            |name: &&str| details.iter().find(|(detail, _)| detail == name).map(|(_, text)| text.clone());
        Self::LIST.iter().filter_map(cell).collect()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let spec = self.spec.clone().unwrap_or_default();
        let provider = spec.provider.unwrap_or_default();
        vec![
            ("provider", provider.name),
            ("metric", provider.metric),
            ("min", text::optional(spec.min)),
            ("max", text::optional(spec.max)),
            ("allowed_values", text::lines(spec.allowed_values)),
        ]
    }
}
