# What one does with this project. `make demo` and `make test` need nothing but Debian (or a relative
# of it) with a Rust toolchain: they install what is missing, and say so.

CARGO ?= cargo
FEATURES = --all-features

.PHONY: all demo test judges proof bench fmt lint doc clean setup

all: test

## Plays a test stream through the local endpoint, the AWS SDK and the library, into out/.
demo: setup
	$(CARGO) build $(FEATURES) --example quickstart
	$(CARGO) run -q $(FEATURES) --example quickstart -- --out out/camera
	@if [ -n "$$KVS_CAPTURES" ]; then for file in "$$KVS_CAPTURES"/*.mkv; do \
		echo; echo "$$(basename "$$file"), served by the local endpoint:"; \
		$(CARGO) run -q $(FEATURES) --example quickstart -- --file "$$file" --out "out/$$(basename "$$file" .mkv)" || exit 1; \
	done; fi

## All tests, those in the documentation included.
test: setup
	$(CARGO) test $(FEATURES)

## Asks boto3 and ebmlite, which we did not write, what they think of the local endpoint.
judges: setup
	.ci/setup python3-venv
	python3 -m venv target/judges
	target/judges/bin/pip install -q boto3 ebmlite
	KVS_JUDGES="$$PWD/target/judges/bin/python" $(CARGO) test $(FEATURES) --test it judges:: -- --nocapture

## The same with far more random rounds; what takes longer than the suite may.
proof: setup
	KVS_ROUNDS=200 PROPTEST_CASES=20000 $(CARGO) test --release $(FEATURES) --lib --test it

## Costs, as ratios to a floor measured in the same run.
bench:
	$(CARGO) bench $(FEATURES)

fmt:
	$(CARGO) fmt

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy $(FEATURES) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(FEATURES) --no-deps

clean:
	$(CARGO) clean
	rm -rf out

setup:
	@.ci/setup
