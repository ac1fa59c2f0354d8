"""An API server on loopback that knows ConfigMaps, pods and RayJobs, and plays the operator."""

from __future__ import annotations

import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

from tests.cloud.sweeps import kuberay

#: What an operator writes, one after the other.
SUCCEEDS = [
    {},
    {"jobDeploymentStatus": "Initializing", "rayClusterName": "sweep-abc"},
    {"jobDeploymentStatus": "Running", "jobStatus": "PENDING", "rayClusterName": "sweep-abc"},
    {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "sweep-abc"},
    {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
]
FAILS = [
    *SUCCEEDS[:-1],
    {
        "jobDeploymentStatus": "Failed",
        "jobStatus": "FAILED",
        "reason": "AppFailed",
        "message": "Job entrypoint command failed with exit code 1",
    },
]


class Cluster:
    """The state behind the server, and what a test changes in it."""

    def __init__(self) -> None:
        self.script: list[dict[str, Any]] = SUCCEEDS
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.steps: dict[str, int] = {}
        self.pods: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        #: (method, kind) -> answers (status, message) given instead, one a request.
        self.refusals: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.namespaces = {"default", "lab"}
        self.has_kuberay = True
        #: Requests to see a deleted job before it is gone (a finalizer at work).
        self.lingers = 0
        self.lock = threading.Lock()

    def jobs(self) -> list[dict[str, Any]]:
        return [o for (kind, _, _), o in self.objects.items() if kind == "rayjobs"]

    def config_maps(self) -> list[dict[str, Any]]:
        return [o for (kind, _, _), o in self.objects.items() if kind == "configmaps"]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        with self.lock:
            return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        shape = r"/(?:api/v1|apis/ray\.io/v1)/namespaces/([^/]+)/(\w+)(?:/([^/?]+))?"
        found = re.match(shape, path)
        if not found:
            return _status(404, "the server could not find the requested resource")
        namespace, kind, name = found.groups()
        self.requests.append((method, kind))
        if self.refusals.get((method, kind)):
            return _status(*self.refusals[method, kind].pop(0))
        if kind == "rayjobs" and not self.has_kuberay:
            return _status(404, "the server could not find the requested resource")
        if namespace not in self.namespaces:
            return _status(404, f'namespaces "{namespace}" not found')
        if kind == "pods":
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods}
        if method == "POST":
            return self._create(namespace, kind, body)
        key = (kind, namespace, name)
        if key not in self.objects:
            return _status(404, f'{kind}.ray.io "{name}" not found')
        if method == "PATCH":
            self.objects[key]["metadata"] |= body["metadata"]
        if method == "DELETE":
            self.objects[key]["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
            if not self.lingers:
                self._remove(key)
            return _status(200, "")
        return 200, self._seen(key)

    def _create(self, namespace: str, kind: str, body: Any) -> tuple[int, dict[str, Any]]:
        name = body["metadata"]["name"]
        if (kind, namespace, name) in self.objects:
            return _status(409, f'{kind} "{name}" already exists')
        try:
            kuberay.validate(body)
        except jsonschema.ValidationError as error:
            return _status(422, f'{kind} "{name}" is invalid: {error.message}')
        assert body["metadata"]["namespace"] == namespace
        stored = json.loads(json.dumps(body))
        stored["metadata"]["uid"] = str(uuid.uuid4())
        self.objects[kind, namespace, name] = stored
        self.steps[name] = 0
        return 201, stored

    def _seen(self, key: tuple[str, str, str]) -> dict[str, Any]:
        stored = self.objects[key]
        if key[0] == "rayjobs":
            step = self.steps[key[2]]
            stored["status"] = self.script[min(step, len(self.script) - 1)]
            self.steps[key[2]] = step + 1
            if "deletionTimestamp" in stored["metadata"]:
                self.lingers -= 1
                if self.lingers <= 0:
                    self._remove(key)
        return stored

    def _remove(self, key: tuple[str, str, str]) -> None:
        """With what it owns, as the garbage collector does."""
        uid = self.objects.pop(key)["metadata"]["uid"]
        for other, stored in list(self.objects.items()):
            owners = stored["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == uid for owner in owners):
                del self.objects[other]


def _status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    word = "Success" if code < 400 else "Failure"
    body = {"kind": "Status", "apiVersion": "v1", "status": word, "message": message, "code": code}
    return code, body


def serve(cluster: Cluster) -> ThreadingHTTPServer:
    """A server of ``cluster`` on a free port of loopback, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = cluster.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _respond

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
