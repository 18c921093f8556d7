# make demo | test | bench | wheel | clean.  PYTHON chooses the interpreter, EXTRAS what is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(shell find kernels -path kernels/_generated -prune -o -type f \
             -name '*.p*' -print -o -name '*.h*' -print | grep -v __pycache__)

.PHONY: demo test bench wheel clean

demo: $(VENV)/.installed-$(or $(EXTRAS),demo)
	$(BIN)/python -m fastloss demo --png demo.png

test: $(VENV)/.installed-$(or $(EXTRAS),test)
	$(BIN)/python -m pytest tests

bench: $(VENV)/.installed-$(or $(EXTRAS),bench)
	$(BIN)/python -m bench --json bench.json --png bench.png

wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info kernels/_generated
	find fastloss kernels -name '*.so' -delete

# pip runs again only when the build's own inputs changed; Python files of fastloss/ are used in place.
$(VENV)/.installed-%: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[$*]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
