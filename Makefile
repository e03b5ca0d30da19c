# `make test` is what has to pass; the parts can be run alone. Cargo does the building.

CARGO ?= cargo
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: build demo test deps fmt clippy doc doctest tests matrix deny bench-deploy bench-logging clean

build:
	$(CARGO) build --release --locked

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
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

doctest:
	$(CARGO) test --locked --workspace --doc --quiet

tests:
	$(CARGO) test --locked --workspace --lib --bins --tests --examples

# Hosts and libraries of other builds: another gm-native is built for it, which takes minutes the first time.
matrix:
	$(CARGO) test --locked --test author matrix -- --ignored

deny:
	scripts/check-dependencies

# What deploys cost the jobs that run meanwhile, on the real gearmand.
bench-deploy: deps
	$(CARGO) bench --locked --bench deploy

# What the log costs, as shares of the rate without it.
bench-logging: deps
	$(CARGO) bench --locked --bench logging

clean:
	$(CARGO) clean
