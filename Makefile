# make demo | test | bench | docs | wheel | sanitize | checked | fuzz | clean.  PYTHON chooses the interpreter, EXTRAS what is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(shell find kernels -name '*.p[xy]*' -o -name '*.h*' | grep -v -e __pycache__ -e _generated)

.PHONY: demo test bench docs wheel sanitize checked fuzz clean

demo: $(VENV)/.with-$(or $(EXTRAS),demo)
	$(BIN)/python -m fastloss demo --png demo.png

test: $(VENV)/.with-$(or $(EXTRAS),test)
	$(BIN)/python -m pytest -n auto tests

bench: $(VENV)/.with-$(or $(EXTRAS),bench)
	$(BIN)/python -m bench --json bench.json --png bench.png

fuzz: $(VENV)/.with-$(or $(EXTRAS),test)
	$(BIN)/python -m tests.fuzz --calls $(or $(CALLS),1000000) --seed $(or $(SEED),0)

# Copies of the checkout, built to check themselves, and tested there: memory and undefined behaviour by gcc, one instruction
# set; indices, None and wraparound by Cython, floating-point flags by NumPy. gcc defines shifts of negative numbers, and Numba's
# kernels are not instrumented.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize=shift-base -fno-omit-frame-pointer -g1
sanitize: BUILD := FASTLOSS_BUILD_ISAS="$(or $(ISA),v3)" CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)"
sanitize: RUN := LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
            ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
checked: BUILD := FASTLOSS_BUILD_CHECKED=1 FASTLOSS_BUILD_ISAS="$(or $(ISA),v3)"
checked: RUN := FASTLOSS_TEST_ERRSTATE=raise
sanitize checked: $(VENV)/.with-test
	rm -rf build/$@ && mkdir -p build/$@
	cp -r $$(git ls-files | cut -d/ -f1 | sort -u) build/$@
	cd build/$@ && rm -rf kernels/_generated && find . -name '*.so' -delete && ln -s ../kernels fastloss/kernels
	cd build/$@ && env $(BUILD) $(abspath $(BIN))/python setup.py build_ext --inplace
	cd build/$@ && env $(RUN) PYTHONPATH=. $(abspath $(BIN))/python -m pytest -n auto tests -p no:cacheprovider -k "not numba and not test_jit"

docs: $(VENV)/.with-$(or $(EXTRAS),docs)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info kernels/_generated docs/_build docs/api
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
