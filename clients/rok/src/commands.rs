//! What the commands do: one call or two, and the answer as text for stdout.

mod application;
mod cluster;
mod file;
mod metric;
mod provider;
mod standard;

use krake_client::{Api, Client, ConnectOptions};
use krake_proto::Resource;

use crate::args::{
    ApplicationCommand, ClusterCommand, Command, Core, GlobalCommand, Kube, Namespace, NamespacedCommand,
};
use crate::config::Settings;
use crate::failure::Failure;

/// A connection and what holds for all commands.
struct Session {
    client: Client,
    /// Where a command names none.
    namespace: String,
}

impl Session {
    fn api<K: Resource>(&self) -> Api<K> {
        self.client.api()
    }

    fn namespace(&self, given: &Namespace) -> String {
        let given = given.namespace.clone().filter(|namespace| !namespace.is_empty());
        given.unwrap_or_else(|| self.namespace.clone())
    }
}

/// Runs a command. Returns what belongs on stdout.
pub(crate) async fn run(command: Command, settings: Settings) -> Result<String, Failure> {
    let options = ConnectOptions {
        ca_file: settings.ca,
        client_cert_file: settings.cert,
        client_key_file: settings.key,
        user_agent: concat!("rok/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..ConnectOptions::new(settings.api_url)
    };
    let client = Client::new(&options).map_err(|error| Failure::input(error.to_string()))?;
    let session = Session { client, namespace: settings.namespace };
    match command {
        Command::Kube(Kube::Application(command)) => application(&session, command).await,
        Command::Kube(Kube::Cluster(command)) => cluster(&session, command).await,
        Command::Core(command) => core(&session, command).await,
    }
}

async fn application(session: &Session, command: ApplicationCommand) -> Result<String, Failure> {
    use krake_proto::krake::kubernetes::v1::Application;
    match command {
        ApplicationCommand::Create(args) => application::create(session, *args).await,
        ApplicationCommand::Update(args) => application::update(session, *args).await,
        ApplicationCommand::Get(args) => standard::get::<Application>(session, args).await,
        ApplicationCommand::List(args) => standard::list::<Application>(session, args).await,
        ApplicationCommand::Delete(args) => standard::delete::<Application>(session, args).await,
    }
}

async fn cluster(session: &Session, command: ClusterCommand) -> Result<String, Failure> {
    use krake_proto::krake::kubernetes::v1::Cluster;
    match command {
        ClusterCommand::Register(args) => cluster::register(session, *args).await,
        ClusterCommand::Update(args) => cluster::update(session, *args).await,
        ClusterCommand::Get(args) => standard::get::<Cluster>(session, args).await,
        ClusterCommand::List(args) => standard::list::<Cluster>(session, args).await,
        ClusterCommand::Delete(args) => standard::delete::<Cluster>(session, args).await,
    }
}

async fn core(session: &Session, command: Core) -> Result<String, Failure> {
    use krake_proto::krake::core::v1::{Metric, MetricsProvider};
    match command {
        Core::Metric(command) => match command {
            NamespacedCommand::Create(args) => {
                let namespace = session.namespace(&args.object.namespace);
                let metric = metric::metric(namespace, args.object.name, args.range);
                standard::create(session, &metric, args.object.output).await
            }
            NamespacedCommand::Get(args) => standard::get::<Metric>(session, args).await,
            NamespacedCommand::List(args) => standard::list::<Metric>(session, args).await,
            NamespacedCommand::Delete(args) => standard::delete::<Metric>(session, args).await,
        },
        Core::GlobalMetric(command) => match command {
            GlobalCommand::Create(args) => {
                let metric = metric::metric(String::new(), args.object.name, args.range);
                standard::create(session, &metric, args.object.output).await
            }
            GlobalCommand::Get(args) => standard::get_global::<Metric>(session, args).await,
            GlobalCommand::List(args) => standard::list_global::<Metric>(session, args).await,
            GlobalCommand::Delete(args) => standard::delete_global::<Metric>(session, args).await,
        },
        Core::MetricsProvider(command) => match command {
            NamespacedCommand::Create(args) => {
                let namespace = session.namespace(&args.object.namespace);
                let provider = provider::provider(namespace, args.object.name, args.kind, args.options)?;
                standard::create(session, &provider, args.object.output).await
            }
            NamespacedCommand::Get(args) => standard::get::<MetricsProvider>(session, args).await,
            NamespacedCommand::List(args) => standard::list::<MetricsProvider>(session, args).await,
            NamespacedCommand::Delete(args) => standard::delete::<MetricsProvider>(session, args).await,
        },
        Core::GlobalMetricsProvider(command) => match command {
            GlobalCommand::Create(args) => {
                let provider = provider::provider(String::new(), args.object.name, args.kind, args.options)?;
                standard::create(session, &provider, args.object.output).await
            }
            GlobalCommand::Get(args) => standard::get_global::<MetricsProvider>(session, args).await,
            GlobalCommand::List(args) => standard::list_global::<MetricsProvider>(session, args).await,
            GlobalCommand::Delete(args) => standard::delete_global::<MetricsProvider>(session, args).await,
        },
    }
}
