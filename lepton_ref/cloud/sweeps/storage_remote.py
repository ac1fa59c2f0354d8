"""A store behind fsspec: S3, Azure, Alibaba OSS, Google, memory."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from lepton_ref.cloud.sweeps import storage_faults as faults

# Inside the class, `list` is the method.
Names = list[str]


def _defaults(protocol: str) -> dict[str, Any]:
    """Options that every store has unless the user says otherwise."""
    if protocol == "memory":
        return {}
    # s3fs and its like remember listings, and then do not see what other machines write. ossfs
    # does not work without; its memory is wiped before every question.
    found: dict[str, Any] = {} if protocol == "oss" else {"use_listings_cache": False}
    if protocol == "s3":
        # One attempt of botocore for each of ours: five of s3fs times five of botocore times five
        # of ours would go on for minutes.
        found["config_kwargs"] = {
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "connect_timeout": 10,
        }
    if protocol == "abfs":
        found |= {"connection_timeout": 10}
    if protocol == "oss":  # ossfs reads its endpoint from the environment, but no keys
        names = {
            "key": "OSS_ACCESS_KEY_ID",
            "secret": "OSS_ACCESS_KEY_SECRET",
            "token": "OSS_SESSION_TOKEN",
        }
        found |= {option: os.environ[name] for option, name in names.items() if name in os.environ}
    return found


def _system(protocol: str) -> Any:
    """The class of the file system; fsspec keeps one instance per process and options."""
    if protocol == "gs":
        # What gcsfs exports since 2026 asks another service, by gRPC, for the kind of each bucket
        # first, and waits a minute where a firewall or an emulator lets only HTTPS through.
        gcsfs = importlib.import_module("gcsfs.core")
        # It prints a traceback for every error that it also raises.
        logging.getLogger("gcsfs").addHandler(logging.NullHandler())
        return gcsfs.GCSFileSystem
    return importlib.import_module("fsspec").get_filesystem_class(protocol)


class RemoteFiles:
    """Files below one URL, by relative path with slashes; raises what the packages raise."""

    def __init__(self, protocol: str, url: str, options: Mapping[str, Any]) -> None:
        system = _system(protocol)
        found = system._get_kwargs_from_urls(url)
        self.fs = system(**{**_defaults(protocol), **found, **options})
        self.root = str(system._strip_protocol(url)).strip("/")
        self.protocol = protocol
        if protocol == "s3":
            self.fs.retries = 1
        if protocol == "abfs":
            _bound_azure(self.fs)

    def present(self) -> bool:
        """Whether the bucket is there; who may not ask is told yes."""
        if self.protocol == "memory":
            return True
        try:
            if self.protocol == "oss":  # its `info` would have to list all buckets
                self._names("")
            else:
                self.fs.info(self.root.split("/", 1)[0])
        except Exception as error:
            return faults.situation(error) != faults.MISSING
        return True

    def read(self, path: str) -> bytes:
        return self.fs.cat_file(self._full(path))

    def write(self, path: str, content: bytes) -> None:
        # Not `open`: that makes buckets, and uploads in parts.
        self.fs.pipe_file(self._full(path), content)

    def is_file(self, path: str) -> bool:
        try:
            if self.protocol == "oss":  # its `info` lists the whole folder
                return self._full(path) in self._oss_names(self._full(path))
            return self.fs.info(self._full(path))["type"] == "file"
        except Exception as error:
            if faults.situation(error) == faults.MISSING:
                return False
            raise

    def list(self, prefix: str) -> Names:
        names = (name.strip("/") for name in self._names(prefix) if name[-1:] != "/")
        inside = f"{self.root}/"
        return [name.removeprefix(inside) for name in names if name.startswith(inside)]

    def _names(self, prefix: str) -> Names:
        """Full names below a folder, from one listing of the service."""
        folder = self._full(prefix) if prefix else self.root
        self.fs.invalidate_cache()
        if self.protocol != "oss":
            return self.fs.find(folder)
        return self._oss_names(f"{folder}/")

    def _oss_names(self, start: str) -> Names:
        """Names that start so; `find` alone would ask once for each folder."""
        bucket, _, inner = start.partition("/")
        self.fs.invalidate_cache()
        names = [*self.fs.find(bucket, prefix=inner)]
        self.fs.invalidate_cache()
        return names

    def move(self, src: str, dst: str) -> None:
        if self.protocol == "abfs":
            # Azure copies in the background, and not at all from behind a SAS token.
            self.write(dst, self.read(src))
        else:
            self.fs.cp_file(self._full(src), self._full(dst))
        self._remove(src)

    def delete(self, prefix: str) -> None:
        self._remove(prefix)
        for path in self.list(prefix):
            self._remove(path)

    def _remove(self, path: str) -> None:
        try:
            self.fs.rm_file(self._full(path))
        except Exception as error:
            if faults.situation(error) != faults.MISSING:
                raise

    def _full(self, path: str) -> str:
        return f"/{self.root}/{path}" if self.protocol == "memory" else f"{self.root}/{path}"


def _bound_azure(fs: Any) -> None:
    """Leave trying again to us: Azure's own three attempts take longer than a minute."""
    policy = getattr(getattr(fs.service_client, "_config", None), "retry_policy", None)
    if policy is not None:
        policy.total_retries = 0
