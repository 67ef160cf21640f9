"""Every registered data set is found in the layout of its publishers, and becomes data folders."""

import csv
import dataclasses

import nibabel
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from polypseg.data.archives import find_parts, write_parts
from polypseg.data.images import write_png
from polypseg.data.masks import read_mask
from polypseg.data.pairs import find_pairs
from polypseg.data.preparation import Preparation
from polypseg.data.prepare import find_published_cases, write_patient_splits, write_slices
from polypseg.data.presets import IMAGE_PRESETS, PRESETS, VOLUME_PRESETS
from polypseg.data.splits import read_split
from polypseg.errors import InputError, Note


def draw(folder, stems, names=("images", "masks")):
    """Pairs of random images and masks."""
    rng = np.random.default_rng(0)
    for name, shape in zip(names, ((7, 9, 3), (7, 9))):
        (folder / name).mkdir(parents=True)
        for stem in stems:
            array = rng.integers(0, 256, shape).astype(np.uint8)
            array = array if len(shape) == 3 else array // 128 * np.uint8(255)
            write_png(folder / name / f"{stem}.png", array)


def draw_volume(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def draw_case(rng, volume, labels):
    draw_volume(volume, rng.integers(-900, 900, (6, 5, 4)).astype(np.int16))
    draw_volume(labels, (np.arange(120).reshape(6, 5, 4) % 3).astype(np.uint8))


@pytest.mark.parametrize("name", PRESETS)
def test_it_says_where_it_is_from(name):
    preset = PRESETS[name]
    for text in ("title", "source", "terms", "layout"):
        assert getattr(preset, text)
    assert preset.source.startswith("http")


@pytest.mark.filterwarnings("ignore::polypseg.errors.Note")  # that it is not the published number
@pytest.mark.parametrize("name", IMAGE_PRESETS)
def test_an_archive_of_images_is_copied_as_it_is(name, tmp_path):
    preset = IMAGE_PRESETS[name]
    source = tmp_path / "source" / "unpacked"
    for below in preset.parts.values():
        inside = ("images", "masks") if below.startswith("Test") else (preset.images, preset.masks)
        draw(source / below, ("1", "2", "30"), inside)
    out = tmp_path / "out"
    out.mkdir()
    done = []
    # The archive may lie in a folder of its own.
    parts = find_parts(preset, tmp_path / "source")
    write_parts(parts, out, lambda: done.append(1))
    assert len(done) == 3 * len(preset.parts)
    for part, below in preset.parts.items():
        copied, orphans = find_pairs(out / part)
        given, _ = find_pairs(source / below)
        assert not orphans and [pair.stem for pair in copied] == ["1", "2", "30"]
        for one, other in zip(copied, given):
            assert one.image.read_bytes() == other.image.read_bytes()
            assert one.mask.read_bytes() == other.mask.read_bytes()


@pytest.mark.parametrize("name", PRESETS)
def test_another_folder_is_refused_with_the_layout_and_the_address(name, tmp_path):
    preset = PRESETS[name]
    draw(tmp_path, ["1"], ("photos", "masks"))
    with pytest.raises(InputError) as refused:
        if name in IMAGE_PRESETS:
            find_parts(preset, tmp_path)
        else:
            find_published_cases(preset, tmp_path)
    assert refused.value.argument == "source"
    assert preset.layout in str(refused.value) and preset.source in str(refused.value)


@pytest.mark.parametrize("name", VOLUME_PRESETS)
def test_an_archive_of_volumes_becomes_slices(name, tmp_path):
    preset = VOLUME_PRESETS[name]
    rng = np.random.default_rng(1)
    layout = {
        "ct82": ("Pancreas-CT/PANCREAS_{:04d}.nii.gz", "TCIA_pancreas_labels/label{:04d}.nii.gz"),
        "msd-pancreas": (
            "Task07_Pancreas/imagesTr/pancreas_{:03d}.nii.gz",
            "Task07_Pancreas/labelsTr/pancreas_{:03d}.nii.gz",
        ),
    }[name]
    for number in (2, 21, 41):
        draw_case(rng, *(tmp_path / "source" / path.format(number) for path in layout))
    mac = (tmp_path / "source" / layout[0].format(1)).with_name("._pancreas_001.nii.gz")
    mac.write_text("what macOS adds to an archive")
    if preset.patients:
        with pytest.warns(Note, match="79 of the 82 cases are missing: PANCREAS_0001.*withdrew"):
            cases = find_published_cases(preset, tmp_path / "source")
    else:
        cases = find_published_cases(preset, tmp_path / "source")
    assert [int(case.patient.rpartition("_")[2]) for case in cases] == [2, 21, 41]
    out = tmp_path / "out"
    out.mkdir()
    write_slices(cases, out, Preparation(preset.window, label=preset.label))
    assert len(find_pairs(out)[0]) == 12
    # All of its labels are foreground: levels 1, and 2 of the Decathlon, are 40 of 120 voxels each.
    mask = sum(np.count_nonzero(read_mask(pair.mask)) for pair in find_pairs(out)[0])
    assert mask == 3 * 40 * len(preset.label)


def test_kvasir_has_the_split_of_the_tensorflow_readme(tmp_path):
    preset = dataclasses.replace(
        IMAGE_PRESETS["kvasir-seg"],
        random_split=IMAGE_PRESETS["kvasir-seg"].random_split._replace(images=30),
    )
    stems = [f"cju{number:02d}" for number in range(30)]
    draw(tmp_path / "in", stems)
    (tmp_path / "in" / "train.txt").write_text("\n".join(stems[3:]))
    (tmp_path / "in" / "val.txt").write_text("\n".join(stems[:3]))
    part = find_parts(preset, tmp_path / "in")[""]
    rest, val = train_test_split(sorted(stems), test_size=3, random_state=12)
    train, test = train_test_split(rest, test_size=3, random_state=12)
    expected = {"train": sorted(train), "val": sorted(val), "test": sorted(test)}
    assert part.splits["80_10_10"] == expected
    assert part.splits["880_120"] == {"train": stems[3:], "val": stems[:3], "test": []}
    with pytest.warns(Note, match="no split 80_10_10: it is one of 1000 images, not of 30"):
        assert find_parts(IMAGE_PRESETS["kvasir-seg"], tmp_path / "in")[""].splits.keys() == {
            "880_120"
        }


def test_no_sequence_of_clinicdb_is_divided(tmp_path):
    draw(tmp_path / "in", [str(number) for number in range(1, 613)], ("Original", "Ground Truth"))
    (tmp_path / "out").mkdir()
    parts = find_parts(IMAGE_PRESETS["cvc-clinicdb"], tmp_path / "in")
    write_parts(parts, tmp_path / "out")
    with open(tmp_path / "out" / "sequences.csv", newline="") as file:
        sequence = {row["stem"]: int(row["sequence"]) for row in csv.DictReader(file)}
    last = (
        *(25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317),
        *(342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612),
    )
    assert [sequence[str(frame)] for frame in last] == list(range(1, 30))
    assert [sequence[str(frame + 1)] for frame in last[:-1]] == list(range(2, 30))
    numbers = [sequence[str(frame)] for frame in range(1, 613)]
    assert numbers == sorted(numbers)
    split = read_split(tmp_path / "out" / "splits" / "sequences", sequence)
    assert sum(map(len, split.values())) == 612
    of_subset = [{sequence[stem] for stem in split[name]} for name in ("train", "val", "test")]
    assert sum(map(len, of_subset)) == 29 == len(set.union(*of_subset))
    assert all(50 <= len(split[name]) <= 80 for name in ("val", "test"))


def test_frames_that_clinicdb_does_not_have(tmp_path):
    draw(tmp_path, ["1", "613"], ("Original", "Ground Truth"))
    with pytest.raises(InputError, match="^source: expected frames named 1 to 612, got 613$"):
        find_parts(IMAGE_PRESETS["cvc-clinicdb"], tmp_path)


def test_test_sets_that_are_not_there_are_named(tmp_path):
    draw(tmp_path / "TrainDataset", ("1", "a"), ("image", "mask"))
    draw(tmp_path / "TestDataset" / "Kvasir", ("b",))
    missing = "TestDataset/CVC-300, TestDataset/CVC-ClinicDB, TestDataset/CVC-ColonDB, "
    with pytest.warns(Note, match=f"does not have them: {missing}TestDataset/ETIS-LaribPolypDB"):
        parts = find_parts(IMAGE_PRESETS["pranet"], tmp_path)
    assert {name: len(part.pairs) for name, part in parts.items()} == {"train": 2, "Kvasir": 1}
    (tmp_path / "TrainDataset").rename(tmp_path / "Train")
    with pytest.raises(InputError, match="expected TrainDataset/"):
        find_parts(IMAGE_PRESETS["pranet"], tmp_path)


def test_pranets_validation_images_share_no_sequence_with_training():
    frames = [str(number) for number in range(1, 613) if number % 10]
    images = [f"cju{number:03d}" for number in range(90)]
    stems = sorted(frames + images)
    (split,) = IMAGE_PRESETS["pranet"].splits["train"](stems).values()
    assert sorted(split["train"] + split["val"]) == stems and not split["test"]
    sequence_of = IMAGE_PRESETS["cvc-clinicdb"].sequence_of
    train, val = (
        {sequence_of(stem) for stem in split[name] if stem in frames} for name in ("train", "val")
    )
    assert val and not train & val
    assert sum(stem in images for stem in split["val"]) == 9


def test_the_four_folds_of_ct82(tmp_path):
    preset = VOLUME_PRESETS["ct82"]
    patients = [name for name in preset.patients if name[-2:] not in ("25", "70")]
    folds = preset.folds(patients)
    assert list(folds) == ["fold-1", "fold-2", "fold-3", "fold-4"]
    cases = [[int(name[-4:]) for name in fold["test"]] for fold in folds.values()]
    assert cases[0] == list(range(1, 21)) and cases[3] == [*range(62, 70), *range(71, 83)]
    assert cases[1] == [*range(21, 25), *range(26, 41)] and cases[2] == list(range(41, 62))
    for fold in folds.values():
        assert sorted(sum(fold.values(), [])) == patients
        others = [name for name in patients if name not in fold["test"]]
        assert fold["val"] == [name for place, name in enumerate(others) if place % 8 == 0]

    (tmp_path / "images").mkdir()
    stems = [f"{patient}-{index:04d}" for patient in patients for index in (3, 11)]
    for stem in stems:
        (tmp_path / "images" / f"{stem}.png").touch()
    write_patient_splits(tmp_path, folds)
    split = read_split(tmp_path / "splits" / "fold-2", stems)
    assert sorted(sum(split.values(), [])) == stems
    assert {stem[:13] for stem in split["test"]} == set(folds["fold-2"]["test"])


def test_a_fold_without_patients_is_not_written(tmp_path):
    (tmp_path / "images").mkdir()
    for number in (1, 2, 41):
        (tmp_path / "images" / f"PANCREAS_{number:04d}-0000.png").touch()
    folds = VOLUME_PRESETS["ct82"].folds(["PANCREAS_0001", "PANCREAS_0002", "PANCREAS_0041"])
    with pytest.warns(Note) as told:
        write_patient_splits(tmp_path, folds)
    assert "no split fold-1: no slices for train" in [str(note.message) for note in told]
    assert [path.name for path in (tmp_path / "splits").iterdir()] == ["fold-3"]


def test_volumes_without_labels_and_two_of_one_patient(tmp_path):
    preset = VOLUME_PRESETS["ct82"]
    (tmp_path / "a" / "PANCREAS_0003").mkdir(parents=True)
    with pytest.raises(InputError, match="got no labels of PANCREAS_0003"):
        find_published_cases(preset, tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "PANCREAS_0003.nii.gz").touch()
    with pytest.raises(InputError, match="source: expected PANCREAS_0003 once"):
        find_published_cases(preset, tmp_path)
