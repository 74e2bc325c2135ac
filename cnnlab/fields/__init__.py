"""Receptive fields: exact for every layer of a network, and measured by gradients.

`receptive_field` is the way in; the files with an underscore are its engine: the rules of single
operations in ``_rules`` and ``_windows``, what they work on in ``_boxes`` and ``_taps``.
"""

from cnnlab.fields._engine import FieldError, receptive_field
from cnnlab.fields._measured import EffectiveField, effective_receptive_field, gradient_support
from cnnlab.fields._results import Box, Field, ReceptiveFields
from cnnlab.fields._taps import conv_size, conv_transpose_size

__all__ = [
    "Box", "EffectiveField", "Field", "FieldError", "ReceptiveFields", "conv_size",
    "conv_transpose_size", "effective_receptive_field", "gradient_support", "receptive_field",
]  # fmt: skip
