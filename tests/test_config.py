"""Options of `train.py`: defaults, spellings, files, mistakes."""

import json
import re

import pytest

from polypseg.commands.train import parse as parse_train
from polypseg.errors import InputError
from polypseg.experiment import registry
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run_folder import create_run, find_run


def test_names_on_the_command_line_are_the_ones_that_exist():
    from polypseg.layers.backbones import BACKBONES
    from polypseg.losses.losses import LOSSES, MAP_SUMS

    assert set(registry.LOSSES) == set(LOSSES)
    assert set(registry.MAP_SUMS) == set(MAP_SUMS)
    assert set(registry.BACKBONES) == set(BACKBONES)


def test_spellings_of_the_tensorflow_readme_mean_the_same():
    theirs = parse_train(
        [
            "--data_path",
            "polyps_dataset/",
            "--data_split",
            "0.1",
            "--epoch",
            "25",
            "--lr",
            "1e-4",
            "--batchsize",
            "16",
            "--inputsize=352",
            "--gclip",
            "0.5",
            "--trained_model_path",
            "trained_model/",
            "--backbone",
            "resnet50",
            "--logdir",
            "logs/",
        ]
    )
    ours = parse_train(
        [
            "--data-path",
            "polyps_dataset/",
            "--data-split",
            "0.1",
            "--epochs",
            "25",
            "--lr",
            "1e-4",
            "--batch-size",
            "16",
            "--input-size",
            "352",
            "--clip-value",
            "0.5",
            "--trained-model-path",
            "trained_model/",
            "--backbone",
            "resnet50",
            "--logdir",
            "logs/",
        ]
    )
    assert theirs == ours
    assert (ours.epochs, ours.batch_size, ours.input_size, ours.clip_value) == (25, 16, 352, 0.5)


def test_loss_follows_the_network_unless_given():
    assert parse_train(["--data-path", "d"]).loss == "structure"
    assert parse_train(["--data-path", "d", "--model", "attention_unet"]).loss == "dice"
    assert (
        parse_train(["--data-path", "d", "--model", "attention_unet", "--loss", "bce"]).loss
        == "bce"
    )


def test_config_file_is_read_back_and_options_win(tmp_path):
    first = parse_train(
        ["--data-path", "d", "--lr", "0.002", "--map-weights", "1", "1", "1", "2", "--seed", "7"]
    )
    (tmp_path / "config.json").write_text(first.to_json())
    again = parse_train(["--config", str(tmp_path / "config.json")])
    assert again == first
    assert parse_train(["--config", str(tmp_path / "config.json"), "--seed", "8"]).seed == 8


