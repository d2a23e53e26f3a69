# Everything needed to run, test and build nextword: GNU make, Python 3.11 or newer, its venv module; a C++ compiler where
# there is one.
# `make` alone lists the targets. No target needs root; everything is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Tests of one file share what takes long to make, so that a file is one worker's.
WORKERS ?= -n logical --maxprocesses 4 --dist loadfile

BIN := $(VENV)/bin
PINS := constraints.txt
KERNEL_TESTS := tests/generation/test_memory.py tests/generation/test_speculation.py tests/measuring/test_rounding.py \
  tests/cli/test_predict.py tests/test_default_model.py tests/test_language_model.py -k "not ordinary_language and not docs_table"
LLAMA_CPP := llama-cpp-python==0.3.36
LLAMA_CPP_RELEASE := $(subst ==,-,$(LLAMA_CPP))
ARCH ?= native
LLAMA_CPP_SOURCE ?=
IK_LLAMA_CPP_SOURCE ?=
PEERS := build/peers
PEER_ARCH_native := -DGGML_NATIVE=ON
PEER_ARCH_avx2 := -DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_AVX512=OFF
TRANSFORMER_LENS := transformer-lens==4.3.0
LENS_VENV := build/transformer-lens
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
NODE_STAMP := node_modules/.installed
NATIVE := native/CMakeLists.txt $(wildcard native/src/*)
TIDY := build/native-tidy

# The pins hold for the build backend too: older pips hand it PIP_CONSTRAINT, newer ones PIP_BUILD_CONSTRAINT.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$(PINS) PIP_BUILD_CONSTRAINT=$(PINS) $(BIN)/python -m pip

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run setup test test-kernels test-llama-cpp test-transformer-lens test-native speed-kernels storm check check-page check-native docs peers peer-results dist constraints clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12 chooses the Python, VENV=.venv the environment,"
	@echo "  ARGS=... goes to pytest."

run: $(RUN_STAMP) ## install the least that runs, and predict two next words
	$(BIN)/nextword predict --words --top 5 "The children are playing in the"
	$(BIN)/nextword predict --words --top 5 "배가 고파서 밥을"
	@printf '%s\n' "" "Try next:" \
	  "  $(BIN)/nextword generate \"One day, a little girl\"       writes on" \
	  "  $(BIN)/nextword tokenize \"안녕하세요\"                   what the model reads" \
	  "  $(BIN)/nextword info                                    what it is made of" \
	  "  $(BIN)/nextword pull smollm2                            a published model" \
	  "  $(BIN)/nextword chat smollm2                            and a talk with it" \
	  "and after make setup, which installs PyTorch and the rest:" \
	  "  $(BIN)/nextword look \"The children are playing in the\"  every stage on the way" \
	  "  $(BIN)/nextword serve --open                            the same in the browser" \
	  "  $(BIN)/nextword train my.txt --out my-model             a model of your own text" "" \
	  "In a shell, \". $(BIN)/activate\" makes nextword a command."

setup: $(DEV_STAMP) ## install everything: extras, tests, checks

test: $(DEV_STAMP) $(NODE_STAMP) ## run the tests (ARGS=tests/tokens for some of them)
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

# tests/engine holds each of them against an oracle, and tests/measuring/test_bits.py all of them to the same bits; these
# hold what stands on the engine. What the default model knows is left out: equal bits know the same, and plain arithmetic
# takes many minutes to show it.
test-kernels: $(DEV_STAMP) ## what computes, with the processor's other instruction sets
	@for kernels in $$($(BIN)/python -c 'from nextword.engine.kernels import available_kernels as sets; print(*sets()[1:])'); do \
	  echo "==> NEXTWORD_KERNELS=$$kernels"; \
	  NEXTWORD_KERNELS=$$kernels $(BIN)/python -m pytest $(WORKERS) $(or $(ARGS),$(KERNEL_TESTS)) || exit 1; done

test-llama-cpp: $(DEV_STAMP) ## exported models in llama.cpp (built first: 8 minutes)
	@$(PIP) install -qq $(LLAMA_CPP)
	$(BIN)/python -m pytest --override-ini addopts="-q -s --strict-markers" tests/llama_cpp $(ARGS)

# In an environment of its own: TransformerLens brings packages that nothing here needs.
test-transformer-lens: ## every value against TransformerLens, run live (installed first: minutes)
	@[ -x $(LENS_VENV)/bin/pip ] || $(PYTHON) -m venv $(LENS_VENV)
	@$(MAKE) --no-print-directory BIN=$(LENS_VENV)/bin install-transformer-lens
	$(LENS_VENV)/bin/python -m pytest --noconftest -p no:cacheprovider --override-ini addopts="-q -s --strict-markers" \
	  --override-ini filterwarnings=default tests/transformer_lens $(ARGS)

.PHONY: install-transformer-lens
install-transformer-lens:
	@$(PIP) install -qq -e '.[verify]' pytest pytest-timeout $(TRANSFORMER_LENS)

test-native: $(DEV_STAMP) ## the native code against plain loops: as it ships, under sanitizers, for ARM with qemu
	@PATH="$(abspath $(BIN)):$$PATH" native/tests/run build/native
	@for kind in address,undefined thread; do \
	  PATH="$(abspath $(BIN)):$$PATH" native/tests/run build/native-$$kind -DNEXTWORD_SANITIZE=$$kind || exit 1; done
	@if command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-g++ >/dev/null; then \
	  PATH="$(abspath $(BIN)):$$PATH" native/tests/run build/native-arm -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64; \
	else echo "ARM: not run (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)"; fi

speed-kernels: $(DEV_STAMP) ## GB/s and GMAC/s of the kernels, format by format (ARGS="avx2 2": a set, threads)
	@PATH="$(abspath $(BIN)):$$PATH"; cmake -S native -B build/native-speed -G Ninja -DNEXTWORD_MODULE=OFF >build/native-speed.log && \
	  cmake --build build/native-speed --target speed >>build/native-speed.log || { cat build/native-speed.log; exit 1; }
	@build/native-speed/speed $(ARGS)

storm: $(DEV_STAMP) ## kill 100 training runs: nothing may be lost
	$(BIN)/python -m tests.training.storm $(ARGS)

check: $(DEV_STAMP) check-page check-native ## lint, format, types, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-page: $(NODE_STAMP) ## types and lint of the page, where npm is
	@if command -v npm >/dev/null; then npm run --silent check; else echo "The page: not checked (needs node and npm)"; fi

check-native: $(DEV_STAMP) ## format and lint of the native code; lint where a C++ compiler is
	$(BIN)/clang-format --dry-run --Werror native/src/*.h native/src/*.cpp native/tests/*.h native/tests/*.cpp
	@if command -v $${CXX:-c++} >/dev/null; then $(MAKE) --silent $(TIDY)/.checked; \
	else echo "The native code: not linted (needs a C++ compiler)"; fi

# Only what has changed is looked through again. module.cpp is left out: the linter finds fault with nanobind's headers.
$(TIDY)/.checked: $(DEV_STAMP) $(NATIVE) $(wildcard native/tests/*) .clang-tidy
	@mkdir -p $(TIDY)
	@PATH="$(abspath $(BIN)):$$PATH" cmake -S native -B $(TIDY) -G Ninja -DNEXTWORD_MODULE=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
	  >$(TIDY)/log 2>&1 || { cat $(TIDY)/log; exit 1; }
	@printf '%s\n' $(wildcard native/tests/*.cpp) $(filter-out %/module.cpp,$(filter %.cpp,$(NATIVE))) | \
	  xargs -P 2 -n 1 $(BIN)/clang-tidy --quiet -p $(TIDY) --extra-arg=-Wno-unknown-warning-option
	@touch $@

docs: $(DEV_STAMP) ## the documentation as a site (ARGS=serve shows it)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(or $(ARGS),build) --strict

# They are built for the instruction set that ours is measured with. Without a path, llama.cpp is the one that lies in
# llama-cpp-python's sources; of ik_llama.cpp there is no package.
peers: $(DEV_STAMP) ## llama.cpp, ik_llama.cpp for benchmarks (ARCH=avx2; LLAMA_CPP_SOURCE=, IK_LLAMA_CPP_SOURCE=)
	@[ -n "$(PEER_ARCH_$(ARCH))" ] || { echo "error: ARCH is $(ARCH); it is native or avx2" >&2; exit 1; }
	@[ -n "$(LLAMA_CPP_SOURCE)" ] || $(MAKE) --no-print-directory $(PEERS)/$(LLAMA_CPP_RELEASE)
	@$(call build_peer,llama.cpp,$(or $(LLAMA_CPP_SOURCE),$(PEERS)/$(LLAMA_CPP_RELEASE)),llama-bench llama-server)
	@$(if $(IK_LLAMA_CPP_SOURCE),$(call build_peer,ik_llama.cpp,$(IK_LLAMA_CPP_SOURCE),llama-bench),\
	  echo "ik_llama.cpp: not built (IK_LLAMA_CPP_SOURCE=its source tree)")

peer-results: $(DEV_STAMP) ## measure beside them anew (FILES='a.gguf ...', ARCH=avx2; the first of FILES is served)
	$(BIN)/python benchmarks/decode.py $(FILES) --peers $(PEERS) --arch $(ARCH) --threads 1 2 --json > build/decode.json
	$(BIN)/python benchmarks/serving.py $(firstword $(FILES)) --peers $(PEERS) --arch $(ARCH) --json > build/serving.json
	$(BIN)/python benchmarks/memory.py $(FILES) --json > build/memory.json
	mv build/decode.json build/serving.json build/memory.json benchmarks/results

dist: $(DEV_STAMP) ## sdist and wheel, built twice alike and tried out
	@$(BIN)/python -m recipes.dist

constraints: | $(BIN)/pip ## pin the newest versions; torch keeps its pin
	@echo "Resolving every dependency (about a minute) ..."
	@grep '^torch==' $(PINS) > $(VENV)/torch-pin.txt
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --upgrade pip
	@PIP_CONSTRAINT=$(VENV)/torch-pin.txt $(BIN)/python -m pip install -qq \
	  --dry-run --ignore-installed --report $(VENV)/resolution.json -e '.[all]' --group dev
	@$(BIN)/python -c "$$WRITE_PINS" $(VENV)/resolution.json $(PINS)

clean: ## remove dist/ and caches; build/ and .venv stay
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path './$(VENV)' -prune -o -path ./build -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing venv puts in, so an environment left half made is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: nextword needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo missing);" \
	    "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu the package python3-venv brings it" >&2; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# Name, source tree, targets. A tree that is no checkout has its version in its name.
define build_peer
echo "Building $(1) for $(ARCH) (many minutes the first time) ..."; \
PATH="$(abspath $(BIN)):$$PATH"; build=$(PEERS)/$(ARCH)/$(1); mkdir -p $$build; \
cmake -S $(2) -B $$build -G Ninja -DCMAKE_BUILD_TYPE=Release $(PEER_ARCH_$(ARCH)) -DGGML_CCACHE=OFF -DLLAMA_CURL=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DGGML_IQK_FA_ALL_QUANTS=OFF \
  >$$build/log 2>&1 && \
cmake --build $$build --target $(3) >>$$build/log 2>&1 || { tail -n 20 $$build/log; exit 1; }; \
{ [ -e $(2)/.git ] && git -C $(2) rev-parse --short HEAD 2>/dev/null || basename $(2); } > $$build/version
endef

$(PEERS)/$(LLAMA_CPP_RELEASE): | $(BIN)/pip
	@mkdir -p $@.part
	@$(PIP) download -qq --no-deps --no-binary :all: --dest $@.part $(LLAMA_CPP)
	@tar -xzf $@.part/*.tar.gz -C $@.part
	@mv $@.part/*/vendor/llama.cpp $@
	@rm -rf $@.part

# Two steps, each with a line before it: what is fetched, then what is compiled.
$(RUN_STAMP): pyproject.toml $(PINS) $(NATIVE) | $(BIN)/pip
	@echo "Fetching what nextword needs (a dozen packages, 120 MB on disk) ..."
	@$(BIN)/python -c "$$NEEDS" > $(VENV)/needs.txt
	@$(PIP) install -qq -r $(VENV)/needs.txt
	@echo "Compiling its native engine, and installing it into $(VENV) (a minute or two) ..."
	@$(PIP) install -qq -e .
	@$(BIN)/python -c 'import nextword.engine._native' 2>/dev/null || { \
	  echo "There is no C++ compiler, so the native backend was left out. Fetching PyTorch, which runs the model instead ..."; \
	  $(PIP) install -qq -e '.[torch]'; }
	@touch $@

$(DEV_STAMP): pyproject.toml $(PINS) $(NATIVE) | $(BIN)/pip
	@echo "Fetching PyTorch and every other package of every extra (a few minutes the first time) ..."
	@$(PIP) install -qq pip
	@$(BIN)/python -c "$$NEEDS" all > $(VENV)/needs.txt
	@$(PIP) install -qq -r $(VENV)/needs.txt --group dev
	@echo "Compiling the native engine, and installing nextword into $(VENV) (a minute or two) ..."
	@$(PIP) install -qq -e '.[all]'
	@touch $(RUN_STAMP) $@

# What checks the page; running it needs none of this.
$(NODE_STAMP): package.json package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent; else mkdir -p node_modules; fi
	@touch $@

# The requirements of the base, and of an extra with those that it names in turn.
define NEEDS
import re, sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
needs, left = project["dependencies"], sys.argv[1:]
while left:
    for one in project["optional-dependencies"][left.pop()]:
        named = re.fullmatch(r"nextword\[(.*)\]", one)
        left += named[1].split(",") if named else []
        needs += [] if named else [one]
print("\n".join(needs))
endef
export NEEDS

define WRITE_PINS
import json, pathlib, sys
found = [item["metadata"] for item in json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))["install"]]
pins = pathlib.Path(sys.argv[2])
comment = pins.read_text("utf-8").splitlines()[0]
# A local version (2.13.0+cpu) names one build of a release; the pin is meant for every platform.
lines = sorted((f"{m['name']}=={m['version'].split('+')[0]}" for m in found if m["name"] != "nextword"), key=str.lower)
pins.write_text("\n".join([comment, *lines]) + "\n", "utf-8")
print(f"{pins}: {len(lines)} pins")
endef
export WRITE_PINS
