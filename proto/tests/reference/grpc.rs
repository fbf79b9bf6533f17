//! The reference of the gRPC API, from the descriptors and their comments.

use std::fmt::Write;

use krake_proto::POOL;
use krake_proto::comments::comment;
use prost_reflect::{
    EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};

const HEAD: &str = "\
# gRPC reference

Generated from the `.proto` files; do not edit. The files themselves are in [`proto/krake`](../../proto/krake), and every
server tells them by reflection (`grpcurl -plaintext 127.0.0.1:7700 list`). How calls fail: `google.rpc.ErrorInfo` with domain
`krake` and a reason of [ErrorReason](#errorreason), and field violations in `google.rpc.BadRequest`.
";

/// The whole page.
pub(super) fn text() -> String {
    let mut page = HEAD.to_owned();
    let mut packages: Vec<String> = POOL
        .files()
        .map(|file| file.package_name().to_owned())
        .filter(|name| name.starts_with("krake."))
        .collect();
    packages.sort();
    packages.dedup();
    page.push('\n');
    for package in &packages {
        let _ = writeln!(page, "* [{package}](#{})", anchor(package));
        for service in services(package) {
            let _ = writeln!(page, "  * [{}](#{})", service.name(), anchor(service.name()));
        }
    }
    for package in &packages {
        let _ = write!(page, "\n## {package}\n");
        for descriptor in services(package) {
            service(&mut page, &descriptor);
        }
        let mut messages: Vec<MessageDescriptor> = POOL
            .all_messages()
            .filter(|message| message.package_name() == package && !message.is_map_entry())
            .collect();
        messages.sort_by_key(|message| message.name().to_owned());
        for descriptor in messages {
            message(&mut page, &descriptor);
        }
        let mut enums: Vec<EnumDescriptor> =
            POOL.all_enums().filter(|descriptor| descriptor.package_name() == package).collect();
        enums.sort_by_key(|descriptor| descriptor.name().to_owned());
        for descriptor in enums {
            enumeration(&mut page, &descriptor);
        }
    }
    page
}

fn services(package: &str) -> Vec<ServiceDescriptor> {
    POOL.services().filter(|service| service.package_name() == package).collect()
}

/// As Markdown renderers make it from a heading.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace('.', "")
}

fn service(page: &mut String, service: &ServiceDescriptor) {
    let about = comment(&service.parent_file(), service.path());
    let _ = write!(
        page,
        "\n### {}\n\n{about}\n\n| RPC | Request | Response | |\n|---|---|---|---|\n",
        service.name()
    );
    for rpc in service.methods() {
        let about = comment(&rpc.parent_file(), rpc.path());
        let [request, response] = sides(&rpc);
        let _ = writeln!(page, "| `{}` | {request} | {response} | {} |", rpc.name(), cell(about));
    }
}

fn sides(rpc: &MethodDescriptor) -> [String; 2] {
    let side = |message: MessageDescriptor, stream: bool| {
        format!("{}{}", if stream { "stream of " } else { "" }, link(message.name(), message.package_name()))
    };
    [side(rpc.input(), rpc.is_client_streaming()), side(rpc.output(), rpc.is_server_streaming())]
}

fn message(page: &mut String, message: &MessageDescriptor) {
    let about = comment(&message.parent_file(), message.path());
    let _ = write!(page, "\n### {}\n\n{about}\n", message.name());
    if message.fields().next().is_none() {
        return;
    }
    page.push_str("\n| # | Field | Type | |\n|---|---|---|---|\n");
    for field in message.fields() {
        let about = comment(&message.parent_file(), field.path());
        let (number, name) = (field.number(), field.name());
        let _ = writeln!(
            page,
            "| {number} | `{name}` | {} | {} |",
            kind(&field),
            cell(&format!("{}{about}", marks(&field)))
        );
    }
}

fn kind(field: &FieldDescriptor) -> String {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("maps have entries") };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        return format!("map of {} to {}", single(&key.kind()), single(&value.kind()));
    }
    let single = single(&field.kind());
    let in_union = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1);
    match in_union {
        Some(oneof) => format!("{single}, one of `{}`", oneof.name()),
        None if field.is_list() => format!("repeated {single}"),
        None if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) => {
            format!("optional {single}")
        }
        None => single,
    }
}

fn single(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => link(message.name(), message.package_name()),
        Kind::Enum(descriptor) => link(descriptor.name(), descriptor.package_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn link(name: &str, package: &str) -> String {
    if package.starts_with("krake.") {
        format!("[{name}](#{})", anchor(name))
    } else {
        format!("`{package}.{name}`")
    }
}

fn marks(field: &FieldDescriptor) -> String {
    let option = |name: &str| POOL.get_extension_by_name(name).unwrap();
    let options = field.options();
    let behavior = options.get_extension(&option("google.api.field_behavior"));
    let Kind::Enum(names) = option("google.api.field_behavior").kind() else {
        unreachable!("behaviors are enums")
    };
    let mut marks: Vec<String> = behavior
        .as_list()
        .into_iter()
        .flatten()
        .filter_map(|value| {
            Some(names.get_value(value.as_enum_number()?)?.name().to_lowercase().replace('_', " "))
        })
        .collect();
    if options.get_extension(&option("krake.meta.v1.sensitive")).as_bool() == Some(true) {
        marks.push("secret".to_owned());
    }
    if field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()) {
        marks.push("deprecated".to_owned());
    }
    if marks.is_empty() { String::new() } else { format!("*({})* ", marks.join(", ")) }
}

fn enumeration(page: &mut String, descriptor: &EnumDescriptor) {
    let about = comment(&descriptor.parent_file(), descriptor.path());
    let _ = write!(page, "\n### {}\n\n{about}\n\n| # | Value | |\n|---|---|---|\n", descriptor.name());
    for value in descriptor.values() {
        let about = comment(&value.parent_file(), value.path());
        let _ = writeln!(page, "| {} | `{}` | {} |", value.number(), value.name(), cell(about));
    }
}

/// A text as one cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', "<br>")
}
