"""Train a segmentation network: `python train.py --data-path DIR`; `--help` lists the options."""

from engine.arguments import UserError, run
from engine.config import parse_train
from engine.run import check_writable
from engine.startup import load_tensorflow


def main():
    config = parse_train()
    check_writable(config.trained_model_path)

    load_tensorflow()  # heavy: after the arguments
    from engine.training import prepare_data, train

    print(f"data: {config.data_path}", flush=True)
    data = prepare_data(config)
    print(data.report, flush=True)
    if data.report.errors:
        raise UserError(f"--data-path: expected readable pairs, got {len(data.report.errors)} bad files (listed above)")
    print("split: " + ", ".join(f"{len(pairs)} {name}" for name, pairs in data.subsets.items()), flush=True)

    folder, best = train(config, data)
    print(f"best model: {folder}/best.keras  (validation Dice {best['val_dice']:.4f}, IoU {best['val_iou']:.4f}, epoch {best['epoch']})")


if __name__ == "__main__":
    run(main)
