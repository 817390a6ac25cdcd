# make demo: see it detect; make test: see that it is right. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SAMPLES := data/samples

.PHONY: demo test test-fast lint docs bench clean

demo: $(VENV)/light
	$(BIN)/pelee-detect $(SAMPLES) $(SAMPLES)/bikes.mp4 --output out

test: $(VENV)/full lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

# Under a minute on two cores: for use while editing.
test-fast: $(VENV)/full
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow and not browser"

lint: $(VENV)/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site in out/docs, built without a network; a link that leads nowhere is an error.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The tables of docs/benchmarks/speed.md, in some three minutes; keep the machine idle.
bench: $(VENV)/full
	$(BIN)/pelee-export --format openvino --no-nms --output out/openvino-f32
	$(BIN)/pelee-export --format onnx --no-nms --output out/onnx-f32
	$(BIN)/pelee-bench $(SAMPLES) --weights pelee-voc --weights out/openvino-f32 --weights out/onnx-f32 --batch 1,8 \
		--against eager,torchvision --video $(SAMPLES)/bikes.mp4 --markdown docs/benchmarks/speed.md

# What runs the shipped models. Bytecode is written when a module is first used: most never are.
$(VENV)/light: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile -e .
	touch $@

# All parts, and what tests them.
$(VENV)/full: $(VENV)/light
	$(PIP) -e '.[all,dev]'
	touch $@

# What builds the documentation; it reads the sources and imports none of them.
$(VENV)/docs: $(VENV)/light
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info
