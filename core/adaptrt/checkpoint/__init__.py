"""Checkpoints read as data: tensors and plain containers, never a line of the file's code.

``torch.load`` runs what a pickle asks for. Here a small machine of our own reads the pickle instead: names on a fixed
list become our constructors, names that the caller expects (``inert=``) become stand-ins that only remember, and any
other name is refused. Importing this package imports no torch; reading a file does. ``trust=True`` is the way around it,
for a user who said so.
"""

from adaptrt.checkpoint.inert import InertName, InertObject
from adaptrt.checkpoint.kinds import check_kind, is_safetensors
from adaptrt.checkpoint.reader import read_checkpoint
from adaptrt.checkpoint.states import read_state_dict, tensors_of
from adaptrt.checkpoint.weights import SUFFIXES, fill_model, is_checkpoint_name, warn_of_random_weights

__all__ = [
    "SUFFIXES",
    "InertName",
    "InertObject",
    "check_kind",
    "fill_model",
    "is_checkpoint_name",
    "is_safetensors",
    "read_checkpoint",
    "read_state_dict",
    "tensors_of",
    "warn_of_random_weights",
]
