"""Drives a gateway with upstream's client library (PyPI krake 1.0.1), as a program of one of its users would.

    upstream_client.py URL steps     every method for applications, clusters, metrics, providers, roles and bindings
    upstream_client.py URL rewrite   reads, changes and writes back what another client has made in namespace "rewritten"

Prints a line per step; ends with a traceback at the first that fails.
"""

import asyncio
import dataclasses
import sys
from datetime import datetime, timezone


def teach_new_python():
    """From Python 3.11 on dataclasses refuse defaults that cannot be hashed, and the library has some."""
    original = dataclasses._get_field

    def get_field(cls, name, *rest):
        default = type(getattr(cls, name, None))
        if default.__module__.startswith("krake.") and default.__hash__ is None:
            default.__hash__ = object.__hash__
        return original(cls, name, *rest)

    dataclasses._get_field = get_field


teach_new_python()

from aiohttp import ClientResponseError  # noqa: E402
from krake.client import Client  # noqa: E402
from krake.client.core import CoreApi  # noqa: E402
from krake.client.kubernetes import KubernetesApi  # noqa: E402
from krake.data import core, kubernetes  # noqa: E402

NAMESPACE = "upstream"
# A busy machine is slow; nothing here says anything about speed.
DEADLINE = 60


def metadata(name, namespace=None, **more):
    # The library wants what only the server knows; the server ignores it.
    now = datetime.now(timezone.utc)
    return core.Metadata(name=name, namespace=namespace, uid="-", created=now, modified=now, **more)


def application(name):
    manifest = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "one", "n": "2"}}]
    constraints = kubernetes.Constraints(
        cluster=kubernetes.ClusterConstraints(
            labels=[kubernetes.LabelConstraint.parse("location is DE")],
            metrics=[kubernetes.MetricConstraint.parse("load > 1")],
        )
    )
    spec = kubernetes.ApplicationSpec(manifest=manifest, constraints=constraints, hooks=[])
    return kubernetes.Application(
        metadata=metadata(name, NAMESPACE, labels={"tier": "edge"}), spec=spec, status=kubernetes.ApplicationStatus()
    )


def cluster(name):
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "krake", "user": {"token": "t0ken"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "krake"}}],
        "current-context": name,
    }
    spec = kubernetes.ClusterSpec(
        kubeconfig=kubeconfig,
        metrics=[core.MetricRef(name="load", weight=1.5, namespaced=True)],
        # Empty lists, as the server does not tell them from null.
        constraints=kubernetes.ClusterCloudConstraints(cloud=kubernetes.CloudConstraints(labels=[], metrics=[])),
    )
    return kubernetes.Cluster(
        metadata=metadata(name, NAMESPACE, labels={"location": "DE"}), spec=spec, status=kubernetes.ClusterStatus()
    )


def metric_spec():
    return core.MetricSpec(min=0.0, max=5.5, provider=core.MetricSpecProvider(name="p", metric="m"))


def provider_specs():
    return {
        "prometheus": core.PrometheusSpec(url="http://127.0.0.1:9090"),
        "kafka": core.KafkaSpec(comparison_column="c", value_column="v", table="t", url="http://127.0.0.1:8088"),
        "static": core.StaticSpec(metrics={"load": 0.75}),
    }


def provider_spec(kind):
    return core.MetricsProviderSpec(type=kind, **{kind: provider_specs()[kind]})


async def refused(status, call):
    try:
        answer = await call
    except ClientResponseError as error:
        assert error.status == status, f"{error.status} instead of {status}: {error}"
        return
    raise AssertionError(f"accepted instead of {status}: {answer}")


