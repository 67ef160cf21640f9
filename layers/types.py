"""Names for the types of what Keras's layers and `keras.ops` take; importing them loads nothing."""

from typing import Any, TypeAlias

# A tensor of the backend in use, a `keras.KerasTensor` or a NumPy array: they share no base class.
Tensor: TypeAlias = Any

# The batch first; None for a length that is not known yet.
Shape: TypeAlias = tuple[int | None, ...]
