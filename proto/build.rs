//! Compiles every `.proto` once: descriptors, messages and clients, the `Resource` impls of kinds, and the numbers of
//! all fields.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Message options extension that marks a kind, see `krake/meta/v1/options.proto`.
const KIND: &str = "krake.meta.v1.kind";

fn proto_files(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One `impl Resource` per message with the kind option.
fn resource_impls(pool: &prost_reflect::DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let option = pool.get_extension_by_name(KIND).ok_or("the kind option is missing")?;
    let mut code = String::new();
    let mut kinds = Vec::new();
    for message in pool.all_messages().filter(|message| message.options().has_extension(&option)) {
        let value = message.options().get_extension(&option).into_owned();
        let kind = value.as_message().ok_or("the kind option is no message")?;
        let text = |field: &str| -> String {
            kind.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let is_set =
            |field: &str| kind.get_field_by_name(field).and_then(|v| v.as_bool()).unwrap_or_default();
        let has_status = message.get_field_by_name("status").is_some();
        let rust = format!("crate::{}::{}", message.package_name().replace('.', "::"), message.name());
        let (api, name, plural) = (text("api"), text("kind"), text("plural"));
        let (scope, [global_kind, global_plural]) = scope(kind, [text("global_kind"), text("global_plural")])
            .map_err(|wrong| format!("{}: {wrong}", message.full_name()))?;
        let plural_rpc = plural_rpc(pool, &message)?;
        let (flat, example) = (is_set("flat"), text("example"));
        kinds.push((api.clone(), name.clone(), rust.clone()));
        code.push_str(&format!(
            "impl Resource for {rust} {{\n\
             const KIND: &'static Kind = &Kind {{ api: {api:?}, kind: {name:?}, plural: {plural:?}, \
             global_kind: {global_kind:?}, global_plural: {global_plural:?}, message: {full:?}, \
             service: \"{full}Service\", plural_rpc: {plural_rpc:?}, has_status: {has_status}, \
             scope: KindScope::{scope}, flat: {flat}, example: {example:?} }};\n\
             fn metadata(&self) -> Option<&Metadata> {{ self.metadata.as_ref() }}\n\
             fn metadata_mut(&mut self) -> &mut Metadata {{ self.metadata.get_or_insert_default() }}\n\
             }}\n",
            full = message.full_name(),
        ));
    }
    kinds.sort();
    code.push_str(&format!("static ALL_KINDS: [&Kind; {}] = [", kinds.len()));
    for (_, _, rust) in kinds {
        code.push_str(&format!("<{rust} as Resource>::KIND, "));
    }
    code.push_str("];\n");
    Ok(code)
}

/// The variant of `KindScope`, and name and plural of the objects without a namespace.
fn scope(
    kind: &prost_reflect::DynamicMessage,
    global: [String; 2],
) -> Result<(&'static str, [String; 2]), &'static str> {
    let text = |field: &str| -> String {
        kind.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let scope = kind.get_field_by_name("scope").and_then(|v| v.as_enum_number()).unwrap_or_default();
    let named = global.iter().filter(|name| !name.is_empty()).count();
    match (scope, named) {
        (1, 0) => Ok(("Namespaced", global)),
        (2, 0) => Ok(("Global", [text("kind"), text("plural")])),
        (3, 2) => Ok(("Both", global)),
        (1..=2, _) => Err("global_kind and global_plural are for the scope BOTH"),
        (3, _) => Err("the scope BOTH needs global_kind and global_plural"),
        _ => Err("give the kind option a scope"),
    }
}

/// The plural in RPC names: what follows both a List and a Watch of the kind's service.
fn plural_rpc(
    pool: &prost_reflect::DescriptorPool,
    message: &prost_reflect::MessageDescriptor,
) -> Result<String, String> {
    let name = format!("{}Service", message.full_name());
    let service = pool.get_service_by_name(&name).ok_or_else(|| format!("there is no {name}"))?;
    let methods: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
    let plurals = methods.iter().filter_map(|method| method.strip_prefix("List"));
    let plural = plurals.into_iter().find(|plural| methods.contains(&format!("Watch{plural}")));
    plural.map(str::to_owned).ok_or_else(|| format!("{name} has no List with a Watch of the same plural"))
}

/// Modules of constants with the numbers of all fields of a package's messages: `kubernetes::v1::cluster_spec::METRICS`.
fn field_numbers(pool: &prost_reflect::DescriptorPool) -> String {
    let mut packages: BTreeMap<String, String> = BTreeMap::new();
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        // Names of nested messages are joined with their parents': `outer_inner`.
        let Some(package) = message.package_name().strip_prefix("krake.") else { continue };
        let name = message.full_name()[message.package_name().len() + 1..].replace('.', "_");
        let constants: String = message
            .fields()
            .map(|field| {
                let constant = field.name().to_uppercase();
                format!(
                    "#[doc = \"{}\"]\npub const {constant}: u32 = {};\n",
                    field.full_name(),
                    field.number()
                )
            })
            .collect();
        let module = format!(
            "#[doc = \"Fields of {}.\"]\npub mod {} {{\n{constants}}}\n",
            message.full_name(),
            snake_case(&name)
        );
        packages.entry(package.to_owned()).or_default().push_str(&module);
    }
    let nested = |(package, modules): (String, String)| {
        let depth = package.split('.').count();
        let open: String = package
            .split('.')
            .map(|part| format!("#[doc = \"Part of krake.{package}.\"]\npub mod {part} {{\n"))
            .collect();
        format!("{open}{modules}{}\n", "}".repeat(depth))
    };
    packages.into_iter().map(nested).collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=krake");
    println!("cargo::rerun-if-changed=third_party");
    let mut files = vec![
        PathBuf::from("third_party/google/rpc/status.proto"),
        PathBuf::from("third_party/google/rpc/error_details.proto"),
    ];
    proto_files(Path::new("krake"), &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new([".", "third_party"])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Only this encoding keeps custom options.
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &descriptors)?;
    let pool = prost_reflect::DescriptorPool::decode(descriptors.as_slice())?;
    fs::write(out.join("resources.rs"), resource_impls(&pool)?)?;
    fs::write(out.join("numbers.rs"), field_numbers(&pool))?;
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // Their tickets are secrets; `src/redacted.rs` shows everything else.
    config.skip_debug([".krake.core.v1.CampaignRequest", ".krake.core.v1.CampaignResponse"]);
    tonic_prost_build::configure()
        .include_file("packages.rs")
        .btree_map(".")
        .bytes(".")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
