//! The test environment: real components (etcd, Prometheus, Kubernetes, Krake's own processes), each started on free
//! ports of 127.0.0.1 with a folder of its own, and gone when its guard is dropped.
//!
//! `tests/setup/install.sh` and `tests/setup/kubernetes.sh` bring what is started here. A test asks for what it needs
//! by [`binaries::require`] and ends at once if that answers `None`.

pub mod binaries;
pub mod etcd;
pub mod exporter;
pub mod folder;
pub mod http;
pub mod krake;
pub mod kubernetes;
pub mod kubernetes_api;
pub mod otlp;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod simulator;
pub mod stack;
pub mod wait;
