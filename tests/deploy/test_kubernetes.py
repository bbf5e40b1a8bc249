"""deploy/kubernetes, built by kubectl and checked against the schemas, our commands and each other.

What is not checked: that a cluster takes the manifests and does with them what its documentation says.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from typing import Any

import pytest
import redis
import yaml

from tests.deploy.commands import DEPLOY, OURS, module, parse, port_of
from tests.deploy.manifests import (
    KUBERNETES,
    NAMESPACE,
    Manifest,
    Peer,
    allowed,
    built,
    container,
    named,
    values,
    workloads,
)
from worker.protocol import Status, keys
from worker.protocol.transport import TaskQueue

SECRETS = "/run/secrets/optuna-rq/"
RUNS = ["controller", "worker", "dashboard", "redis", "postgres"]


def our_argv(template: Manifest) -> list[str]:
    """The part of a container's command line that is ours."""
    found = [*container(template).get("command", ()), *container(template)["args"]]
    return found[next(i for i, word in enumerate(found) if word in OURS) :]


# The files and the build


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda p: p.parent.name)
def test_what_a_kustomization_names_is_there_and_the_other_way_round(path: Any) -> None:
    """But for the secrets, which are made."""
    text = yaml.safe_load(path.read_text())
    named_here = {*text.get("resources", ()), *text.get("components", ())}
    for generator in (*text.get("configMapGenerator", ()), *text.get("secretGenerator", ())):
        named_here |= set(generator.get("files", ()))
    for name in named_here:
        assert (path.parent / name).exists() or name.startswith("secrets/"), name
    beside = {p.name for p in path.parent.iterdir() if p.is_file()} - {
        "kustomization.yaml",
        "aws_credentials.example",
    }
    assert beside <= named_here


@pytest.mark.parametrize("keda", [True, False])
def test_the_schemas(keda: bool) -> None:
    """Kubernetes' own, strictly: a key that is not in them is refused."""
    schemas = module("kubernetes_validate", "kubernetes-validate")
    for manifest in built(keda=keda):
        if not manifest["apiVersion"].startswith("keda.sh/"):
            for version in ("1.31", schemas.latest_version()):
                schemas.validate(manifest, version, strict=True)


def test_the_schemas_find_something() -> None:
    schemas = module("kubernetes_validate", "kubernetes-validate")
    wrong = copy.deepcopy(named("Job", "controller"))
    wrong["spec"]["template"]["spec"]["readOnlyRootFilesystem"] = True  # the container's, not the pod's
    with pytest.raises(schemas.ValidationError, match="readOnlyRootFilesystem"):
        schemas.validate(wrong, "1.31", strict=True)


def test_kedas_manifests_have_the_keys_of_its_schema() -> None:
    """By hand: no package that checks it is fit to be among ours. These are of KEDA 2.16's ScaledJob."""
    found = {m["kind"]: m["spec"] for m in built() if m["apiVersion"] == "keda.sh/v1alpha1"}
    assert found.keys() == {"ScaledJob", "TriggerAuthentication"}
    spec = found["ScaledJob"]
    assert spec.keys() <= {
        "jobTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit", "rollout", "scalingStrategy", "triggers", "envSourceContainerName",
    }  # fmt: skip
    assert spec["jobTargetRef"].keys() == {"backoffLimit", "template"}
    for trigger in spec["triggers"]:
        assert trigger.keys() == {"type", "name", "metadata", "authenticationRef"}
        assert trigger["authenticationRef"].keys() == {"name"}
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
    for target in found["TriggerAuthentication"]["secretTargetRef"]:
        assert target.keys() == {"parameter", "name", "key"}
    # What KEDA makes of it is a Job.
    schemas = module("kubernetes_validate", "kubernetes-validate")
    made = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "worker"},
        "spec": spec["jobTargetRef"],
    }
    schemas.validate(made, schemas.latest_version(), strict=True)


def test_triggers_are_of_kedas_redis_scaler() -> None:
    """What stands in a trigger's metadata is in no schema: these are the keys that its documentation has."""
    spec = named("ScaledJob", "worker")["spec"]
    assert spec["rollout"] == {"strategy": "gradual"}  # or a new image would end running workers
    assert spec["scalingStrategy"] == {"strategy": "default", "multipleScalersCalculation": "sum"}
    assert len({trigger["name"] for trigger in spec["triggers"]}) == len(spec["triggers"])
    for trigger in spec["triggers"]:
        assert trigger["type"] == "redis"
        assert trigger["metadata"].keys() == {"address", "listName", "listLength"}
        assert trigger["metadata"]["address"] == f"redis.{NAMESPACE}.svc.cluster.local:6379"
        named("TriggerAuthentication", trigger["authenticationRef"]["name"])


def test_all_is_in_the_namespace_and_redis_is_as_elsewhere() -> None:
    for manifest in built():
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == NAMESPACE, manifest["metadata"]
    copies = [DEPLOY / "redis.conf", KUBERNETES / "base/redis.conf"]
    # Kustomize reads no file outside its folder.
    assert copies[0].read_text() == copies[1].read_text()


