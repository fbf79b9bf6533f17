//! Simulated Kubernetes API servers, for demos, for scale and for faults.
//!
//! A [`Fleet`] serves any number of clusters behind one listener, each below a path of its own, by TLS or in the clear.
//! They behave as Kubernetes 1.35 does, as far as Krake's adapter uses it: discovery, reads, writes with their
//! preconditions, the validation of fields by the types of 1.35.8 (`api/types.txt`), server-side apply with field
//! ownership, watches, custom resource definitions, namespaces, and workloads that become ready after a while. No
//! container runs, and everything is in memory only. Requests that are not simulated are answered with 501.
//!
//! Requests are understood in `request`, decided on by the pure rules in `api` and `ownership`, and carried out in
//! `store`; `http` is the listener, `faults` what may go wrong on demand, `script` where a test steps in.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use krake_cluster_sim::{Faults, Fleet, Options, Tls};
//! use krake_runtime::shutdown::Shutdown;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let base_url = format!("https://{}", listener.local_addr()?);
//! let fleet = Fleet::new(Options { tls: Some(Tls::of_hosts(["127.0.0.1"])?), ..Options::new(base_url) });
//! let north = fleet.add("north")?;
//! println!("{}", fleet.kubeconfig("north").unwrap_or_default());
//! north.set_faults(Faults { delay_ms: 200, ..Faults::default() });
//! fleet.serve(listener, Shutdown::new()).await?;
//! # Ok(())
//! # }
//! ```

mod agenda;
mod api;
mod cluster;
mod config;
mod faults;
mod fleet;
mod http;
mod kubeconfigs;
mod ownership;
mod request;
mod run;
mod script;
mod store;
mod tls;

pub use cluster::Cluster;
pub use config::{Args, Config};
pub use faults::{Down, Fault, Faults, Refusal, Rule, RuleVerb};
pub use fleet::{AddError, Fleet, Options};
pub use run::run;
pub use script::{Call, Reply, Script};
pub use tls::{Tls, TlsError};
