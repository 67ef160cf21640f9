"""Write a trained network to a file that other programs run, and check the file."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from polypseg.errors import InputError
from polypseg.files import file_digest, part_path, writing
from polypseg.outputs import claim
from polypseg.runtime import quiet

from .ensemble import Where, answer, find_members, origin
from .formats import format_of
from .formats.base import Format
from .formats.keras import KerasEngine, tempered
from .networks import Network, find_network, keras_network
from .predictor import sigmoid

# Largest difference of logits, which are clipped to -10..10. Beyond that, float32 probabilities are
# almost equal.
TOLERANCE = {"float32": 0.01, "float16": 0.5}


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: path of the file, or of the folder of a SavedModel.
        size: size of all its files together, in bytes.
        logit_difference: largest difference from the Keras network's logits.
        probability_difference: largest difference from the Keras network's probabilities.
    """

    path: Path
    size: int
    logit_difference: float
    probability_difference: float


def export(
    model: Where,
    kind: str,
    out: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    all_maps: bool = False,
    threshold: float = 0.5,
    overwrite: bool = False,
    progress: Callable[[str], object] = lambda step: None,
) -> Exported:
    """Write a network in another format and check that it gives the same outputs.

    Both networks run on the same images; the file is kept only if the outputs agree.

    The file takes RGB `(B, S, S, 3)` float32 in 0..255, where S is the network's input size and B
    any batch size (1 in TFLite). It gives `probability`, `(B, S, S, 1)` float32 in [0, 1].

    Args:
        model: run folder or `.keras` file; or an ensemble, as for `Predictor.load`.
        kind: one of `formats.NAMES`.
        out: path to write; default: beside the `.keras` file, with its name and another suffix; for
            the folder of a cross-validation or of several seeds, `ensemble` in it.
        precision: precision of the stored weights, `"float32"` or `"float16"`. float16 halves the
            size of the file; the network still computes in float32.
        all_maps: whether to write all maps, `(B, S, S, maps)`, with the final prediction last.
            Otherwise only the final prediction is written.
        threshold: threshold of the probabilities, stored in the file for programs that read it.
        overwrite: whether to replace existing files at `out`.
        progress: function that is called before each long step, with a short description of it.

    Returns:
        `Exported`.

    Raises:
        InputError: an argument is wrong, a package is missing, or the outputs differ by more than
            `TOLERANCE`.

    Example:
        >>> export("runs/pranet_resnet50", "onnx", "pranet.onnx").path
        PosixPath('pranet.onnx')
    """
    form = format_of(kind)
    network, default = _find(model)
    path = check_target(default, form, out, overwrite)
    check_possible(form, kind, precision)
    with claim({"out": form.parts(path)}, network.files, overwrite):
        return _export(network, kind, path, precision, all_maps, threshold, progress)


def _find(model: Where) -> tuple[Network, Path | None]:
    """The Keras network to export, and the path beside which its export lies by default."""
    if members := find_members(model):
        one_folder = isinstance(model, str | os.PathLike)
        return find_network(model), members[0].path.with_name("ensemble") if one_folder else None
    network = keras_network(Path(model))  # type: ignore[arg-type]  # a list has members
    (file,) = network.files
    if not os.path.isfile(file):
        raise InputError(
            f"expected a run folder or a .keras file, got {file}, which does not exist", "model"
        )
    return network, file


