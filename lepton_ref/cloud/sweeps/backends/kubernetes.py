"""A sweep on Kubernetes: hands the whole of it to the cluster, and tells how it goes.

This is no :class:`.base.Backend`: those execute single attempts while the driver runs here, and
this one sends the driver away too. A RayJob (:mod:`.kubernetes_manifest`) runs ``lepton-ref sweep
… --backend ray`` beside its workers, results go to the store, and what is left on this machine
is to look on; it may be switched off and come back later.

    built = documents("digits", files, "sweep.yaml", "s3://bucket/digits", Cluster(image))
    result = submit_sweep(built)

The same sweep sent again finds the job that runs and follows it; a job that ended is replaced,
and the sweep in it resumes from its store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.kubernetes_api import ApiError, Calls, connect
from lepton_ref.cloud.sweeps.backends.kubernetes_manifest import documents, manifest, to_yaml
from lepton_ref.cloud.sweeps.backends.kubernetes_pods import Cluster
from lepton_ref.cloud.sweeps.errors import StoreError

__all__ = ["Cluster", "JobResult", "Progress", "documents", "manifest", "submit_sweep", "to_yaml"]

#: Seconds without an answer after which following is given up (the job goes on).
PATIENCE = 180.0
#: Deployment statuses after which nothing changes any more.
ENDED = ("Complete", "Failed", "ValidationFailed")

# Why KubeRay calls a job failed.
_REASONS = {
    "AppFailed": "the sweep ended with an error or with failed runs; the report in its store "
    "names them",
    "SubmissionFailed": "the command could not be handed to the Ray cluster",
    "DeadlineExceeded": "the deadline passed; send the same sweep again to go on from its store",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "Ray reported the end of the job and "
    "KubeRay did not follow in time",
    "ValidationFailed": "the operator refuses the RayJob",
    "STOPPED": "somebody stopped the job",
}


@dataclass(frozen=True)
class Progress:
    """What is known of a job now.

    Attributes
    ----------
    deployment, job : str
        `JobDeploymentStatus` of KubeRay (``Initializing``, ``Running`` …) and `JobStatus` of Ray
        (``PENDING``, ``RUNNING`` …); ``""`` before the operator has seen it.
    committed : int or None
        Runs whose results are in the store; None when that could not be read.
    seconds : float
        Since following began.
    note : str
        Why pods do not start, when they do not.
    """

    deployment: str
    job: str
    committed: int | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class JobResult:
    """How following a job ended.

    Attributes
    ----------
    name, namespace : str
    state : str
        ``succeeded``, ``failed``, ``submitted`` (not followed), ``running`` (the time to follow
        was over, or Ctrl-C left it), ``deleted`` (on Ctrl-C, or by somebody else).
    message : str
        For people: what happened, and the command that shows more.
    seconds : float
    status : dict
        Of the RayJob, as the operator wrote it last.
    """

    name: str
    namespace: str
    state: str
    message: str
    seconds: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the sweep finished with every run complete."""
        return self.state == "succeeded"


