# make demo   set up, draw pictures, train on them, score the held-out ones
# make test   set up, run the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean

demo: .venv/run
	rm -rf datasets/demo runs/demo
	$(BIN)/python -m polypseg.data.synthetic --out datasets/demo --count 750 --size 128
	$(BIN)/python train.py --data-path datasets/demo --backbone mobilenetv2 --backbone-weights none \
		--input-size 96 --batch-size 4 --epochs 5 --lr 6e-3 --augment flips --trained-model-path runs/demo
	$(BIN)/python test.py --model runs/demo --out runs/demo/scores
	@echo "Open runs/demo/scores/report.html in a browser, and look at the run: runs/demo/pranet_mobilenetv2"

test: .venv/dev
	$(BIN)/python -m pytest

# The files .venv/run and .venv/dev mark what is complete: an interrupted installation is taken up again.
.venv/run: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "expected Python 3.11 to 3.13, got %d.%d; try: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-export.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv
