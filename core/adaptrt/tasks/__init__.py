"""The tasks that core ships, one module or folder each; everything else finds them by name (``specs.tasks``)."""
