"""How slices of volumes were made goes from the data folder to the run, the exports, the scores."""

import contextlib
import dataclasses
import json
import pickle
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from in_process import run_script

from polypseg.commands.training_run import load_and_report
from polypseg.data import pipeline
from polypseg.data.groups import group_names
from polypseg.data.preparation import PATIENT, VOLUME_JSON, Preparation
from polypseg.data.splits import read_split
from polypseg.errors import InputError, Note
from polypseg.experiment import run as experiment_run
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import DIGEST, open_run
from polypseg.experiment.start import config_from_options
from polypseg.experiment.trained import note_other_slices
from polypseg.files import file_digest
from polypseg.inference.ensemble import find_members
from polypseg.inference.export import export
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor
from polypseg.scoring.run import divide, network_sources, score_sources
from polypseg.training.datasets import load_data, load_folds, load_seeds
from polypseg.training.seeds import train_seeds
from polypseg.training.several import runs_folder
from polypseg.training.train import _batches, train

ROOT = Path(__file__).resolve().parent.parent
PREPARATION = Preparation((-100, 240), spacing=0.8, label=(7,))
OTHERS = {
    "window": dataclasses.replace(PREPARATION, window=(-160.0, 240.0)),
    "plane": dataclasses.replace(PREPARATION, plane="coronal"),
    "spacing": dataclasses.replace(PREPARATION, spacing=None),
    "neighbours": dataclasses.replace(PREPARATION, neighbours=1),
}
SMALL = {"model": "attention_unet", "input_size": 32, "batch_size": 4, "epochs": 1, "seed": 3}


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    tiny.install(monkeypatch.setitem)


def write_slices(folder, preparation=PREPARATION, patients=6, seed=1):
    """Slices of patients whose names have no hyphen, with a bright disc each."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    y, x = np.mgrid[:36, :40]
    for patient in range(patients):
        for index in range(4, 8):
            row, column = rng.uniform(12, 24, 2)
            mask = (y - row) ** 2 + (x - column) ** 2 < 6**2
            grey = rng.integers(60, 90, mask.shape) + 90 * mask
            stem = f"case_{patient}_a-{index:04d}"
            for kind, array in (("images", cv2.merge([grey] * 3)), ("masks", mask * 255)):
                cv2.imwrite(str(folder / kind / f"{stem}.png"), array.astype(np.uint8))
    if preparation:
        (folder / VOLUME_JSON).write_text(preparation.to_json())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_slices(tmp_path_factory.mktemp("ct") / "data")


def config_of(data, folder, **options):
    values = SMALL | {"data_path": str(data), "trained_model_path": str(folder)} | options
    return TrainConfig(**values).resolved()


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A run on slices, and one on other images."""
    folder = tmp_path_factory.mktemp("runs")
    plain = write_slices(folder / "plain", preparation=None)
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch.setitem)
        return [train(config_of(path, folder))[0] for path in (data, plain)]


@pytest.fixture
def run(runs):
    return runs[0]


@pytest.fixture
def plain_run(runs):
    return runs[1]


