"""papermill's engine for sweeps: its execution, with our kernels, watch and secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from lepton_ref.cloud.sweeps.secrets import injected_source
from lepton_ref.cloud.sweeps.watch import Watch

NAME = "lepton"
# What happens to a kernel is told in the outcome; a worker prints nothing.
_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())
_log.propagate = False
_PRINTING = {"stream", "display_data", "execute_result", "update_display_data"}


class _Client(PapermillNotebookClient):
    """papermill's client, each of whose messages the watch sees first."""

    def __init__(self, nb_man: Any, watch: Watch, **traits: Any) -> None:
        super().__init__(nb_man, **traits)
        self._watch = watch

    def execute_cell(self, *args: Any, **kwargs: Any) -> Any:
        # An interrupt that came between two cells has met nobody.
        self._watch.first_cell()
        if self._watch.reason is not None:
            raise RuntimeError(self._watch.reason[1])
        return super().execute_cell(*args, **kwargs)

    def process_message(self, msg: Any, *args: Any, **kwargs: Any) -> Any:
        if msg["msg_type"] in _PRINTING and not self._watch.admits(msg):
            return None
        return super().process_message(msg, *args, **kwargs)


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        **options: Any,
    ) -> None:
        """Run the cells; afterwards ``watch.notebook`` holds them, whatever happened."""
        watch: Watch = options["watch"]
        manager = options["manager"]
        watch.notebook = nb_man.nb
        if options["secrets"]:
            _hide(nb_man.nb, options["secrets"])
        client = _Client(
            nb_man,
            watch,
            km=manager,
            kernel_name=kernel_name,
            timeout=None,
            startup_timeout=start_timeout,
            shutdown_kernel="immediate",
            coalesce_streams=True,
            log=_log,
        )
        watch.begin(manager)
        try:
            client.execute(cleanup_kc=True)
        finally:
            watch.end()


def _hide(notebook: Any, secrets: Mapping[str, str]) -> None:
    """Let the injected cell look its secrets up."""
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = injected_source(cell.source, secrets)


papermill_engines.register(NAME, _Engine)
