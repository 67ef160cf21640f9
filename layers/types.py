"""What all parts agree on about tensors. Importing it does not import Keras."""

from typing import Any, TypeAlias

# A tensor of the backend in use, a `keras.KerasTensor` or a NumPy array. They have no common base
# class.
Tensor: TypeAlias = Any

# The batch dimension comes first. None stands for a length that is not known yet.
Shape: TypeAlias = tuple[int | None, ...]

# Masks are {0, 1}. With `ignore` they have a third level, for pixels that count neither in a loss
# nor in a score.
IGNORED = 2
