"""The base class of the networks."""

from typing import Any, Self

import keras

from polypseg.errors import InputError

from .types import Shape, Tensor


class ImageModel(keras.Model):
    """A functional model that takes images `(B, H, W, 3)`; H and W are multiples of `stride`.

    Attributes:
        stride: height and width of an image must be multiples of it. The subclass sets it.
        config: arguments that rebuild the model. The subclass sets them in `__init__`.
        temperature: T > 0, saved with the model; 1.0 in files of earlier versions. The model
            itself returns logits z. Those who make probabilities of them take sigmoid(z / T), see
            `polypseg.training.temperature`.

    Raises:
        InputError: the model is called or traced (`predict`, `fit`) with images of another size.
    """

    stride: int
    config: dict[str, Any]
    temperature: float = 1.0

    def __call__(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._check_size(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def stateless_call(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras. Under JAX, `fit` and `predict` use it instead of `__call__`."""
        self._check_size(args[2] if len(args) > 2 else kwargs["inputs"])
        return super().stateless_call(*args, **kwargs)

    def _check_size(self, inputs: Tensor) -> None:
        """Raise `InputError` for a wrong size, as far as the static shape is known."""
        shape: Shape = getattr(keras.tree.flatten(inputs)[0], "shape", ())
        height, width = shape[1:3] if len(shape) == 4 else (None, None)
        if (height or 0) % self.stride or (width or 0) % self.stride:
            raise InputError(
                f"expected images whose height and width are multiples of {self.stride}, got "
                f"{height} x {width} pixels"
            )

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name} | self.config | {"temperature": self.temperature}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        config = dict(config)
        temperature = config.pop("temperature", 1.0)
        model = cls(**config)
        model.temperature = temperature
        return model
