"""The kinds of store, and what may be said to name one or a file in one."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field

from lepton_ref.cloud.sweeps import storage_faults as faults
from lepton_ref.cloud.sweeps.errors import StoreError


@dataclass(frozen=True)
class Service:
    """One kind of store.

    Attributes
    ----------
    package : str
        What fsspec needs for it; ``""`` for nothing.
    attempts : int
        At every operation; 1 where the package itself tries again for about half a minute.
    container : str
        What its people call the first part of the path.
    credentials : str
        Where they come from.
    """

    package: str = ""
    attempts: int = 1
    container: str = ""
    credentials: str = ""
    aliases: tuple[str, ...] = field(default=())


SERVICES = {
    "file": Service(aliases=("local",)),
    "memory": Service(),
    "s3": Service(
        "s3fs",
        5,
        "bucket",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the machine",
        ("s3a",),
    ),
    "abfs": Service(
        "adlfs",
        5,
        "container",
        "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with "
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or `az login`",
        ("abfss", "az"),
    ),
    "oss": Service(
        "ossfs", 2, "bucket", "OSS_ENDPOINT, OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
    ),
    "gs": Service(
        "gcsfs",
        1,
        "bucket",
        "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the "
        "service account of the machine",
        ("gcs",),
    ),
}
PROTOCOLS = {name: name for name in SERVICES} | {
    alias: name for name, service in SERVICES.items() for alias in service.aliases
}
ACCEPTED = "a path, file://, s3://, abfs://, oss://, gs:// or memory://"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(:/+)(.*)", re.DOTALL)


def checked_path(path: str) -> str:
    """A path inside the store, or an error: relative, with slashes, never upwards."""
    text = os.fspath(path)
    parts = text.split("/") if isinstance(text, str) else []
    if not parts or any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\0]", text):
        raise StoreError(
            f"path has the value {path!r}; expected a relative path inside the store such as "
            "'runs/1f/run.json', without '..', empty parts or backslashes"
        )
    return text


def parsed_url(url: str | os.PathLike[str]) -> tuple[str, str]:
    """Protocol and the rest of what the user calls a store."""
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise StoreError(f"store has the value {url!r}; expected {ACCEPTED}")
    text = text.strip()
    match = _URL.fullmatch(text)
    if match is None:
        return "file", text
    name, slashes, rest = match[1].lower(), match[2], match[3]
    shown = faults.redact(text)
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}://?" if close else ""
        raise StoreError(f"store {shown}: unknown protocol {name}://.{hint} Accepted: {ACCEPTED}")
    protocol = PROTOCOLS[name]
    if protocol == "file":
        return protocol, f"/{rest}"
    if slashes != "://":
        raise StoreError(f"store {shown}: did you mean {name}://{rest}?")
    container = rest.split("/", 1)[0]
    if ":" in container or "?" in rest:
        raise StoreError(
            f"store {shown}: a URL with credentials, port or query. The URL of a store is "
            f"written into reports: leave them out. {SERVICES[protocol].credentials}".rstrip()
        )
    if not rest.strip("/") or not container:
        kind = SERVICES[protocol].container or "folder"
        raise StoreError(f"store {shown}: names no {kind}; expected {name}://<{kind}>/<path>")
    if any(part in (".", "..") for part in rest.split("/")):
        raise StoreError(f"store {shown}: '.' and '..' mean nothing there; name the folder itself")
    return protocol, re.sub("/+", "/", rest)
