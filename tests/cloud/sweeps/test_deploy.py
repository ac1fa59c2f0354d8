"""deploy/: images, Ray cluster files and manifests, each against its own schema."""

from __future__ import annotations

import copy
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

import lepton_ref
from tests.cloud.sweeps import kuberay

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONTAINERFILES = ["Containerfile", "Containerfile.gpu"]
LAUNCHERS = ["aws", "azure"]
CLOUDS = ["eks", "aks", "ack"]
IMAGE = f"registry.example.com/lepton-ref:{PROJECT['version']}"


def pinned(extra: str, package: str) -> str:
    (found,) = [
        line.split("==")[1] for line in EXTRAS[extra] if re.split(r"[\[=<>]", line)[0] == package
    ]
    return found


# --- container files -------------------------------------------------------------------------


def instructions(name: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order; comments dropped, continued lines joined."""
    text = (DEPLOY / name).read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1])
        for line in joined.splitlines()
        if line.strip()
    ]


def bases(steps: list[tuple[str, str]]) -> list[str]:
    return [arguments.split()[0] for step, arguments in steps if step == "FROM"]


def context_sources(steps: list[tuple[str, str]]) -> list[str]:
    found = []
    for step, arguments in steps:
        if step in ("COPY", "ADD") and "--from=" not in arguments:
            found += [word for word in arguments.split()[:-1] if not word.startswith("--")]
    return found


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps ``path`` out of the build (the last rule that matches counts)."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        rule = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = parts if line.removeprefix("!").startswith("**/") else prefixes
        if any(fnmatch.fnmatchcase(name, rule) for name in names):
            out = not line.startswith("!")
    return out


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_bases_are_exact(name: str) -> None:
    steps = instructions(name)
    found = bases(steps)
    assert len(found) == 2 and len(set(found)) == 1, "one stage builds, the other runs"
    for base in found:
        assert re.search(r"(@sha256:[0-9a-f]{64}|:\d+\.\d+\.\d+-[\w-]+)$", base), base
        assert ":latest" not in base
        assert re.search(r"/python:3\.11\.", base), "the lock is made for Python 3.11"


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_image_runs_as_a_numbered_user_that_is_not_root(name: str) -> None:
    steps = instructions(name)
    last_stage = steps[max(i for i, (step, _) in enumerate(steps) if step == "FROM") :]
    (user,) = [arguments for step, arguments in last_stage if step == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    after = last_stage[last_stage.index(("USER", user)) + 1 :]
    assert [step for step, _ in after] == ["WORKDIR", "CMD"]
    runs = " ".join(arguments for step, arguments in last_stage if step == "RUN")
    assert f"--uid {user.split(':')[0]}" in runs
    assert "sudo" not in runs


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_image_copies_what_exists_and_what_is_not_ignored(name: str) -> None:
    sources = context_sources(instructions(name))
    assert {"requirements.lock", "pyproject.toml", "lepton_ref/"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source.rstrip("/")), source


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "notebooks/x.ipynb",
                                  "lepton_ref/__pycache__/a.pyc", "book/intro.md"])  # fmt: skip
def test_what_an_image_does_not_need_stays_out_of_the_build(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_stages_of_copy_from_exist(name: str) -> None:
    steps = instructions(name)
    stages = {a.split()[-1] for step, a in steps if step == "FROM" and " AS " in a}
    used = {
        found for step, a in steps if step == "COPY" for found in re.findall(r"--from=(\S+)", a)
    }
    assert used and used <= stages


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_image_is_held_to_the_lock_and_says_the_version(name: str) -> None:
    steps = instructions(name)
    installs = [a for step, a in steps if step == "RUN" and "pip install" in a]
    assert re.search(r"--constraint (requirements|gpu)\.lock", installs[0])
    assert "--no-deps ." in installs[1]
    labels = " ".join(arguments for step, arguments in steps if step == "LABEL")
    assert f'org.opencontainers.image.version="{PROJECT["version"]}"' in labels
    assert f"{IMAGE}" in (DEPLOY / name).read_text()


def test_numpy_of_the_gpu_image_is_that_of_the_second_leg() -> None:
    (leg,) = re.findall(r"^NUMPY2 := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    text = (DEPLOY / "Containerfile.gpu").read_text()
    assert f"numpy=={leg}" in text
    assert "NOT TESTED ON A GPU" in text
    assert not any("mxnet cloud" in arguments for _, arguments in instructions("Containerfile.gpu"))


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_a_head_forks_without_the_handlers_of_grpc(name: str) -> None:
    settings = [arguments for word, arguments in instructions(name) if word == "ENV"]
    assert any("GRPC_ENABLE_FORK_SUPPORT=0" in words.split() for words in settings)


@pytest.mark.parametrize("name", CONTAINERFILES)
def test_a_login_shell_finds_the_environment(name: str) -> None:
    """Ray's launcher runs its commands in one, and /etc/profile sets PATH anew."""
    runs = [arguments for word, arguments in instructions(name) if word == "RUN"]
    assert any("PATH=/opt/lepton/bin:$PATH" in r and "/etc/profile.d/" in r for r in runs)


@pytest.mark.parametrize("extras", [("mxnet", "cloud", "text"), ("torch", "cloud", "text")])
def test_wanted_lists_what_the_extras_ask_for(extras: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "deploy/wanted.py", *extras],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    named = [line for extra in extras for line in EXTRAS[extra]]
    assert lines == [*PROJECT["dependencies"], "matplotlib", *named]
    images = [arguments for name in CONTAINERFILES for _, arguments in instructions(name)]
    assert any(f"wanted.py {' '.join(extras)} " in arguments for arguments in images)


@pytest.mark.parametrize("name", ["none", *LAUNCHERS])
def test_launcher_packages_are_pinned_here_or_in_the_lock(name: str) -> None:
    lock = (ROOT / "requirements.lock").read_text().lower()
    for line in (DEPLOY / "launchers" / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert "==" in line or re.search(rf"^{line}==", lock, re.M), line


# --- Ray's own cluster launcher --------------------------------------------------------------


def ray_config(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "ray" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_accepts_the_cluster_file(name: str) -> None:
    config = prepare_config(ray_config(name))
    validate_config(config)
    assert config["provider"]["type"] == name
    assert config["docker"]["image"] == IMAGE


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("damage", ["unknown key", "no head", "text for a number"])
def test_ray_refuses_a_damaged_cluster_file(name: str, damage: str) -> None:
    config = ray_config(name)
    if damage == "unknown key":
        config["idle_timeout"] = 3
    elif damage == "no head":
        config["head_node_type"] = "captain"
    else:
        config["max_workers"] = "16"
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config(config))


def node_types(name: str) -> dict[str, Any]:
    prepared = prepare_config(ray_config(name))
    return AutoscalingConfig(prepared, skip_content_hash=True).get_node_type_configs()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_cluster_scales_from_zero_and_gives_machines_back(name: str) -> None:
    config = ray_config(name)
    types = config["available_node_types"]
    assert [types[kind]["min_workers"] for kind in ("spot", "on-demand")] == [0, 0]
    assert 0 < config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False
    assert types["head"]["resources"] == {"CPU": 0}, "runs go to the workers"


def to_launch(name: str, availability: dict[str, float]) -> dict[str, int]:
    """What the autoscaler of this Ray would start for 40 runs of one CPU."""
    request = SchedulingRequest(
        node_type_configs=node_types(name),
        max_num_nodes=ray_config(name)["max_workers"] + 1,
        resource_requests=ResourceRequestUtil.group_by_count(
            [ResourceRequestUtil.make({"CPU": 1})] * 40
        ),
        recoverable_resource_availabilities=availability,
        disable_launch_config_check=True,
    )
    reply = ResourceDemandScheduler().schedule(request)
    assert not reply.infeasible_resource_requests
    return {launch.instance_type: launch.count for launch in reply.to_launch}


@pytest.mark.parametrize(("name", "machines"), [("aws", 3), ("azure", 5)])
def test_autoscaler_prefers_spot_and_falls_back_to_on_demand(name: str, machines: int) -> None:
    assert to_launch(name, {}) == {"spot": machines}
    refused = to_launch(name, {"spot": 0.0})
    assert refused == {"on-demand": machines}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_spot_and_on_demand_are_the_same_machine(name: str) -> None:
    types = ray_config(name)["available_node_types"]
    spot, fallback = (copy.deepcopy(types[kind]["node_config"]) for kind in ("spot", "on-demand"))
    if name == "aws":
        assert spot.pop("InstanceMarketOptions")["MarketType"] == "spot"
    else:
        spot, fallback = spot["azure_arm_parameters"], fallback["azure_arm_parameters"]
        assert spot.pop("priority") == "Spot"
        assert spot.pop("evictionPolicy") == "Delete"
        assert spot.pop("billingProfile") == {"maxPrice": -1}
    assert spot == fallback
    assert types["spot"]["resources"] == types["on-demand"]["resources"]


# --- Kubernetes ------------------------------------------------------------------------------


def manifests(folder: str) -> list[dict[str, Any]]:
    listed = yaml.safe_load((DEPLOY / "kubernetes" / folder / "kustomization.yaml").read_text())
    found = []
    for name in listed["resources"]:
        if name.endswith(".yaml"):
            found.append(yaml.safe_load((DEPLOY / "kubernetes" / folder / name).read_text()))
        else:
            found += manifests(os.path.normpath(f"{folder}/{name}"))
    for patch in listed.get("patches", []):
        operations = yaml.safe_load((DEPLOY / "kubernetes" / folder / patch["path"]).read_text())
        target = patch["target"]
        (document,) = [
            d for d in found
            if d["kind"] == target["kind"] and d["metadata"]["name"] == target["name"]
        ]  # fmt: skip
        for operation in operations:
            apply(document, operation)
    return copy.deepcopy(found)


def apply(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """One `add` of JSON Patch (RFC 6902), the only operation the overlays use."""
    assert operation["op"] == "add"
    *path, last = operation["path"].strip("/").split("/")
    place: Any = document
    for step in path:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        assert last == "-"
        place.append(copy.deepcopy(operation["value"]))
    else:
        place[last] = copy.deepcopy(operation["value"])


FOLDERS = ["base", *CLOUDS]


@pytest.mark.parametrize("folder", FOLDERS)
def test_manifests_fit_the_schemas(folder: str) -> None:
    found = manifests(folder)
    assert [document["kind"] for document in found] == ["RayCluster", "RayJob"]
    for document in found:
        kuberay.validate(document)


def damages() -> dict[str, Any]:
    def pods(document: dict[str, Any]) -> dict[str, Any]:
        return kuberay.groups_of(document)[1]["template"]["spec"]

    return {
        "a field that the pod does not have": lambda d: pods(d).update(tolerate=[]),
        "a toleration of no such effect": lambda d: pods(d).update(tolerations={"key": "x"}),
        "a number for a port's text": lambda d: pods(d)["containers"][0].update(image=3),
        "a group without a name": lambda d: kuberay.groups_of(d)[1].pop("groupName"),
        "a start parameter that is no text": lambda d: kuberay.groups_of(d)[0].update(
            rayStartParams={"num-cpus": 0}
        ),
        "a field that KubeRay does not have": lambda d: d["spec"].update(autoscale=True),
        "a name that is too long": lambda d: d["metadata"].update(name="x" * 48),
    }


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
@pytest.mark.parametrize("damage", damages())
def test_schemas_refuse_a_damaged_manifest(kind: str, damage: str) -> None:
    (document,) = [d for d in manifests("aks") if d["kind"] == kind]
    damages()[damage](document)
    with pytest.raises(jsonschema.ValidationError):
        kuberay.validate(document)


@pytest.mark.parametrize("folder", FOLDERS)
def test_versions_agree_with_the_project(folder: str) -> None:
    for document in manifests(folder):
        assert kuberay.cluster_of(document)["rayVersion"] == pinned("cloud", "ray")
        images = {
            container["image"]
            for group in kuberay.groups_of(document)
            for container in group["template"]["spec"]["containers"]
        }
        assert images == {IMAGE, f"{IMAGE}-gpu"}
    assert PROJECT["version"] == lepton_ref.__version__


@pytest.mark.parametrize("folder", FOLDERS)
def test_workers_start_from_zero_and_pods_may_do_little(folder: str) -> None:
    for document in manifests(folder):
        cluster = kuberay.cluster_of(document)
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["authOptions"] == {"mode": "token"}
        assert [group["minReplicas"] for group in cluster["workerGroupSpecs"]] == [0, 0]
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        for group in kuberay.groups_of(document):
            pod = group["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            (container,) = pod["containers"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["requests"] == container["resources"]["limits"]
        gpu = cluster["workerGroupSpecs"][1]["template"]["spec"]
        assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


SPOT = {
    "eks": {"eks.amazonaws.com/capacityType": "SPOT", "karpenter.sh/capacity-type": "spot"},
    "aks": {"kubernetes.azure.com/scalesetpriority": "spot"},
    "ack": {"lepton-ref/spot": "true"},
}


@pytest.mark.parametrize("folder", CLOUDS)
def test_spot_nodes_are_preferred_and_not_required(folder: str) -> None:
    for document in manifests(folder):
        for group in kuberay.cluster_of(document)["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            ((rule, preferred),) = pod["affinity"]["nodeAffinity"].items()
            assert rule == "preferredDuringSchedulingIgnoredDuringExecution"
            asked = {
                e["key"]: e["values"][0]
                for term in preferred
                for e in term["preference"]["matchExpressions"]
            }
            assert asked == SPOT[folder]
            tolerated = {t["key"] for t in pod.get("tolerations", [])}
            if folder != "eks":
                assert set(asked) <= tolerated
        assert "affinity" not in kuberay.groups_of(document)[0]["template"]["spec"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_the_same(folder: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert list(yaml.safe_load_all(done.stdout)) == manifests(folder)


# --- all of it -------------------------------------------------------------------------------


def every_file() -> list[Path]:
    return sorted(p for p in DEPLOY.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def test_no_secret_and_no_floating_image_is_written_down() -> None:
    suspicious = re.compile(
        r"(AKIA[0-9A-Z]{16}|LTAI\w{12,}|-----BEGIN|AccountKey=\w|aws_secret_access_key\s*[:=]\s*\w)"
        r"|(password|token)\s*[:=]\s*['\"]\w"
    )
    for path in every_file():
        text = path.read_text()
        assert not suspicious.search(text), path
        assert not re.search(r"[\w/]+/[\w-]+:latest\b", text), path


def test_readme_speaks_of_every_file() -> None:
    text = (DEPLOY / "README.md").read_text()
    for needed in ("Containerfile", "Containerfile.gpu", "ray/aws.yaml", "ray/azure.yaml",
                   *(f"kubernetes/{folder}" for folder in FOLDERS)):  # fmt: skip
        assert needed in text, needed
    for generation in ("Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell"):
        assert re.search(rf"^\| {generation}", text, re.M), generation
    assert pinned("torch", "torch") in text
    assert f"ray[default]=={pinned('cloud', 'ray')}" in text


def test_readme_commands_are_of_files_that_exist() -> None:
    text = (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"\bdeploy/[\w./-]+[\w]", text))
    assert len(named) >= 5
    for path in named:
        assert (ROOT / path).exists(), path
