"""Functions and methods replaced for the length of a block. Needs no framework."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from patience import HANG

from adaptrt.contributions import FunctionPatch, Patch
from adaptrt.errors import PatchError
from adaptrt.patching import applied, require_called, warn_untested
from adaptrt.plugins.facade import Contributed

SOURCE = """
def double(x):
    "Twice as much."
    return 2 * x

CONSTANT = 3

class Base:
    def method(self, x): return ("base", x)
    @staticmethod
    def static(x): return ("static", x)
    @classmethod
    def known_as(cls, x): return (cls.__name__, x)
    @property
    def size(self): return 1

class Child(Base):
    class Inner:
        def deep(self): return "deep"
"""


@pytest.fixture
def framework(fake_distribution: Callable[..., Path]) -> ModuleType:
    fake_distribution("framework", modules={"framework": SOURCE}, version="1.5")
    import framework  # type: ignore[import-not-found]

    return framework


def patch(target: str, replacement: Callable[..., Any], **options: Any) -> Contributed:
    return Contributed(
        FunctionPatch(
            **{
                "target": target if ":" in target or not target else f"framework:{target}",
                "replacement": replacement,
                "reason": "a test",
                "requires": "framework>=1,<2",
                **options,
            }
        ),
        "tester",
    )


def tagged(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return ("patched", original(*args, **kwargs))


def attributes(framework: ModuleType) -> dict[str, dict[str, Any]]:
    """Everything that a patch could leave changed."""
    owners = {"module": framework, "Base": framework.Base, "Child": framework.Child, "Inner": framework.Child.Inner}
    return {name: dict(vars(owner)) for name, owner in owners.items()}


CALLS: dict[str, Callable[[Any], Any]] = {
    "double": lambda framework: framework.double(3),
    "Base.method": lambda framework: framework.Base().method(3),
    "Base.static": lambda framework: framework.Base.static(3),
    "Base.known_as": lambda framework: framework.Base.known_as(3),
    "Child.method": lambda framework: framework.Child().method(3),
    "Child.static": lambda framework: framework.Child().static(3),
    "Child.known_as": lambda framework: framework.Child.known_as(3),
    "Child.Inner.deep": lambda framework: framework.Child.Inner().deep(),
}


@pytest.mark.parametrize("target", CALLS)
def test_replaced_inside_restored_outside(framework: ModuleType, target: str) -> None:
    before, result = attributes(framework), CALLS[target](framework)
    with applied(None, [patch(target, tagged)]) as (record,):  # type: ignore[arg-type]
        assert record.calls == 0
        assert CALLS[target](framework) == ("patched", result)
        assert CALLS[target](framework) == ("patched", result)
        assert record.calls == 2
    assert CALLS[target](framework) == result
    assert attributes(framework) == before
    require_called([record])


def test_an_inherited_method_is_replaced_where_the_target_says(framework: ModuleType) -> None:
    with applied(None, [patch("Child.method", tagged), patch("Child.known_as", tagged)]):  # type: ignore[arg-type]
        assert framework.Child().method(1) == ("patched", ("base", 1))
        assert framework.Base().method(1) == ("base", 1)
        assert framework.Base.known_as(1) == ("Base", 1)
        assert framework.Child.known_as(1) == ("patched", ("Child", 1))


def test_the_replacement_looks_like_the_original(framework: ModuleType) -> None:
    with applied(None, [patch("double", tagged)]):  # type: ignore[arg-type]
        assert framework.double.__name__ == "double"
        assert framework.double.__doc__ == "Twice as much."


def test_the_record_tells_everything(framework: ModuleType) -> None:
    with applied(None, [patch("double", tagged, link="https://example.org/1")]) as (record,):  # type: ignore[arg-type]
        pass
    assert (record.target, record.kind, record.plugin) == ("framework:double", "FunctionPatch", "tester")
    assert (record.reason, record.requires, record.link) == ("a test", "framework>=1,<2", "https://example.org/1")


def test_two_of_one_target_nest_and_come_back(framework: ModuleType) -> None:
    def plus_one(original: Callable[..., Any], x: int) -> Any:
        return original(x) + 1

    def times_ten(original: Callable[..., Any], x: int) -> Any:
        return original(x) * 10

    before = attributes(framework)
    with applied(None, [patch("double", plus_one), patch("double", times_ten)]):  # type: ignore[arg-type]
        assert framework.double(3) == 70
        with applied(None, [patch("double", lambda original, x: -original(x))]):  # type: ignore[arg-type]
            assert framework.double(3) == -70
        assert framework.double(3) == 70
    assert attributes(framework) == before


TARGETS = ["double", "Base.method", "Child.method", "Base.static", "Child.known_as"]


@pytest.mark.parametrize("bad", range(5))
def test_all_come_back_when_one_cannot_be_applied(framework: ModuleType, bad: int) -> None:
    before = attributes(framework)
    patches = [patch(target, tagged) for target in TARGETS]
    patches[bad] = patch("gone", tagged)
    with pytest.raises(PatchError, match="'gone' is not in framework"), applied(None, patches):  # type: ignore[arg-type]
        pytest.fail("the block must not run")
    assert attributes(framework) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_all_come_back_whatever_ends_the_block(framework: ModuleType, error: type[BaseException]) -> None:
    before = attributes(framework)
    with pytest.raises(error), applied(None, [patch(target, tagged) for target in TARGETS]):  # type: ignore[arg-type]
        raise error
    assert attributes(framework) == before


@pytest.mark.parametrize("position", range(len(TARGETS)))
@pytest.mark.parametrize("when", ["before", "after"])
def test_all_come_back_when_interrupted_while_applying(
    framework: ModuleType, monkeypatch: pytest.MonkeyPatch, position: int, when: str
) -> None:
    """Ctrl-C may fall between any two steps."""
    from adaptrt.patching import apply

    before = attributes(framework)
    set_attribute, calls = setattr, iter(range(100))

    def interrupted(owner: object, name: str, value: object) -> None:
        number = next(calls)
        if when == "before" and number == position:
            raise KeyboardInterrupt
        set_attribute(owner, name, value)
        if when == "after" and number == position:
            raise KeyboardInterrupt

    monkeypatch.setattr(apply, "setattr", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt), applied(None, [patch(target, tagged) for target in TARGETS]):  # type: ignore[arg-type]
        pytest.fail("the block must not run")
    assert attributes(framework) == before


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone", "'gone' is not in framework"),
        ("Base.gone", "'gone' is not in Base"),
        ("Gone.method", "'Gone' is not in framework"),
        ("CONSTANT", "the target is not a function"),
        ("Base.size", "the target is not a function"),
    ],
)
def test_targets_that_are_not_there(framework: ModuleType, target: str, message: str) -> None:
    with pytest.raises(PatchError, match=message) as caught, applied(None, [patch(target, tagged)]):  # type: ignore[arg-type]
        pass
    assert "tester" in caught.value.message
    assert caught.value.exit_code == 5


def test_a_missing_target_says_what_is_installed(framework: ModuleType) -> None:
    with pytest.raises(PatchError) as caught, applied(None, [patch("gone", tagged)]):  # type: ignore[arg-type]
        pass
    hint = caught.value.hint or ""
    assert hint.startswith("framework 1.5 is installed, framework>=1,<2 is supported.")


def test_a_module_that_cannot_be_imported(framework: ModuleType, fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("broken", modules={"broken_module": "raise RuntimeError('no GPU')"})
    for target, message in (
        ("no_such_module:f", "module no_such_module cannot be imported"),
        ("broken_module:f", "no GPU"),
        ("", "has no attribute"),
        ("framework:", "has no attribute"),
    ):
        with pytest.raises(PatchError, match=message), applied(None, [patch(target, tagged)]):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ("framework>=2", "supports framework>=2; installed: framework 1.5"),
        ("framework<1.5", "installed: framework 1.5"),
        ("other-framework>=1", "installed: other-framework [(]not installed[)]"),
        ("framework >>> 1", "is not a valid requirement"),
    ],
)
def test_versions_out_of_range(framework: ModuleType, requires: str, message: str) -> None:
    with pytest.raises(PatchError, match=message), applied(None, [patch("double", tagged, requires=requires)]):  # type: ignore[arg-type]
        pass
    assert framework.double(1) == 2


def test_what_cannot_be_replaced(framework: ModuleType) -> None:
    found = patch("builtins:str.upper", tagged)
    with pytest.raises(PatchError, match="cannot be replaced") as caught, applied(None, [found]):  # type: ignore[arg-type]
        pass
    assert "tester" in caught.value.message
    assert "a".upper() == "A"


def test_a_patch_of_no_known_kind(framework: ModuleType) -> None:
    bare = Contributed(Patch(target="framework:double", reason="r", requires="framework"), "tester")
    with pytest.raises(PatchError, match="has an unknown type"), applied(None, [bare]):  # type: ignore[arg-type]
        pass


def test_a_patch_that_is_never_called_is_an_error(framework: ModuleType) -> None:
    with applied(None, [patch("double", tagged), patch("Base.static", tagged)]) as records:  # type: ignore[arg-type]
        framework.double(1)
    with pytest.raises(PatchError, match=r"framework:Base.static \(tester\) was never called") as caught:
        require_called(records)
    assert "module that uses the function" in (caught.value.hint or "")


def test_one_export_at_a_time(framework: ModuleType) -> None:
    """Patches change the whole process: another thread waits until they are gone."""
    order: list[str] = []
    inside, asks = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(HANG)
        order.append("asks")
        asks.set()
        with applied(None, [patch("double", tagged)]):  # type: ignore[arg-type]
            order.append("enters")

    thread = threading.Thread(target=other)
    thread.start()
    with applied(None, [patch("double", lambda original, x: 0)]):  # type: ignore[arg-type]
        inside.set()
        assert asks.wait(HANG)
        thread.join(0.2)  # long enough for a thread that nothing holds back
        assert framework.double(3) == 0
        order.append("leaves")
    thread.join(HANG)
    assert order == ["asks", "leaves", "enters"]
    assert framework.double(3) == 6


def test_versions_beyond_the_tested_ones_warn_where_link_1_decides(framework: ModuleType) -> None:
    beyond = [patch(target, tagged, tested="framework>=1,<=1.4") for target in ("double", "Base.method")]
    known = patch("Base.static", tagged, tested="framework==1.5")
    warnings: list[str] = []
    with applied(None, [*beyond, known, patch("Base.known_as", tagged)]) as records:  # type: ignore[arg-type]
        assert [record.untested for record in records] == ["1.5", "1.5", "", ""]
        warn_untested(records, warnings.append, link_1=True)
        with pytest.raises(PatchError, match="framework 1.5 is installed.*tested with framework>=1,<=1.4") as caught:
            warn_untested(records, warnings.append, link_1=False)
    assert warnings == [
        "framework 1.5 is installed, and the patches of tester (2) were tested with framework>=1,<=1.4: "
        "link 1 checks that the result is unchanged."
    ]
    assert "--verify quick" in (caught.value.hint or "")


@pytest.mark.parametrize("tested", ["framework 1..2", "other>=1"])
def test_tested_versions_that_say_nothing(framework: ModuleType, tested: str) -> None:
    with pytest.raises(PatchError, match="tested"), applied(None, [patch("double", tagged, tested=tested)]):  # type: ignore[arg-type]
        pass


def test_a_missing_target_says_what_is_installed_supported_and_to_do(framework: ModuleType) -> None:
    gone = patch("Base.gone", tagged, tested="framework>=1,<=1.4")
    with pytest.raises(PatchError, match="'gone' is not in Base") as caught, applied(None, [gone]):  # type: ignore[arg-type]
        pass
    assert caught.value.hint == (
        "framework 1.5 is installed, framework>=1,<2 is supported. "
        "Install a tested version (pip install 'framework>=1,<=1.4'), or a newer release of the adapter."
    )
