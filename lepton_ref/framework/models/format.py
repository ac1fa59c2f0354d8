"""The bytes of a model file: safetensors with a JSON description, packed, checked, unpacked.

Layout: 8 bytes that hold the length H of the header, H bytes of JSON, then the numbers of all
tensors, back to back (eq. models-size). The header's ``__metadata__`` carries

- ``format`` and ``version``: that it is ours, and how to read it,
- ``description``: JSON, what the model is and where it comes from,
- ``sha256``: the digest of that text and of all tensors (eq. models-digest).

Nothing in the file is code, and nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ModelFileError

FORMAT = "lepton-model"
VERSION = 1
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

# First bytes of other people's files -> what they are.
_SIGNATURES = {
    b"\x80": "a pickle, and opening a pickle runs whatever code it names",
    b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write them",
    b"\x93NUMPY": "a NumPy array file",
    b"\x89HDF": "an HDF5 file, as Keras writes them",
    b"\x1f\x8b": "a gzip file",
}


def weights_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over name, dtype, shape and numbers of all tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        head = f"{name}\0{array.dtype.name}\0{array.shape}\0".encode()
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(head + little.tobytes())
    return digest.hexdigest()


def file_digest(description: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the description and the digest of the tensors (eq. models-digest)."""
    return hashlib.sha256(f"{description}\0{weights_digest(arrays)}".encode()).hexdigest()


def pack(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> bytes:
    """The whole file as bytes; the same input gives the same bytes.

    Raises
    ------
    ModelFileError
        A tensor has another dtype than the format knows, or holds NaN or infinity; or the
        description holds something that JSON cannot.
    """
    plain = {}
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.name not in DTYPES.values():
            raise ModelFileError(
                f"save: tensor {name} has dtype {array.dtype}, which no file holds"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ModelFileError(
                f"save: tensor {name} has {bad} of {array.size} entries that are not finite; "
                "the model has diverged and was not saved"
            )
        plain[name] = np.ascontiguousarray(array).reshape(array.shape)
    try:
        text = json.dumps(description, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"save: the description does not fit into JSON: {error}") from None
    metadata = {
        "format": FORMAT, "version": str(VERSION), "description": text,
        "sha256": file_digest(text, plain),
    }  # fmt: skip
    return serialize(plain, metadata)


def serialize(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file, byte for byte determined by its content.

    The format's own library keeps the metadata in a hash table and writes them in another
    order each time; two saves of one model would then differ.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    data = bytearray()
    codes = {name: code for code, name in DTYPES.items()}
    for name in sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n)):  # keeps alignment
        array, start = arrays[name], len(data)
        data += np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": codes[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, len(data)],
        }
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(data)


def unpack(content: bytes, where: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and description of a file that is whole, ours and unaltered.

    Raises
    ------
    ModelFileError
        The message names the file and the reason: foreign, truncated, of a newer format,
        or altered.
    """
    header = read_header(content, where)
    metadata = _ours(header, where)
    _complete(header, content, where)
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"{where}: damaged: its table of tensors is wrong ({error})") from None
    text = metadata.get("description", "")
    if file_digest(text, arrays) != metadata.get("sha256"):
        raise ModelFileError(
            f"{where}: altered since it was written: the SHA-256 of its weights and description "
            "is not the one it carries; fetch it again"
        )
    return arrays, json.loads(text)


def read_header(content: bytes, where: str) -> dict[str, Any]:
    """The JSON header of a safetensors file, parsed and not yet believed."""
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature) and content[8:9] != b"{":
            raise ModelFileError(f"{where}: not a model file of this package but {what}; refused")
    if len(content) < 8:
        raise ModelFileError(f"{where}: truncated: {len(content)} bytes, not even a header")
    length = int.from_bytes(content[:8], "little")
    if content[8:9] not in (b"{", b""):
        raise ModelFileError(f"{where}: foreign: not a safetensors file")
    if 8 + length > len(content):
        raise ModelFileError(
            f"{where}: truncated: its header alone should end at byte {8 + length}, "
            f"the file has {len(content)}"
        )
    try:
        header = json.loads(content[8 : 8 + length].decode())
    except (ValueError, RecursionError):
        raise ModelFileError(f"{where}: damaged: its header is not readable") from None
    if not isinstance(header, dict):
        raise ModelFileError(f"{where}: foreign: its header is no table of tensors")
    return header


def _ours(header: dict[str, Any], where: str) -> dict[str, str]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        found = metadata.get("format") if isinstance(metadata, dict) else None
        raise ModelFileError(
            f"{where}: foreign: a safetensors file of format {found!r}, expected {FORMAT!r}; "
            "a file without our description does not say which class its numbers belong to"
        )
    version = str(metadata.get("version", ""))
    if not version.isdecimal():
        raise ModelFileError(f"{where}: damaged: its format version is {version!r}")
    if int(version) > VERSION:
        raise ModelFileError(
            f"{where}: written in format {version}, this package reads up to {VERSION}; "
            "update lepton-ref"
        )
    return metadata


def _complete(header: dict[str, Any], content: bytes, where: str) -> None:
    """Every tensor of a known dtype, and exactly as many bytes as the table announces."""
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (_, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            end = max(end, int(stop))
            math.prod(shape)
        except (TypeError, KeyError, ValueError):
            raise ModelFileError(f"{where}: damaged: no proper entry for tensor {name}") from None
        if dtype not in DTYPES:
            raise ModelFileError(f"{where}: tensor {name} has dtype {dtype}, which is not accepted")
    expected = 8 + int.from_bytes(content[:8], "little") + end
    if len(content) < expected:
        raise ModelFileError(
            f"{where}: truncated: {len(content)} bytes of {expected}; fetch it again"
        )
    if len(content) > expected:
        raise ModelFileError(
            f"{where}: altered: {len(content) - expected} bytes follow the last tensor"
        )
