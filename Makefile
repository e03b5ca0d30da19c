# `make test` is what has to pass; the parts can be run alone. Cargo does the building.

CARGO ?= cargo
export PATH := $(PATH):$(HOME)/.cargo/bin

# Where `make install` puts things; all but DESTDIR ends up in the files.
PREFIX ?= /usr/local
DESTDIR ?=
# Cargo's profile: `make install PROFILE=dist` builds for longer, for a program that is a little faster.
PROFILE ?= release
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
built = $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# The program to install (the one for its workers lies beside it), and where the man pages and completions are.
BIN ?= $(built)/gm-native
ASSETS ?= $(abspath $(built))/assets
INSTALL ?= install
# Further options of `make deb` for cargo-deb, such as --deb-version.
DEB_OPTIONS ?=

share = $(DESTDIR)$(PREFIX)/share
doc = $(share)/doc/gm-native
units = $(DESTDIR)$(PREFIX)/lib/systemd/system
sysusers = $(DESTDIR)$(PREFIX)/lib/sysusers.d/gm-native.conf
pages = $(patsubst $(ASSETS)/%,%,$(wildcard $(ASSETS)/gm-native*.1))

.PHONY: help build dist install install-files uninstall deb deb-package demo clean
.PHONY: test test-all long deps fmt clippy doc doctest tests matrix deny
.PHONY: soak walks deaths rollouts fuzz miri sanitize hammer
.PHONY: bench bench-quick bench-deploy bench-logging

build: ## build programs and libraries, for release
	$(CARGO) build --release --locked

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  install, install-files and uninstall honour PREFIX ($(PREFIX)), DESTDIR and PROFILE ($(PROFILE))"

dist: ## build the program with fat LTO, which takes minutes: then make install PROFILE=dist
	$(CARGO) build --profile dist --locked --bins

install: $(BIN) ## install what is built below PREFIX; builds it if it is not
	@$(MAKE) --no-print-directory install-files

# Only where it is missing: what was built is what is installed.
$(BIN):
	$(CARGO) build --profile $(PROFILE) --locked --bins

