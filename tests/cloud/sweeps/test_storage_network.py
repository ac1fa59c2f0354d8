"""Stores behind networks that lose requests, for a while or for good."""

from __future__ import annotations

import errno
import http.client
import http.server
import os
import threading
import time

import pytest

from lepton_ref.cloud.sweeps import storage_faults as faults
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps import servers

pytestmark = pytest.mark.xdist_group("stores")


class Flaky(http.server.ThreadingHTTPServer):
    """Stands before a service and loses its first so many requests."""

    def __init__(self, service: str, failures: int, way: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.service = service.removeprefix("http://")
        self.failures, self.way, self.asked = failures, way, 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Flaky

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked += 1
        if self.server.asked <= self.server.failures:
            if self.server.way == "drop":
                self.close_connection = True
                self.connection.close()
                return
            status, headers, answer = 503, [], b"<Error><Code>ServiceUnavailable</Code></Error>"
        else:
            upstream = http.client.HTTPConnection(self.server.service, timeout=30)
            upstream.request(self.command, self.path, body, dict(self.headers))
            reply = upstream.getresponse()
            status, answer = reply.status, reply.read()
            unwanted = ("transfer-encoding", "content-length", "connection")
            headers = [h for h in reply.getheaders() if h[0].lower() not in unwanted]
            upstream.close()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def through(request, clean_env: pytest.MonkeyPatch):
    """A store behind a flaky network."""

    def opened(kind: str, failures: int, way: str) -> tuple[Store, Flaky]:
        url = request.getfixturevalue(f"{kind}_store")
        name = {"s3": "AWS_ENDPOINT_URL", "azure": "AZURE_STORAGE_CONNECTION_STRING"}[kind]
        before = os.environ[name]
        service = before.split("BlobEndpoint=")[-1].rstrip(";").removesuffix("/lepton")
        flaky = Flaky(service, failures, way)
        clean_env.setenv(name, before.replace(service, f"http://127.0.0.1:{flaky.server_port}"))
        return Store(url), flaky

    clean_env.setattr(faults, "DELAYS", (0.01,) * len(faults.DELAYS))
    return opened


@pytest.mark.parametrize("way", ["503", "drop"])
@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_network_that_comes_back(through, kind: str, way: str) -> None:
    store, flaky = through(kind, 2, way)
    with flaky:
        store.write_bytes("runs/1f/run.json", b"whole" * 1000)
        assert flaky.asked >= 3
        assert store.read_bytes("runs/1f/run.json") == b"whole" * 1000
        assert store.list() == ["runs/1f/run.json"]


@pytest.mark.parametrize("way", ["503", "drop"])
@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_network_that_does_not(through, kind: str, way: str) -> None:
    store, flaky = through(kind, 10**9, way)
    with flaky:
        with pytest.raises(StoreError, match="the service did not answer.* then resume"):
            store.write_bytes("runs/1f/run.json", b"{}")
        assert len(faults.DELAYS) < flaky.asked <= 6 * (len(faults.DELAYS) + 1)
        patient, flaky.asked = flaky.asked, 0
        with pytest.raises(StoreError, match="did not answer"):
            store.check_writable()  # someone waits
        assert flaky.asked < patient


@pytest.mark.parametrize("kind", ["s3", "azure", "oss"])
def test_nobody_at_the_address(
    kind: str, request: pytest.FixtureRequest, clean_env: pytest.MonkeyPatch
) -> None:
    clean_env.setattr(faults, "DELAYS", (0.01,) * len(faults.DELAYS))
    url = request.getfixturevalue(f"{kind}_store")
    connection = servers.connection_string("http://127.0.0.1:9", "lepton", "c2VjcmV0c2VjcmV0")
    clean_env.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    clean_env.setenv("OSS_ENDPOINT", "http://127.0.0.1:9")
    clean_env.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    with pytest.raises(StoreError, match="did not answer.* Check the network and the endpoint"):
        Store(url).check_writable()


def test_only_network_errors_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    asked: list[BaseException] = []

    def failing(error: BaseException):
        def operation() -> str:
            asked.append(error)
            if len(asked) < 4:
                raise error
            return "done"

        asked.clear()
        waited.clear()
        return operation

    assert faults.persist(failing(ConnectionResetError()), 5) == "done"
    assert len(asked) == 4 and len(waited) == 3
    for delay, wait in zip(faults.DELAYS, waited):
        assert 0.5 * delay <= wait <= 1.5 * delay
    with pytest.raises(ConnectionResetError):
        faults.persist(failing(ConnectionResetError()), 2)
    assert len(asked) == 2
    full = OSError(errno.ENOSPC, "full")
    for error in (FileNotFoundError(), PermissionError(), full, KeyError()):
        with pytest.raises(type(error)):
            faults.persist(failing(error), 5)
        assert len(asked) == 1 and not waited
