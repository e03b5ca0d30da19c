# `make test` is what has to pass; the parts can be run alone. Cargo does the building.

CARGO ?= cargo
export PATH := $(PATH):$(HOME)/.cargo/bin

# Where `make install` puts things; all but DESTDIR ends up in the files.
PREFIX ?= /usr/local
DESTDIR ?=
PROFILE ?= dist
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
# The program to install, and where the man pages and completions are.
BIN ?= $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/gm-native
ASSETS ?= $(abspath $(TARGET_DIR))/assets
INSTALL ?= install

share = $(DESTDIR)$(PREFIX)/share
unit = $(DESTDIR)$(PREFIX)/lib/systemd/system/gm-native.service
pages = $(patsubst $(ASSETS)/%,%,$(wildcard $(ASSETS)/gm-native*.1))

.PHONY: build dist install install-files uninstall demo test deps fmt clippy doc doctest tests matrix deny hammer bench-deploy bench-logging clean

build:
	$(CARGO) build --release --locked

# As it is installed, with man pages and completions.
dist:
	GM_ASSETS_DIR="$(ASSETS)" $(CARGO) build --profile $(PROFILE) --locked --bin gm-native

install: dist
	@$(MAKE) --no-print-directory install-files

# Without building, so that root need not have cargo: `make dist && sudo make install-files`. Nothing is put where
# somebody may have changed it: the ini files and the logrotate snippet are examples.
install-files:
	@test -n "$(pages)" || { echo "no man pages in $(ASSETS): run make dist first" >&2; exit 1; }
	$(INSTALL) -D -m 755 "$(BIN)" "$(DESTDIR)$(PREFIX)/bin/gm-native"
	$(INSTALL) -d "$(share)/man/man1"
	cd "$(ASSETS)" && $(INSTALL) -m 644 $(pages) "$(abspath $(share))/man/man1"
	$(INSTALL) -D -m 644 "$(ASSETS)/gm-native.bash" "$(share)/bash-completion/completions/gm-native"
	$(INSTALL) -D -m 644 "$(ASSETS)/_gm-native" "$(share)/zsh/site-functions/_gm-native"
	$(INSTALL) -D -m 644 "$(ASSETS)/gm-native.fish" "$(share)/fish/vendor_completions.d/gm-native.fish"
	$(INSTALL) -d "$(share)/doc/gm-native/examples"
	$(INSTALL) -m 644 packaging/simple.ini packaging/advanced.ini packaging/gm-native.logrotate \
		"$(share)/doc/gm-native/examples"
	$(INSTALL) -d "$(dir $(unit))"
	sed 's|^ExecStart=/usr/local/|ExecStart=$(PREFIX)/|' packaging/gm-native.service > "$(unit)"
	chmod 644 "$(unit)"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/gm-native" "$(share)"/man/man1/gm-native.1 "$(share)"/man/man1/gm-native-*.1 \
		"$(share)/bash-completion/completions/gm-native" "$(share)/zsh/site-functions/_gm-native" \
		"$(share)/fish/vendor_completions.d/gm-native.fish" "$(unit)"
	rm -rf "$(share)/doc/gm-native"

# What it is, in ten seconds after the build.
demo:
	@scripts/demo

# In this order: what is quickest to fail comes first. A sub-make each, so that -j does not mix them.
test: deps
	@for part in fmt clippy doc doctest tests matrix deny; do \
		echo "== $$part"; $(MAKE) --no-print-directory $$part || exit 1; \
	done

# The peers that the tests talk to: gearmand, the gearman CLI, and the client libraries of users.
deps:
	scripts/install-test-deps

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --exclude gm-native --no-deps --quiet
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --package gm-native --no-deps --document-private-items --quiet

doctest:
	$(CARGO) test --locked --workspace --doc --quiet

tests:
	$(CARGO) test --locked --workspace --lib --bins --tests --examples

# Hosts and libraries of other builds: another gm-native is built for it, which takes minutes the first time.
matrix:
	$(CARGO) test --locked --test author matrix -- --ignored

deny:
	scripts/check-dependencies

# Every suite many times, on a quiet machine and beside busy loops: takes a night. HAMMER_SUITES, HAMMER_QUIET and
# HAMMER_BUSY choose less, as in: make hammer HAMMER_SUITES=compat HAMMER_BUSY=5 HAMMER_QUIET=0
hammer: deps
	scripts/hammer-suites

# What deploys cost the jobs that run meanwhile, on the real gearmand.
bench-deploy: deps
	$(CARGO) bench --locked --bench deploy

# What the log costs, as shares of the rate without it.
bench-logging: deps
	$(CARGO) bench --locked --bench logging

clean:
	$(CARGO) clean
