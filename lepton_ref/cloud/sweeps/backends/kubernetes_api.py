"""The few requests to a cluster's API server that a sweep makes, with errors told in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lepton_ref.cloud.sweeps.backends.base import BackendError

GROUP, VERSION, PLURAL = "ray.io", "v1", "rayjobs"
#: Seconds to connect and to answer, of one request.
REQUEST_TIMEOUT = (5, 15)


class ApiError(BackendError):
    """The API server said no.

    Attributes
    ----------
    status : int or None
        Of HTTP; None when nothing came back.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether asking again may help."""
        return self.status is None or self.status == 429 or self.status >= 500


class Calls:
    """Requests in one namespace."""

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes import client

        self.namespace = namespace
        self.host = api.configuration.host
        self.custom = client.CustomObjectsApi(api)
        self.core = client.CoreV1Api(api)

    def ask(self, what: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return method(*args, _request_timeout=REQUEST_TIMEOUT, **kwargs)
        except ApiException as error:
            raise ApiError(self._explain(what, error), error.status) from error
        except (HTTPError, OSError) as error:
            raise ApiError(
                f"kubernetes: no answer from {self.host} to {what}: {_short(error)}. Is the "
                "cluster up, and does kubectl get nodes answer?"
            ) from error

    def _explain(self, what: str, error: Any) -> str:
        try:
            said = json.loads(error.body or "{}").get("message") or error.reason
        except ValueError:
            said = error.body or error.reason
        advice = {
            401: "the credentials are missing or out of date; log in to the cloud again",
            403: "this account may not; ask for create, get, list, patch and delete of "
            f"rayjobs.ray.io and configmaps in namespace {self.namespace}",
            422: "the cluster refuses the manifest",
        }.get(error.status, "")
        if error.status == 404 and "namespaces" in str(said):
            advice = f"make it with kubectl create namespace {self.namespace}"
        elif error.status == 404:
            advice = "is KubeRay's operator installed? deploy/README.md says how"
        return f"kubernetes: cannot {what}: {said} ({error.status})" + (
            f"; {advice}" if advice else ""
        )

    def create_files(self, body: dict[str, Any]) -> None:
        what = f"create ConfigMap {self.namespace}/{body['metadata']['name']}"
        try:
            self.ask(what, self.core.create_namespaced_config_map, self.namespace, body)
        except ApiError as error:
            # Its name holds a hash of its content: one that is there already is this one.
            if error.status != 409:
                raise

    def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """None when there is one of that name."""
        what = f"create RayJob {self.namespace}/{body['metadata']['name']}"
        create = self.custom.create_namespaced_custom_object
        try:
            made: dict[str, Any] = self.ask(
                what, create, GROUP, VERSION, self.namespace, PLURAL, body
            )
            return made
        except ApiError as error:
            if error.status != 409:
                raise
            return None

    def get(self, name: str) -> dict[str, Any] | None:
        """None when there is none."""
        get = self.custom.get_namespaced_custom_object
        try:
            found: dict[str, Any] = self.ask(
                f"read RayJob {self.namespace}/{name}",
                *(get, GROUP, VERSION, self.namespace, PLURAL, name),
            )
            return found
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def delete(self, name: str) -> None:
        delete = self.custom.delete_namespaced_custom_object
        try:
            self.ask(
                f"delete RayJob {self.namespace}/{name}",
                *(delete, GROUP, VERSION, self.namespace, PLURAL, name),
                propagation_policy="Background",
            )
        except ApiError as error:
            if error.status != 404:
                raise

    def own_files(self, job: dict[str, Any]) -> None:
        """Let the ConfigMap go with its job."""
        meta = job["metadata"]
        owner = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "RayJob", "name": meta["name"]}
        owned = {"metadata": {"ownerReferences": [{**owner, "uid": meta["uid"]}]}}
        what = f"mark ConfigMap {self.namespace}/{meta['name']} as the job's"
        self.ask(what, self.core.patch_namespaced_config_map, meta["name"], self.namespace, owned)

    def waiting(self, cluster: str) -> str:
        """Why pods of a Ray cluster do not start; ``""`` when nothing is known."""
        try:
            pods = self.ask(
                f"list the pods of {cluster}",
                *(self.core.list_namespaced_pod, self.namespace),
                label_selector=f"ray.io/cluster={cluster}",
            ).items
        except ApiError:
            return ""
        found = []
        for pod in pods:
            for container in pod.status.container_statuses or []:
                state = container.state.waiting if container.state else None
                if state and state.reason not in (None, "ContainerCreating", "PodInitializing"):
                    found.append(f"{pod.metadata.name}: {state.reason}: {state.message or ''}")
            for condition in pod.status.conditions or []:
                if condition.type == "PodScheduled" and condition.status == "False":
                    found.append(f"{pod.metadata.name}: {condition.message or condition.reason}")
        return "; ".join(found[:3])


def connect(kubeconfig: str | None, context: str | None) -> Any:
    """An ApiClient, found as kubectl finds its cluster; asks once and does not wait."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise BackendError(
            "kubernetes: the package kubernetes is not installed; pip install 'lepton-ref[cloud]'"
        ) from error
    try:
        configuration = client.Configuration()
        if kubeconfig is None and context is None:
            config.load_config(client_configuration=configuration)
        else:
            config.load_kube_config(kubeconfig, context, client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise BackendError(
            f"kubernetes: no cluster to talk to: {error}. Name a kubeconfig, or log in first "
            "(aws eks update-kubeconfig, az aks get-credentials; ACK: the console's kubeconfig)"
        ) from error
    # One question at a time, and the caller asks again: no silent minute of retries.
    configuration.retries = False
    return client.ApiClient(configuration)


def _short(error: BaseException) -> str:
    text = str(getattr(error, "reason", None) or error)
    return text.split("): ")[-1] or type(error).__name__
