"""What a `Predictor` takes and refuses, with an engine that costs nothing."""

import os
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image
from test_predictor import by_hand, written

from polypseg.data.images import read_image
from polypseg.errors import InputError
from polypseg.inference.inputs import as_image
from polypseg.inference.predictor import Predictor

rng = np.random.default_rng(5)


class Engine:
    """Its logits are the red and the blue channel, scaled; `batches` has the sizes of its calls."""

    input_size, threshold, maps, name, kind = 24, 0.5, ("coarse", "answer"), "test", "test"

    def __init__(self):
        self.batches = []

    def logits(self, batch):
        self.batches.append(len(batch))
        return batch[..., [2, 0]] / np.float32(50) - np.float32(2)


@pytest.fixture
def predictor():
    return Predictor(Engine())


def colour(height=31, width=45):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(height=17, width=3):
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted):
        np.testing.assert_array_equal(one, other)


def test_one_of_each_kind(predictor, tmp_path):
    image, level = colour(3, 5), grey()
    repeated = np.repeat(level[:, :, None], 3, axis=2)
    Image.fromarray(image).save(tmp_path / "a.png")
    cases = [
        (image, image),
        (level, repeated),
        (level[:, :, None], repeated),
        (level[::-2, ::2], repeated[::-2, ::2]),
        (Image.fromarray(image), image),
        (Image.fromarray(level), repeated),
        (tmp_path / "a.png", image),
        (str(tmp_path / "a.png"), image),
    ]
    for given, same in cases:
        (answer,), (maps,) = predictor([same]), predictor.all_maps([same])
        assert answer.shape == same.shape[:2] and np.ptp(answer) > 0.1
        np.testing.assert_array_equal(predictor(given), answer)
        np.testing.assert_array_equal(predictor.all_maps(given), maps)
    for several in ([given for given, _ in cases], tuple(given for given, _ in cases)):
        assert_same(predictor(several), [predictor([same])[0] for _, same in cases])


@pytest.mark.parametrize("channels", [3, 1])
def test_a_stack_is_several(predictor, channels):
    stack = rng.integers(0, 256, (3, 7, 9, channels), dtype=np.uint8)
    got = predictor(stack)
    assert isinstance(got, list)
    assert_same(got, [predictor(image) for image in stack])


def test_arrays_are_not_copied():
    image = colour()
    assert as_image(image) is image


