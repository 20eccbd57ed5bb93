"""What every prediction offers: tables, COCO entries, images, and the objects of other libraries."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.tasks import TASKS, Task

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# rows of a table in a notebook
_SHOWN = 20


class Prediction:
    """The base class of predictions; the task of the prediction does the work.

    A task of another distribution gets these methods if its prediction type inherits from this class. A method that the
    task does not support raises a ``UsageError``.
    """

    __slots__ = ()

    @property
    def task(self) -> Task[Any]:
        """The task whose predictions have this type."""
        return _task_of(type(self))

    def plot(self, image: str | Path | NDArray[np.uint8], save: str | Path | None = None) -> NDArray[np.uint8]:
        """The image with the prediction on it, uint8 [H, W, 3] RGB.

        ``image``: the image of the prediction, a path or uint8 [H, W, 3] RGB. ``save``: also write it to this file.
        """
        from adaptrt import read_image, write_image

        task = self.task
        if not task.draws:
            raise UsageError(f"Predictions of task {task.name!r} cannot be drawn.")
        drawn: NDArray[np.uint8] = task.draw(read_image(image), self)
        if save is not None:
            write_image(save, drawn)
        return drawn

    def to_pandas(self) -> pd.DataFrame:
        """A ``DataFrame`` with a row for each object, class or area, and the columns of ``--save csv``. Requires pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise missing_package("pandas", "to_pandas()", error) from error
        header, rows = self.task.tabulate(self)
        return pd.DataFrame(rows, columns=header)

    def to_coco(
        self, image_id: int | str = 0, category_ids: Sequence[int] | Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO results, as ``loadRes`` of its tools reads them.

        ``category_ids`` maps class indices to ids of the data set; by default they are equal.
        """
        entries = self.task.coco_entries(self, image_id)
        if category_ids is None:
            return entries
        try:
            return [{**entry, "category_id": category_ids[entry["category_id"]]} for entry in entries]
        except (IndexError, KeyError) as error:
            raise UsageError(
                f"category_ids has no id for a class of the prediction: {error}.",
                hint="Pass an id for each class of the model, in the order of its labels.",
            ) from error

    def to_supervision(self) -> Any:
        """``supervision.Detections``, ``KeyPoints`` or ``Classifications``, by the task. Requires supervision."""
        try:
            import supervision
        except ImportError as error:
            raise missing_package("supervision", "to_supervision()", error) from error
        return self.task.to_supervision(self, supervision)

    def _repr_html_(self) -> str | None:
        """A table, for notebooks; ``None`` if the task has none."""
        try:
            header, rows = self.task.tabulate(self)
        except UsageError:
            return None
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows[:_SHOWN]
        )
        more = f"<caption>{_SHOWN} of {len(rows)} rows</caption>" if len(rows) > _SHOWN else ""
        return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def missing_package(package: str, what: str, error: ImportError) -> Exception:
    """The error of an optional package that cannot be imported."""
    from adaptrt.errors import DependencyError

    return DependencyError(
        f"{what} requires {package}, which cannot be imported: {error}.", hint=f"Install it: pip install {package}"
    )


def _task_of(kind: type[Prediction]) -> Task[Any]:
    for name in TASKS.core_names():  # without reading the metadata of every distribution
        task = TASKS.find(name)
        if task.prediction is kind:
            return task
    for task in TASKS.all():
        if task.prediction is kind:
            return task
    raise UsageError(
        f"No installed task has predictions of type {kind.__name__}.",
        hint="Its entry point belongs to the group adaptrt.tasks.",
    )