def _export(
    network: Network,
    kind: str,
    out: Path,
    precision: str,
    all_maps: bool,
    threshold: float,
    progress: Callable[[str], object],
) -> Exported:
    form = format_of(kind)
    sources = [file_digest(file) for file in network.files]  # before they are read
    progress(f"loading the network {', '.join(map(str, network.files))}")
    original = cast(KerasEngine, network.open(None))
    maps = original.maps if all_maps else original.maps[-1:]
    description = json.dumps(
        {
            "input_size": original.input_size,
            "threshold": threshold,
            "maps": maps,
            "window": network.window,
            "precision": precision,
            "all_maps": maps == original.maps,
            "versions": _versions("keras", "tensorflow", *form.packages.values()),
            **({"volume": network.preparation.as_dict()} if network.preparation else {}),
            # Of the network itself, so that its file is not taken for that of another one.
            **(
                {"ensemble": origin(network.members)} if network.members else {"source": sources[0]}
            ),
        }
    )
    folder = part_path(out)
    with writing(out, "out"):
        folder.mkdir()
    try:
        part = folder / out.name
        progress(f"writing it as {kind}, which may take a minute")
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            serving = serving_model(
                original.model, original.input_size, all_maps, 1 if form.one_image else None
            )
            with writing(out, "out"):
                form.write(serving, part, precision, description)
        progress("comparing its outputs with those of the Keras network")
        logit, probability = compare(original, form, part, len(maps))
        if not logit <= TOLERANCE[precision]:
            raise InputError(
                f"expected {kind} logits within {TOLERANCE[precision]} of the Keras "
                "network's, "
                f"got a difference of {logit:.3g} (probability {probability:.3g}); nothing was "
                "written",
                "format",
            )
        if sources != [file_digest(file) for file in network.files]:
            raise InputError(
                f"expected {', '.join(map(str, network.files))} to stay the same, got another "
                "network there meanwhile; nothing was written",
                "model",
            )
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        with writing(out, "out"):
            move_into_place(form, part, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Exported(out, size, logit, probability)


def _versions(*packages: str) -> dict[str, str]:
    """Of the packages that are installed under these names; others may stand in for the rest."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def serving_model(network: Any, size: int, all_maps: bool, batch_size: int | None) -> Any:
    """A Keras model with a fixed image size that returns probabilities, with the temperature.

    Without `all_maps`, the model lacks the layers that only compute the side outputs.
    """
    import keras

    logits = tempered(network, network.output if all_maps else answer(network))
    image = keras.Input((size, size, 3), batch_size=batch_size, name="image")
    logits = keras.Model(network.input, logits)(image, training=False)
    return keras.Model(
        image, {"probability": keras.layers.Activation("sigmoid", dtype="float32")(logits)}
    )


def check_target(
    beside: Path | None, form: Format, out: str | os.PathLike[str] | None, overwrite: bool
) -> Path:
    if out is not None:
        target = Path(out)
    elif beside is not None:
        target = beside.with_name(beside.stem + (form.suffix or "_savedmodel"))
    else:
        raise InputError("expected a path for the file of an ensemble, got nothing", "out")
    if target.suffix != form.suffix:
        expected = f"a name that ends in {form.suffix}" if form.suffix else "a folder"
        raise InputError(f"expected {expected}, got {target}", "out")
    for path in filter(os.path.isdir, form.parts(target)):  # `claim` checks files
        if not overwrite:
            raise InputError(
                f"expected a new path (or `overwrite`), got {path}, which exists", "out"
            )
        if not form.recognises(path):
            raise InputError(
                f"expected a new path or a SavedModel to replace, got the folder {path}", "out"
            )
    return target


def check_possible(form: Format, kind: str, precision: str) -> None:
    if precision == "float16" and not form.float16:
        raise InputError(
            "expected float32, the only precision that savedmodel can be written in, got float16",
            "precision",
        )
    for module, package in form.packages.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"expected the package {package} for {kind} (pip install {package}), "
                "got none installed",
                "format",
            )


def compare(original: KerasEngine, form: Format, path: Path, maps: int) -> tuple[float, float]:
    """Largest differences of logits and of probabilities, on noise and on smooth images."""
    open_engine: Any = form.open_exact or form.open  # exact, because this checks the file
    other = open_engine(path)
    worst = 0.0, 0.0
    for image in sample_images(original.input_size):
        expected, got = original.logits(image)[..., -maps:], other.logits(image)
        if expected.shape != got.shape or not np.isfinite(got).all():
            return np.inf, np.inf
        logit = np.abs(np.clip(expected, -10, 10) - np.clip(got, -10, 10)).max()
        probability = np.abs(sigmoid(expected.copy()) - sigmoid(got.copy())).max()
        worst = max(worst[0], float(logit)), max(worst[1], float(probability))
    return worst


def sample_images(size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Images to compare networks on, `(1, size, size, 3)` float32 in 0..255.

    The first one is noise. Three with smooth colours follow, each with more changes than the last.
    """
    random = np.random.default_rng(seed)
    for cells in (None, 2, 3, 5):
        small = random.uniform(0, 255, (cells or size, cells or size, 3)).astype(np.float32)
        yield cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255)[None]


def move_into_place(form: Format, part: Path, out: Path) -> None:
    if form.beside:
        # The old main file must never lie beside new files, which belong to another network.
        out.unlink(missing_ok=True)
    for source, target in zip(form.parts(part), form.parts(out)):
        if target.is_dir():
            os.replace(target, source.parent / "replaced")
        os.replace(source, target)
