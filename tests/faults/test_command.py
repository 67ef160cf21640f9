"""`python -m polypseg`, and what each command needs at least."""

import pytest

from polypseg.__main__ import COMMANDS

from .table import check, fault, right

SPARED = ("data", "maps", "run")
NEEDED = {
    "train": "--data-path: expected a folder with images/ and masks/, got nothing",
    "test": "give either --model, or --predictions with --masks",
    "image": "the following arguments are required: --image/--image-path",
    "video": "the following arguments are required: --video/--video-path",
    "export": "the following arguments are required: --format",
    "convert": "the following arguments are required: FILE, --out",
}
ROWS = [
    fault("bogus", "unknown command bogus"),
    fault("tain --data-path data", "unknown command tain; did you mean 'train'?"),
    fault("Train", "unknown command Train; did you mean 'train'?"),
    fault("infer_image", "unknown command infer_image; did you mean 'image'?"),
    fault("''", "unknown command "),
    fault("'a\nb\x1b[31m大'", r"unknown command a\nb\x1b[31m大"),
    fault("-x", "unknown command -x"),
    fault("--bogus train", "unknown command --bogus"),
    fault("../image", "unknown command ../image"),
    fault("image --model net.onnx --image a.png", "--image: expected a file"),
    *[fault(name, words) for name, words in NEEDED.items()],
    *[fault(f"{name} --bogus", "") for name in COMMANDS],
    right("", lambda room: True),
    right("--version", lambda room: True),
]


@pytest.mark.parametrize("row", ROWS)
def test_command(row, room, capfd, caplog):
    check("", [], row, room, capfd, caplog)
