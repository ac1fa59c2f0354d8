"""What can go wrong between a sweep and its store, told in words that say what to do.

The libraries behind the stores raise some forty classes of exception for six situations; here
they are sorted into those six, by what they are and not by the module that they come from, so
that no cloud package is imported to name an error. Nothing secret leaves through a message.
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from lepton_ref.cloud.sweeps.errors import StoreError

T = TypeVar("T")

MISSING: Final = "missing"
FULL: Final = "full"
DENIED: Final = "denied"
CREDENTIALS: Final = "credentials"
NETWORK: Final = "network"
OTHER: Final = "other"

#: Seconds before the second attempt at a remote operation, the third, …
DELAYS = (0.3, 1.0, 3.0, 8.0)

_CREDENTIAL_NAMES = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "NoAuthTokenError",
        "ProfileNotFound",
        "CredentialUnavailableError",
        "ClientAuthenticationError",
        "DefaultCredentialsError",
        "RefreshError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
_NETWORK_NAMES = frozenset(
    {
        "HTTPClientError",  # botocore: connection closed, timeouts
        "EndpointConnectionError",
        "ServiceRequestError",  # azure: the request was not sent
        "ServiceResponseError",  # azure: no answer came
        "IncompleteReadError",
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ResponseParserError",
        "RequestError",  # oss2
        "TransportError",  # google.auth
        "FSTimeoutError",
    }
)
_NETWORK_ERRNO = frozenset(
    {
        errno.EAGAIN,
        errno.ETIMEDOUT,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
    }
)


class MissingFile(StoreError, FileNotFoundError):
    """A file that the store, which is otherwise there, does not hold."""


def situation(error: BaseException) -> str:
    """Which of the six situations an exception stands for."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        found = _situation(link)
        if found != OTHER:
            return found
        seen.append(link)
        link = link.__cause__ or link.__context__
    # What s3fs and ossfs make of answers that they do not know, mostly of the 500s; and s3fs of
    # "slow down". Only now, because a refusal may be the cause of it.
    vague = (errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))
    if any(isinstance(each, OSError) and each.errno in vague for each in seen):
        return NETWORK
    return OTHER


def _situation(error: BaseException) -> str:
    names = {cls.__name__ for cls in type(error).__mro__}
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    if status is None and str(getattr(error, "code", "")).isdigit():
        status = int(error.code)  # type: ignore[attr-defined]
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError) or status == 404 or "ResourceNotFoundError" in names:
        return MISSING
    if number in (errno.ENOSPC, errno.EDQUOT) or status == 507:
        return FULL
    if names & _CREDENTIAL_NAMES:
        return CREDENTIALS
    if isinstance(error, PermissionError) or number == errno.EROFS or status in (401, 403):
        return DENIED
    if isinstance(error, TimeoutError | ConnectionError) or names & _NETWORK_NAMES:
        return NETWORK
    if number in _NETWORK_ERRNO:
        return NETWORK
    if isinstance(status, int) and (status >= 500 or status in (408, 429)):
        return NETWORK
    text = str(error)
    if "Must provide either a connection_string" in text or "credentials" in text.lower():
        return CREDENTIALS
    return OTHER


def persist(operation: Callable[[], T], attempts: int) -> T:
    """The result of ``operation``, tried again after network errors, and after those only."""
    for delay in DELAYS[: attempts - 1]:
        try:
            return operation()
        except Exception as error:
            if situation(error) != NETWORK:
                raise
            # A little randomness, so that a hundred workers do not come back together.
            time.sleep(delay * (0.5 + random.random()))
    return operation()


_SECRET_NAME = re.compile(
    r"secret|token|password|passwd|credential|connection_?string|account_?key|sas|^key$|access_?key",
    re.IGNORECASE,
)
_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "OSS_ACCESS_KEY_ID",
    "OSS_ACCESS_KEY_SECRET",
    "OSS_SESSION_TOKEN",
)
# user:password@host
_USER = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*@")
# What a signed URL or a connection string carries: sig=..., AccountKey=...
_SIGNED = re.compile(
    r"\b(sig|AccountKey|SharedAccessSignature|X-Amz-[A-Za-z-]+|X-Goog-[A-Za-z-]+|"
    r"Signature|AWSAccessKeyId|OSSAccessKeyId|Expires|security-token|access_token)=[^&;\s'\"<>)]+",
)


def redact(text: str, options: Mapping[str, Any] | None = None) -> str:
    """``text`` without passwords, signatures and the secrets among the options."""
    secrets = [os.environ.get(name, "") for name in _SECRET_VARIABLES]
    secrets += _secrets_of(options or {})
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) > 3:  # shorter ones would tear words apart, and guard nothing
            text = text.replace(secret, "***")
    text = _USER.sub("***@", text)
    return _SIGNED.sub(lambda match: f"{match[1]}=***", text)


def _secrets_of(options: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += _secrets_of(value)
        elif isinstance(value, str) and _SECRET_NAME.search(name):
            found.append(value)
    return found


def reason(error: BaseException) -> str:
    """The first line of what an exception says, short enough for a table."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    line = text.splitlines()[0]
    return line if len(line) <= 300 else line[:297] + "..."