def test_every_reference_is_to_something_that_is_made() -> None:
    made = {(m["kind"], m["metadata"]["name"]): m for m in built()}
    for template in workloads().values():
        for config in (*values(template, "configMap"), *values(template, "configMapRef")):
            assert ("ConfigMap", config["name"]) in made
        for secret in values(template, "secret"):
            there = made[("Secret", secret["secretName"])]["data"]
            assert {item["key"] for item in secret["items"]} <= there.keys()
        mounts = {mount["name"] for mount in container(template)["volumeMounts"]}
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        assert mounts - {"data"} == volumes
        assert not list(values(template, "secretKeyRef")), "secrets are files, not variables"
    for auth in (m for m in built() if m["kind"] == "TriggerAuthentication"):
        for target in auth["spec"]["secretTargetRef"]:
            assert target["key"] in made[("Secret", target["name"])]["data"]
    for (kind, name), manifest in made.items():
        if kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            for selected in values(manifest["spec"].get("selector", {}), "app.kubernetes.io/name"):
                assert selected in workloads(), (kind, name)


def test_each_pod_has_the_secrets_that_it_reads_and_no_others() -> None:
    for name, template in workloads().items():
        text = json.dumps(
            [container(template).get(part) for part in ("command", "args", "env", "livenessProbe")]
        )
        read = set(re.findall(rf"{SECRETS}([\w.]+)", text))
        (secret,) = values(template, "secret")
        assert read == {item["path"] for item in secret["items"]}, name
    of_worker = json.dumps(workloads()["worker"])
    assert "optuna_storage" not in of_worker
    assert "controller_redis_url" not in of_worker


def test_secrets_are_in_no_manifest_but_one_and_not_in_git() -> None:
    assert "secrets/" in (KUBERNETES / ".gitignore").read_text().splitlines()
    holders = {(m["kind"], m["metadata"]["name"]) for m in built() if m["kind"] == "Secret"}
    assert holders == {("Secret", "optuna-rq")}
    others = json.dumps([m for m in built() if m["kind"] != "Secret"])
    words = [base64.b64decode(named("Secret", "optuna-rq")["data"][name]).decode() for name in
             ("redis_password", "postgres_password", "job_secret", "worker_redis_url", "optuna_storage",
              "dashboard_token")]  # fmt: skip
    assert not [word for word in words if word in others]


# The pods


def test_the_workloads_are_these() -> None:
    assert set(workloads()) == set(workloads(keda=False)) == set(RUNS)
    # With KEDA nothing is left that would hold workers, or want some.
    workers = {
        keda: {m["kind"] for m in built(keda=keda) if m["metadata"]["name"] == "worker"}
        for keda in (True, False)
    }
    assert workers == {True: {"ScaledJob"}, False: {"Deployment", "PodDisruptionBudget"}}


