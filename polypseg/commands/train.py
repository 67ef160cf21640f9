"""Train a segmentation network: `python train.py --data-path DIR`; `--help` lists the options."""

import importlib.util
import sys

from polypseg.console.arguments import UserError
from polypseg.experiment.config import parse_train
from polypseg.experiment.run_folder import check_writable
from polypseg.runtime import load_tensorflow


def main():
    config = parse_train()
    check_writable(config.resume or config.trained_model_path)

    load_tensorflow()  # heavy: after the arguments
    from polypseg.training.devices import join, one_run_folder

    if config.logdir and importlib.util.find_spec("tensorboard") is None:
        note = "nothing is written there without the package tensorboard (pip install tensorboard)"
        print(f"train.py: note: --logdir: {note}", file=sys.stderr)
    join(config)
    with one_run_folder(config) as config:
        verify_and_train(config)


def verify_and_train(config):
    from polypseg.training.datasets import prepare_data, prepare_folds
    from polypseg.training.folds import cross_validate
    from polypseg.experiment.resume import progress
    from polypseg.training.train import train

    print(f"data: {config.data_path}", flush=True)
    folds = prepare_folds(config) if config.folds else [prepare_data(config)]
    if config.resume:
        print(f"unchanged since the run began\nresume: {config.resume}, {progress(config)}", flush=True)
    else:
        report = folds[0].report
        print(report.text(None) if report.errors else report, flush=True)
        if report.errors:
            raise UserError(f"--data-path: expected readable pairs, got {len(report.errors)} bad files (listed above)")

    if config.folds:
        folder, summary = cross_validate(config, folds)
        for subset, of in (("validation", "its best epoch"), ("test", "pictures not seen")):
            scores = ", ".join(f"{name} {summary[subset][key]['mean']:.4f} +- {summary[subset][key]['std']:.4f}"
                               for name, key in (("Dice", "dice"), ("IoU", "iou")))
            print(f"{subset:10}  {scores}  (mean and standard deviation over {config.folds} folds; {of})")
        print(f"each picture by the network that had not seen it: {folder}/out_of_fold.csv")
        return
    print("split: " + ", ".join(f"{len(pairs)} {name}" for name, pairs in folds[0].subsets.items()), flush=True)
    folder, best = train(config, folds[0])
    print(f"best model: {folder}/best.keras  (validation Dice {best['val_dice']:.4f}, IoU {best['val_iou']:.4f}, epoch {best['epoch']})")
