"""Core's own defaults, as plugins that are called last; each hook calls the layer that does the work."""

from adaptrt.builtins import conversion, engine, predictions

DEFAULTS: dict[str, object] = {
    "core.conversion": conversion,
    "core.engine": engine,
    "core.predictions": predictions,
}
