"""State dicts of PyTorch networks, `{key: NumPy array}`, and our variable for each key.

Convolution kernels are OIHW there and HWIO here, those of depthwise convolutions C1HW there and
HWC1 here; all other arrays are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np

MAX_LISTED = 12  # an error lists at most this number of keys of each kind


@dataclass(frozen=True)
class Unused:
    """Placeholder for a key that has no variable, because it has no effect on the output."""

    shape: tuple[int, ...] = ()
    dtype: str = "int64"


@dataclass(frozen=True)
class Depthwise:
    """The kernel of a depthwise convolution."""

    kernel: keras.Variable


Keys: TypeAlias = dict[str, keras.Variable | Depthwise | Unused]


def assign(
    keys: Keys, state: Mapping[str, np.ndarray], network: str = "the authors' network"
) -> dict[str, np.ndarray]:
    """Assign a state dict to the variables and return the arrays of the unused keys.

    Args:
        keys: the variable for each key.
        state: the state dict.
        network: what has these keys, for the error message.

    Raises:
        ValueError: keys are missing or unknown, or arrays have another shape or are not finite. In
            this case, nothing is assigned.
    """
    faults = {
        "missing": [key for key in keys if key not in state],
        "unknown": [key for key in state if key not in keys],
        "of another shape": [
            f"{key} {state[key].shape} instead of {_shape(value)}"
            for key, value in keys.items()
            if key in state and state[key].shape != _shape(value)
        ],
        "not finite": [
            key
            for key, array in state.items()
            if array.dtype.kind == "f" and not np.isfinite(array).all()
        ],
    }
    if any(faults.values()):
        listed = "; ".join(
            f"{len(found)} {kind}: {_shortened(found)}" for kind, found in faults.items() if found
        )
        raise ValueError(f"expected the {len(keys)} keys of {network}, got {listed}")
    unused = {}
    for key, variable in keys.items():
        array = state[key]
        if isinstance(variable, Unused):
            unused[key] = array.astype(variable.dtype)
        elif isinstance(variable, Depthwise):
            variable.kernel.assign(array.transpose(2, 3, 0, 1))
        else:
            variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
    return unused


def conv_keys(key: str, conv: keras.layers.Conv2D) -> Keys:
    """The keys of a convolution."""
    return {f"{key}.weight": conv.kernel} | ({f"{key}.bias": conv.bias} if conv.use_bias else {})


def norm_keys(key: str, norm: keras.layers.BatchNormalization) -> Keys:
    """The keys of a batch norm."""
    return {
        f"{key}.weight": norm.gamma,
        f"{key}.bias": norm.beta,
        f"{key}.running_mean": norm.moving_mean,
        f"{key}.running_var": norm.moving_variance,
        f"{key}.num_batches_tracked": Unused(),
    }


def _shape(variable: keras.Variable | Depthwise | Unused) -> tuple[int, ...]:
    """The shape of an array in PyTorch's layout."""
    if isinstance(variable, Depthwise):
        height, width, channels, _ = variable.kernel.shape
        return (channels, 1, height, width)
    shape = tuple(variable.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _shortened(found: Sequence[str]) -> str:
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return ", ".join(found[:MAX_LISTED]) + more
