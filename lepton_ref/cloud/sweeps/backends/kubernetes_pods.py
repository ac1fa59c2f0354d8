"""The pods of a sweep on Kubernetes: what they may use, where they go, what they must not do."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import Limits

#: Of the lock, which the image is made from (a test compares them).
RAY_VERSION = "2.60.0"

MIB = 1024 * 1024
#: Memory of a run that sets no limit.
RUN_MEMORY = 2 * 1024 * MIB
#: What Ray's own processes and the shared memory of a worker pod take on top of its runs.
POD_MEMORY = 1024 * MIB
#: Ray's object store: outcomes are small, notebooks go to the store.
OBJECT_STORE = 128 * MIB

# How the clouds mark the nodes of a spot pool. A mark that a cluster does not know matches
# nothing, so that one manifest suits all of them. The last is one's own (ACK marks none).
SPOT_LABELS = {
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "lepton-ref/spot": "true",
}
SPOT_TAINTS = {"kubernetes.azure.com/scalesetpriority": "spot", "lepton-ref/spot": "true"}

_NAMES = ("namespace", "secret", "store_secret", "service_account", "image_pull_secret")
_LEAST = {"min_workers": 0, "max_workers": 1, "slots": 1, "idle_seconds": 1, "deadline": 1}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Cluster:
    """What the pods of a sweep are made of.

    Attributes
    ----------
    image : str
        With an exact tag or a digest, from ``deploy/Containerfile`` or one like it.
    namespace : str
    min_workers, max_workers : int
        Worker pods; from 0, the autoscaler starts them when runs wait.
    slots : int
        Runs at a time on one worker pod.
    spot : bool
        Prefer spot nodes, and tolerate their taints; where there are none, on-demand ones serve.
    secrets : tuple of str
        Names that the sweep uses as ``secret:NAME``.
    secret : str
        The Kubernetes Secret that holds them, under those names.
    store_secret : str
        A Kubernetes Secret whose keys become environment variables (``AWS_ACCESS_KEY_ID`` …), if
        the store wants such. A service account with an identity of the cloud is the better way.
    service_account : str
    idle_seconds : int
        Without work, after which a worker pod ends.
    deadline : int or None
        Seconds after which KubeRay ends the job whatever it does.
    image_pull_secret : str
    """

    image: str
    namespace: str = "default"
    min_workers: int = 0
    max_workers: int = 8
    slots: int = 1
    spot: bool = True
    secrets: tuple[str, ...] = ()
    secret: str = ""
    store_secret: str = ""
    service_account: str = ""
    idle_seconds: int = 60
    deadline: int | None = None
    image_pull_secret: str = ""

    def __post_init__(self) -> None:
        # The values may come from the `options` of a sweep file.
        object.__setattr__(self, "secrets", _names(self.secrets))
        for field in dataclasses.fields(self):
            _check_kind(field.name, str(field.type), getattr(self, field.name))
        name, _, tag = self.image.rpartition("/")[2].partition(":")
        if not name or tag in ("", "latest"):
            raise SweepError(
                f"kubernetes: argument `image` is {self.image!r}; expected an image with an exact "
                "tag or a digest, such as registry.example.com/lepton-ref:0.1.0: without one, "
                "nodes of one sweep may run different code"
            )
        for argument in _NAMES:
            value = getattr(self, argument)
            if not _LABEL.fullmatch(value) and (value or argument == "namespace"):
                raise SweepError(
                    f"kubernetes: argument `{argument}` is {value!r}; expected a Kubernetes name: "
                    "at most 63 of a-z, 0-9 and '-', a letter or digit at both ends"
                )
        for argument, least in _LEAST.items():
            value = getattr(self, argument)
            if value is not None and value < least:
                raise SweepError(
                    f"kubernetes: argument `{argument}` is {value}; expected a whole number of "
                    f"at least {least}"
                )
        if self.min_workers > self.max_workers:
            raise SweepError(
                f"kubernetes: argument `min_workers` is {self.min_workers}, more than "
                f"`max_workers`, which is {self.max_workers}"
            )
        for name in self.secrets:
            if not _SECRET.fullmatch(name):
                raise SweepError(
                    f"kubernetes: secret {name!r}; expected a name of letters, digits and '_' "
                    "that does not begin with a digit, for it becomes an environment variable"
                )
        if self.secrets and not self.secret:
            raise SweepError(
                f"kubernetes: the sweep uses the secrets {', '.join(self.secrets)}, and argument "
                "`secret` names no Kubernetes Secret that holds them. Make one: kubectl create "
                f"secret generic sweep-secrets --from-literal={self.secrets[0]}=…"
            )


def _names(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_kind(argument: str, kind: str, value: Any) -> None:
    """A value of the type that the field declares."""
    known = {"str": (str, "text"), "bool": (bool, "true or false"), "int": (int, "a whole number")}
    if kind.startswith("tuple"):
        fine = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
        wanted = "a list of names"
    else:
        kinds, wanted = known[kind.partition(" ")[0]]
        fine = isinstance(value, kinds) and not (kinds is int and isinstance(value, bool))
        fine = fine or (value is None and kind.endswith("None"))
    if not fine:
        raise SweepError(f"kubernetes: argument `{argument}` is {value!r}; expected {wanted}")


def ray_cluster(cluster: Cluster, limits: Limits) -> dict[str, Any]:
    """The `rayClusterSpec` of a RayJob: a head that computes nothing, workers from zero."""
    return {
        "rayVersion": RAY_VERSION,
        # KubeRay 1.5.1 and later make a token, and every request to Ray must show it.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": cluster.idle_seconds},
        "headGroupSpec": {
            # No CPUs: runs go to the workers, and the driver is not squeezed out by them.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": {"spec": _head(cluster)},
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": cluster.min_workers,
                "minReplicas": cluster.min_workers,
                "maxReplicas": cluster.max_workers,
                "rayStartParams": {"object-store-memory": str(OBJECT_STORE)},
                "template": {"spec": _worker(cluster, limits)},
            }
        ],
    }


def _head(cluster: Cluster) -> dict[str, Any]:
    return _pod(cluster, "ray-head", {"cpu": "1", "memory": "4Gi"})


def _worker(cluster: Cluster, limits: Limits) -> dict[str, Any]:
    memory = (limits.memory or RUN_MEMORY) * cluster.slots + POD_MEMORY
    resources = {
        "cpu": f"{limits.cpus * cluster.slots:g}",
        "memory": f"{math.ceil(memory / MIB)}Mi",
    }
    tolerations = []
    if limits.gpus > 0:
        resources["nvidia.com/gpu"] = str(math.ceil(limits.gpus * cluster.slots))
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    pod = _pod(cluster, "ray-worker", resources)
    # Notebooks have no business with the API server; identities of the clouds come another way.
    pod["automountServiceAccountToken"] = False
    # Until a spot node goes there are 30 s (Azure) to 2 min (AWS): room for a checkpoint.
    pod["terminationGracePeriodSeconds"] = 60
    if cluster.spot:
        tolerations += [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            for key, value in SPOT_TAINTS.items()
        ]
        preferred = [
            {
                "weight": 100,
                "preference": {
                    "matchExpressions": [{"key": key, "operator": "In", "values": [value]}]
                },
            }
            for key, value in SPOT_LABELS.items()
        ]
        pod["affinity"] = {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
        }
    if tolerations:
        pod["tolerations"] = tolerations
    return pod


def _pod(cluster: Cluster, name: str, resources: dict[str, str]) -> dict[str, Any]:
    environment: list[dict[str, Any]] = [
        {
            "name": f"LEPTON_SECRET_{secret}",
            "valueFrom": {"secretKeyRef": {"name": cluster.secret, "key": secret}},
        }
        for secret in cluster.secrets
    ]
    container: dict[str, Any] = {
        "name": name,
        "image": cluster.image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
    }
    if environment:
        container["env"] = environment
    if cluster.store_secret:
        container["envFrom"] = [{"secretRef": {"name": cluster.store_secret}}]
    pod: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        # A pod's own /dev/shm is 64 MiB, too small for Ray's object store.
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}}
        ],
    }
    if cluster.service_account:
        pod["serviceAccountName"] = cluster.service_account
    if cluster.image_pull_secret:
        pod["imagePullSecrets"] = [{"name": cluster.image_pull_secret}]
    return pod
