"""Ensembles: their mean, who may be a member, and every command that runs or writes one."""

import json
import pickle
import shutil
from pathlib import Path

import av
import keras
import numpy as np
import pytest
import tiny
from in_process import run_script
from PIL import Image

from polypseg.data.images import read_image
from polypseg.data.masks import read_mask
from polypseg.data.synthetic import write_dataset
from polypseg.errors import InputError, Note
from polypseg.experiment.checkpoint import (
    COLUMNS,
    Saved,
    history_digest,
    save_model,
    write_history,
)
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.fingerprints import fingerprints
from polypseg.experiment.run import begin_run, run_id
from polypseg.inference.ensemble import mean_network
from polypseg.inference.export import export
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor
from polypseg.metrics import DataSetScores, score
from polypseg.training.datasets import find_pairs

ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
STEMS = [f"synthetic_{index:04d}" for index in range(12)]
SPLIT = {"train": STEMS[:6], "val": STEMS[6:8], "test": STEMS[8:]}
OTHER = {"train": STEMS[4:10], "val": STEMS[2:4], "test": [*STEMS[:2], *STEMS[10:]]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 12, size=(40, 44), seed=1)
    return folder


def network(seed, size=SIZE):
    """One whose maps are neither all 0 nor all 1."""
    keras.utils.set_random_seed(seed)
    model, random = tiny.Tiny(size, filters=4), np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.path.endswith("variance"):
            weight.assign(weight + random.normal(0, 0.3, weight.shape))
    return model


