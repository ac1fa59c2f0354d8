"""A sweep on its way through the API server of a cluster."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from lepton_ref.cloud.sweeps.backends import kubernetes, kubernetes_api
from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.kubernetes import Cluster, submit_sweep
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps import kubernetes_server
from tests.cloud.sweeps.kubernetes_sweep import IMAGE, build

POLL = (0.01, 0.02)


@pytest.fixture
def cluster() -> kubernetes_server.Cluster:
    return kubernetes_server.Cluster()


@pytest.fixture
def api(cluster: kubernetes_server.Cluster) -> Iterator[client.ApiClient]:
    server = kubernetes_server.serve(cluster)
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.retries = False
    yield client.ApiClient(configuration)
    server.shutdown()
    server.server_close()


def submit(api: client.ApiClient, built: list[dict[str, Any]] | None = None, **given: Any) -> Any:
    given = {"committed": lambda: 0, "poll": POLL, "timeout": 20, **given}
    return submit_sweep(built or build(), api=api, **given)


def test_a_sweep_is_followed_to_its_success(cluster, api) -> None:
    seen: list[kubernetes.Progress] = []
    counts = iter([0, 0, 1, 2, 2, 2, 2])
    result = submit(api, on_progress=seen.append, committed=lambda: next(counts))
    assert result.ok and result.state == "succeeded"
    assert "every run is in the store" in result.message
    assert [p.deployment for p in seen][-1] == "Complete"
    assert [p.job for p in seen if p.job] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert [p.committed for p in seen] == sorted(
        p.committed for p in seen if p.committed is not None
    )
    assert result.status["jobStatus"] == "SUCCEEDED"


def test_files_go_when_their_job_goes(cluster, api) -> None:
    submit(api)
    (job,), (config_map,) = cluster.jobs(), cluster.config_maps()
    assert config_map["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "name": job["metadata"]["name"],
            "uid": job["metadata"]["uid"],
        }
    ]


def test_a_failed_sweep_says_why(cluster, api) -> None:
    cluster.script = kubernetes_server.FAILS
    result = submit(api)
    assert result.state == "failed" and not result.ok
    assert "failed runs; the report in its store" in result.message
    assert "exit code 1" in result.message
    assert "kubectl describe rayjob" in result.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, "the deadline passed"),
        ({"jobDeploymentStatus": "Failed", "reason": "SubmissionFailed"}, "could not be handed"),
        ({"jobDeploymentStatus": "Failed", "reason": "Unheard"}, "failed: Unheard;"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"}, "ended with an error"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "somebody stopped"),
        ({"jobDeploymentStatus": "ValidationFailed", "message": "bad spec"}, "refuses .* bad spec"),
    ],
)
def test_every_way_to_fail_has_its_message(cluster, api, status, message) -> None:
    cluster.script = [{}, status]
    result = submit(api)
    assert result.state == "failed"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(result.message)


def test_not_followed(cluster, api) -> None:
    result = submit(api, follow=False)
    assert result.state == "submitted" and len(cluster.jobs()) == 1
    assert ("GET", "rayjobs") not in cluster.requests


def test_the_same_sweep_sent_again_follows_the_job_that_runs(cluster, api) -> None:
    cluster.script = kubernetes_server.SUCCEEDS[:4]
    assert submit(api, timeout=0.1).state == "running"
    (job,) = cluster.jobs()
    running, done = kubernetes_server.SUCCEEDS[3:]
    cluster.script = [running] * (cluster.steps[job["metadata"]["name"]] + 3) + [done]
    assert submit(api).ok
    assert [j["metadata"]["uid"] for j in cluster.jobs()] == [job["metadata"]["uid"]]


@pytest.mark.parametrize("lingers", [0, 2])
def test_a_job_that_ended_is_replaced_and_the_sweep_resumes(cluster, api, lingers) -> None:
    cluster.script = kubernetes_server.FAILS
    submit(api)
    (first,) = cluster.jobs()
    cluster.lingers = lingers
    requests = len(cluster.requests)
    cluster.script = [{"jobDeploymentStatus": "Failed"}]
    real = cluster._create

    def create(namespace: str, kind: str, body: Any) -> Any:
        code, made = real(namespace, kind, body)
        if code == 201 and kind == "rayjobs":
            cluster.script = kubernetes_server.SUCCEEDS
        return code, made

    cluster._create = create  # type: ignore[method-assign]
    assert submit(api).ok
    (second,) = cluster.jobs()
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert len(cluster.config_maps()) == 1, "and its files are there"
    assert ("DELETE", "rayjobs") in cluster.requests[requests:]


def test_another_job_of_that_name_is_left_alone(cluster, api) -> None:
    built = build()
    submit(api, built, follow=False)
    (job,) = cluster.jobs()
    job["metadata"]["annotations"] = {"lepton-ref/digest": "other"}
    with pytest.raises(BackendError, match="of another content exists; kubectl delete rayjob"):
        submit(api, built)
    assert len(cluster.jobs()) == 1


def test_a_job_that_somebody_deletes(cluster, api) -> None:
    def delete(progress: kubernetes.Progress) -> None:
        if progress.deployment == "Running":
            for key in [k for k in cluster.objects if k[0] == "rayjobs"]:
                cluster._remove(key)

    result = submit(api, on_progress=delete)
    assert result.state == "deleted" and "somebody deleted" in result.message


@pytest.mark.parametrize("delete", [True, False])
def test_ctrl_c_leaves_the_job_or_deletes_it_on_request(cluster, api, delete) -> None:
    cluster.script = kubernetes_server.SUCCEEDS[:4]

    def interrupt(progress: kubernetes.Progress) -> None:
        if progress.job == "RUNNING":
            raise KeyboardInterrupt

    result = submit(api, on_progress=interrupt, delete_on_interrupt=delete)
    assert result.state == ("deleted" if delete else "running")
    assert len(cluster.jobs()) == (0 if delete else 1)
    assert len(cluster.config_maps()) == (0 if delete else 1)
    assert ("stay in the store" if delete else "goes on without") in result.message


def pod_that_waits(reason: str) -> dict[str, Any]:
    waiting = {"waiting": {"reason": reason, "message": "no such image"}}
    unschedulable = {
        "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: cpu",
    }  # fmt: skip
    container = {
        "name": "ray-head", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
        "state": waiting,
    }  # fmt: skip
    return {
        "metadata": {"name": "sweep-head"},
        "status": {"containerStatuses": [container], "conditions": [unschedulable]},
    }


def test_a_job_that_never_starts_says_why_and_is_deleted(cluster, api) -> None:
    cluster.script = kubernetes_server.SUCCEEDS[:2]
    cluster.pods = [pod_that_waits("ImagePullBackOff")]
    notes: list[str] = []
    with pytest.raises(BackendError) as caught:
        submit(api, start_timeout=0.3, on_progress=lambda p: notes.append(p.note))
    message = str(caught.value)
    assert "did not start within 0.3 s and was deleted" in message
    assert "sweep-head: ImagePullBackOff: no such image" in message
    assert "0/3 nodes are available" in message
    assert notes[-1] and cluster.jobs() == []


def test_a_pod_that_is_being_made_is_no_reason(cluster, api) -> None:
    cluster.script = kubernetes_server.SUCCEEDS[:2]
    pod = pod_that_waits("ContainerCreating")
    pod["status"]["conditions"] = []
    cluster.pods = [pod]
    with pytest.raises(BackendError, match="KubeRay gave no reason; does its operator run"):
        submit(api, start_timeout=0.2)


@pytest.mark.parametrize(
    ("method", "kind", "refusal", "message"),
    [
        ("POST", "rayjobs", (403, "rayjobs is forbidden"), r"forbidden \(403\); this account may"),
        ("POST", "configmaps", (403, "no"), r"create ConfigMap .* get, list, patch and delete of"),
        ("POST", "rayjobs", (401, "Unauthorized"), r"log in to the cloud again"),
        ("POST", "rayjobs", (500, "etcd"), r"cannot create RayJob default/.*: etcd \(500\)"),
        ("GET", "rayjobs", (403, "forbidden"), r"cannot read RayJob .*\(403\)"),
        ("PATCH", "configmaps", (403, "forbidden"), r"cannot mark ConfigMap"),
    ],
)
def test_refusals_are_told_in_words(cluster, api, method, kind, refusal, message) -> None:
    cluster.refusals[method, kind] = [refusal]
    with pytest.raises(BackendError, match=message):
        submit(api)


def test_no_kuberay_and_no_namespace(cluster, api) -> None:
    with pytest.raises(BackendError, match="kubectl create namespace nowhere"):
        submit(api, build(cluster=Cluster(IMAGE, namespace="nowhere")))
    cluster.has_kuberay = False
    with pytest.raises(BackendError, match="is KubeRay's operator installed"):
        submit(api)


def test_a_manifest_that_the_cluster_refuses(cluster, api) -> None:
    built = build()
    built[1]["spec"]["autoscale"] = True
    with pytest.raises(BackendError, match=r"'autoscale' was unexpected.*\(422\).*refuses the man"):
        submit(api, built)


def test_passing_faults_while_following_are_waited_for(cluster, api) -> None:
    cluster.refusals["GET", "rayjobs"] = [(500, "leader"), (429, "slow down"), (503, "restart")]
    cluster.refusals["GET", "pods"] = [(403, "no pods for you")]
    assert submit(api).ok
    assert cluster.refusals["GET", "rayjobs"] == []


def test_a_server_that_stays_away_is_given_up_and_the_job_goes_on(
    cluster, api, monkeypatch
) -> None:
    monkeypatch.setattr(kubernetes, "PATIENCE", 0.1)
    cluster.refusals["GET", "rayjobs"] = [(503, "restart")] * 1000
    with pytest.raises(BackendError, match=r"restart \(503\) Not followed any longer; the job g"):
        submit(api)
    assert len(cluster.jobs()) == 1


def test_a_closed_port_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{port}"
    configuration.retries = False
    began = time.monotonic()
    with pytest.raises(
        BackendError, match=f"no answer from http://127.0.0.1:{port} to create Conf"
    ):
        submit(client.ApiClient(configuration))
    assert time.monotonic() - began < 15


def test_a_server_that_never_answers_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(kubernetes_api, "REQUEST_TIMEOUT", (0.3, 0.3))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        configuration.retries = False
        with pytest.raises(BackendError, match="no answer from"):
            submit(client.ApiClient(configuration))


def kubeconfig(path: Path, host: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": host}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "lab",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_cluster_is_found_as_kubectl_finds_it(cluster, api, tmp_path, monkeypatch) -> None:
    path = kubeconfig(tmp_path / "config", api.configuration.host)
    assert submit_sweep(build(), kubeconfig=path, context="lab", follow=False).state == "submitted"
    made = kubernetes_api.connect(path, None)
    assert made.configuration.host == api.configuration.host
    assert made.configuration.retries is False, "asks once"
    with pytest.raises(BackendError, match="no cluster to talk to.*Name a kubeconfig"):
        submit_sweep(build(), kubeconfig=path, context="other")
    with pytest.raises(BackendError, match="no cluster to talk to"):
        submit_sweep(build(), kubeconfig=str(tmp_path / "missing"))
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
    with pytest.raises(BackendError, match="no cluster to talk to"):
        submit_sweep(build())


def test_without_the_client_library_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(BackendError, match=r"pip install 'lepton-ref\[cloud\]'"):
        submit_sweep(build())


def test_committed_runs_are_those_with_their_mark() -> None:
    store = Store("memory://kubernetes-test")
    for path in ("a/run.json", "a/notebook.ipynb", "b/notebook.ipynb", "c/run.json"):
        store.write_bytes(f"runs/{path}", b"{}")
    store.write_bytes("attempts/d/0-x/run.json", b"{}")
    assert kubernetes.committed_runs("memory://kubernetes-test")() == 2


def test_a_store_that_only_the_cluster_reaches_is_no_failure(cluster, api) -> None:
    seen: list[kubernetes.Progress] = []

    def count() -> int:
        raise StoreError("s3://bucket: no credentials on this machine")

    assert submit(api, committed=count, on_progress=seen.append).ok
    assert {progress.committed for progress in seen} == {None}


def test_store_of_the_progress_is_that_of_the_manifest(cluster, api, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(kubernetes, "committed_runs", lambda url: asked.append(url) or (lambda: 1))
    assert submit(api, committed=None).ok
    assert asked == ["s3://bucket/digits"]
