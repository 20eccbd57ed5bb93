"""Specs: inputs, outputs and pre- and postprocessing of a model. Dataclasses only; nothing heavy is imported here."""

import lazy_loader

# the names of __init__.pyi, each imported when it is first used
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
