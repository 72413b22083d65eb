# The project's commands. `make demo` and `make test` need Debian, or a relative of it, with a Rust toolchain:
# they install the missing system packages and print which.

CARGO ?= cargo
FEATURES = --all-features
JUDGES = $(CURDIR)/target/judges
FUZZ_SECONDS = 60

.PHONY: all demo test judges judges-installed proof bench fmt lint doc api clean setup

all: test

## Plays a test stream through the local endpoint, the AWS SDK and the library. Writes to out/: each fragment as MKV,
## one picture in ten as JPEG, and a contact sheet of the pictures.
demo: setup
	$(CARGO) build $(FEATURES) --example quickstart --example frames_to_jpeg
	@set -e; play() { name="out/$$1"; shift; rm -rf "$$name" "$$name"-*; \
		$(CARGO) run -q $(FEATURES) --example quickstart -- "$$@" --out "$$name"; \
		cat "$$name"/*.mkv >"$$name-all.mkv"; \
		echo "One picture in ten:"; \
		$(CARGO) run -q $(FEATURES) --example frames_to_jpeg -- "$$name-all.mkv" --ratio 10 --concurrency 2 \
			--max-width 320 --out "$$name-pictures"; \
		[ -d "$$name-pictures" ] || return 0; \
		ffmpeg -v error -y -pattern_type glob -i "$$name-pictures/*.jpg" -frames:v 1 \
			-vf "tile=6x$$(( ($$(ls "$$name-pictures" | wc -l) + 5) / 6 )):padding=4" "$$name-sheet.jpg"; \
		echo "Contact sheet: $$name-sheet.jpg"; \
	}; \
	play camera; \
	if [ -n "$$KVS_CAPTURES" ]; then for file in "$$KVS_CAPTURES"/*.mkv; do \
		name="$$(basename "$$file" .mkv)"; echo; echo "$$name, served by the local endpoint:"; \
		play "$$name" --file "$$file"; \
	done; fi

## Runs all tests, those in the documentation included.
test: setup
	$(CARGO) test $(FEATURES)

## Checks the local endpoint with boto3, ebmlite and Pillow, and our client with moto: independent judges.
judges: judges-installed
	KVS_JUDGES="$(JUDGES)/bin/python" $(CARGO) test $(FEATURES) --test it judges:: -- --nocapture

judges-installed: setup
	.ci/setup python3-venv
	python3 -m venv $(JUDGES)
	$(JUDGES)/bin/pip install -q boto3 ebmlite av imageio 'moto[server]' pillow

## Runs what takes too long for the suite: more random rounds, a thousand live streams, ten minutes of faults over a
## hundred streams, each fuzz target for a minute, cargo-deny, and a build of the packaged crate.
proof: setup
	$(CARGO) build --release $(FEATURES) --examples
	KVS_ROUNDS=10 PROPTEST_CASES=2000 KVS_CORPUS="$$PWD/target/corpus" \
		$(CARGO) test --release $(FEATURES) --lib --test hostile --test it
	ulimit -n "$$(ulimit -H -n)" && $(CARGO) bench $(FEATURES) --bench soak
	$(CARGO) install -q cargo-fuzz --root target/tools
	for name in ebml_events fragment_chunks block_lacing round_trip; do \
		mkdir -p target/fuzz-$$name && RUSTC_BOOTSTRAP=1 target/tools/bin/cargo-fuzz run --fuzz-dir tests/fuzz $$name \
			target/fuzz-$$name target/corpus -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1 || exit 1; \
	done
	$(CARGO) install -q cargo-deny --locked --root target/tools
	target/tools/bin/cargo-deny --all-features --offline check licenses bans sources
	$(CARGO) package --quiet

## Measures costs, as ratios to a floor or a peer in the same run.
bench: judges-installed
	KVS_JUDGES="$(JUDGES)/bin/python" $(CARGO) bench $(FEATURES) --bench decode --bench path --bench frames --bench calls \
		--bench archive

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
