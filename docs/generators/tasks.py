"""The reference page of tasks."""

from __future__ import annotations

import inspect

from adaptrt.specs import ModelSpec, precision_named, task_named


def tasks_page() -> str:
    """Core's tasks: what ``ModelSpec.task`` can name."""
    lines = ["<!-- Written by `make docs` out of core/adaptrt/tasks: change it there. -->\n", "# Tasks\n"]
    lines += [
        "`ModelSpec.task` names the kind of prediction of a model. Packages can add tasks: see [Add a task](../how-to/add-a-task.md).",
        "",
    ]
    for name in ("detect", "segment", "pose", "obb", "classify", "semantic", "values"):
        task = task_named(name)
        lines += [
            f"## {name}",
            "",
            inspect.cleandoc(type(task).__doc__ or "").replace("``", "`"),
            "",
            "| | |",
            "|---|---|",
        ]
        lines.append(f"| prediction | [`{task.prediction.__name__}`](api.md#{task.prediction.__name__.lower()}) |")
        lines.append(f"| drawn | {'yes' if task.draws else 'no'} |")
        lines.append(f"| `predict --save` | {', '.join(f'`{one}`' for one in task.formats)} |")
        metrics = task.metrics(ModelSpec(inputs=(), task=name), precision_named("fp32"))
        limits = [f"{metric.name}, at least {metric.minimum:g}" for metric in metrics]
        lines.append(f"| links 0 and 5, fp32 | {'; '.join(limits) or 'not compared'} |")
        lines.append(f"| `evaluate --data` | {task.scoring.layout if task.scoring else 'cannot be evaluated'} |")
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"