def make_run(folder, data, seed, split=SPLIT, size=SIZE, **options):
    """A run of one epoch, with a network that nobody has trained."""
    folder.mkdir(parents=True)
    options = {"model": "attention_unet", "input_size": size, "seed": seed} | options
    config = TrainConfig(data_path=str(data), **options).resolved()
    begin_run(folder, config, "checked 12 pairs", fingerprints(find_pairs(data)[0]), [split])
    write_history(folder / "history.csv", [dict.fromkeys(COLUMNS, 0.5) | {"epoch": 1}])
    model = network(seed, size)
    save_model(model, folder / "best.keras", Saved(1, run_id(folder)))
    history = history_digest(folder / "history.csv", 1)
    save_model(model, folder / "last.keras", Saved(1, run_id(folder), history))
    return folder


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """`seeds/` with three runs on one split, and `folds/` with two on different ones."""
    root = tmp_path_factory.mktemp("runs")
    for name, splits in (("seed", [SPLIT] * 3), ("fold", [SPLIT, OTHER])):
        folder = root / f"{name}s"
        folder.mkdir()
        for number, split in enumerate(splits, 1):
            make_run(folder / f"{name}-{number}", data, number, split)
        shutil.copy(folder / f"{name}-1" / "config.json", folder)
        (folder / f"{name}s.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def members(runs):
    return [runs / "seeds" / f"seed-{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 256, (53, 37, 3), np.uint8)


def mean_of_maps(maps):
    """The probability whose logit is the mean of those of the maps."""
    maps = np.array(maps, np.float64)
    assert maps.min() > 1e-5 and maps.max() < 1 - 1e-5 and maps.std() > 0.02
    logits = np.log(maps / (1 - maps)).mean(axis=0)
    return 1 / (1 + np.exp(-logits))


def command(script, *arguments):
    return run_script(ROOT / script, *arguments)


def done(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


# The network.


def deep(scale):
    """Two maps, of which the first one is no part of the mean."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255, name="scaled")(image)
    side = keras.layers.Conv2D(1, 3, padding="same", name="side")(x)
    x = keras.layers.Conv2D(1, 3, padding="same", name="last")(x)
    x = keras.layers.Rescaling(scale, name="scale")(x)
    maps = keras.layers.Concatenate(name="logits", dtype="float32")([side, x])
    return keras.Model(image, maps, name="deep")


def test_mean_of_the_last_channels_in_float64():
    """The layers of all networks have the same names; their logits go beyond what exp can take."""
    keras.utils.set_random_seed(1)
    networks = [deep(scale) for scale in (1.0, 300.0, 200.0)]
    batch = np.random.default_rng(1).uniform(0, 255, (3, 21, 13, 3)).astype(np.float32)
    each = [np.asarray(one.predict_on_batch(batch), np.float64)[..., -1:] for one in networks]
    assert max(np.abs(logits).max() for logits in each) > 100
    mean = mean_network(networks)
    got = np.asarray(mean.predict_on_batch(batch))
    assert got.dtype == np.float32 and got.shape == (3, 21, 13, 1)
    np.testing.assert_allclose(got, sum(each) / 3, rtol=1e-5, atol=1e-4)
    assert not any("side" in weight.path for weight in mean.weights), "of no use for the answer"
    other = np.asarray(mean_network(networks[::-1]).predict_on_batch(batch))
    np.testing.assert_allclose(other, got, rtol=1e-5, atol=1e-4)
    alone = np.asarray(mean_network(networks[1:2]).predict_on_batch(batch))
    np.testing.assert_array_equal(alone, each[1].astype(np.float32))


def test_its_stride_is_a_multiple_of_those_of_its_networks():
    networks = [deep(1.0) for _ in range(3)]
    networks[0].stride, networks[1].stride = 6, 4
    assert mean_network(networks).stride == 12
    assert mean_network(networks[2:]).stride == 1


def test_predictor(members, image):
    ensemble = Predictor.load(members)
    maps = [Predictor.load(member)(image) for member in members]
    np.testing.assert_allclose(ensemble(image), mean_of_maps(maps), atol=1e-5)
    assert ensemble.maps == ("answer",) and ensemble.engine == "Keras, mean of 3 networks"
    assert ensemble.input_size == SIZE and ensemble.threshold == 0.5
    with pytest.raises(ValueError, match="whose only map is the answer"):
        ensemble.all_maps(image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ensemble))(image), ensemble(image))


def test_its_origin(members):
    ensemble = Predictor.load([members[0], members[2] / "best.keras"])
    assert ensemble.origin == {
        "average": "mean of logits",
        "members": {
            str(path): Predictor.load(path).digest
            for path in (members[0], members[2] / "best.keras")
        },
    }
    assert Predictor.load(members[0]).origin == {}
    assert ensemble.digest == Predictor.load([members[2], members[0]]).digest
    others = [Predictor.load(members), Predictor.load(members[:2]), Predictor.load(members[0])]
    assert len({ensemble.digest, *(other.digest for other in others)}) == 4


def test_a_member_that_changes_later_is_noticed(members, tmp_path):
    copies = [
        shutil.copy(member / "best.keras", tmp_path / f"{member.name}.keras")
        for member in members[:2]
    ]
    ensemble = Predictor.load(copies)
    shutil.copy(members[2] / "best.keras", copies[1])
    with pytest.raises(InputError, match="stay the same, got files that have changed"):
        ensemble.digest  # noqa: B018


def test_the_folder_of_seeds_or_folds_is_the_ensemble_of_its_runs(runs, members, image, tmp_path):
    expected = Predictor.load(members)
    for path in (runs / "seeds", str(runs / "seeds")):
        ensemble = Predictor.load(path)
        assert ensemble.origin == expected.origin and ensemble.digest == expected.digest
        np.testing.assert_array_equal(ensemble(image), expected(image))
    folds = [runs / "folds" / f"fold-{number}" for number in (1, 2)]
    assert Predictor.load(runs / "folds").digest == Predictor.load(folds).digest
    mixed = Predictor.load([runs / "seeds", folds[1]])
    assert [*mixed.origin["members"]] == [*map(str, [*members, folds[1]])]
    shutil.copytree(runs / "folds", tmp_path / "x" / "folds")
    assert len(Predictor.load(tmp_path / "x").origin["members"]) == 2, "the only one in a folder"


def without_network(run):
    (run / "best.keras").unlink()
    return run


@pytest.mark.parametrize(
    "what, words",
    [
        (lambda a, b, new: [a], "ensemble: expected two or more networks, got .*seed-1"),
        (lambda a, b, new: [], "ensemble: expected two or more networks, got nothing"),
        (
            lambda a, b, new: [a, b, a / "best.keras"],
            "ensemble: expected each network once, got .*seed-1/best.keras twice",
        ),
        (lambda a, b, new: [a, b / "no"], "ensemble: expected a run folder, got .*no, which does"),
        (
            lambda a, b, new: [a, new(label=[3]), new(label=[1, 3])],
            "ensemble: expected runs with the same `label`, got none in .*seed-1 and 3 in .*new-0$",
        ),
        (
            lambda a, b, new: [a, new(window=[0, 4095])],
            "ensemble: expected runs with the same `window`, got none in .*seed-1 and 0 4095 in ",
        ),
        (
            lambda a, b, new: [a, without_network(new())],
            "ensemble: expected runs with a finished epoch, got .*new-0",
        ),
        (
            lambda a, b, new: [a, new(size=48)],
            "input_size: expected one for networks with different input sizes, got 32 of .*seed-1 "
            "and 48 of .*new-0",
        ),
    ],
)
def test_refused(what, words, members, data, tmp_path):
    def new(**options):
        number = len([*tmp_path.iterdir()])
        return make_run(tmp_path / f"new-{number}", data, 9 + number, **options)

    with pytest.raises(InputError, match=words) as caught:
        Predictor.load(what(*members[:2], new))
    assert "\n" not in str(caught.value)


def test_networks_of_different_input_sizes_run_at_a_given_one(members, data, tmp_path, image):
    other = make_run(tmp_path / "new", data, 9, size=48)
    maps = [Predictor.load(one, 64)(image) for one in (members[0], other)]
    ensemble = Predictor.load([members[0], other], 64)
    assert ensemble.input_size == 64
    np.testing.assert_allclose(ensemble(image), mean_of_maps(maps), atol=1e-5)


def test_an_exported_file_is_no_member(members, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    words = "ensemble: expected run folders or .keras files, got the exported file .*a.onnx; give"
    with pytest.raises(InputError, match=words):
        Predictor.load([members[0], tmp_path / "a.onnx"])


def test_folds_that_are_not_all_trained_are_no_ensemble(runs, tmp_path):
    folder = shutil.copytree(runs / "folds", tmp_path / "folds")
    (folder / "folds.json").unlink()
    words = "expected runs that are all trained, got .*folds without folds.json; `resume` finishes"
    for where, argument in ((folder, "model"), ([folder], "ensemble")):
        with pytest.raises(InputError, match=f"{argument}: {words}"):
            Predictor.load(where)


# Export.


@pytest.mark.parametrize("kind", NAMES)
def test_an_exported_ensemble_gives_the_same_maps_and_names_its_members(
    kind, members, image, tmp_path
):
    for module in format_of(kind).packages:
        pytest.importorskip(module)
    path = tmp_path / f"mean{format_of(kind).suffix}"
    export(members, kind, path, threshold=0.4)
    exported, ensemble = Predictor.load(path), Predictor.load(members)
    exact = "bfloat16" not in exported.engine
    np.testing.assert_allclose(exported(image), ensemble(image), atol=1e-4 if exact else 0.03)
    assert exported.origin == ensemble.origin and exported.threshold == 0.4


def test_export_command(runs, members, tmp_path):
    pytest.importorskip("tf2onnx")
    folder = shutil.copytree(runs / "seeds", tmp_path / "seeds")
    printed = done(command("export.py", "--model", folder, "--format", "onnx"))
    assert f"written: {folder}/ensemble.onnx" in printed
    assert len(Predictor.load(folder / "ensemble.onnx").origin["members"]) == 3
    both = ["--ensemble", *members[:2], "--format", "onnx"]
    result = command("export.py", *both)
    assert result.returncode == 2
    assert "--out: expected a path for the file of an ensemble, got nothing" in result.stderr
    result = command("export.py", *both, "--model", members[2], "--out", tmp_path / "a.onnx")
    assert result.returncode == 2 and "give either --model or --ensemble" in result.stderr
    assert not (tmp_path / "a.onnx").exists()


# Scores.


def expected_scores(where, data, stems):
    predictor, total = Predictor.load(where), DataSetScores()
    for stem in stems:
        map_ = predictor(read_image(data / "images" / f"{stem}.png"))
        total.update_state(score(read_mask(data / "masks" / f"{stem}.png"), map_))
    return total.result()["threshold"]


def test_scores_of_the_runs_and_of_their_ensemble_are_rows_of_one_table(
    runs, members, data, tmp_path
):
    printed = done(
        command(
            *("test.py", "--model", members[0], "--ensemble", *members[1:]),
            *("--out", tmp_path / "scores"),
        )
    )
    name = "mean of 2 (seed-2, seed-3)"
    assert name in printed
    one, both = json.loads((tmp_path / "scores" / "metrics.json").read_text())["results"]
    assert both["model"] == name and both["n"] == 4
    for found, where in ((one, members[0]), (both, members[1:])):
        expected = expected_scores(where, data, SPLIT["test"])
        for key in ("dice", "iou", "mae"):
            assert found["threshold"][key] == pytest.approx(expected[key], abs=1e-6)
    assert "members" not in one["settings"]
    assert both["settings"]["average"] == "mean of logits"
    assert both["settings"]["members"] == {
        str(path): Predictor.load(path).digest for path in members[1:]
    }
    assert both["settings"]["digest"] == Predictor.load(members[1:]).digest
    assert both["settings"]["model"] == f"{members[1]}, {members[2]}"
    report = (tmp_path / "scores" / "report.html").read_text()
    assert str(members[2]) in report and Predictor.load(members[2]).digest in report
    assert [*both["settings"]].index("subset") == [*one["settings"]].index("subset") + 2


def test_names_and_the_folder_of_seeds_as_a_model(runs, members):
    arguments = ["--model", members[0], runs / "seeds", "--ensemble", *members[:2]]
    printed = done(command("test.py", *arguments, "--names", "alone", "three", "two"))
    assert all(f"\n{name} " in printed for name in ("alone", "three", "two"))
    assert "\nmean of 3 (seeds) " in done(command("test.py", "--model", runs / "seeds"))


def test_folds_are_not_scored_on_each_others_training_images(runs, data, tmp_path):
    fold = runs / "folds"
    for subset in ("test", "val"):
        result = command("test.py", "--model", fold, "--subset", subset)
        assert result.returncode == 2 and result.stderr.count("\n") == 1
        assert f"--subset: expected all (or --stems), since {fold}/fold-1 and" in result.stderr
    (tmp_path / "stems.txt").write_text("\n".join([STEMS[0], STEMS[11]]))
    for arguments, count in ((("--subset", "all"), 12), (("--stems", tmp_path / "stems.txt"), 2)):
        result = command("test.py", "--model", fold, *arguments)
        done(result)
        # Image 0 is in the training of the first fold, 11 only in tests.
        seen = {12: 10, 2: 1}[count]
        assert f"note: {seen} of {count} images in {data} are known to members of the" in (
            result.stderr
        )


def test_images_that_no_member_knows_give_no_note(runs, tmp_path, recwarn):
    write_dataset(tmp_path / "new", 2, size=(40, 44), seed=8)
    arguments = ["--data-path", tmp_path / "new", "--subset", "all"]
    assert "known to" not in command("test.py", "--model", runs / "folds", *arguments).stderr
    assert not [one for one in recwarn if issubclass(one.category, Note)]


# Images and videos.


def test_masks_of_images(members, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    arguments = ["--image", tmp_path / "a.png", "--out", tmp_path / "out", "--panel"]
    printed = done(command("infer_image.py", "--ensemble", *members[:2], *arguments))
    assert f"--ensemble {members[0]} {members[1]} --format openvino --out" in printed
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png")) > 0
    maps = [Predictor.load(member)(image) for member in members[:2]]
    assert (mask == (mean_of_maps(maps) >= 0.5)).mean() > 0.999
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["model"] == f"mean of 2: {members[0]}, {members[1]}"
    assert settings["average"] == "mean of logits"
    assert settings["members"] == Predictor.load(members[:2]).origin["members"]
    result = command("infer_image.py", "--ensemble", *members, *arguments)
    assert result.returncode == 2 and "expected the settings that" in result.stderr
    turned = done(command("infer_image.py", "--ensemble", *members[1::-1], *arguments))
    assert "1 done before" in turned, "the order does not matter"


def test_masks_of_a_video(runs, image, tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for shift in range(3):
            frame = np.roll(np.resize(image, (48, 64, 3)), shift, 0)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        out.mux(stream.encode(None))
    written = tmp_path / "out.mp4"
    done(
        command(
            *("infer_video.py", "--model", runs / "seeds", "--video", tmp_path / "a.mp4"),
            *("--out", written),
        )
    )
    facts = json.loads(written.with_suffix(".json").read_text())
    assert facts["model"] == str(runs / "seeds") and facts["frames"] == 3
    assert facts["members"] == Predictor.load(runs / "seeds").origin["members"]
    result = command("infer_video.py", "--video", tmp_path / "a.mp4")
    assert result.returncode == 2 and "give either --model or --ensemble" in result.stderr
