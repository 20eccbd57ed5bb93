"""Programs for Triton's Python backend, copied into the repository as ``model.py``. Triton imports them, adaptrt does not."""
