"""How Ray is started and joined, without starting it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adaptrt.errors import PluginError, UsageError
from adaptrt_ray import cluster
from adaptrt_ray.cluster import connected

pytestmark = pytest.mark.full


class FakeRay:
    """Fails so many times, then counts as connected."""

    def __init__(
        self, failures: int = 0, text: str = "The current node timed out during startup.", gpus: int = 0
    ) -> None:
        self.failures, self.text, self.gpus = failures, text, gpus
        self.calls: list[dict[str, Any]] = []
        self.shutdowns = 0
        context = SimpleNamespace(enable_progress_bars=True)
        self.data = SimpleNamespace(DataContext=SimpleNamespace(get_current=lambda: context))

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.calls.append(options)
        if len(self.calls) <= self.failures:
            raise Exception(self.text)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": float(self.gpus)} if self.gpus else {})}

    def shutdown(self) -> None:
        self.shutdowns += 1


def test_without_an_address_ray_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """``local``: otherwise Ray joins a cluster whose address is in its folder, though it may have ended."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray = FakeRay()
    with connected(ray, "", 64):
        (call,) = ray.calls
        assert (call["address"], call["num_cpus"], call["include_dashboard"]) == ("local", 64, False)
    assert ray.shutdowns == 1


def test_the_environment_names_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    for given, expected in (("", "auto"), ("ray://host:10001", "ray://host:10001")):
        ray = FakeRay()
        with connected(ray, given, 1):
            assert ray.calls[0]["address"] == expected
            assert "num_cpus" not in ray.calls[0]


def test_a_start_that_takes_too_long_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "STARTS", 4)
    told: list[str] = []
    ray = FakeRay(failures=2)
    with connected(ray, "", 1, told.append):
        assert len(ray.calls) == 3
    assert len(told) == 2
    for failing, calls in ((FakeRay(failures=99), 4), (FakeRay(failures=99, text="No space left."), 1)):
        with (
            pytest.raises(PluginError, match="Ray cannot be started on this machine") as error,
            connected(failing, "", 1),
        ):
            pass
        assert len(failing.calls) == calls
        assert "ray start --head" in (error.value.hint or "")


def test_more_gpus_than_this_machine_has_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray = FakeRay(gpus=1)
    with (
        pytest.raises(UsageError, match="2 GPUs are requested; Ray finds 1 on this machine"),
        connected(ray, "", 2, gpus=2),
    ):
        pass
    assert ray.shutdowns == 1
    with connected(FakeRay(gpus=2), "", 2, gpus=2):
        pass


def test_a_cluster_may_get_more_gpus() -> None:
    told: list[str] = []
    with connected(FakeRay(), "auto", 2, told.append, gpus=2):
        pass
    assert told == ["The Ray cluster has 0 GPUs; 2 are requested, and actors wait for them."]
