"""Ray's own autoscaler, with its fake provider: no node, some nodes while there is work, none."""

from __future__ import annotations

import time

import pytest

from lepton_ref.cloud.sweeps.backends.ray import QUEUED, RayBackend
from lepton_ref.cloud.sweeps.runs import FINISHED
from tests.cloud.sweeps import ray_tools
from tests.cloud.sweeps.ray_tools import ATTEMPT, task, until

pytestmark = pytest.mark.slow


def test_nodes_come_for_a_sweep_and_go_after_it(monkeypatch):
    with ray_tools.unmeasured(), ray_tools.autoscaled() as (address, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        backend = RayBackend(address, attempt=ATTEMPT)
        backend.start()
        try:
            assert backend.slots == 0
            assert backend.capacity() == QUEUED, "what waits is what makes nodes come"
            for number in range(24):
                backend.submit(task(number, "sleep", seconds=0.5))
            assert backend.running() == 0
            assert "waiting for one to come" in backend.notice()
            found, most = set(), 0
            end = time.monotonic() + 150
            while len(found) < 24 and time.monotonic() < end:
                for outcome in backend.wait(1.0):
                    assert outcome.status == FINISHED
                    assert outcome.id not in found
                    found.add(outcome.id)
                most = max(most, backend.slots)
            assert len(found) == 24
            assert most == 2
            assert backend.notice() == ""

            def none_left() -> bool:
                assert backend.wait(0.5) == []
                return backend.slots == 0

            until(none_left, 90, "the idle nodes are gone")
        finally:
            backend.close(0.0)
