"""`train.py --start-from`: a new run that begins with a trained network."""

import dataclasses
import json
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from polypseg.attention_unet import AttentionUNet
from polypseg.commands import train
from polypseg.commands.train import parse
from polypseg.errors import InputError
from polypseg.experiment.config import TrainConfig, read_config
from polypseg.experiment.run import begin_run, open_run
from polypseg.experiment.trained import find_trained, note_seen, start_path
from polypseg.files import file_digest
from polypseg.pranet import PraNet
from polypseg.pranet.spec import DECODERS
from polypseg.training.build import build_model

BEFORE = Path(__file__).resolve().parent / "data" / "before_rooms"
pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A PraNet and an Attention U-Net, of random weights, at sizes that are no defaults."""
    folder = tmp_path_factory.mktemp("networks")
    PraNet("mobilenetv2", input_size=96).save(folder / "pranet.keras")
    PraNet("mobilenetv2", input_size=64, **DECODERS["slim"]).save(folder / "slim.keras")
    AttentionUNet(input_size=48).save(folder / "unet.keras")
    return folder


def weights(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


@pytest.mark.parametrize("name", ["pranet", "slim", "unet"])
def test_a_new_run_has_the_networks_weights(name, networks):
    config = parse(["--data-path", "d", "--start-from", str(networks / f"{name}.keras")])
    expected = {
        "pranet": ("pranet", "mobilenetv2", "published", 96),
        "slim": ("pranet", "mobilenetv2", "slim", 64),
        "unet": ("attention_unet", "resnet50", "published", 48),
    }
    found = (config.model, config.backbone, config.decoder, config.input_size)
    assert found == expected[name]
    model = build_model(config, steps=10)
    saved = keras.saving.load_model(networks / f"{name}.keras", compile=False)
    for one, two in zip(weights(model), weights(saved), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(model.optimizer.iterations) == 0


def test_the_options_of_the_network_can_be_given_and_others_win(networks):
    path = str(networks / "pranet.keras")
    config = parse(["--data-path", "d", "--start-from", path, "--input-size", "64", "--lr", "1e-4"])
    assert (config.input_size, config.lr, config.backbone) == (64, 1e-4, "mobilenetv2")
    config = parse(
        ["--data-path", "d", "--start-from", path, "--model", "pranet", "--backbone", "mobilenetv2"]
    )
    assert config.backbone_weights == "none" and config.start_from == path


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "attention_unet"], "model: expected pranet, as in .*pranet.keras, got att"),
        (["--backbone", "resnet50"], "backbone: expected mobilenetv2, as in .*, got resnet50"),
        (["--decoder", "slim"], "decoder: expected published, as in .*pranet.keras, got slim"),
        (["--backbone-weights", "imagenet"], "backbone_weights: cannot be given beside"),
        (["--start-from", "absent"], "start_from: expected a run folder, got absent"),
        (["--start-from", "FOLDER"], "start_from: expected a run folder"),
        (["--start-from", "TEXT"], "start_from: expected a .keras file of this toolkit"),
        (["--start-from", "OTHER"], "start_from: expected a network, pranet or attention_unet"),
        (["--resume", str(BEFORE / "finished")], "start_from: cannot be given with `resume`"),
    ],
)
def test_mistakes_are_one_line(arguments, words, networks, tmp_path):
    (tmp_path / "text").write_text("text")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    names = {
        "FOLDER": str(tmp_path),
        "TEXT": str(tmp_path / "text"),
        "OTHER": str(tmp_path / "other.keras"),
    }
    arguments = [names.get(argument, argument) for argument in arguments]
    start = [] if arguments[0] == "--start-from" else ["--start-from", networks / "pranet.keras"]
    data = [] if arguments[0] == "--resume" else ["--data-path", "d"]
    with pytest.raises(InputError, match=words) as caught:
        parse([*data, *map(str, start), *arguments])
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_one_line():
    """A PraNet with 8 channels where the options make 32."""
    config = parse(["--data-path", "d", "--start-from", str(BEFORE / "pranet.keras")])
    with pytest.raises(InputError, match="start_from: .* whose weights do not fit") as caught:
        build_model(config, steps=10)
    assert "\n" not in str(caught.value)


def test_a_complete_network_is_no_backbone(networks):
    with pytest.raises(InputError, match="a complete network; use `start_from`") as caught:
        PraNet("mobilenetv2", backbone_weights=str(networks / "pranet.keras"))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(networks, tmp_path):
    path = tmp_path / "cut.keras"
    shutil.copy(networks / "pranet.keras", path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "x", "w") as other:
        for name in ("config.json", "metadata.json"):
            other.writestr(name, archive.read(name))
    shutil.move(tmp_path / "x", path)
    with pytest.raises(InputError, match="start_from: expected a .keras file of this toolkit"):
        build_model(parse(["--data-path", "d", "--start-from", str(path)]), steps=10)


def test_a_run_goes_on_as_a_new_one(monkeypatch, capsys, tmp_path):
    """From the command to the run folder; the run that it begins with stays as it is."""
    tiny.install(monkeypatch.setitem)
    old = tmp_path / "old"
    shutil.copytree(BEFORE / "finished", old)
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    arguments = ["--data-path", BEFORE / "data", "--start-from", old, "--epochs", "1", "--lr"]
    arguments += ["1e-30", "--batch-size", "4", "--trained-model-path", tmp_path / "runs"]
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train.main()
    assert f"start from: {old} (attention_unet, 32 px)" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    new = tmp_path / "runs" / "attention_unet"
    assert read_config(new / "config.json")["start_from"] == str(old)
    models = [
        keras.saving.load_model(folder / "best.keras", compile=False) for folder in (old, new)
    ]
    for one, two in zip(*(model.trainable_weights for model in models), strict=True):
        np.testing.assert_allclose(np.array(one), np.array(two), atol=1e-7)
    assert find_trained(new).path == new / "best.keras"
    assert (new / "start.keras").read_bytes() == before[old / "best.keras"]


def test_a_run_that_was_begun_needs_its_source_no_more(networks, tmp_path):
    """Killed in its first epoch, it begins again with the network that it keeps."""
    source = tmp_path / "source.keras"
    shutil.copy(networks / "unet.keras", source)
    config = parse(["--data-path", "d", "--start-from", str(source)])
    folder = tmp_path / "run"
    folder.mkdir()
    split = {"train": ["a"], "val": ["b"], "test": ["c"]}
    files = dict.fromkeys("abc", ("0", "1"))
    begin_run(folder, config, "checked", files, [split], start_path(config))
    source.unlink()
    resumed = dataclasses.replace(config, resume=str(folder))
    saved = keras.saving.load_model(networks / "unet.keras", compile=False)
    for one, two in zip(weights(build_model(resumed, 10)), weights(saved), strict=True):
        np.testing.assert_array_equal(one, two)
    assert open_run(folder).config["start_from"] == str(source)
    (folder / "start.keras").unlink()
    with pytest.raises(InputError, match="start.keras"):
        open_run(folder)


@pytest.mark.parametrize("subset, told", [("train", True), ("val", True), ("test", False)])
def test_images_that_the_network_knows_are_told(subset, told):
    stems = (BEFORE / "finished" / "split" / f"{subset}.txt").read_text().split()
    image = BEFORE / "data" / "images" / f"{stems[0]}.png"
    config = TrainConfig(data_path="d", start_from=str(BEFORE / "finished"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        note_seen(config, [file_digest(image), "0"])
    notes = [str(w.message) for w in caught if "known to" in str(w.message)]
    assert len(notes) == told and all(note.startswith("1 images") for note in notes)


def test_a_run_whose_options_are_few_is_taken(tmp_path):
    """As early versions, or hands, left it: what it does not say is the default."""
    shutil.copy(BEFORE / "pranet.keras", tmp_path / "best.keras")
    (tmp_path / "config.json").write_text('{"data_path": "d", "backbone": "mobilenetv2"}')
    found = find_trained(tmp_path).options
    assert found == {
        "model": "pranet",
        "backbone": "mobilenetv2",
        "decoder": "published",
        "input_size": 352,
    }


def test_a_cross_validation_is_not_one_network(tmp_path):
    shutil.copytree(BEFORE / "folds", tmp_path / "folds")
    with pytest.raises(InputError, match="start_from: expected one run, got the cross-validation"):
        find_trained(tmp_path / "folds")


def test_the_weights_of_a_backbone_beside_a_start_from_a_file_are_refused(networks, tmp_path):
    values = {"data_path": "d", "start_from": str(networks / "pranet.keras"), "epochs": 3}
    (tmp_path / "c.json").write_text(json.dumps(values))
    config = parse(["--config", str(tmp_path / "c.json")])
    assert (config.backbone, config.backbone_weights, config.epochs) == ("mobilenetv2", "none", 3)
    with pytest.raises(InputError, match="backbone_weights: cannot be given beside `start_from`"):
        parse(["--config", str(tmp_path / "c.json"), "--backbone-weights", "imagenet"])
