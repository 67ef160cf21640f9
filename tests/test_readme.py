"""The commands of README.md, of the Makefile's demo and of docs/: they run, or at least parse."""

import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tiny

from polypseg.__main__ import COMMANDS
from polypseg.console.parser import given_options
from polypseg.console.run import run
from polypseg.data import synthetic
from polypseg.data.phantoms import write_volumes
from polypseg.data.synthetic import write_dataset
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.start import BESIDE_RESUME

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {f"{name}.py": name for name in COMMANDS} | {
    "infer_image.py": "image",
    "infer_video.py": "video",
    "infer_volume.py": "volume",
    "prepare_data.py": "prepare",
}
# add_a_model.md has a network of its own; test_docs.py runs it.
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md")} - {ROOT / "docs/add_a_model.md"})
SMALL = ["--input-size", "32", "--epochs", "1"]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def code(text, *languages):
    """The blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for language, block in found if language in languages]


def blocks(text):
    """The shell commands of a page: a list of words for each, a list of those for each block."""
    return [
        [
            shlex.split(line.removeprefix("!"), comments=True)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        for block in code(text, "", "bash")
    ]


def python_commands(text):
    """`(script, arguments)` of each of our scripts that a page calls."""
    commands = []
    for words in (words for block in blocks(text) for words in block):
        for place, word in enumerate(words[:-1]):
            if word == "python" and words[place + 1] in SCRIPTS:
                commands.append((words[place + 1], words[place + 2 :]))
        if words[:1] == ["polypseg"]:
            commands.append((words[1], words[2:]))
    return commands


def parse(script, arguments):
    """Check options as the command does, without the files that they name. Raises `InputError`."""
    name = SCRIPTS.get(script, script)
    module = importlib.import_module(f"polypseg.commands.{name}")
    kind = getattr(module, f"{name.title()}Options")
    given = given_options(kind, "", arguments)
    if name != "train":
        kind(**given)
    elif "resume" in given:
        assert given.keys() <= {"resume", *BESIDE_RESUME}
    else:
        from_file = {"data_path": "data"} if given.pop("config", None) else {}
        TrainConfig(**(from_file | given)).resolved()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_a_page_parses(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    commands = python_commands(text)
    # None is missed because of how it is written.
    scripts = "|".join(map(re.escape, SCRIPTS))
    written = re.findall(rf"python (?:{scripts}) ", "".join(code(text, "", "bash")))
    assert len(commands) == len(written)
    for script, arguments in commands:
        parse(script, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in filter(None, sum(links, ())):
        target, _, anchor = link.partition("#")
        if target.startswith("http"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_page(name):
    assert f"(docs/commands/{name}.md)" in read("README.md")
    page = read(f"docs/commands/{name}.md")
    assert f"(../help/{name}.txt)" in page
    assert any(SCRIPTS[script] == name for script, _ in python_commands(page))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run commands in, which leave the process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())  # export.py sets it
    yield tmp_path
    keras.config.set_dtype_policy("float32")


def execute(words, monkeypatch):
    """Run one command in this process, at a reduced size; one of another program is left out."""
    if words[:3] == ["python", "-m", "polypseg.data.synthetic"]:
        synthetic.main([*words[3:], "--count", "20", "--size", "48"])
        return
    if words[:1] != ["python"] or words[1] not in SCRIPTS:
        assert words[:1] != ["python"], words
        return
    _, script, *arguments = words
    if script == "convert.py":  # needs the authors' file; test_convert.py draws one
        return
    if script == "train.py" and "--resume" not in arguments:
        started = "--start-from" in arguments
        arguments += SMALL if started else [*SMALL, "--backbone-weights", "none"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    try:
        run(importlib.import_module(f"polypseg.commands.{SCRIPTS[script]}").main)
    except SystemExit as stop:
        assert not stop.code, words


def demo_of_readme():
    """The three commands that make the demo without make."""
    (block,) = (
        part for part in blocks(read("README.md")) if part[0][:3] == ["python3", "-m", "venv"]
    )
    return [words for words in block if words[:1] == ["python"]]


def test_make_demo_is_the_demo_of_the_readme():
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", read("Makefile"), flags=re.M)[1]
    lines = recipe.replace("\\\n", " ").replace("$(BIN)/", "").splitlines()
    made = [shlex.split(line) for line in lines]
    assert [words for words in made if words[0] == "python"] == demo_of_readme()


@pytest.mark.slow
def test_the_demo_runs(folder, monkeypatch):
    """With the real PraNet, which takes most of the time."""
    for words in demo_of_readme():
        execute(words, monkeypatch)
    report = folder / "runs" / "demo" / "scores" / "report.html"
    assert "pranet_mobilenetv2" in report.read_text(encoding="utf-8")


def test_the_commands_of_the_readme_run(folder, monkeypatch):
    """In order, with a network that is trained in seconds, on the data that they name."""
    tiny.install(monkeypatch.setitem)
    for name, seed in (("my-data", 1), ("more-data", 2), ("photos", 3)):
        write_dataset(name, 10, size=(48, 60), seed=seed)
    Path("my-data/masks").rename("maps")
    shutil.copytree("maps", "other-maps")
    write_dataset("my-data", 10, size=(48, 60), seed=1)
    image = cv2.imread("photos/images/synthetic_0000.png")
    cv2.imwrite("image.jpg", image)
    for path in Path("photos/images").iterdir():
        path.rename(f"photos/{path.name}")
    for volumes, labels, count in (("scans", "labels", 6), ("new-scans", "new-labels", 2)):
        write_volumes("drawn", count, shape=(48, 48, 16), seed=count)
        Path("drawn/volumes").rename(volumes)
        Path("drawn/labels").rename(labels)
    film = cv2.VideoWriter("colonoscopy.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 25, (60, 48))
    for shift in range(3):
        film.write(np.roll(image, shift, axis=1))
    film.release()

    ours = [block for block in blocks(read("README.md")) if "--data-path" in sum(block, [])]
    demo, colab, *_ = ours
    assert ["%cd", "polypseg"] in colab
    for block in blocks(read("README.md")):
        if block not in (demo, colab):
            for words in block:
                execute(words, monkeypatch)
    found = {}
    exec("".join(code(read("README.md"), "python")), found)
    assert found["probability"].shape == found["mask"].shape == (48, 60)

    made = {path.name for path in Path("runs").iterdir()}
    assert {"pranet_mobilenetv2", "pranet_resnet50_folds"} <= made
    assert len(list(Path("predictions/masks").iterdir())) == 10
    assert len(list(Path("masks").iterdir())) == len(list(Path("pages").iterdir())) == 2
    for name in (
        *("scores/report.html", "scores-of-maps/report.html", "scores-of-patients/report.html"),
        "overlay.mp4",
    ):
        assert Path(name).stat().st_size


def test_the_colab_commands_run(folder, monkeypatch):
    tiny.install(monkeypatch.setitem)
    (colab,) = (block for block in blocks(read("README.md")) if ["%cd", "polypseg"] in block)
    for words in colab:
        execute(words, monkeypatch)
    assert Path("runs/pranet_mobilenetv2/best.keras").stat().st_size