@pytest.mark.parametrize(
    "values, message",
    [
        ({"batchsize": 3}, "unknown key 'batchsize' .*did you mean 'batch_size'"),
        ({"epochs": "ten"}, "expected a whole number for 'epochs'.*'ten'"),
        ({"epochs": True}, "expected a whole number for 'epochs'"),
        ({"lr": None}, "expected a number for 'lr'"),
        ({"deterministic": 1}, "expected true or false for 'deterministic'.*got 1"),
        ({"resume": "runs/x"}, "unknown key 'resume'"),
        ([1], "expected a JSON object"),
    ],
)
def test_bad_config_files(tmp_path, values, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        parse_train(["--config", str(path), "--data-path", "d"])
    path.write_text("{")
    with pytest.raises(InputError, match="expected a JSON object"):
        parse_train(["--config", str(path)])
    with pytest.raises(InputError, match="No such file"):
        parse_train(["--config", str(tmp_path / "absent.json")])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "data_path: expected a folder .*, got nothing"),
        (["--lr", "-1"], "lr: expected .* above 0 .*, got -1"),
        (["--lr", "nan"], "lr: expected"),
        (["--lr", "fast"], "lr: invalid float value: 'fast'"),
        (
            ["--backbone", "vgg16"],
            f"backbone: expected one of {', '.join(registry.BACKBONES)}, got vgg16",
        ),
        (["--decoder", "wide"], "decoder: expected one of published, slim for pranet, got wide"),
        (
            ["--model", "attention_unet", "--decoder", "slim"],
            "decoder: expected one of published for attention_unet, got slim",
        ),
        (
            ["--backbone", "res2net50"],
            "backbone_weights: expected none, or a file of res2net50 .*, got imagenet",
        ),
        (
            ["--input-size", "100"],
            "input_size: expected a multiple of 32 up to 8192 for pranet, got 100",
        ),
        (["--input-size", "0"], "input_size: expected a multiple of 32"),
        (["--model", "unet"], f"model: expected one of {', '.join(registry.NETWORKS)}, got unet"),
        (
            ["--model", "attention_unet", "--input-size", "24"],
            "input_size: expected a multiple of 16",
        ),
        (["--scales-per-batch", "two"], "scales_per_batch: expected one of all, one, got two"),
        (["--scales-per-batch", "one"], "multi_scale: expected the scales, with .*got nothing"),
        (["--epochs", "0"], "epochs: expected 1 to 100000, got 0"),
        (["--epochs", "2.5"], "epochs: invalid int value: '2.5'"),
        (["--batch-size", "0"], "batch_size: expected 1 or more"),
        (["--data-split", "0.5"], "data_split: expected a fraction"),
        (["--loss", "focal"], "loss: expected one of structure,.*got focal"),
        (
            ["--map-weights", "1", "2"],
            "map_weights: expected 4 numbers .* for pranet, got 1.0 2.0",
        ),
        (["--map-weights", "0", "0", "0", "0"], "map_weights: expected 4 numbers"),
        (["--map-sums", "some"], "map_sums: expected one of none, all, pairs, got some"),
        (["--precision", "int8"], "precision: expected one of float32"),
        (["--schedule", "linear"], "schedule: expected one of cosine, poly, constant, step"),
        (["--optimizer", "lion"], "optimizer: expected one of adam, adamw, sgd, got lion"),
        (["--weight-decay", "0.01"], "weight_decay: expected 0 for adam; use adamw, got 0.01"),
        (["--optimizer", "adamw"], "weight_decay: expected more than 0 for adamw, got 0"),
        (["--optimizer", "sgd", "--weight-decay", "-1"], "weight_decay: expected 0 .off.*got -1"),
        (["--patience", "0"], "patience: expected"),
        (["--clip-value", "-0.5"], "clip_value: expected"),
        (["--cache-gb", "-1"], "cache_gb: expected"),
        (["--seed", "-1"], "seed: expected"),
        (["--crop", "160"], "crop: expected at least half of the 352 px .*, got 160"),
        (["--crop", "352"], "crop: expected at least half of the 352 px .* less than it, got 352"),
        (["--crop", "200", "--augment", "flips"], "crop: expected `augment` full with it.*flips"),
        (["--model", "attention_unet", "--map-sums", "all"], "map_sums: expected none.*got all"),
        (["--crop-share", "0.3"], "crop_share: expected `crop` beside it, got 0.3"),
        (["--crop-foreground", "2"], "crop_foreground: expected a probability from 0 to 1, got 2"),
        (["--color-exchange", "1.5"], "color_exchange: expected .* a probability up to 1, got 1.5"),
        (["--ema", "1"], "ema: expected 0 \\(off\\), or a momentum below 1"),
        (["--accumulate", "0"], "accumulate: expected 1 or more steps"),
        (["--folds", "1"], "folds: expected 2 or more, got 1"),
        (["--folds", "3", "--split-dir", "s"], "folds: expected no `split_dir`, since"),
        (
            ["--resume", "absent"],
            "resume: expected a run folder, got absent, which does not exist",
        ),
        (["--epoch"], "epochs: expected one argument"),
        (["--bacth-size", "4"], "unknown argument --bacth-size 4; did you mean '--batch-size'"),
    ],
)
def test_mistakes_name_argument_expectation_and_what_came(arguments, message):
    given = arguments if not arguments else ["--data-path", "d", *arguments]
    with pytest.raises(InputError, match=message) as caught:
        parse_train(given)
    assert "\n" not in str(caught.value)


def test_help_shows_each_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_train(["--help"])
    assert stop.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name, value in vars(TrainConfig()).items():
        assert f"--{name.replace('_', '-')}" in text
        if value is not None and value is not False:  # a switch is off
            assert f"(default: {value})" in text


def test_run_folders_are_numbered_and_found(tmp_path):
    first, second = create_run(tmp_path / "runs", "pranet"), create_run(tmp_path / "runs", "pranet")
    assert (first.name, second.name) == ("pranet", "pranet-2")
    with pytest.raises(InputError, match="none inside"):
        find_run(tmp_path / "runs")
    (first / "config.json").write_text("{}")
    assert find_run(tmp_path / "runs") == find_run(first) == first
    (second / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 runs \(pranet, pranet-2\)"):
        find_run(tmp_path / "runs")
    with pytest.raises(InputError, match="does not exist"):
        find_run(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="trained_model_path"):
        create_run(tmp_path / "file", "pranet")
