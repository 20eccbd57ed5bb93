"""The built-in tasks, one module or folder each; other code finds them by name (``specs.tasks``)."""