@pytest.mark.parametrize("keda", [True, False])
@pytest.mark.parametrize("name", ["controller", "worker"])
def test_commands_are_understood_and_probed(name: str, keda: bool) -> None:
    template = workloads(keda=keda)[name]
    options = parse(our_argv(template))
    (port,) = container(template)["ports"]
    (listens_on,) = [word for word in our_argv(template) if "0.0.0.0:" in word]
    assert port["containerPort"] == port_of(listens_on.rpartition("=")[2])
    assert options["metrics_port"]
    probes = {
        kind: container(template)[kind]["httpGet"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"


@pytest.mark.parametrize("keda", [True, False])
def test_a_worker_has_time_to_hand_back(keda: bool) -> None:
    template = workloads(keda=keda)["worker"]
    options = parse(our_argv(template))
    # The grace period of a task, ten seconds, and its last upload.
    assert template["spec"]["terminationGracePeriodSeconds"] >= options["drain_s"] + 30
    assert "lifecycle" not in container(template)  # SIGTERM is all that it takes


def test_workers_are_the_same_with_and_without_keda() -> None:
    """Kustomize can't take one pod from the other."""
    job, deployment = (copy.deepcopy(workloads(keda=keda)["worker"]["spec"]) for keda in (True, False))
    job = {**job, "restartPolicy": "Always"}
    deployment = {**deployment, "restartPolicy": "Always"}
    ended = parse(our_argv({"spec": job}))
    kept = parse(our_argv({"spec": deployment}))
    assert ended.pop("idle_s") == 120
    assert kept.pop("idle_s") is None
    assert ended == kept
    for spec in (job, deployment):
        container({"spec": spec})["args"] = []
    assert job == deployment


@pytest.mark.parametrize("name", RUNS)
def test_pods_have_no_rights(name: str) -> None:
    for keda in (True, False):
        spec = workloads(keda=keda)[name]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        if name in ("controller", "worker", "dashboard"):
            user = f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
            assert f"\nUSER {user}\n" in (DEPLOY / "docker/Dockerfile").read_text()
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        (only,) = spec["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= only["resources"]["requests"].keys()
        assert "memory" in only["resources"]["limits"]
        assert not list(values(spec, "hostPath"))
    assert (
        named("Namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )


def test_images_are_pinned() -> None:
    images = {name: container(template)["image"] for name, template in workloads().items()}
    compose = (DEPLOY / "docker/compose.yaml").read_text()
    for name in ("redis", "postgres"):
        assert re.fullmatch(rf"{name}:\d[\w.-]+@sha256:[0-9a-f]{{64}}", images[name])
        assert f"image: {images[name]}\n" in compose, "the same in both"
    assert images["controller"] == images["worker"] == images["dashboard"]
    assert not images["worker"].endswith(":latest")


def test_a_controller_ends_and_another_stands_by() -> None:
    job = named("Job", "controller")["spec"]
    assert job["parallelism"] == 2
    assert "completions" not in job
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert "--hand-over" in container(job["template"])["args"]
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert named("PodDisruptionBudget", "controller")["spec"]["minAvailable"] == 1


def test_the_dashboard_is_reached_from_its_pod_only() -> None:
    template = workloads()["dashboard"]
    options = parse(our_argv(template))
    assert (options["host"], options["port"], options["allow_changes"]) == ("127.0.0.1", 8080, False)
    assert "ports" not in container(template)
    assert "127.0.0.1:8080/login" in json.dumps(container(template)["livenessProbe"])
    token = {"name": "OPTUNA_RQ_TOKEN_FILE", "value": f"{SECRETS}dashboard_token"}
    assert token in container(template)["env"]


def test_data_lies_on_volumes() -> None:
    for name in ("redis", "postgres"):
        spec = named("StatefulSet", name)["spec"]
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "data"
        service = named("Service", spec["serviceName"])
        assert service["spec"]["selector"] == {"app.kubernetes.io/name": name}
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] == container(spec["template"])["ports"][0]["name"]


# Scaling


def test_keda_looks_at_the_keys_that_there_are() -> None:
    """The queue is RQ's list, and the study's name stands in the second key."""
    triggers = {t["name"]: t["metadata"] for t in named("ScaledJob", "worker")["spec"]["triggers"]}
    served = parse(our_argv(workloads()["worker"]))["queues"]
    sweep = (KUBERNETES / "overlays/example/sweep.toml").read_text()
    (study,) = re.findall(r'^name = "(.*)"$', sweep.partition("[objective]")[0], re.MULTILINE)
    assert TaskQueue(served[0], connection=redis.Redis()).key == f"rq:queue:{served[0]}"
    assert triggers["waiting"]["listName"] == triggers["more"]["listName"] == f"rq:queue:{served[0]}"
    assert triggers["running"]["listName"] == keys.study_status(study, Status.IN_PROGRESS)
    (wanted,) = re.findall(r"^max_concurrent = (\d+)$", sweep, re.MULTILINE)
    assert named("ScaledJob", "worker")["spec"]["maxReplicaCount"] >= int(wanted)


# The network

DNS = Peer.pod("coredns", "kube-system", k8s_app="kube-dns")
S3 = Peer(address="52.95.0.1")
METADATA = Peer(address="169.254.169.254")
PROMETHEUS = Peer.pod("prometheus", "monitoring")
KEDA = Peer.pod("keda-operator", "keda")
STRANGER = Peer.pod("stranger", "default")
US = {name: Peer.pod(name) for name in RUNS}


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (US["controller"], US["redis"], 6379),
        (US["controller"], US["postgres"], 5432),
        (US["controller"], S3, 443),
        (US["controller"], Peer(address="2a05:d018::1"), 443),
        (US["controller"], DNS, 53),
        (US["dashboard"], US["redis"], 6379),
        (US["dashboard"], US["postgres"], 5432),
        (US["dashboard"], S3, 443),
        (US["dashboard"], DNS, 53),
        (US["worker"], US["redis"], 6379),
        (US["worker"], S3, 443),
        (US["worker"], DNS, 53),
        (PROMETHEUS, US["controller"], 9109),
        (PROMETHEUS, US["worker"], 9108),
        (KEDA, US["redis"], 6379),
    ],
)
def test_the_network_lets_through_what_is_needed(source: Peer, target: Peer, port: int) -> None:
    assert allowed(source, target, port)
    if target is DNS:
        assert allowed(source, target, port, "UDP")
    else:
        assert not allowed(source, target, port, "UDP")


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (US["worker"], US["postgres"], 5432),
        (US["worker"], US["worker"], 9108),
        (US["worker"], US["controller"], 9109),
        (US["worker"], S3, 80),
        (US["worker"], METADATA, 443),
        (US["worker"], STRANGER, 443),
        (US["redis"], S3, 443),
        (US["redis"], DNS, 53),
        (US["postgres"], S3, 443),
        (STRANGER, US["redis"], 6379),
        (STRANGER, US["worker"], 9108),
        (KEDA, US["postgres"], 5432),
        (PROMETHEUS, US["redis"], 6379),
        (PROMETHEUS, US["dashboard"], 8080),
        (US["worker"], US["dashboard"], 8080),
        (Peer.pod("stranger"), US["redis"], 6379),
        (Peer.pod("stranger"), S3, 443),
    ],
)
def test_the_network_stops_what_is_not(source: Peer, target: Peer, port: int) -> None:
    assert not allowed(source, target, port)
