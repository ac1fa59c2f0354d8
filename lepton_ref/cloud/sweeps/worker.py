"""What a worker process imports first: papermill, without what a worker never asks of it.

papermill reads and writes several clouds when it finds their libraries, and loads them all, a
second and more of work in each process. A worker hands it notebooks in memory, and stores results
through fsspec. Only processes that do nothing else import this module.
"""

from __future__ import annotations

from lepton_ref.cloud.sweeps.execution import attempt
from lepton_ref.cloud.sweeps.notebooks import absent

with absent("azure", "boto3", "gcsfs", "github", "pyarrow"):
    import papermill  # noqa: F401

__all__ = ["attempt"]
