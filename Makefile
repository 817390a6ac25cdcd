# make demo: see it detect; make test: see that it is right. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SAMPLES := data/samples

# Tests start hundreds of processes: without bytecode on disk, each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast lint docs bench licenses sbom test-lowest clean

demo: $(VENV)/light
	$(BIN)/pelee-detect $(SAMPLES) $(SAMPLES)/bikes.mp4 --output out

# Two runs with new processes: a process that has run thousands of tests holds gigabytes.
test: $(VENV)/full lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --ignore tests/integration --ignore tests/pelee --ignore tests/serve
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto tests/integration tests/pelee tests/serve

# Without the slow tests and the browser: for use while editing.
test-fast: $(VENV)/full
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow and not browser"

# The light path and the service with the lowest versions that pyproject.toml allows. UV: the command of uv.
UV ?= uv
LOWEST := out/lowest/bin/python
test-lowest:
	$(UV) venv --quiet --clear --python 3.11 out/lowest
	$(UV) pip install --quiet --python $(LOWEST) --resolution lowest-direct --no-build -r pyproject.toml --extra serve
	$(UV) pip install --quiet --python $(LOWEST) -c constraints.txt pytest httpx hypothesis pyyaml
	$(UV) pip install --quiet --python $(LOWEST) --no-deps --editable .
	OMP_NUM_THREADS=1 $(LOWEST) -m pytest -p no:cacheprovider -m "not slow and not browser" \
		tests/weights tests/data/images tests/detection/test_drawing.py tests/detection/video tests/detection/display \
		tests/detection/tracking tests/serve/inference tests/serve/observability tests/serve/web \
		--ignore tests/serve/web/test_schemas.py --ignore tests/serve/web/test_server.py

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

# The licenses of all that an installation with every extra has, in out/licenses.md; one that is not allowed is an error.
licenses: $(VENV)/full
	mkdir -p out
	$(BIN)/python -m tests.support.licenses all > out/licenses.md

# The software bill of materials of the light install without constraints (CycloneDX), in out/sbom.cdx.json.
sbom: $(VENV)/full
	rm -rf out/sbom
	$(PYTHON) -m venv --without-pip out/sbom
	$(BIN)/python -m pip --disable-pip-version-check --quiet --python out/sbom/bin/python install --no-compile .
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file out/sbom.cdx.json \
		out/sbom/bin/python

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
