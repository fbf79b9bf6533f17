//! Manifests as `rok` reads them: what is read, written again and read, is the same.

use rand::Rng;
use rand::rngs::StdRng;

use crate::pick;

/// Words of YAML and of Kubernetes.
pub const WORDS: &[&str] = &[
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "? ",
    ": ",
    "- ",
    "|\n",
    ">-\n",
    "|2-\n",
    "!!binary ",
    "!!str ",
    "!t ",
    "'",
    "\"",
    "\\u263a",
    "\\xff",
    "# c\n",
    "[",
    "]",
    "{",
    "}",
    ",",
    "~",
    "null",
    "yes",
    "no",
    "on",
    "0o17",
    "0x1F",
    "017",
    "0755",
    "1_000",
    "1e400",
    ".nan",
    ".inf",
    "-.inf",
    "18446744073709551616",
    "2023-01-01",
    "apiVersion: v1\n",
    "kind: ConfigMap\n",
    "metadata: {name: a}\n",
    "tosca_definitions_version: x\n",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "  ",
    "\n",
];

const SAMPLES: &[&str] = &[
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    one\n\n    two\n  l: >-\n    x\n    y\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {on: 'no'}}\nspec:\n  replicas: 0x2\n  template:\n    spec:\n      containers:\n      - {name: c, image: \"i:1\", args: [-a, '--b=c', \"\\u263a\"]}\n",
    "# first\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: &p\n  - {port: 80}\n  others: *p\n---\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: t}\nstringData: {k: \"a: b\"}\n...\n",
    "tosca_definitions_version: tosca_simple_yaml_1_0\nnode_templates: {a: {type: t}}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nx: [1, 1.0, -0.5, 1e300, .nan, .inf, 18446744073709551615, -0, 0o17, 0755, ~]\n",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"annotations\": {\"x\": \"\\ud83e\\udd80\"}}}\n",
];

/// See the module.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match rok::fuzz::manifest(text) {
        Ok(objects) => {
            assert!(!objects.is_empty(), "a file without an object is an error");
            let written: Vec<String> =
                objects.iter().map(|object| rok::fuzz::yaml(object).unwrap()).collect();
            let joined = written.join("---\n");
            assert_eq!(rok::fuzz::manifest(&joined), Ok(objects), "{joined}");
        }
        Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty())),
    }
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let mut text = (*pick(random, SAMPLES)).to_owned();
    if random.random_ratio(1, 3) {
        text = format!("{text}---\n{}", pick(random, SAMPLES));
    }
    text.into_bytes()
}
