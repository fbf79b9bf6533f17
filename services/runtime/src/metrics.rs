//! The process's metrics: one Prometheus registry that every part registers into.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// A handle on the registry; clones share it. All names get the prefix `krake_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// What is registered once, by its type.
    shared: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("krake"))), shared: Arc::default() }
    }
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that shows which service runs here, in which version: `krake_build_info`, always 1.
    pub fn of_service(service: &str) -> Self {
        let metrics = Self::new();
        // All crates of the workspace have one version.
        let labels = [("service", service.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = Info::new(labels.to_vec());
        metrics.register(|registry| registry.register("build", "The service and its version", build));
        metrics
    }

    /// Gives the registry to `register`. A name may be registered once; a second time shows it twice.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The metrics of type `T` of this registry: what `register` makes the first time, and that one ever after. For
    /// families that several parts of a process have in common.
    pub fn shared<T: Clone + Send + 'static>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(&TypeId::of::<T>()).and_then(|known| known.downcast_ref::<T>()) {
            return known.clone();
        }
        let new = self.register(register);
        shared.insert(TypeId::of::<T>(), Box::new(new.clone()));
        new
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}
