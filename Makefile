PYTHON ?= python3
BIN := .venv/bin
SOURCES := *.py polypseg pranet attention_unet layers losses metrics data tests benchmarks

.PHONY: help demo demo-ct test lint format types wheel wheel-test extras check check-all clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

demo: .venv/run ## set up, draw images, train on them, score the held-out ones
	rm -rf datasets/demo runs/demo
	$(BIN)/python -m polypseg.data.synthetic --out datasets/demo --count 750 --size 128
	$(BIN)/python train.py --data-path datasets/demo --backbone mobilenetv2 --backbone-weights none \
		--input-size 96 --batch-size 4 --epochs 5 --lr 6e-3 --augment flips --trained-model-path runs/demo
	$(BIN)/python test.py --model runs/demo/pranet_mobilenetv2 --out runs/demo/scores
	@echo "Open runs/demo/scores/report.html in a browser, and look at the run: runs/demo/pranet_mobilenetv2"

demo-ct: .venv/ct ## set up, draw CT volumes, train on some, segment and score others
	rm -rf datasets/demo-ct runs/demo-ct
	$(BIN)/python -m polypseg.data.synthetic --ct --out datasets/demo-ct/known --count 48 --size 64
	$(BIN)/python -m polypseg.data.synthetic --ct --out datasets/demo-ct/new --count 12 --size 64 --seed 1
	$(BIN)/python prepare_data.py --volumes datasets/demo-ct/known/volumes --labels datasets/demo-ct/known/labels \
		--label 7 --window -100 240 --neighbours 1 --keep-empty 0.3 --out datasets/demo-ct/slices
	$(BIN)/python train.py --data-path datasets/demo-ct/slices --model attention_unet --input-size 64 --batch-size 8 \
		--epochs 4 --lr 1e-2 --loss bce --augment none --trained-model-path runs/demo-ct
	$(BIN)/python infer_volume.py --model runs/demo-ct/attention_unet --volume datasets/demo-ct/new/volumes \
		--out runs/demo-ct/masks --montage runs/demo-ct/pages
	$(BIN)/python test.py --predictions runs/demo-ct/masks --masks datasets/demo-ct/new/labels --label 7 --out runs/demo-ct/scores
	@echo "Open runs/demo-ct/scores/report.html in a browser, and look at runs/demo-ct/pages"

test: .venv/dev ## set up, run the quick tests
	$(BIN)/python -m pytest

lint: .venv/dev ## what ruff finds, in rules and in format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: .venv/dev ## sort imports, format
	$(BIN)/ruff check --select I --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# Away from the checkout, so that what is checked is what is installed.
types: wheel ## mypy over the wheel, unpacked in a temporary folder
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp pyproject.toml "$$folder" \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target "$$folder/installed" build/dist/*.whl \
		&& mypy="$$PWD/$(BIN)/mypy" && cache="$$PWD/.mypy_cache" && cd "$$folder/installed" \
		&& MYPYPATH=. "$$mypy" --config-file ../pyproject.toml --cache-dir "$$cache" -p polypseg

# The setuptools of .venv builds it, from an empty build/: what lies there would go into the wheel.
wheel: .venv/dev ## build/dist/polypseg-VERSION-py3-none-any.whl
	rm -rf build && $(BIN)/python -m build --quiet --wheel --no-isolation --outdir build/dist .

wheel-test: .venv/dev ## use the wheel and an editable installation
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

# With nothing else installed that could fill a gap in what an extra lists.
extras: extra-export extra-boundary extra-ct extra-app extra-torch ## install and use each extra alone (gigabytes)

USE_export = -m pytest -o addopts=-q tests/test_export.py tests/test_formats.py
USE_boundary = -m pytest -o addopts=-q tests/test_boundary.py
USE_torch = -m pytest -o addopts=-q -k 'torch or checkpoint' tests/test_convert.py tests/test_losses.py tests/test_layers.py
USE_ct = -m pytest -o addopts=-q tests/test_volumes.py tests/test_dicom.py tests/test_slices.py tests/test_infer_volume.py
USE_app = -c 'import gradio'

extra-%: wheel
	rm -rf build/extra-$* && $(BIN)/python -m venv build/extra-$*
	build/extra-$*/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo build/dist/*.whl)[$*]" pytest hypothesis
	build/extra-$*/bin/python -m pip check
	build/extra-$*/bin/polypseg --version
	build/extra-$*/bin/python $(USE_$*)

check: lint types wheel-test test ## what a change has to pass

check-all: lint types test extras ## before a release: all slow tests and each extra too (they take long)
	$(BIN)/python -m pytest -m slow

# The files .venv/run and .venv/dev mark what is complete: an interrupted installation is taken up again.
.venv/run: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "expected Python 3.11 to 3.13, got %d.%d; try: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/ct: .venv/run requirements-ct.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ct.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-export.txt requirements-ct.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean: ## remove the environment and what was built
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
