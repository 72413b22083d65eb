# The project's commands. `make demo` and `make test` need Debian, or a relative of it, with a Rust toolchain:
# they install the missing system packages and print which.

CARGO ?= cargo
FEATURES = --all-features
JUDGES = $(CURDIR)/target/judges
FUZZ_SECONDS = 60

.PHONY: all demo test judges judges-installed players dynalite proof bench fmt lint doc api clean setup

all: test

## Shows the command kvs on streams that it serves itself: tailed, saved, as pictures, as sound, and plotted, into out/.
demo: setup
	CARGO="$(CARGO)" .ci/demo $(FEATURES)

## Runs all tests, those in the documentation included.
test: setup
	$(CARGO) test $(FEATURES)

## Checks the local endpoint with boto3, ebmlite, Pillow, hls.js and dash.js, our client with moto, recordings with
## mkvmerge and pymp4, and examples/deploy with kubernetes-validate, botocore and parliament: independent judges.
judges: judges-installed players
	KVS_JUDGES="$(JUDGES)/bin/python" $(CARGO) test $(FEATURES) --test it -- \
		judges:: recordings:: viewer:: playback::browser:: --nocapture

judges-installed: setup
	.ci/setup chromium curl mkvtoolnix python3-venv
	python3 -m venv $(JUDGES)
	$(JUDGES)/bin/pip install -q boto3 ebmlite av imageio kubernetes-validate 'moto[server]' \
		parliament pillow pymp4 'setuptools<81'

## Installs a browser and the players of HLS and DASH that are judges too.
players:
	.ci/setup chromium
	command -v npm >/dev/null || .ci/setup npm
	npm install --silent --no-audit --no-fund --prefix target/players hls.js@1 dashjs@5

## Installs an implementation of DynamoDB whose process can be killed.
dynalite:
	command -v npm >/dev/null || .ci/setup npm
	npm install --silent --no-audit --no-fund --prefix target/dynalite dynalite@4

## Runs what takes too long for the suite: more random rounds, players in a browser, a range in shards that Slurm starts, a
## thousand live streams, ten minutes of faults over a hundred streams, fleets of eight workers that are killed and paused, a
## fleet on PostgreSQL, fifty cameras put and watched, a day of media in one file, each fuzz target for a minute, cargo-deny,
## and a build of the packaged crate.
proof: setup players dynalite
	.ci/setup faketime postgresql
	$(CARGO) build --release $(FEATURES) --examples --bin kvs
	ulimit -n "$$(ulimit -H -n)" && KVS_POSTGRES=1 KVS_ROUNDS=10 PROPTEST_CASES=2000 KVS_CORPUS="$$PWD/target/corpus" \
		$(CARGO) test --release $(FEATURES) --lib --test hostile --test it
	.ci/setup munge slurm-wlm
	tests/slurm target/release/kvs
	ulimit -n "$$(ulimit -H -n)" && $(CARGO) bench $(FEATURES) --bench soak
	$(CARGO) bench $(FEATURES) --bench watched
	$(CARGO) bench $(FEATURES) --bench day
	$(CARGO) install -q cargo-fuzz --root target/tools
	for name in ebml_events fragment_chunks block_lacing put_media_cuts round_trip; do \
		mkdir -p target/fuzz-$$name && RUSTC_BOOTSTRAP=1 target/tools/bin/cargo-fuzz run --fuzz-dir tests/fuzz $$name \
			target/fuzz-$$name target/corpus -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1 || exit 1; \
	done
	$(CARGO) install -q cargo-deny --locked --root target/tools
	target/tools/bin/cargo-deny --all-features --offline check licenses bans sources
	$(CARGO) package --quiet

## Measures costs, as ratios to a floor or a peer in the same run.
bench: judges-installed
	KVS_JUDGES="$(JUDGES)/bin/python" $(CARGO) bench $(FEATURES) --bench decode --bench path --bench frames --bench calls \
		--bench archive --bench remux --bench start

fmt:
	$(CARGO) fmt

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy $(FEATURES) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(FEATURES) --no-deps

## Renews tests/public-api.txt, the list of the public API that `.ci/run` compares.
api:
	rm -rf target/doc/kinesis_video
	$(CARGO) doc $(FEATURES) --no-deps
	.ci/public-api --write

clean:
	$(CARGO) clean
	rm -rf out

setup:
	@.ci/setup
