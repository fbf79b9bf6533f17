#!/usr/bin/env python3
"""Writes src/api/types.txt: what the kinds that the simulator serves look like, from the OpenAPI documents of a server.

    types.py https://127.0.0.1:6443 TOKEN >src/api/types.txt

The server's certificate is not checked. The form of the file is described in src/api/types.rs.
"""
import json
import ssl
import sys
import urllib.request

GROUPS = """api/v1 apis/apps/v1 apis/batch/v1 apis/networking.k8s.io/v1 apis/policy/v1 apis/autoscaling/v2
    apis/discovery.k8s.io/v1 apis/coordination.k8s.io/v1 apis/scheduling.k8s.io/v1 apis/storage.k8s.io/v1
    apis/admissionregistration.k8s.io/v1 apis/rbac.authorization.k8s.io/v1 apis/apiextensions.k8s.io/v1""".split()
KINDS = """v1.ConfigMap v1.Endpoints v1.Event v1.LimitRange v1.Namespace v1.Node v1.PersistentVolume
    v1.PersistentVolumeClaim v1.Pod v1.ResourceQuota v1.Secret v1.Service v1.ServiceAccount
    apps/v1.DaemonSet apps/v1.Deployment apps/v1.ReplicaSet apps/v1.StatefulSet batch/v1.Job batch/v1.CronJob
    networking.k8s.io/v1.Ingress networking.k8s.io/v1.IngressClass networking.k8s.io/v1.NetworkPolicy
    policy/v1.PodDisruptionBudget autoscaling/v2.HorizontalPodAutoscaler discovery.k8s.io/v1.EndpointSlice
    coordination.k8s.io/v1.Lease scheduling.k8s.io/v1.PriorityClass storage.k8s.io/v1.StorageClass
    admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration
    admissionregistration.k8s.io/v1.MutatingWebhookConfiguration
    rbac.authorization.k8s.io/v1.ClusterRole rbac.authorization.k8s.io/v1.ClusterRoleBinding
    rbac.authorization.k8s.io/v1.Role rbac.authorization.k8s.io/v1.RoleBinding
    apiextensions.k8s.io/v1.CustomResourceDefinition""".split()
SCALARS = {"Quantity": "quantity", "IntOrString": "int-or-string", "Time": "string", "MicroTime": "string",
           "FieldsV1": "any", "RawExtension": "any", "JSON": "any", "JSONSchemaPropsOrBool": "any",
           "JSONSchemaPropsOrArray": "any", "JSONSchemaPropsOrStringArray": "any"}


def read(server, token):
    schemas = {}
    for group in GROUPS:
        request = urllib.request.Request(f"{server}/openapi/v3/{group}", headers={"Authorization": f"Bearer {token}"})
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, context=context) as answer:
            schemas.update(json.load(answer)["components"]["schemas"])
    return schemas


class Writer:
    def __init__(self, schemas):
        self.schemas, self.names, self.lines, self.queue = schemas, {}, {}, []

    def name(self, path):
        """A short name, the same for a type wherever it is used."""
        if path not in self.names:
            version, kind = path.split(".")[-2:]
            short = kind
            if short in self.names.values():
                short = f"{kind}_{path.split('.')[-3]}"
            self.names[path] = short
            self.queue.append(path)
        return self.names[path]

    def type(self, schema):
        if "allOf" in schema:
            schema = {**schema, **schema["allOf"][0]}
        if "$ref" in schema:
            path = schema["$ref"].rsplit("/", 1)[1]
            kind = path.rsplit(".", 1)[1]
            return SCALARS.get(kind) or self.name(path)
        kind = schema.get("type")
        if kind == "array":
            return f"[]{self.type(schema['items'])}{self.shared(schema)}"
        if kind == "object":
            more = schema.get("additionalProperties")
            atomic = "!" if schema.get("x-kubernetes-map-type") == "atomic" else ""
            return f"{{}}{self.type(more)}{atomic}" if isinstance(more, dict) else "any"
        if kind == "string":
            return "bytes" if schema.get("format") == "byte" else "string"
        return {"integer": schema.get("format", "int64"), "number": "float64", "boolean": "bool"}.get(kind, "any")

    def shared(self, schema):
        how = schema.get("x-kubernetes-list-type")
        if how != "map":
            return "@set" if how == "set" else ""
        item = schema["items"]
        item = item.get("allOf", [item])[0]
        fields = self.schemas[item["$ref"].rsplit("/", 1)[1]]["properties"]
        keys = []
        for key in schema["x-kubernetes-list-map-keys"]:
            default = fields[key].get("default")
            keys.append(key if default is None else f"{key}={default}")
        return "@" + ",".join(keys)

    def write(self, path):
        schema = self.schemas[path]
        fields = [f"{name}:{self.type(field)}" for name, field in sorted(schema.get("properties", {}).items())]
        version = path.split(".")[-2]
        atomic = "!" if schema.get("x-kubernetes-map-type") == "atomic" else ""
        self.lines[self.names[path] + atomic] = " ".join([version, *fields])


def main():
    schemas = read(*sys.argv[1:])
    writer = Writer(schemas)
    print("# Types of Kubernetes 1.35.8, made by types.py; see types.rs.")
    for kind in KINDS:
        group, version, name = ([""] + kind.replace(".", "/").split("/") if kind.startswith("v1.") else
                                [kind.rsplit("/", 1)[0], *kind.rsplit("/", 1)[1].split(".")])
        wanted = {"group": group, "version": version, "kind": name}
        path = next(path for path, schema in schemas.items()
                    if wanted in schema.get("x-kubernetes-group-version-kind", []))
        print(f"kind {group}/{version}/{name} {writer.name(path)}")
    while writer.queue:
        writer.write(writer.queue.pop(0))
    for name, fields in sorted(writer.lines.items()):
        print(name, fields)


main()