def test_a_generator_is_run_eight_at_a_time_and_when_asked(predictor):
    images = [colour(5 + n, 40 - n) for n in range(19)]
    taken = []

    def given():
        for n, image in enumerate(images):
            taken.append(n)
            yield Image.fromarray(image) if n % 3 else image

    for run in (predictor, predictor.all_maps):
        taken.clear()
        got = run(given())
        assert taken == []
        first = next(got)
        assert len(taken) == 8
        wanted = [run(image) for image in images]
        predictor._engine.batches.clear()
        assert_same([first, *got], wanted)
        assert predictor._engine.batches == [8, 3] and len(taken) == 19


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_pillow_image_is_what_its_file_is(mode, orientation, tmp_path):
    """Opened from the file, and in memory."""
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (13, 9), dtype=np.uint16))
    elif mode in ("LA", "RGBA"):
        bands = rng.integers(0, 256, (13, 9, len(mode)), dtype=np.uint8)
        image = Image.fromarray(bands)
    else:
        image = Image.fromarray(colour(13, 9)).convert(mode)
    assert image.mode == mode
    tiff = mode == "CMYK"
    path = tmp_path / ("a.tif" if tiff else "a.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Pillow forgets the orientation of a TIFF without compression, whose file it maps.
    image.save(path, exif=exif, **({"compression": "tiff_adobe_deflate"} if tiff else {}))
    wanted = read_image(path)
    assert wanted.shape == ((13, 9, 3) if orientation == 1 else (9, 13, 3))
    np.testing.assert_array_equal(as_image(Image.open(path)), wanted)
    if orientation == 1:
        np.testing.assert_array_equal(as_image(image), wanted)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colours_of_pillow(mode):
    image = Image.merge(mode, [Image.fromarray(grey(13, 9)) for _ in mode[:3]])
    np.testing.assert_array_equal(as_image(image), np.array(image.convert("RGB")))


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(colour(13, 9)).quantize(7)
    image.save(tmp_path / "a.png", transparency=2)
    wanted = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(as_image(Image.open(tmp_path / "a.png")), wanted)
    assert (wanted[np.array(image) == 2] == 0).all()


REFUSED = {
    "float": (np.zeros((5, 7, 3)), r"float64; .*255 \* array"),
    "a float stack": (np.zeros((2, 5, 7, 3), np.float32), r"images\[0\]: .*float32; "),
    "bool": (np.zeros((5, 7), bool), "bool$"),
    "16 bits": (np.zeros((5, 7, 3), np.uint16), "uint16$"),
    "alpha": (np.zeros((5, 7, 4), np.uint8), r"\(5, 7, 4\) uint8; .*array\[..., :3\]"),
    "channels first": (np.zeros((3, 5, 7), np.uint8), r"\(3, 5, 7\) uint8; .*moveaxis"),
    "two channels": (np.zeros((5, 7, 2), np.uint8), r"\(5, 7, 2\) uint8$"),
    "no pixels": (np.zeros((0, 7, 3), np.uint8), "which is empty"),
    "an empty stack": (np.zeros((0, 5, 7, 3), np.uint8), "which is empty"),
    "0-d": (np.array(3, np.uint8), r"\(\) uint8$"),
    "1-d": (np.zeros(3, np.uint8), r"\(3,\) uint8$"),
    "5-d": (np.zeros((1, 1, 5, 7, 3), np.uint8), "uint8$"),
    "objects": (np.array([None, 1], object), "object$"),
    "None": (None, "None$"),
    "a dict": ({"image": grey()}, "dict$"),
    "a set": ({"a.png"}, "set$"),
    "bytes": (b"\x89PNG", "bytes$"),
    "a number": (3, "int$"),
    "numbers": ([[1, 2], [3, 4]], r"images\[0\]: .*list$"),
    "floats of Pillow": (Image.new("F", (3, 4)), "mode F$"),
    "integers of Pillow": (Image.new("I", (3, 4)), "mode I$"),
    "the third": ([grey(), colour(), None], r"images\[2\]: .*None$"),
    "a file that is not there": ("absent.png", "absent.png: expected a readable file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, predictor):
    given, words = REFUSED[case]
    for run in (predictor, predictor.all_maps):
        with pytest.raises(InputError, match=words) as caught:
            run(given)
        text = str(caught.value)
        assert "\n" not in text and "expected" in text
    assert predictor._engine.batches == []


def test_what_a_generator_gives_is_refused_when_it_comes(predictor):
    got = predictor(image for image in [*[colour()] * 8, np.zeros((3, 4))])
    assert len([next(got) for _ in range(8)]) == 8
    with pytest.raises(InputError, match=r"images\[8\]: expected .*float64"):
        next(got)


def test_a_damaged_pillow_image(predictor, tmp_path):
    Image.fromarray(colour(90, 70)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="images: expected a complete image, got a PIL image"):
        predictor(Image.open(tmp_path / "a.png"))


def test_one_without_a_path_cannot_be_pickled(predictor):
    with pytest.raises(TypeError, match="without a path"):
        pickle.dumps(predictor)


def test_pickled_it_opens_its_file_from_anywhere(tmp_path, monkeypatch):
    path, image = written("onnxruntime", tmp_path), colour()
    monkeypatch.chdir(tmp_path)
    predictor = Predictor.load(path.name)
    predictor.threshold = 0.7
    monkeypatch.chdir("/")
    other = pickle.loads(pickle.dumps(predictor))
    assert (other.threshold, other.maps, other.input_size, other.engine, other.digest) == (
        0.7,
        predictor.maps,
        predictor.input_size,
        predictor.engine,
        predictor.digest,
    )
    np.testing.assert_allclose(other(image), by_hand(image)[..., -1], atol=1e-4)


@pytest.mark.parametrize("package", ["onnxruntime", "ai_edge_litert", "openvino", "tensorflow"])
def test_in_processes(package, tmp_path):
    predictor = Predictor.load(written(package, tmp_path))
    images = [colour(), colour(9, 50)]
    wanted = predictor(images)
    for kind in ("fork", "spawn"):
        with get_context(kind).Pool(1) as pool:
            found = pool.map_async(predictor, images)
            if kind == "fork" and package in ("openvino", "tensorflow"):
                with pytest.raises(InputError, match="got a fork of it") as caught:
                    found.get(30)
                assert "\n" not in str(caught.value)
            else:
                for got, expected in zip(found.get(30), wanted, strict=True):
                    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_loaded_one_in_a_forked_child(tmp_path):
    """As a global of the parent's, which is not pickled."""
    predictor = Predictor.load(written("openvino", tmp_path))
    image = colour()
    predictor(image)
    child = os.fork()
    if child == 0:
        try:
            predictor(image)
        except InputError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
