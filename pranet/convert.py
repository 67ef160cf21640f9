"""Convert PyTorch checkpoints of PraNet and its backbones to Keras, and PraNet back.

No code in a checkpoint is executed: `.pth` files are read with `torch.load(weights_only=True)`.
"""

import contextlib
import importlib.util
import os
import pickle
import runpy
import sys
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from polypseg.errors import InputError, reading, reason
from polypseg.files import atomic, writing
from polypseg.outputs import claim
from polypseg.runtime import check_backend, quiet


def convert(source: str | Path, out: str | Path, to_pytorch: bool = False) -> str:
    """Convert one file.

    Args:
        source: `.pth`, `.pt` or `.safetensors` with the state dict of the authors' PraNet, of a
            Res2Net50-v1b-26w-4s or of an EfficientNet-Lite0 or Lite2; with `to_pytorch` a `.keras`
            file of a PraNet-Res2Net50.
        out: `.keras` for a PraNet, `.weights.h5` for a backbone; with `to_pytorch` `.pth`, `.pt` or
            `.safetensors`. It is replaced if it exists, and written completely or not at all.
        to_pytorch: convert from Keras to PyTorch.

    Returns:
        a line that says what was written.

    Raises:
        InputError: a file that cannot be read or does not fit, another suffix, a missing package.
    """
    source, out = Path(source), Path(out)
    if not os.path.isfile(source):
        found = "a folder" if os.path.isdir(source) else "which does not exist"
        raise InputError(f"expected a file, got {source}, {found}", "FILE")
    if to_pytorch:
        _check_suffix("FILE", source, (".keras",), "with `to_pytorch`")
        _check_suffix("out", out, (".pth", ".pt", ".safetensors"), "with `to_pytorch`")
        _expect_package(_package_for(out))
        with claim({"out": [out]}, [source], overwrite=True):
            return _keras_to_pytorch(_load_official(), source, out)
    _check_suffix("FILE", source, (".pth", ".pt", ".safetensors"), "unless `to_pytorch` is given")
    _check_suffix("out", out, (".keras", ".weights.h5"), "unless `to_pytorch` is given")
    _expect_package(_package_for(source))
    state = _read_state_dict(source)
    if "_conv_stem.weight" in state:
        kind, suffix, write = "an EfficientNet-Lite backbone", ".weights.h5", _lite_to_keras
    elif any(key.startswith("layer1.") for key in state):
        kind, suffix, write = "a Res2Net50 backbone", ".weights.h5", _res2net_to_keras
    else:
        kind, suffix, write = "a PraNet", ".keras", _pranet_to_keras
    _check_suffix("out", out, (suffix,), f"for {kind}")
    with claim({"out": [out]}, [source], overwrite=True):
        return write(_load_official(), source, state, out)


def _load_official() -> ModuleType:
    """Import `official.py` and Keras. This takes seconds, so check the arguments first."""
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras

        from . import official

        keras.ops.zeros(())  # makes the backend find its devices, whose log lines `quiet` hides
    return official


def _pranet_to_keras(
    official: ModuleType, source: Path, state: Mapping[str, np.ndarray], out: Path
) -> str:
    with _with_file_name(source):
        model = official.pranet_from(state)
    _write_complete(out, ".keras", model.save)
    return f"{out}: PraNet-Res2Net50, {len(state)} arrays"


def _res2net_to_keras(
    official: ModuleType, source: Path, state: Mapping[str, np.ndarray], out: Path
) -> str:
    with _with_file_name(source):
        backbone = official.backbone_from(state)
    _write_complete(out, ".weights.h5", backbone.get_layer("features").save_weights)
    return f"{out}: Res2Net50, {_used(state, official.CLASSIFIER)}"


def _lite_to_keras(
    official: ModuleType, source: Path, state: Mapping[str, np.ndarray], out: Path
) -> str:
    from polypseg.layers.efficientnet_lite import CLASSIFIER, lite_from

    with _with_file_name(source):
        network = lite_from(state)
    _write_complete(out, ".weights.h5", network.save_weights)
    return f"{out}: {network.name}, {_used(state, CLASSIFIER)}"


def _used(state: Mapping[str, np.ndarray], classifier: Container[str]) -> str:
    """`"245 arrays"`, and which keys are those of a classifier."""
    left_out = [key for key in state if key in classifier]
    words = "; left out, because a backbone has no classifier: " if left_out else ""
    return f"{len(state) - len(left_out)} arrays{words}{', '.join(left_out)}"


def _keras_to_pytorch(official: ModuleType, source: Path, out: Path) -> str:
    with reading(source, "a .keras file of this toolkit", "FILE"):
        model = official.keras.saving.load_model(source, compile=False)
    with _with_file_name(source):
        state = official.state_dict(model)
    _write_complete(out, out.suffix, lambda path: _write_state_dict(path, state))
    words = f"{out}: PraNet-Res2Net50, {len(state)} arrays"
    if model.temperature == 1:
        return words
    return f"{words}; its temperature is left out: divide the logits by {model.temperature:.4g}"


def _read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read `{key: NumPy array}`, with floats as float32."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            state = load_file(path)
        else:
            import torch

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tensors = torch.load(path, map_location="cpu", weights_only=True)
            state = {
                str(key): (tensor.float() if tensor.is_floating_point() else tensor).numpy()
                for key, tensor in tensors.items()
            }
    except Exception as error:
        why = reason(error)
        if isinstance(error, pickle.UnpicklingError):
            why = "PyTorch refuses it: it is damaged or contains other objects"
        raise InputError(
            f"expected a state dict (names and tensors only), got {path} ({why})", "FILE"
        ) from error
    return {
        key: array.astype("float32") if array.dtype.kind == "f" else array
        for key, array in state.items()
    }


def _write_state_dict(path: Path, state: Mapping[str, np.ndarray]) -> None:
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        path.write_bytes(save(dict(state)))
    else:
        import torch

        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)


def _write_complete(out: Path, suffix: str, save: Callable[[Path], object]) -> None:
    """Call `save` with a path beside `out`, then rename it to `out`."""
    with writing(out, "out"):
        with atomic(out, suffix) as temporary:
            save(temporary)


def _check_suffix(argument: str, path: Path, endings: tuple[str, ...], when: str) -> None:
    if not path.name.endswith(endings):
        raise InputError(
            f"expected a name that ends in {' or '.join(endings)} {when}, got {path}", argument
        )


def _package_for(path: Path) -> str:
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def _expect_package(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        other = "a .safetensors file" if package == "torch" else "a .pth file"
        raise InputError(
            f"expected the package {package} to be installed (pip install {package}), or {other}"
        )


@contextlib.contextmanager
def _with_file_name(source: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InputError(f"{error} in {source}", "FILE") from error


if __name__ == "__main__":  # earlier versions had this command
    sys.stderr.write(
        "note: python -m pranet.convert is now: python convert.py, or polypseg convert\n"
    )
    sys.argv[:1] = ["polypseg", "convert"]
    runpy.run_module("polypseg", run_name="__main__")
