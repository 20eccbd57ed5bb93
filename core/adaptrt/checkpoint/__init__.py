"""Checkpoints read as data: tensors and plain containers; no code in the file is run.

``torch.load`` executes the pickle. Here a small restricted unpickler reads it instead: names on a fixed list become
adaptrt's constructors, names that the caller expects (``inert=``) become inert stand-ins that only record, and any other
name is rejected. Importing this package does not import torch; reading a file does. ``trust=True`` bypasses this, if the
user trusts the file.
"""

from adaptrt.checkpoint.config_literals import config_literals, python_literals
from adaptrt.checkpoint.inert import InertName, InertObject
from adaptrt.checkpoint.kinds import check_kind, is_safetensors
from adaptrt.checkpoint.outline import TensorShape
from adaptrt.checkpoint.random_weights import batch_norms, take_noise_statistics, warn_of_random_weights
from adaptrt.checkpoint.reader import read_checkpoint
from adaptrt.checkpoint.search_path import module_search_path
from adaptrt.checkpoint.source_facts import read_facts
from adaptrt.checkpoint.states import read_state_dict, tensors_of
from adaptrt.checkpoint.weights import fill_model, is_checkpoint_name
from adaptrt.literals import literal_value

__all__ = [
    "InertName",
    "InertObject",
    "TensorShape",
    "batch_norms",
    "check_kind",
    "config_literals",
    "fill_model",
    "is_checkpoint_name",
    "is_safetensors",
    "literal_value",
    "module_search_path",
    "python_literals",
    "read_checkpoint",
    "read_facts",
    "read_state_dict",
    "take_noise_statistics",
    "tensors_of",
    "warn_of_random_weights",
]
