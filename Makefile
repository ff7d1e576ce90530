# What there is to do with a checkout of qsup. `make` alone lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

python := .venv/bin/python
run_dir := $(CURDIR)/.run
packaging := tests/system/test_package.py
python_scripts := scripts/tour scripts/readme scripts/manual scripts/vendor scripts/build-linux-guest
shell_scripts := scripts/setup scripts/build-heartbeat scripts/newer-qemu scripts/build-deb .ci/run \
    qsup/cli/shells/qsup.bash debian/qsup.postinst debian/qsup.prerm debian/qsup.postrm \
    tests/system/sdbox tests/system/sdbox-init

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

.PHONY: run
run: guests ## run the daemon on configs/, in the foreground; Ctrl-C ends it and leaves the guests running
	@mkdir -p '$(run_dir)'
	@printf '\nIn another terminal:\n\n    export QSUP_SOCKET=%q\n    %q list\n\n' \
	    '$(run_dir)/runtime/control.sock' '$(CURDIR)/.venv/bin/qsup'
	@exec .venv/bin/qsupd --config configs --runtime-dir '$(run_dir)/runtime' --state-dir '$(run_dir)/state'

.PHONY: tour
tour: guests ## do the README's tour and fail if anything is not as told
	@$(python) scripts/tour

.PHONY: test
test: guests ## run all tests; those that can be disturbed by no other beside those of guests
	@set -m; aside=$$(mktemp -d); trap 'rm -rf "$$aside"; kill $$! 2>/dev/null' EXIT; \
	PYTEST_DEBUG_TEMPROOT="$$aside" $(python) -m pytest tests/unit tests/golden tests/fuzz $(packaging) \
	    >"$$aside/log" 2>&1 & \
	$(python) -m pytest tests/chaos tests/functional tests/system --ignore $(packaging); guests=$$?; \
	wait $$!; others=$$?; cat "$$aside/log"; exit $$((guests || others))

.PHONY: check
check: setup ## ruff, mypy --strict, and shellcheck where it is installed
	.venv/bin/ruff check . $(python_scripts)
	.venv/bin/ruff format --check . $(python_scripts)
	.venv/bin/mypy
	MYPYPATH=scripts .venv/bin/mypy --scripts-are-modules $(python_scripts)
	@if command -v shellcheck >/dev/null; then \
	    set -x; shellcheck $(shell_scripts); \
	else \
	    echo 'shellcheck is not installed: the shell scripts were not checked'; \
	fi

.PHONY: docs
docs: setup ## write the manual pages into dist/man; `man -l dist/man/qsup.1` shows one
	@$(python) scripts/manual dist/man

.PHONY: deb
deb: setup ## build the Debian package into dist/
	@scripts/build-deb

.PHONY: wheel
wheel: setup ## build the wheel into dist/, for pip and pipx
	@$(python) -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: bench
bench: guests ## measure against bare QEMU, and against libvirt and supervisord where installed
	@$(python) -m tests.bench

.PHONY: chaos
chaos: guests ## ten minutes of a seeded storm over a daemon and its guests; MINUTES= and SEED= change that
	@$(python) -m tests.chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: setup ## look for inputs that fell a reader, with atheris; MINUTES= and TARGET= change that
	@$(python) -m pip install --quiet atheris
	@$(python) -m tests.fuzz --minutes $(or $(MINUTES),10) $(TARGET)

.PHONY: clean
clean: ## remove what was built and downloaded here, except running guests' files in .run
	rm -rf .venv .cache configs/images dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: setup
setup: ## install what is missing and make .venv
	@scripts/setup --guests

.PHONY: samples
samples: guests ## build what all samples boot, out of Debian's packages, which are downloaded for it
	@scripts/build-linux-guest all

# The Linux guest needs a kernel to lend; status 77 says that there is none, and has said why.
.PHONY: guests
guests: setup ## build the sample guests that `make run` starts
	@scripts/build-heartbeat
	@scripts/build-linux-guest || [ $$? -eq 77 ]
