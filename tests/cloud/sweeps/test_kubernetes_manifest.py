"""The manifest of a sweep on Kubernetes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lepton_ref.cloud.sweeps.backends import kubernetes
from lepton_ref.cloud.sweeps.backends.kubernetes import Cluster, documents
from lepton_ref.cloud.sweeps.backends.kubernetes_manifest import CONFIGMAP_BYTES
from lepton_ref.cloud.sweeps.backends.kubernetes_pods import RAY_VERSION
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import Limits
from tests.cloud.sweeps import kuberay
from tests.cloud.sweeps.kubernetes_sweep import IMAGE, SWEEP, build, notebook

ROOT = Path(__file__).resolve().parents[3]


def worker(built: list[dict[str, Any]]) -> dict[str, Any]:
    return built[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


def pods(built: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group["template"]["spec"] for group in kuberay.groups_of(built[1])]


FULL = Cluster(
    IMAGE,
    namespace="lab",
    min_workers=1,
    max_workers=5,
    slots=2,
    secrets=("API_KEY",),
    secret="sweep-secrets",
    store_secret="store",
    service_account="sweeper",
    deadline=3600,
    image_pull_secret="registry",
)


@pytest.mark.parametrize(
    ("cluster", "limits"),
    [
        (Cluster(IMAGE), Limits()),
        (Cluster(IMAGE, spot=False), Limits()),
        (FULL, Limits(cpus=0.5, gpus=0.5, memory=3 * 10**9)),
    ],
)
def test_manifest_fits_the_schemas(cluster: Cluster, limits: Limits) -> None:
    built = build(cluster=cluster, limits=limits)
    assert [document["kind"] for document in built] == ["ConfigMap", "RayJob"]
    for document in built:
        kuberay.validate(document)


def test_command_runs_the_sweep_on_the_cluster_itself() -> None:
    command = shlex.split(build(arguments=("--timeout", "60"))[1]["spec"]["entrypoint"])
    assert command == [
        *("lepton-ref", "sweep", "/sweep/sweep.yaml", "--backend", "ray", "--address", "auto"),
        *("--output", "s3://bucket/digits", "--timeout", "60"),
    ]


def test_words_of_the_command_are_quoted() -> None:
    store = "s3://bucket/a b; rm -rf $HOME"
    command = build(store=store)[1]["spec"]["entrypoint"]
    assert shlex.split(command)[8] == store


def test_limits_become_resources_of_the_worker_pods() -> None:
    cluster = Cluster(IMAGE, slots=2, min_workers=1, max_workers=5, idle_seconds=90)
    built = build(cluster=cluster, limits=Limits(cpus=1.5, gpus=0.5, memory=3 * 2**30))
    resources = pods(built)[1]["containers"][0]["resources"]
    expected = {"cpu": "3", "memory": "7168Mi", "nvidia.com/gpu": "1"}
    assert resources == {"requests": expected, "limits": expected}
    group = worker(built)
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (1, 1, 5)
    spec = built[1]["spec"]["rayClusterSpec"]
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 90
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        pods(built)[1]["tolerations"]
    )
    plain = pods(build())[1]["containers"][0]["resources"]["limits"]
    assert plain == {"cpu": "1", "memory": "3072Mi"}


def test_workers_start_from_zero_and_the_head_computes_nothing() -> None:
    built = build()
    spec = built[1]["spec"]["rayClusterSpec"]
    assert worker(built)["minReplicas"] == 0
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert built[1]["spec"]["shutdownAfterJobFinishes"] is True


def test_spot_is_preferred_by_the_workers_alone_and_can_be_left_out() -> None:
    head, pod = pods(build())
    (rule,) = pod["affinity"]["nodeAffinity"]
    assert rule == "preferredDuringSchedulingIgnoredDuringExecution"
    assert {t["key"] for t in pod["tolerations"]} == {
        "kubernetes.azure.com/scalesetpriority",
        "lepton-ref/spot",
    }
    assert "affinity" not in head and "tolerations" not in head
    pod = pods(build(cluster=Cluster(IMAGE, spot=False)))[1]
    assert "affinity" not in pod and "tolerations" not in pod


def test_the_overlays_of_deploy_mark_spot_nodes_alike() -> None:
    from lepton_ref.cloud.sweeps.backends.kubernetes_pods import SPOT_LABELS
    from tests.cloud.sweeps.test_deploy import SPOT

    assert SPOT_LABELS == {key: value for marks in SPOT.values() for key, value in marks.items()}


def test_secrets_are_named_and_never_written() -> None:
    cluster = Cluster(IMAGE, secrets=("API_KEY", "DB"), secret="sweep-secrets")
    os.environ["LEPTON_SECRET_API_KEY"] = "a-value-that-must-not-travel"
    try:
        built = build(cluster=cluster)
    finally:
        del os.environ["LEPTON_SECRET_API_KEY"]
    for pod in pods(built):
        assert pod["containers"][0]["env"] == [
            {
                "name": f"LEPTON_SECRET_{name}",
                "valueFrom": {"secretKeyRef": {"name": "sweep-secrets", "key": name}},
            }
            for name in ("API_KEY", "DB")
        ]
    assert "must-not-travel" not in json.dumps(built)


def test_files_travel_without_outputs_and_reach_the_head_alone() -> None:
    files = {"sweep.yaml": SWEEP, "train.ipynb": notebook(outputs="x" * 2_000_000)}
    config_map, job = build(files=files)
    assert config_map["immutable"] is True
    carried = json.loads(config_map["data"]["train.ipynb"])
    assert carried["cells"][1]["outputs"] == []
    assert carried["cells"][1]["source"] == ["print(1)"]
    assert "数字" in config_map["data"]["train.ipynb"]
    assert config_map["data"]["sweep.yaml"] == SWEEP
    head, pod = pods([config_map, job])
    volume = {"name": "sweep", "configMap": {"name": config_map["metadata"]["name"]}}
    assert volume in head["volumes"] and volume not in pod["volumes"]
    assert {"name": "sweep", "mountPath": "/sweep", "readOnly": True} in (
        head["containers"][0]["volumeMounts"]
    )


def test_name_is_made_from_the_sweep_and_everything_in_it() -> None:
    name = build()[1]["metadata"]["name"]
    assert name.startswith("digits-a-first-sweep-") and len(name) <= 47
    assert build()[1]["metadata"]["name"] == name
    long = build(name="x" * 300)[1]["metadata"]["name"]
    assert len(long) == 47 and build(name="数字")[1]["metadata"]["name"].startswith("sweep-")
    changes: list[dict[str, Any]] = [
        {"store": "s3://bucket/other"},
        {"cluster": Cluster(IMAGE.replace("0.1.0", "0.1.1"))},
        {"limits": Limits(cpus=2)},
        {"files": {"sweep.yaml": SWEEP + "\n", "train.ipynb": notebook()}},
    ]
    assert len({build(**change)[1]["metadata"]["name"] for change in changes} | {name}) == 5


def test_yaml_is_what_the_api_would_get() -> None:
    given = ("n", {"sweep.yaml": SWEEP}, "sweep.yaml", "gs://b/s", FULL, Limits(gpus=1))
    text = kubernetes.manifest(*given)
    assert list(yaml.safe_load_all(text)) == documents(*given)
    assert "&id" not in text and "*id" not in text
    assert "  sweep.yaml: |\n    notebook: train.ipynb\n" in text


def test_ray_version_is_the_pinned_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ray[default]=={RAY_VERSION}" in extras["optional-dependencies"]["cloud"]


def test_building_a_manifest_needs_no_ray_and_no_client() -> None:
    code = (
        "import sys; from lepton_ref.cloud.sweeps.backends.kubernetes import *\n"
        "documents('n', {'s.yaml': 'a: 1'}, 's.yaml', 's3://b/c', Cluster('i:1'))\n"
        "print([m for m in ('ray', 'kubernetes', 'mxnet', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("store", ["./results", "/data/results", "memory://x", "file:///x", ""])
def test_a_store_of_this_machine_is_refused(store: str) -> None:
    with pytest.raises(SweepError, match="do not reach; expected one of s3://"):
        build(store=store)


@pytest.mark.parametrize("scheme", ["s3", "abfs", "oss", "gs"])
def test_a_remote_store_is_accepted(scheme: str) -> None:
    assert f"{scheme}://b/c" in build(store=f"{scheme}://b/c")[1]["spec"]["entrypoint"]


BAD = [
    ({"files": {"s.yaml": SWEEP}}, r"`sweep` is 'sweep.yaml', which is none of the files s.yaml"),
    ({"files": {}}, r"none of the files \(there are none\)"),
    ({"files": {"sweep.yaml": SWEEP, "a/b.ipynb": notebook()}}, r"'a/b.ipynb'; expected a name w"),
    ({"files": {"sweep.yaml": SWEEP, "x.ipynb": "{"}}, r"x.ipynb is not a notebook"),
    ({"files": {"sweep.yaml": SWEEP, "x.ipynb": "[]"}}, r"x.ipynb is not a notebook"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_files(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError, match=message):
        build(**change)


def test_files_that_do_not_fit_say_what_to_do() -> None:
    big = json.loads(notebook())
    big["cells"][1]["source"] = ["#" * CONFIGMAP_BYTES]
    with pytest.raises(SweepError, match=r"the largest is big\.ipynb\. Put it in the store"):
        build(files={"sweep.yaml": SWEEP, "big.ipynb": json.dumps(big)})
    room = CONFIGMAP_BYTES - len("sweep.yaml")
    assert build(files={"sweep.yaml": "#" * room})
    with pytest.raises(SweepError, match="1,048,577 bytes"):
        build(files={"sweep.yaml": "#" * (room + 1)})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"image": "lepton-ref"}, "`image` is 'lepton-ref'; expected an image with an exact tag"),
    ({"image": "registry:5000/lepton-ref"}, "with an exact tag"),
    ({"image": "lepton-ref:latest"}, "with an exact tag"),
    ({"image": ""}, "with an exact tag"),
    ({"image": 3}, "`image` is 3; expected text"),
    ({"namespace": "Lab"}, "`namespace` is 'Lab'; expected a Kubernetes name"),
    ({"namespace": ""}, "`namespace` is ''"),
    ({"service_account": "a_b"}, "`service_account` is 'a_b'"),
    ({"max_workers": 0}, "`max_workers` is 0; expected a whole number of at least 1"),
    ({"min_workers": -1}, "`min_workers` is -1"),
    ({"min_workers": 9}, "`min_workers` is 9, more than `max_workers`, which is 8"),
    ({"slots": 1.5}, "`slots` is 1.5; expected a whole number"),
    ({"slots": True}, "`slots` is True; expected a whole number"),
    ({"spot": "yes"}, "`spot` is 'yes'; expected true or false"),
    ({"deadline": 0}, "`deadline` is 0; expected a whole number of at least 1"),
    ({"secrets": "KEY"}, "`secrets` is 'KEY'; expected a list of names"),
    ({"secrets": ["A-B"], "secret": "s"}, "secret 'A-B'; expected a name of letters"),
    ({"secrets": ["KEY"]}, "`secret` names no Kubernetes Secret .* --from-literal=KEY="),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_bad_options_are_refused_with_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError, match=message):
        Cluster(**{"image": IMAGE, **options})


def test_options_of_a_sweep_file_are_accepted_as_yaml_has_them() -> None:
    text = f"{{image: '{IMAGE}', secrets: [KEY], secret: s, deadline: null}}"
    assert Cluster(**yaml.safe_load(text)).secrets == ("KEY",)
    assert Cluster("lepton-ref@sha256:" + "0" * 64).image.endswith("0")