def copy_of(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def silent():
    """A context in which a `Note` is an error."""
    stack = contextlib.ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("error", Note)
    return stack


# The run folder.


def test_slices_have_no_colours_to_exchange(data, tmp_path):
    with pytest.raises(
        InputError, match="color_exchange: expected 0 for slices of volumes.*got 0.5"
    ):
        load_data(config_of(data, tmp_path, color_exchange=0.5))


def test_a_run_has_the_preparation_of_its_data(run):
    assert (run / VOLUME_JSON).read_text() == PREPARATION.to_json()
    assert open_run(run).preparation == PREPARATION
    assert VOLUME_JSON in json.loads((run / DIGEST).read_text())
    line = (run / "data.txt").read_text().splitlines()[0]
    assert line == "slices of CT volumes: axial slices, -100 to 240 HU, pixels of 0.8 mm"


def test_the_folder_of_a_cross_validation_has_it(data, tmp_path):
    config = config_of(data, tmp_path, folds=2)
    folder = runs_folder(config, "folds", load_folds(config), [])
    assert open_run(folder, "resume").preparation == PREPARATION


def test_runs_with_several_seeds_have_it_and_their_folder(data, tmp_path):
    config = config_of(data, tmp_path, seeds=2)
    folder, _ = train_seeds(config, load_seeds(config))
    members = [folder / name for name in config.member_names]
    assert open_run(folder, "resume").preparation == PREPARATION
    assert [open_run(member).preparation for member in members] == [PREPARATION] * 2
    assert Predictor.load(folder).preparation == PREPARATION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text(path.read_text().replace("-100", "-90")), "changed since"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_an_edited_one_is_refused(run, tmp_path, change, message):
    copy = copy_of(run, tmp_path)
    change(copy / VOLUME_JSON)
    with pytest.raises(InputError, match=f"model: expected .*{VOLUME_JSON} .*{message}"):
        open_run(copy)


def test_one_that_is_added_to_a_run_is_refused(plain_run, tmp_path):
    assert open_run(plain_run).preparation is None and not (plain_run / VOLUME_JSON).exists()
    copy = copy_of(plain_run, tmp_path)
    (copy / VOLUME_JSON).write_text(PREPARATION.to_json())
    with pytest.raises(InputError, match=f"{VOLUME_JSON} .it has been added since the run began"):
        open_run(copy)


def test_a_damaged_one_of_the_data_is_one_line(tmp_path):
    data = write_slices(tmp_path / "data")
    (data / VOLUME_JSON).write_text('{"window": [1]}')
    with pytest.raises(InputError, match=f"data_path: expected the {VOLUME_JSON} .*got"):
        load_data(config_of(data, tmp_path))


def resumed(run, data):
    return config_from_options({"resume": str(run), "data_path": str(data)})


def test_a_run_resumes_with_the_slices_that_it_began_with(run, data, tmp_path):
    copy = copy_of(run, tmp_path)
    assert load_data(resumed(copy, data)).preparation == PREPARATION
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    (moved / VOLUME_JSON).write_text(OTHERS["plane"].to_json())
    with pytest.raises(InputError, match='data_path: expected .*"axial".*, got .*"coronal"'):
        load_data(resumed(copy, moved))
    (moved / VOLUME_JSON).unlink()
    with pytest.raises(InputError, match='data_path: expected .*"axial".*, got none in'):
        load_data(resumed(copy, moved))


# Patients.


def test_a_patient_is_the_part_before_the_last_hyphen():
    assert group_names(["a_b-0012", "c-d-0003"], PATIENT) == {"a_b-0012": "a_b", "c-d-0003": "c-d"}


def test_patients_are_not_divided(run, data, tmp_path):
    assert json.loads((run / "config.json").read_text())["group_by"] == PATIENT
    split = read_split(run / "split", [path.stem for path in (data / "images").iterdir()], [])
    patients = [{stem.rsplit("-", 1)[0] for stem in split[name]} for name in split]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 6 and all(patients)
    config = config_of(data, tmp_path, group_by="^case")
    assert config.group_by == "^case", "what is given wins"
    given = tmp_path / "split"
    shutil.copytree(run / "split", given)
    assert config_of(data, tmp_path, split_dir=str(given)).group_by is None
    assert TrainConfig(data_path=str(tmp_path)).resolved().group_by is None
    (source,) = network_sources([str(run)], None, "test")
    assert source.config["group_by"] == PATIENT


def test_scores_are_by_patient_for_a_file_too(run, data):
    with pytest.warns(Note, match="does not say that it was trained on such"):
        sources = network_sources([str(run / "best.keras")], [str(data)], "all")
        divide(sources, None, None)
        groups = sources[0].groups
        score_sources(sources)
    assert set(groups.values()) == {f"case_{patient}_a" for patient in range(6)}


# Training.


def test_slices_are_augmented_as_slices(data, tmp_path, monkeypatch):
    calls = []
    for name in ("AUGMENTATIONS", "SLICE_AUGMENTATIONS"):
        table = getattr(pipeline, name)

        def noted(*args, name=name, original=table["full"]):
            calls.append(name)
            return original(*args)

        monkeypatch.setitem(table, "full", noted)
    for path, expected in (
        (data, "SLICE_AUGMENTATIONS"),
        (write_slices(tmp_path / "plain", None), "AUGMENTATIONS"),
    ):
        config = config_of(path, tmp_path)
        next(iter(_batches(config, load_data(config), 0, 1)[0]))
        assert set(calls) == {expected}
        calls.clear()


def test_a_start_from_other_slices_is_noted(run, plain_run, data, tmp_path):
    config = config_of(data, tmp_path, start_from=str(run), backbone_weights="none")
    for other, words in ((OTHERS["window"], "-160 to 240 HU"), (None, "no slices of volumes")):
        expected = f"{run} was trained on other images .axial.* -100 to 240 HU.* this run .*{words}"
        with pytest.warns(Note, match=expected):
            note_other_slices(config, other)
    with silent():
        note_other_slices(config, PREPARATION)
        note_other_slices(dataclasses.replace(config, start_from=str(plain_run)), PREPARATION)


def test_the_command_says_how_slices_were_made_and_what_is_kept_together(run, tmp_path, capsys):
    data = write_slices(tmp_path / "data", OTHERS["neighbours"], seed=2)
    result = run_script(
        ROOT / "train.py",
        *("--data-path", data, "--trained-model-path", tmp_path, "--start-from", run),
        *("--batch-size", "4", "--epochs", "1"),
    )
    assert result.returncode == 0, result.stderr
    words = OTHERS["neighbours"].describe()
    assert f"slices of CT volumes: {words}\n" in result.stdout
    assert "groups: patients, by the part of a name before its last hyphen" in result.stdout
    assert f"was trained on other images ({PREPARATION.describe()})" in result.stderr
    load_and_report(config_of(data, tmp_path, group_by="^.{6}"))
    printed = capsys.readouterr().out
    assert "slices of CT volumes" in printed and "patients" not in printed


# Inference.


def test_a_predictor_knows_it(run):
    predictor = Predictor.load(run)
    assert predictor.preparation == PREPARATION
    assert pickle.loads(pickle.dumps(predictor)).preparation == PREPARATION
    assert Predictor.load(run / "best.keras").preparation is None, "a file does not say it"


@pytest.mark.parametrize("kind", NAMES)
def test_an_exported_file_says_it(kind, run, tmp_path):
    for module in format_of(kind).packages:
        pytest.importorskip(module)
    form = format_of(kind)
    path = export(run, kind, tmp_path / f"net{form.suffix}").path
    assert Predictor.load(path).preparation == PREPARATION


def test_a_damaged_description_is_one_line(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = export(run, "onnx", tmp_path / "net.onnx").path
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "polypseg")
    description = json.loads(entry.value)
    good = description["volume"]
    assert good == PREPARATION.as_dict()
    for bad, message in (
        (good | {"plane": "oblique"}, "plane: expected one of axial"),
        ({"plane": "axial"}, "expected the values"),
        ([], "expected the values"),
    ):
        entry.value = json.dumps(description | {"volume": bad})
        onnx.save(model, path)
        with pytest.raises(InputError, match=f"model: expected a file .*{message}") as error:
            Predictor.load(path)
        assert "\n" not in str(error.value)
    del description["volume"]  # as in files of other networks
    entry.value = json.dumps(description)
    onnx.save(model, path)
    assert Predictor.load(path).preparation is None


def rewritten(run, tmp_path, name, preparation):
    """A copy of a run with another preparation, as if it had been trained so."""
    copy = Path(shutil.copytree(run, tmp_path / name))
    (copy / VOLUME_JSON).unlink()
    digests = json.loads((copy / DIGEST).read_text())
    del digests[VOLUME_JSON]
    if preparation:
        (copy / VOLUME_JSON).write_text(preparation.to_json())
        digests[VOLUME_JSON] = file_digest(copy / VOLUME_JSON)
    (copy / DIGEST).write_text(json.dumps(digests))
    for network in ("best.keras", "last.keras"):
        (copy / network).unlink()
    shutil.copy(run / "best.keras", copy)
    return copy


@pytest.fixture
def any_network(monkeypatch):
    """Networks are taken for those of their folder."""
    monkeypatch.setattr(experiment_run, "_check_networks", lambda *args: None)


@pytest.mark.parametrize("name", [*OTHERS, "none", "label"])
def test_members_of_an_ensemble_agree(name, run, tmp_path, any_network):
    other = {
        **OTHERS,
        "none": None,
        "label": dataclasses.replace(PREPARATION, label=(1, 2)),
    }[name]
    where = [run, rewritten(run, tmp_path, "other", other)]
    if name == "label":  # data sets number the same organ differently
        assert [member.preparation for member in find_members(where)] == [PREPARATION, other]
        return
    with pytest.raises(InputError, match="ensemble: expected runs with the same slices of volumes"):
        find_members(where)


# Scores.


@pytest.mark.parametrize("name", OTHERS)
def test_other_slices_are_refused(name, run, tmp_path):
    data = write_slices(tmp_path / "other", OTHERS[name], seed=2)
    with pytest.raises(InputError, match=f"data_path: expected slices as .*got another {name} in"):
        network_sources([str(run)], [str(data)], "all")


def test_a_label_or_a_window_that_is_not_known_is_no_difference(run, tmp_path):
    label = dataclasses.replace(PREPARATION, label=None)
    for name, other in (("a", label), ("b", dataclasses.replace(label, window=None))):
        data = write_slices(tmp_path / name, other, seed=2)
        with silent():
            network_sources([str(run)], [str(data)], "all")


def test_slices_on_one_side_only_are_noted(run, plain_run, data, tmp_path):
    plain = write_slices(tmp_path / "plain", None, seed=2)
    with pytest.warns(Note, match="was trained on slices of volumes .* plain has no volume.json"):
        network_sources([str(run)], [str(plain)], "all")
    with pytest.warns(Note, match="has slices of volumes .* does not say"):
        network_sources([str(plain_run)], [str(data)], "all")


def test_an_exported_file_is_compared_when_it_is_loaded(run, data, tmp_path):
    path = export(run, "savedmodel", tmp_path / "net").path
    with silent():
        score_sources(network_sources([str(path)], [str(data)], "all"))
    other = write_slices(tmp_path / "other", OTHERS["plane"], seed=2)
    sources = network_sources([str(path)], [str(other)], "all")
    with pytest.raises(InputError, match="data_path: expected slices as .*got another plane in"):
        score_sources(sources)


def test_flips_that_training_did_not_have_are_noted(run, plain_run, data, tmp_path):
    """For slices, `--augment full` does not flip, and `--augment flips` does."""
    sources = network_sources([str(run)], [str(data)], "all")
    with pytest.warns(Note, match="`tta` flips the slices, and .* has not seen flipped ones"):
        score_sources(sources, tta=True)
    file = export(run, "savedmodel", tmp_path / "net").path
    with pytest.warns(Note, match="may not have seen flipped ones"):
        score_sources(network_sources([str(file)], [str(data)], "all"), tta=True)
    (flipped,) = sources
    flipped.config = flipped.config | {"augment": "flips"}
    other = write_slices(tmp_path / "plain", None, seed=2)
    with silent():
        score_sources(network_sources([str(run)], [str(data)], "all"))
        score_sources([flipped], tta=True)
        score_sources(network_sources([str(plain_run)], [str(other)], "all"), tta=True)
