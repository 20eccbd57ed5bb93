"""Optional outputs of an evaluation: images with predictions drawn, and a file of predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import OutputError
from adaptrt.pipeline.output import require_folder, require_no_input
from adaptrt.store.free_names import FreeNames
from adaptrt.store.workspace import written_aside

if TYPE_CHECKING:
    from adaptrt.evaluation.subjects import Subject
    from adaptrt.specs import Example, Task


@dataclass(frozen=True)
class Drawer:
    """Draws into ``folder/<file>.<backend>/``; predictions that score at or below ``score`` are not drawn.

    Images of one name from different folders are numbered in the order they come. ``written``: the folders.
    """

    folder: Path
    score: float
    written: list[Path] = field(default_factory=list)
    _names: dict[Path, str] = field(default_factory=dict)
    _free: FreeNames = field(default_factory=FreeNames)

    def prepare(self) -> None:
        """Raise an ``OutputError`` before the evaluation starts, if the folder cannot be written."""
        require_folder(self.folder, "--show-dir")

    def __call__(self, subject: Subject, example: Example, image: Any, prediction: Any, task: Task[Any]) -> None:
        from adaptrt.vision.images import write_image

        drawn = task.draw(image, task.above(prediction, self.score))
        folder = self.folder / f"{subject.stem}.{subject.backend}"
        write_image(folder / f"{self._name(example.path)}.jpg", drawn, parents=True)
        if folder not in self.written:
            self.written.append(folder)

    def _name(self, path: Path) -> str:
        """The image's own, numbered if another had it before; the same for every backend."""
        if path not in self._names:
            self._names[path] = self._free.take(path.stem)
        return self._names[path]


@dataclass(frozen=True)
class ResultsFile:
    """Writes predictions as JSON; with ``several`` backends each gets a file, named after it. ``written``: the files.

    ``inputs``: what is evaluated, files and folders of labeled images; nothing of it is replaced.
    """

    path: Path
    several: bool = False
    inputs: tuple[Path, ...] = ()
    written: list[Path] = field(default_factory=list)

    def prepare(self) -> None:
        """Raise an ``OutputError`` before the evaluation starts, if the file cannot be written."""
        if self.path.suffix.lower() not in ("", ".json"):
            raise OutputError(
                f"--format-only writes JSON, but {self.path.name} has another suffix.",
                hint=f"Use --format-only {self.path.with_suffix('.json')}",
            )
        if self.path.is_dir():
            raise OutputError(f"{self.path} is a folder.", hint="Specify a file: --format-only results.json")
        require_no_input(self.path, [one.resolve() for one in self.inputs], "--format-only")
        require_folder(self.path.parent, "--format-only")

    def __call__(self, subject: Subject, records: list[dict[str, Any]]) -> None:
        name = f"{self.path.stem}.{subject.stem}.{subject.backend}" if self.several else self.path.stem
        path = self.path.with_name(f"{name}{self.path.suffix or '.json'}")
        try:
            with written_aside(path, parents=True) as aside:
                aside.write_text(json.dumps(records), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
        self.written.append(path)
