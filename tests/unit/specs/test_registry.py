"""A distribution whose objects cannot be imported leaves everything else as it is, unless it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptrt.errors import ModelError, PluginError, UsageError
from adaptrt.pipeline.sessions import open_session
from adaptrt.specs import registry
from adaptrt.specs.backends import BACKENDS, backend_named, backend_of, model_suffixes, target_named
from adaptrt.specs.precisions import PRECISIONS, precision_named
from adaptrt.specs.registry import skipped_plugins, unread_groups
from adaptrt.specs.tasks import TASKS, task_named
from adaptrt.store.model_files import require_backend


@pytest.fixture(autouse=True)
def broken(fake_distribution: Callable[..., Path]) -> None:
    groups = ("adaptrt.backends", "adaptrt.precisions", "adaptrt.tasks")
    fake_distribution(
        "adaptrt-broken",
        {group: {"broken": "broken_module:OBJECT"} for group in groups},
        modules={"broken_module": "import not_installed_anywhere"},
    )


def test_files_of_other_backends_are_found() -> None:
    backend = backend_of(Path("best.onnx"))
    assert backend is not None
    assert backend.name == "onnxruntime"
    assert {".onnx", ".engine"} <= set(model_suffixes())
    assert backend_named("engine")[0].name == "tensorrt"
    assert target_named("10").name == "10"


def test_it_is_reported_in_a_warning() -> None:
    assert skipped_plugins() == []
    backend_of(Path("best.onnx"))
    (told,) = skipped_plugins()
    assert "The backend 'broken' of adaptrt-broken cannot be loaded: ModuleNotFoundError" in told
    session, _ = open_session(None)
    assert told in session.warnings


def test_a_file_that_it_may_open_names_it() -> None:
    with pytest.raises(ModelError, match=r"best\.broken cannot be opened") as caught:
        require_backend(Path("best.broken"))
    assert "adaptrt-broken cannot be loaded" in (caught.value.hint or "")


def test_other_tasks_and_precisions_are_found() -> None:
    assert {"detect", "classify"} <= {task.name for task in TASKS.all()}
    assert {"fp32", "int8"} <= {precision.name for precision in PRECISIONS.all()}
    assert "broken" in TASKS.names()


@pytest.mark.parametrize("find", [backend_named, precision_named, task_named, BACKENDS.find])
def test_by_name_it_is_an_error(find: Callable[[str], object]) -> None:
    with pytest.raises(PluginError, match="of adaptrt-broken cannot be loaded"):
        find("broken")


def test_a_group_that_nothing_declares_is_not_added() -> None:
    """Another thread may iterate over the groups."""
    for _ in registry._declared().values():
        assert registry.declared_names("adaptrt.nothing") == []
    for _ in registry._declared_by_core().values():
        assert registry.core_names("adaptrt.nothing") == []


def test_a_misspelled_group_is_reported(fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("adaptrt-mine", {"adaptrt.adapter": {"mine": "mine"}, "adaptrt.task": {"point": "mine:TASK"}})
    told = "adaptrt-mine declares 'mine' in the entry-point group 'adaptrt.adapter', which does not exist: Did you mean 'adaptrt.adapters'?"
    assert told in open_session(None)[0].warnings
    with pytest.raises(PluginError, match="Unknown adapter 'mine'") as caught:
        open_session("mine")
    assert told in (caught.value.hint or "")
    with pytest.raises(UsageError, match="Unknown task 'point'") as unknown:
        task_named("point")
    assert "group 'adaptrt.task', which does not exist: Did you mean 'adaptrt.tasks'?" in (unknown.value.hint or "")


def test_no_group_of_this_project_is_unknown() -> None:
    assert unread_groups() == []
