# The verbs of the project. Each installs what it needs (scripts/prerequisites), and asks nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(PATH):/opt/swift/usr/bin:/usr/sbin:/sbin

# Swift files of ours. Build products and fetched packages are not.
SWIFT_FILES = git ls-files -z --cached --others --exclude-standard '*.swift'
# Where install puts things; both are absolute paths.
PREFIX ?= /usr/local
DESTDIR ?=
# Arguments of fabricbench: make bench ARGS="lat --transport shm --size 8"
ARGS ?=

.PHONY: help build bench sim test test-c test-rdma install uninstall lint format fuzz docs clean

help: ## List the verbs.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build everything, optimised.
	@scripts/prerequisites build
	swift build -c release

bench: ## Build optimised and run fabricbench: the default suite, or ARGS="lat --transport shm --size 8".
	@scripts/prerequisites bench
	swift build -c release --product fabricbench
	@"$$(swift build -c release --show-bin-path)/fabricbench" $(ARGS)

# Seeds of make sim: how many, and the first.
SEEDS ?= 100000
SEED ?= 1

sim: ## Sweep SEEDS=100000 simulated clusters, on all CPUs; a failing seed prints the command that replays it.
	@scripts/prerequisites bench
	swift build -c release --product fabricbench
	@scripts/sweep "$$(swift build -c release --show-bin-path)/fabricbench" $(SEED) $(SEEDS)

test: ## Build and run all tests, those on two hosts too, and count those that were skipped.
	@scripts/prerequisites test
	@scripts/test
	@Tests/network/run

test-rdma: ## Build and run the tests that need RDMA, in a guest whose kernel has Soft-RoCE.
	@scripts/prerequisites test-rdma
	swift build --build-tests
	swift build -c release
	scripts/link-library .build/library
	clang -ISources/CRayFabric/include $(filter-out %/layout.c,$(wildcard Tests/CInterface/*.c)) \
		-o .build/library/c-interface .build/library/librayfabric.a -luring -lstdc++ -lm -ldl -lpthread
	@Tests/rdma/run

test-c: ## Install the C interface into a folder of its own, and build and run its tests and examples there.
	@scripts/prerequisites test-c
	@scripts/test-c

install: ## Install librayfabric and fabricbench in PREFIX (/usr/local), below DESTDIR.
	@scripts/prerequisites install
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install install

uninstall: ## Remove what install has put there.
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install uninstall

lint: ## Check the format of all Swift files; a warning is an error.
	@scripts/prerequisites lint
	$(SWIFT_FILES) | xargs -0 swift format lint --strict --parallel

format: ## Format all Swift files in place.
	@scripts/prerequisites format
	$(SWIFT_FILES) | xargs -0 swift format --in-place --parallel

fuzz: ## Fuzz the decoders for a short time each.
	@scripts/prerequisites fuzz
	Fuzz/run

docs: ## Build the documentation as a static site in docs/site.
	@scripts/prerequisites docs
	@scripts/documentation

clean: ## Remove everything that was built.
	rm -rf .build Bench/.build Fuzz/.build docs/site
