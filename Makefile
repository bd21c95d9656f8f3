# vmferry: what can be made. `make help` prints this page's targets.
#
#   make            build everything into build/
#   make demo       install what is needed, build, and move a real guest
#   make check      install what is needed and run every test, but for those of the next ones
#   make check-guests
#                   what else boots guests: drills, checks, stuck ones, hooks, other hosts, conversion
#   make check-galera
#                   the store on a cluster of three nodes, one of which is killed again and again
#   make check-kill kill -9 and power cuts, as in check, but more; KILLS=all: at every call
#   make check-convert
#                   the tests of conversions again, by virt-v2v: without KVM, half an hour
#   make bench      compare with nbdcopy, qemu-img and cp, in one run
#   make install    DESTDIR=, PREFIX=; filters and plugin go to nbdkit's own directories
#   make uninstall  with the same DESTDIR= and PREFIX=
#   make lint       format, shell scripts, and a build with clang
#   make check-asan, make check-valgrind
#                   every test under a sanitizer or valgrind
#   make fuzz       feed nonsense to what reads a server's answers; FUZZ_SECONDS=60 each
#   make compile_commands.json
#                   for clangd
#   make deps       install what is needed to build and test
#   make clean

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=

VERSION := $(shell git -c safe.directory='*' describe --always --dirty --tags 2>/dev/null || cat VERSION 2>/dev/null || echo unknown)

ifeq ($(origin CC),default)
CC := gcc
endif

# What needs packages is made by a second make, which sees them installed.
ready = +$(MAKE) --no-print-directory -j$(shell nproc)

include scripts/build.mk

all: filters plugins programs manuals

demo: deps
	$(ready) all
	scripts/demo

check: deps
	$(ready) all tests
	scripts/run-tests

check-asan: deps
	$(ready) BUILD=build-asan SANITIZE=address,undefined all tests
	BUILD=build-asan SANITIZE=address,undefined scripts/run-tests

check-valgrind: deps
	$(ready) all tests
	VALGRIND=1 scripts/run-tests

fuzz:
	@scripts/install-deps --fuzz
	$(ready) BUILD=build-fuzz CC=clang SANITIZE=address,undefined,fuzzer-no-link fuzzers
	scripts/fuzz

check-galera:
	@scripts/install-deps --galera
	$(ready) all tests
	tests/galera/check.sh

check-kill: deps
	$(ready) all tests
	KILLS=$${KILLS:-220} CUTS=$${CUTS:-20} KILL_SECONDS=36000 TEST_TIMEOUT=36000 scripts/run-tests \
	  tests/integration/test-jobs-kill.sh tests/integration/test-power-cut.sh

check-convert: deps
	$(ready) all tests
	CONVERSION=v2v TEST_TIMEOUT=10800 scripts/run-tests tests/integration/test-conversion.sh \
	  tests/e2e/long/test-conversion.sh

check-guests: deps
	$(ready) all tests
	scripts/run-tests tests/e2e/long/test-*.sh

bench: deps
	$(ready) all benchmarks
	bench/run

lint: deps
	scripts/lint

clean:
	rm -rf $(BUILD) build-asan build-clang build-fuzz compile_commands.json

deps:
	@scripts/install-deps

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

.PHONY: all demo check check-asan check-valgrind check-galera check-kill check-convert check-guests fuzz bench lint clean deps help