def submit_sweep(
    built: list[dict[str, Any]],
    *,
    api: Any = None,
    kubeconfig: str | None = None,
    context: str | None = None,
    follow: bool = True,
    timeout: float | None = None,
    start_timeout: float = 1800.0,
    delete_on_interrupt: bool = False,
    committed: Callable[[], int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    poll: tuple[float, float] = (2.0, 15.0),
) -> JobResult:
    """Send a sweep to a cluster and follow it to its end.

    Parameters
    ----------
    built : list of dict
        From :func:`documents`.
    api : kubernetes.client.ApiClient, optional
        Instead of one from ``kubeconfig`` and ``context`` (by default as kubectl does: the
        variable ``KUBECONFIG``, ``~/.kube/config``, or the pod's own account).
    follow : bool
        Stay until the job ends; else return as soon as it is sent.
    timeout : float, optional
        Seconds to follow; the job goes on after them.
    start_timeout : float
        Seconds within which it must have begun to run; else the job is deleted and the reason
        told: an image that cannot be pulled does not become one by waiting.
    delete_on_interrupt : bool
        Ctrl-C deletes the job; by default it goes on alone.
    committed : callable, optional
        How many runs the store holds; :func:`committed_runs` by default where the command names
        the store.
    on_progress : callable, optional
        Called when something changed.
    poll : (float, float)
        Seconds between questions: doubling from the first to the second.

    Raises
    ------
    BackendError
        No answer, no permission, no KubeRay, a refused manifest, a job that never starts.
    """
    config_map, job = built
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    calls = Calls(api or connect(kubeconfig, context), namespace)
    created = _send(calls, config_map, job)
    hint = f"kubectl describe rayjob {name} --namespace {namespace}"
    if not follow:
        return JobResult(name, namespace, "submitted", f"sent as {namespace}/{name}; see {hint}")
    if committed is None:
        committed = committed_runs(job["metadata"]["annotations"]["lepton-ref/store"])
    began = time.monotonic()
    try:
        return _follow(
            calls, name, created, committed, on_progress, timeout, start_timeout, poll, began, hint
        )
    except KeyboardInterrupt:
        seconds = time.monotonic() - began
        if delete_on_interrupt:
            calls.delete(name)
            message = f"deleted {namespace}/{name}; committed runs stay in the store"
            return JobResult(name, namespace, "deleted", message, seconds)
        message = (
            f"{namespace}/{name} goes on without this terminal; the same command follows it "
            f"again, kubectl delete rayjob {name} --namespace {namespace} ends it"
        )
        return JobResult(name, namespace, "running", message, seconds)


def committed_runs(store: str) -> Callable[[], int]:
    """A function that counts the committed runs of a store; one listing each call."""

    def count() -> int:
        from lepton_ref.cloud.sweeps.storage import Store

        return sum(path.endswith("/run.json") for path in Store(store, create=False).list("runs"))

    return count


def _send(calls: Calls, config_map: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Create both; attach to a job of the same content that runs, replace one that ended."""
    name = job["metadata"]["name"]
    calls.create_files(config_map)
    created = calls.create(job)
    if created is None:
        present = calls.get(name)
        if present is not None:
            said = present["metadata"].get("annotations", {}).get("lepton-ref/digest")
            if said != job["metadata"]["annotations"]["lepton-ref/digest"]:
                raise BackendError(
                    f"kubernetes: a RayJob {calls.namespace}/{name} of another content exists; "
                    f"kubectl delete rayjob {name} --namespace {calls.namespace} removes it"
                )
            if present.get("status", {}).get("jobDeploymentStatus", "") not in ENDED:
                return present
            calls.delete(name)
            for _ in range(120):
                if calls.get(name) is None:
                    break
                time.sleep(0.5)
            # Gone with its job, or about to be.
            calls.create_files(config_map)
        created = calls.create(job)
        if created is None:
            raise BackendError(
                f"kubernetes: the RayJob {calls.namespace}/{name} of an earlier run is still "
                "being deleted; try again in a minute"
            )
    calls.own_files(created)
    return created


def _follow(
    calls: Calls,
    name: str,
    job: dict[str, Any] | None,
    committed: Callable[[], int],
    on_progress: Callable[[Progress], None] | None,
    timeout: float | None,
    start_timeout: float,
    poll: tuple[float, float],
    began: float,
    hint: str,
) -> JobResult:
    wait, last = poll[0], None
    status: dict[str, Any] = {}
    answered, running = time.monotonic(), False
    while True:
        now = time.monotonic()
        status = (job or {}).get("status") or status
        deployment, phase = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
        running = running or deployment == "Running" or bool(phase)
        note = "" if running else calls.waiting(status.get("rayClusterName", ""))
        count = _counted(committed)
        if on_progress and (deployment, phase, count, note) != last:
            on_progress(Progress(deployment, phase, count, now - began, note))
            wait = poll[0]
        last = (deployment, phase, count, note)
        ended = _ended(name, calls.namespace, status, now - began, hint)
        if ended:
            return ended
        if not running and now - began > start_timeout:
            calls.delete(name)
            raise BackendError(
                f"kubernetes: {calls.namespace}/{name} did not start within {start_timeout:g} s "
                f"and was deleted: {note or 'KubeRay gave no reason; does its operator run?'}"
            )
        if timeout is not None and now - began > timeout:
            message = f"{calls.namespace}/{name} goes on; see {hint}"
            return JobResult(name, calls.namespace, "running", message, now - began, status)
        time.sleep(wait)
        wait = min(wait * 2, poll[1])
        try:
            job = calls.get(name)
            answered = time.monotonic()
        except ApiError as error:
            if not error.passing:
                raise
            if time.monotonic() - answered > PATIENCE:
                raise BackendError(f"{error} Not followed any longer; the job goes on") from error
            continue
        if job is None:
            message = f"somebody deleted {calls.namespace}/{name}; committed runs are in the store"
            return JobResult(name, calls.namespace, "deleted", message, now - began, status)


def _ended(
    name: str, namespace: str, status: dict[str, Any], seconds: float, hint: str
) -> JobResult | None:
    deployment, phase = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    if deployment not in ENDED:
        return None
    if deployment == "Complete" and phase == "SUCCEEDED":
        message = f"{namespace}/{name}: every run is in the store"
        return JobResult(name, namespace, "succeeded", message, seconds, status)
    reason = status.get("reason") or {"FAILED": "AppFailed"}.get(phase, phase or deployment)
    parts = [_REASONS.get(reason, reason), status.get("message", ""), f"see {hint}"]
    message = f"{namespace}/{name} failed: " + "; ".join(part for part in parts if part)
    return JobResult(name, namespace, "failed", message, seconds, status)


def _counted(committed: Callable[[], int]) -> int | None:
    # A look at the store is a courtesy; this machine may have no credentials for it.
    try:
        return committed()
    except (StoreError, ImportError):
        return None
