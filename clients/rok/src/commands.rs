//! What the commands do: one call or two, and the answer as text for stdout.

mod application;
mod cluster;
mod file;
mod modify;
mod standard;
mod watch;

pub(crate) use modify::Fields;

use krake_client::{Api, Client, ConnectOptions};
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Application, Cluster};

use crate::args::{
    ApplicationCommand, ClusterCommand, Core, GlobalCommand, GlobalStandard, Kube, List, Namespace,
    NamespacedCommand, Remote, Standard,
};
use crate::config::Settings;
use crate::failure::Failure;
use crate::kinds::Managed;
use crate::output::Columns;
use crate::progress::Progress;

/// Stands for all namespaces in requests.
const ALL_NAMESPACES: &str = "-";

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

    /// The namespace that a list is of.
    fn scope(&self, list: &List) -> String {
        if list.all { ALL_NAMESPACES.to_owned() } else { self.namespace(&list.namespace) }
    }
}

/// Runs a command. Returns what belongs on stdout, if that is not written yet.
pub(crate) async fn run(command: Remote, settings: Settings) -> Result<String, Failure> {
    let options = ConnectOptions {
        ca_file: settings.ca,
        client_cert_file: settings.cert,
        client_key_file: settings.key,
        user_agent: concat!("rok/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..ConnectOptions::new(settings.api_url)
    };
    let client = Client::new(&options).map_err(|error| Failure::input(error.to_string()))?;
    let session = Session { client, namespace: settings.namespace };
    let done = match command {
        Remote::Kube(Kube::Application(command)) => application(&session, command).await,
        Remote::Kube(Kube::Cluster(command)) => cluster(&session, command).await,
        Remote::Core(command) => core(&session, command).await,
    };
    match done {
        Err(Failure::Call(error)) => Err(match session.client.diagnose(&error).await {
            Some(diagnosis) => Failure::Unreachable { url: options.url, diagnosis },
            None => Failure::Call(error),
        }),
        done => done,
    }
}

async fn application(session: &Session, command: ApplicationCommand) -> Result<String, Failure> {
    let standard = match command {
        ApplicationCommand::Create(args) => return application::create(session, *args).await,
        ApplicationCommand::Update(args) => return application::update(session, *args).await,
        ApplicationCommand::Retry(args) => return application::retry(session, args).await,
        ApplicationCommand::Get(args) => Standard::Get(args),
        ApplicationCommand::List(args) => Standard::List(args),
        ApplicationCommand::Delete(args) => Standard::Delete(args),
    };
    namespaced::<Application>(session, standard).await
}

async fn cluster(session: &Session, command: ClusterCommand) -> Result<String, Failure> {
    let standard = match command {
        ClusterCommand::Register(args) => return cluster::register(session, *args).await,
        ClusterCommand::Update(args) => return cluster::update(session, *args).await,
        ClusterCommand::Lost(args) => return cluster::lost(session, args).await,
        ClusterCommand::Get(args) => Standard::Get(args),
        ClusterCommand::List(args) => Standard::List(args),
        ClusterCommand::Delete(args) => Standard::Delete(args),
    };
    namespaced::<Cluster>(session, standard).await
}

async fn core(session: &Session, command: Core) -> Result<String, Failure> {
    match command {
        Core::Metric(command) => managed(session, command).await,
        Core::GlobalMetric(command) => managed_global(session, command).await,
        Core::MetricsProvider(command) => managed(session, command).await,
        Core::GlobalMetricsProvider(command) => managed_global(session, command).await,
        Core::Role(command) => managed_global(session, command).await,
        Core::RoleBinding(command) => managed_global(session, command).await,
    }
}

async fn managed<K: Managed>(session: &Session, command: NamespacedCommand<K>) -> Result<String, Failure> {
    match command {
        NamespacedCommand::Create(args) => {
            let namespace = session.namespace(&args.object.namespace);
            standard::create::<K>(session, namespace, args.object.target, args.options).await
        }
        NamespacedCommand::Update(args) => {
            let namespace = session.namespace(&args.object.namespace);
            standard::update::<K>(session, namespace, args.object.target, args.change).await
        }
        NamespacedCommand::Standard(command) => namespaced::<K>(session, command).await,
    }
}

async fn managed_global<K: Managed>(session: &Session, command: GlobalCommand<K>) -> Result<String, Failure> {
    match command {
        GlobalCommand::Create(args) => {
            standard::create::<K>(session, String::new(), args.object, args.options).await
        }
        GlobalCommand::Update(args) => {
            standard::update::<K>(session, String::new(), args.object, args.change).await
        }
        GlobalCommand::Standard(command) => global::<K>(session, command).await,
    }
}

async fn namespaced<K: Columns + Progress>(session: &Session, command: Standard) -> Result<String, Failure> {
    match command {
        Standard::Get(args) => {
            standard::get::<K>(session, session.namespace(&args.namespace), args.get).await
        }
        Standard::List(args) => standard::list::<K>(session, session.scope(&args), args.list).await,
        Standard::Delete(args) => {
            standard::delete::<K>(session, session.namespace(&args.namespace), args.how).await
        }
    }
}

async fn global<K: Columns + Progress>(
    session: &Session,
    command: GlobalStandard,
) -> Result<String, Failure> {
    match command {
        GlobalStandard::Get(args) => standard::get::<K>(session, String::new(), args).await,
        GlobalStandard::List(args) => standard::list::<K>(session, String::new(), args).await,
        GlobalStandard::Delete(args) => standard::delete::<K>(session, String::new(), args).await,
    }
}
