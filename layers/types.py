"""Types of tensors and shapes, for annotations. Importing them does not import Keras."""

from typing import Any, TypeAlias

# A tensor of the backend in use, a `keras.KerasTensor` or a NumPy array. They have no common base
# class.
Tensor: TypeAlias = Any

# The batch dimension comes first. None stands for a length that is not known yet.
Shape: TypeAlias = tuple[int | None, ...]
