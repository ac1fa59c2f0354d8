"""The RayJob that runs a whole sweep on Kubernetes: built here, sent by :mod:`.kubernetes`.

KubeRay's operator reads a RayJob, starts a Ray cluster for it (a head pod, and workers that its
autoscaler adds from zero), runs one command on the head, and takes the cluster away. The command
is ``lepton-ref sweep … --backend ray --address auto``: driver and workers both run inside the
cluster, so the machine of the user may be switched off meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from lepton_ref.cloud.sweeps.backends.kubernetes_pods import Cluster, ray_cluster
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import Limits

#: Stores that pods reach.
REMOTE = ("s3", "abfs", "abfss", "az", "oss", "gs", "gcs")
#: Most bytes that the API server keeps in one ConfigMap.
CONFIGMAP_BYTES = 1_048_576
#: Where the files stand in the pods.
MOUNT = "/sweep"
#: KubeRay derives names of pods and services from that of the job, so it refuses longer ones.
NAME_LENGTH = 47

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def documents(
    name: str,
    files: Mapping[str, str],
    sweep: str,
    store: str,
    cluster: Cluster,
    limits: Limits | None = None,
    arguments: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """The ConfigMap and the RayJob of one sweep, as plain data.

    Parameters
    ----------
    name : str
        Of the sweep; the job's name is made from it and from a hash of everything else, so that
        the same sweep has the same name and a changed one another.
    files : mapping
        File name to text: the sweep file, and the notebook that it names (without a folder).
        Outputs of notebooks are left behind. A notebook that the sweep file names by URL
        (``s3://…``) is not among them.
    sweep : str
        Which of ``files`` is the sweep file.
    store : str
        Where results go, an URL that pods reach.
    cluster : Cluster
    limits : Limits, optional
        Of one run.
    arguments : tuple of str
        More of the command line of ``lepton-ref sweep``.

    Raises
    ------
    SweepError
        A store that is on this machine only, files that do not fit, an argument out of range.
    """
    limits = limits or Limits()
    _check_store(store)
    carried = _carried(files, sweep)
    command = [
        *("lepton-ref", "sweep", f"{MOUNT}/{sweep}", "--backend", "ray", "--address", "auto"),
        *("--output", store),
        *arguments,
    ]
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(command),
        # A failed sweep has failed runs: another cluster would fail them again. Lost nodes are
        # the driver's to repair, a lost head is the user's: the same command resumes.
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
        "submissionMode": "K8sJobMode",
        "rayClusterSpec": ray_cluster(cluster, limits),
    }
    if cluster.deadline is not None:
        spec["activeDeadlineSeconds"] = cluster.deadline
    content = json.dumps([carried, spec, cluster.namespace], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: NAME_LENGTH - 9].strip("-")
    job = f"{slug or 'sweep'}-{digest[:8]}"
    labels = {"app.kubernetes.io/name": "lepton-ref", "app.kubernetes.io/instance": job}
    meta = {"name": job, "namespace": cluster.namespace, "labels": labels}
    notes = {"lepton-ref/digest": digest, "lepton-ref/store": store}
    # AKS hands its identities only to pods that ask; other clouds do not read the label.
    asking = {"azure.workload.identity/use": "true"} if cluster.service_account else {}
    for group in _groups(spec):
        group["template"]["metadata"] = {"labels": {**labels, **asking}}
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    head["volumes"].append({"name": "sweep", "configMap": {"name": job}})
    head["containers"][0]["volumeMounts"].append(
        {"name": "sweep", "mountPath": MOUNT, "readOnly": True}
    )
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**meta, "labels": dict(labels)},
            # The name holds a hash of the content, so no update is ever right.
            "immutable": True,
            "data": carried,
        },
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {**meta, "annotations": notes},
            "spec": spec,
        },
    ]


def manifest(
    name: str,
    files: Mapping[str, str],
    sweep: str,
    store: str,
    cluster: Cluster,
    limits: Limits | None = None,
    arguments: tuple[str, ...] = (),
) -> str:
    """:func:`documents` as YAML, for ``kubectl apply -f -``."""
    return to_yaml(documents(name, files, sweep, store, cluster, limits, arguments))


def to_yaml(built: list[dict[str, Any]]) -> str:
    """Documents as YAML, for ``kubectl apply -f -``."""
    import yaml

    return str(yaml.dump_all(built, Dumper=_plain_dumper(), sort_keys=False, width=100))


def _check_store(store: str) -> None:
    scheme = store.partition("://")[0] if "://" in store else ""
    if scheme not in REMOTE:
        raise SweepError(
            f"kubernetes: the store is {store!r}, which the pods of a cluster do not reach; "
            "expected one of " + ", ".join(f"{s}://…" for s in REMOTE)
        )


def _carried(files: Mapping[str, str], sweep: str) -> dict[str, str]:
    if sweep not in files:
        raise SweepError(
            f"kubernetes: argument `sweep` is {sweep!r}, which is none of the files "
            + (", ".join(files) or "(there are none)")
        )
    for name in files:
        if not _KEY.fullmatch(name) or name in (".", ".."):
            raise SweepError(
                f"kubernetes: file {name!r}; expected a name without a folder, of letters, "
                "digits, '-', '_' and '.'"
            )
    carried = {
        name: _without_outputs(name, text) if name.endswith(".ipynb") else text
        for name, text in files.items()
    }
    size = sum(len(name.encode()) + len(text.encode()) for name, text in carried.items())
    if size > CONFIGMAP_BYTES:
        largest = max(carried, key=lambda name: len(carried[name].encode()))
        raise SweepError(
            f"kubernetes: the files of the sweep are {size:,} bytes without outputs, and a "
            f"ConfigMap holds {CONFIGMAP_BYTES:,}; the largest is {largest}. Put it in the store "
            "and name it in the sweep file by its URL, as notebook: s3://…"
        )
    return carried


def _without_outputs(name: str, text: str) -> str:
    try:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
    except (ValueError, KeyError, TypeError) as error:
        raise SweepError(f"kubernetes: {name} is not a notebook: {error!r}") from error
    return json.dumps(notebook, ensure_ascii=False, separators=(",", ":"))


def _groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = spec["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def _plain_dumper() -> Any:
    """YAML without anchors, and with texts of several lines as blocks."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Plain.add_representer(str, text)
    return Plain
