"""Google Cloud Storage and Alibaba OSS as far as a machine without them can speak for them.

``python -m tests.cloud.sweeps.emulators gs|oss`` serves on a free port of 127.0.0.1 and prints
its address. `gs` is the gcp-storage-emulator. `oss` is moto's S3 behind a translation of the
dialect: OSS says ``x-oss-`` where S3 says ``x-amz-``, puts no namespace into its XML, and types
into its listings. What the real services do beyond that (signatures, quotas, their own error
codes) it does not show.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

# moto looks at who asks and not at the signature.
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=anyone/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none"
)
NAMESPACE = b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def oss(s3: Callable) -> Callable:
    """A WSGI application that speaks OSS, from one that speaks S3."""

    def application(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        if "HTTP_AUTHORIZATION" in environ:
            environ["HTTP_AUTHORIZATION"] = SIGNED
        for name in [name for name in environ if name.startswith("HTTP_X_OSS_")]:
            environ[name.replace("HTTP_X_OSS_", "HTTP_X_AMZ_")] = environ.pop(name)
        answer: list[Any] = []

        def remember(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            answer[:] = [status, headers]

        body = b"".join(s3(environ, remember))
        status, headers = answer
        if environ["REQUEST_METHOD"] != "HEAD" and body.lstrip().startswith(b"<"):
            body = body.replace(NAMESPACE, b"")
            body = body.replace(b"</Contents>", b"<Type>Normal</Type></Contents>")
            headers = [h for h in headers if h[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        start_response(status, [(name.replace("x-amz-", "x-oss-"), v) for name, v in headers])
        return [body]

    return application


def serve_oss() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = oss(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(f"Running on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def serve_gs() -> None:
    from functools import partial
    from http.server import HTTPServer

    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    # The package's own server does not tell which port it was given.
    server = HTTPServer(("127.0.0.1", 0), partial(RequestHandler, Storage(use_memory_fs=True)))
    print(f"Running on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"gs": serve_gs, "oss": serve_oss}[sys.argv[1]]()