async def erased(read):
    """Waits until the garbage collector has let an object go."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while asyncio.get_running_loop().time() < end:
        try:
            await read()
        except ClientResponseError as error:
            assert error.status == 404, error
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it is still there")


class Kind:
    """The methods of one kind, whatever the library calls them."""

    def __init__(self, api, singular, plural, namespace):
        self.api, self.singular, self.plural = api, singular, plural
        self.place = {} if namespace is None else {"namespace": namespace}

    def create(self, body):
        return getattr(self.api, f"create_{self.singular}")(body=body, **self.place)

    def read(self, name):
        return getattr(self.api, f"read_{self.singular}")(name=name, **self.place)

    def update(self, body):
        return getattr(self.api, f"update_{self.singular}")(body=body, name=body.metadata.name, **self.place)

    def delete(self, name):
        return getattr(self.api, f"delete_{self.singular}")(name=name, **self.place)

    def list(self):
        return getattr(self.api, f"list_{self.plural}")(**self.place)

    def watch(self):
        return getattr(self.api, f"watch_{self.plural}")(heartbeat=1, **self.place)


async def event_of(events, kind, name, accept=lambda found: True):
    """The next event of the kind about the object; later events of other kinds are no failure, wrong order is."""

    async def next_one():
        async for event in events:
            if event.object.metadata.name == name and event.type.name == kind and accept(event.object):
                return event.object
        raise AssertionError(f"the watch ended before {kind} {name}")

    return await asyncio.wait_for(next_one(), DEADLINE)


def wanted(found):
    """What the user wants: the spec; roles and their bindings have none."""
    if isinstance(found, core.RoleBinding):
        return found.users, found.roles
    return found.rules if isinstance(found, core.Role) else found.spec


async def life(kind, body, change):
    """Create, read, list, watch, update, delete."""
    name = body.metadata.name
    async with kind.watch() as events:
        made = await kind.create(body)
        assert made.metadata.uid not in ("", "-") and made.metadata.created == made.metadata.modified
        assert wanted(made) == wanted(body), f"{wanted(made)} is not {wanted(body)}"
        assert made.metadata.labels == body.metadata.labels
        seen = await event_of(events, "ADDED", name)
        assert seen == made
        await refused(409, kind.create(body))

        read = await kind.read(name)
        assert read == made
        await refused(404, kind.read("nobody"))
        listed = await kind.list()
        assert [one.metadata.name for one in listed.items] == [name]
        assert listed.items[0] == made

        change(read)
        changed = await kind.update(read)
        assert wanted(changed) == wanted(read) and changed.metadata.labels == read.metadata.labels
        assert changed.metadata.uid == made.metadata.uid
        assert changed.metadata.created == made.metadata.created
        assert changed.metadata.modified > made.metadata.modified
        seen = await event_of(events, "MODIFIED", name)
        assert wanted(seen) == wanted(read)
        await refused(400, kind.update(await kind.read(name)))

        deleted = await kind.delete(name)
        assert deleted is not None and deleted.metadata.deleted is not None
        seen = await event_of(events, "DELETED", name)
        assert seen.metadata.uid == made.metadata.uid and wanted(seen) == wanted(read)
    await erased(lambda: kind.read(name))
    await refused(404, kind.delete(name))
    assert (await kind.list()).items == []


async def applications(client):
    api = KubernetesApi(client)

    def change(app):
        app.spec.manifest[0]["data"]["text"] = "two"
        app.metadata.labels["tier"] = "core"
        app.spec.constraints.migration = False

    await life(Kind(api, "application", "applications", NAMESPACE), application("app"), change)


async def applications_of_all_namespaces(client):
    api = KubernetesApi(client)
    async with api.watch_all_applications() as events:
        await api.create_application(application("everywhere"), NAMESPACE)
        seen = await event_of(events, "ADDED", "everywhere")
        assert seen.status.state == kubernetes.ApplicationState.PENDING
        found = (await api.list_all_applications()).items
        assert "everywhere" in [one.metadata.name for one in found]
        await api.delete_application(NAMESPACE, "everywhere")
        await event_of(events, "DELETED", "everywhere")


async def binding(client):
    api = KubernetesApi(client)
    await api.create_cluster(cluster("target"), NAMESPACE)
    made = await api.create_application(application("bound"), NAMESPACE)
    target = core.ResourceRef(api="kubernetes", kind="Cluster", namespace=NAMESPACE, name="target")
    bound = await api.update_application_binding(kubernetes.ClusterBinding(cluster=target), NAMESPACE, "bound")
    assert bound.status.scheduled_to == target, bound.status
    assert bound.status.scheduled is not None and target in bound.metadata.owners
    assert bound.metadata.modified == made.metadata.modified
    await api.delete_application(NAMESPACE, "bound")
    await erased(lambda: api.read_application(NAMESPACE, "bound"))
    await api.delete_cluster(NAMESPACE, "target")
    await erased(lambda: api.read_cluster(NAMESPACE, "target"))


async def clusters(client):
    def change(found):
        found.spec.metrics[0].weight = -2.0
        found.spec.custom_resources = ["crontabs.stable.example.com"]

    await life(Kind(KubernetesApi(client), "cluster", "clusters", NAMESPACE), cluster("cluster"), change)


async def cluster_status(client):
    api = KubernetesApi(client)
    made = await api.create_cluster(cluster("judged"), NAMESPACE)
    assert made.status.state == kubernetes.ClusterState.PENDING
    reason = core.Reason(code=core.ReasonCode.UNKNOWN_METRIC, message="no metric load")
    made.status.metrics_reasons = {"load": reason}
    judged = await api.update_cluster_status(made, NAMESPACE, "judged")
    assert judged.status.metrics_reasons == {"load": reason}
    assert judged.metadata.modified == made.metadata.modified
    await api.delete_cluster(NAMESPACE, "judged")
    await erased(lambda: api.read_cluster(NAMESPACE, "judged"))


async def metrics(client):
    def change(found):
        found.spec.max = 7.25

    body = core.Metric(metadata=metadata("metric", NAMESPACE), spec=metric_spec())
    await life(Kind(CoreApi(client), "metric", "metrics", NAMESPACE), body, change)


async def global_metrics(client):
    def change(found):
        found.spec.provider.metric = "other"

    body = core.GlobalMetric(metadata=metadata("metric"), spec=metric_spec())
    await life(Kind(CoreApi(client), "global_metric", "global_metrics", None), body, change)


async def metrics_providers(client):
    def change(found):
        found.spec = provider_spec("prometheus")

    body = core.MetricsProvider(metadata=metadata("provider", NAMESPACE), spec=provider_spec("static"))
    await life(Kind(CoreApi(client), "metrics_provider", "metrics_providers", NAMESPACE), body, change)


async def global_metrics_providers(client):
    def change(found):
        found.metadata.labels["kind"] = "clock"

    body = core.GlobalMetricsProvider(metadata=metadata("provider"), spec=provider_spec("prometheus"))
    await life(Kind(CoreApi(client), "global_metrics_provider", "global_metrics_providers", None), body, change)


async def roles(client):
    def change(found):
        found.rules[0].verbs.append(core.Verb.list_all)

    rule = core.RoleRule(
        api="kubernetes", resources=["applications"], namespaces=["", "demo"], verbs=[core.Verb.create, core.Verb.get]
    )
    body = core.Role(metadata=metadata("system:role", labels={"team": "a"}), rules=[rule])
    await life(Kind(CoreApi(client), "role", "roles", None), body, change)


async def role_bindings(client):
    def change(found):
        found.users.append("bob")

    body = core.RoleBinding(metadata=metadata("system:binding"), users=["alice"], roles=["system:role"])
    await life(Kind(CoreApi(client), "role_binding", "role_bindings", None), body, change)


async def rewrite(client):
    """What the library does not know is not in what it writes back."""
    api, metrics = KubernetesApi(client), CoreApi(client)
    place = "rewritten"
    app = await api.read_application(namespace=place, name="app")
    app.metadata.labels["seen-by"] = "upstream"
    app.spec.manifest[0]["data"]["text"] = "rewritten"
    await api.update_application(app, place, "app")
    found = await api.read_cluster(namespace=place, name="cluster")
    found.metadata.labels["seen-by"] = "upstream"
    await api.update_cluster(found, place, "cluster")
    metric = await metrics.read_metric(namespace=place, name="metric")
    metric.spec.max = 9.0
    await metrics.update_metric(body=metric, namespace=place, name="metric")


STEPS = [
    applications,
    applications_of_all_namespaces,
    binding,
    clusters,
    cluster_status,
    metrics,
    global_metrics,
    metrics_providers,
    global_metrics_providers,
    roles,
    role_bindings,
]


async def main(url, what):
    async with Client(url=url) as client:
        for step in {"steps": STEPS, "rewrite": [rewrite]}[what]:
            await step(client)
            print("ok", step.__name__.replace("_", " "), flush=True)


asyncio.run(main(*sys.argv[1:]))