# Nothing is put where somebody may have changed it: the ini files and the logrotate snippet are examples.
install-files: ## the same, and never builds: for root, who need not have cargo
	@test -x "$(BIN)" || { echo "there is no $(BIN): build it first, with cargo build --release" >&2; exit 1; }
	@test -x "$(BIN)-worker" || { echo "there is no $(BIN)-worker: build it first, with cargo build --release" >&2; exit 1; }
	@test -n "$(pages)" || { echo "there are no man pages in $(ASSETS): run cargo build --release first" >&2; exit 1; }
	$(INSTALL) -D -m 755 "$(BIN)" "$(DESTDIR)$(PREFIX)/bin/gm-native"
	$(INSTALL) -m 755 "$(BIN)-worker" "$(DESTDIR)$(PREFIX)/bin/gm-native-worker"
	$(INSTALL) -d "$(share)/man/man1"
	cd "$(ASSETS)" && $(INSTALL) -m 644 $(pages) "$(abspath $(share))/man/man1"
	$(INSTALL) -D -m 644 packaging/gm-native.ini.5 "$(share)/man/man5/gm-native.ini.5"
	$(INSTALL) -D -m 644 "$(ASSETS)/gm-native.bash" "$(share)/bash-completion/completions/gm-native"
	$(INSTALL) -D -m 644 "$(ASSETS)/_gm-native" "$(share)/zsh/site-functions/_gm-native"
	$(INSTALL) -D -m 644 "$(ASSETS)/gm-native.fish" "$(share)/fish/vendor_completions.d/gm-native.fish"
	$(INSTALL) -d "$(DESTDIR)$(PREFIX)/include"
	$(INSTALL) -m 644 plugin-api/include/* "$(DESTDIR)$(PREFIX)/include"
	$(INSTALL) -d "$(share)/pkgconfig"
	sed 's|^prefix=.*|prefix=$(PREFIX)|' packaging/gm-plugin.pc > "$(share)/pkgconfig/gm-plugin.pc"
	chmod 644 "$(share)/pkgconfig/gm-plugin.pc"
	$(INSTALL) -d "$(doc)/docs" "$(doc)/examples"
	$(INSTALL) -m 644 README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md LICENSE-APACHE LICENSE-MIT "$(doc)"
	find docs -type f -exec $(INSTALL) -D -m 644 {} "$(doc)/{}" \;
	$(INSTALL) -m 644 packaging/simple.ini packaging/advanced.ini packaging/gm-native.logrotate "$(doc)/examples"
	$(INSTALL) -m 755 packaging/gm-native.init "$(doc)/examples"
	$(INSTALL) -d "$(units)"
	for unit in gm-native.service gm-native@.service; do \
		sed 's|^ExecStart=/usr/local/|ExecStart=$(PREFIX)/|' packaging/$$unit > "$(units)/$$unit" && \
		chmod 644 "$(units)/$$unit" || exit 1; \
	done
	$(INSTALL) -D -m 644 packaging/gm-native.sysusers "$(sysusers)"

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/gm-native" "$(DESTDIR)$(PREFIX)/bin/gm-native-worker" "$(share)"/man/man1/gm-native.1 "$(share)"/man/man1/gm-native-*.1 \
		"$(share)/man/man5/gm-native.ini.5" \
		"$(share)/bash-completion/completions/gm-native" "$(share)/zsh/site-functions/_gm-native" \
		"$(share)/fish/vendor_completions.d/gm-native.fish" \
		"$(units)/gm-native.service" "$(units)/gm-native@.service" "$(sysusers)" \
		"$(share)/pkgconfig/gm-plugin.pc" \
		$(patsubst plugin-api/include/%,"$(DESTDIR)$(PREFIX)/include/%",$(wildcard plugin-api/include/*))
	rm -rf "$(doc)"

# The files of Debian's package that are not in the checkout as they are. cargo-deb takes them from there (Cargo.toml).
# Debian has licences in one file, and a place of its own for completions of zsh.
staged = target/deb

deb: ## build a Debian package, and one of its debug symbols, in target/debian
	$(CARGO) build --profile $(PROFILE) --locked --bins
	@$(MAKE) --no-print-directory deb-package

deb-package: ## the same of what is built
	@scripts/install-packaging-tools build
	rm -rf "$(staged)"
	@$(MAKE) --no-print-directory install-files DESTDIR="$(staged)" PREFIX=/usr
	rm "$(staged)"/usr/share/doc/gm-native/LICENSE-*
	mv "$(staged)/usr/share/zsh/site-functions" "$(staged)/usr/share/zsh/vendor-completions"
	$(CARGO) deb --no-build --locked --profile $(PROFILE) --dbgsym $(DEB_OPTIONS)

# What it is, in ten seconds after the build.
demo: ## show what it does, in ten seconds after the build
	@scripts/demo

# In this order: what is quickest to fail comes first. A sub-make each, so that -j does not mix them.
test: deps ## run all that has to pass
	@for part in fmt clippy doc doctest tests matrix deny; do \
		echo "== $$part"; $(MAKE) --no-print-directory $$part || exit 1; \
	done

test-all: test long ## run everything in make test, and the tests that take minutes

# What takes too long for everyday use: every system call of a real run fails once, in each kind of process; the Debian
# package is built, installed and upgraded.
long: deps ## run the tests that take minutes
	scripts/install-packaging-tools
	$(CARGO) test --locked --test behaviour failing_calls:: -- --ignored
	$(CARGO) test --locked --test packaging debian:: -- --ignored

# The peers that the tests talk to: gearmand, the gearman CLI, and the client libraries of users.
deps: ## install the programs that the tests talk to
	scripts/install-test-deps

fmt: ## check the format
	$(CARGO) fmt --all --check

clippy: ## run clippy
	$(CARGO) clippy --locked --workspace --all-targets --features gm-native/bench -- -D warnings

doc: ## build the documentation of the code
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --exclude gm-native --no-deps --quiet
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --package gm-native --no-deps --document-private-items --quiet

doctest: ## run the examples in it
	$(CARGO) test --locked --workspace --doc --quiet

tests: ## run the tests
	$(CARGO) test --locked --workspace --lib --bins --tests --examples

# Hosts and libraries of other builds: another gm-native is built for it, which takes minutes the first time.
matrix: ## test hosts and libraries of other builds; takes minutes
	$(CARGO) test --locked --test author matrix -- --ignored

deny: ## check licences and advisories
	scripts/check-dependencies

# Prints its seed: LEDGER_SEED repeats a run, as far as processes allow. LEDGER_JOBS and LEDGER_SECONDS make it shorter.
soak: deps ## run the ledger with 100,000 jobs, which takes an hour or more
	LEDGER_JOBS=$${LEDGER_JOBS:-100000} LEDGER_SECONDS=$${LEDGER_SECONDS:-28800} \
		$(CARGO) test --locked --test ledger nothing_is_lost_whatever_breaks -- --nocapture

# Every suite many times, on a quiet machine and beside busy loops: takes a night. HAMMER_SUITES, HAMMER_QUIET and
# HAMMER_BUSY choose less, as in: make hammer HAMMER_SUITES=compat HAMMER_BUSY=5 HAMMER_QUIET=0
hammer: deps ## run every suite many times; takes a night
	scripts/hammer-suites

# A million random steps over the supervisor's decisions: takes some minutes. The seed is printed.
walks: ## take a million random steps over the supervisor's decisions
	GM_WALK_STEPS=1000000 $(CARGO) test --locked --lib random_walks -- --nocapture

# Prints the seed of the moments at which managers are killed: GM_KILL_SEED repeats them.
deaths: deps ## let 10,000 workers die, and kill 200 managers; takes minutes
	$(CARGO) test --locked --test behaviour ten_thousand_deaths -- --ignored --nocapture
	$(CARGO) test --locked --test behaviour a_thousand_crashes -- --ignored --nocapture
	$(CARGO) test --locked --test behaviour two_hundred_that_are_killed -- --ignored --nocapture

# ROLLOUTS chooses how many. No rollout begins after ROLLOUTS_SECONDS.
rollouts: deps ## run 1,000 rollouts in a row under load, which takes some minutes
	ROLLOUTS=$${ROLLOUTS:-1000} $(CARGO) test --locked --test deploy rollouts_in_a_row -- --nocapture

# Every fuzz target for FUZZ_SECONDS. Needs a nightly toolchain and cargo-fuzz. What it finds lies in fuzz/artifacts: fix
# it, and copy the file into fuzz/corpus, which `make tests` runs.
FUZZ_SECONDS ?= 3600
fuzz_targets = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz: ## run every fuzz target for FUZZ_SECONDS (3600)
	@for target in $(fuzz_targets); do \
		mkdir -p "$(TARGET_DIR)/fuzz/$$target" && \
		$(CARGO) +nightly fuzz run $$target "$(TARGET_DIR)/fuzz/$$target" fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=20 || exit 1; \
	done

# Needs a nightly toolchain with rust-src and miri. The plugin interface's tests run whole, but for the one that starts a
# process. Leaks are expected: a panic's payload whose destructor panics is lost on purpose.
miri_tests = forwarding function interface json levels settings
miri: ## run the plugin interface's tests under Miri; takes some minutes
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" \
		$(CARGO) +nightly miri test --locked --package gm-plugin-api --lib $(addprefix --test ,$(miri_tests))

# The same tests as `make tests`, with what the sanitizers check. Tests that have cargo build a plugin fail: it refuses to mix
# code with and without a sanitizer. -rdynamic gives the plugins the runtime that is in the program. Variables of the program stay
# as they are: a plugin whose entry has room around it is refused.
SANITIZER ?= address
SANITIZED ?= --lib
sanitize: deps ## run SANITIZED (--lib) with SANITIZER (address, thread)
	CARGO_TARGET_DIR="$(TARGET_DIR)/$(SANITIZER)" RUSTFLAGS="-Zsanitizer=$(SANITIZER) -Clink-arg=-rdynamic -Cllvm-args=-asan-globals=0" \
		ASAN_OPTIONS="detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0" \
		$(CARGO) +nightly test --locked -Zbuild-std --target $(shell rustc -vV | sed -n 's/^host: //p') \
		--package gm-native $(SANITIZED)

# gm-native beside a loop on libgearman, one on php-gearman, GearmanManager if GEARMAN_MANAGER_DIR names a checkout, and raw
# loops as limits: takes half an hour. BENCH_OUT names a directory for the tables and pictures.
bench: deps ## measure gm-native beside the other ways to serve a function; takes half an hour
	$(CARGO) bench --locked --bench workers -- $(if $(BENCH_OUT),out=$(abspath $(BENCH_OUT)))

bench-quick: deps ## the same in two minutes
	$(CARGO) bench --locked --bench workers -- quick $(if $(BENCH_OUT),out=$(abspath $(BENCH_OUT)))

# What deploys cost the jobs that run meanwhile, on the real gearmand.
bench-deploy: deps ## measure what a deploy costs
	$(CARGO) bench --locked --bench deploy

# What the log costs, as shares of the rate without it.
bench-logging: deps ## measure what logging costs
	$(CARGO) bench --locked --bench logging

clean: ## remove what was built
	$(CARGO) clean
