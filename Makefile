# make demo: see it detect; make test: see that it is right. Both set everything up in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLES := data/samples

.PHONY: demo test lint clean

demo: $(VENV)/ready
	$(BIN)/pelee-detect $(SAMPLES) $(SAMPLES)/bikes.mp4 --output out

test: $(VENV)/ready lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info
