# make demo | test | bench | wheel | clean.  PYTHON chooses the interpreter, EXTRAS what is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(shell find kernels/aot kernels/formulas kernels/generate.py \
             -name '*.p[xy]*' -o -name '*.h*' | grep -v __pycache__)

.PHONY: demo test bench wheel clean

demo: $(VENV)/.with-$(or $(EXTRAS),demo)
	$(BIN)/python -m fastloss demo --png demo.png

test: $(VENV)/.with-$(or $(EXTRAS),test)
	$(BIN)/python -m pytest -n auto tests

bench: $(VENV)/.with-$(or $(EXTRAS),bench)
	$(BIN)/python -m bench --json bench.json --png bench.png

wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info kernels/_generated
	find fastloss kernels -name '*.so' -delete

# The extras of the package that .built has installed: nothing is compiled again for them.
$(VENV)/.with-%: $(VENV)/.built
	$(BIN)/python -m pip install 'fastloss[$*]'
	touch $@

# Only what is compiled makes pip run again: the Python files of the checkout are used in place.
$(VENV)/.built: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
