# How things are built; what can be made is in the Makefile.
#
# One rule a kind of thing, sources found by their place:
#   common/*.c                     → $(BUILD)/libcommon.a, linked into everything
#   filters/NAME/*.c               → $(BUILD)/nbdkit-NAME-filter.so
#   plugins/NAME/*.c               → $(BUILD)/nbdkit-NAME-plugin.so
#   plugins/NAME/server/*.c        → $(BUILD)/nbdkit-NAME-server
#   orchestrator/**/*.c            → $(BUILD)/vmferry
#   **/tests/test-*.c              → $(BUILD)/…/tests/test-* (cmocka), linked with all of
#                                    the folder's own code
#   orchestrator/**/tests/*.c      → $(BUILD)/…/tests/*, programs that tests drive
#   tests/fuzz/*.c                 → $(BUILD)/tests/fuzz/*, libFuzzer programs (clang)
#   bench/*.c                      → $(BUILD)/bench/*, programs of the benchmarks
#   **/*.pod, docs/man/*.pod       → $(BUILD)/man/*.N
#   sql/sqlite, sql/mariadb/*.sql  → tables in vmferry

FILTERS := $(patsubst filters/%/,%,$(sort $(dir $(wildcard filters/*/*.c))))
PLUGINS := $(patsubst plugins/%/,%,$(sort $(dir $(wildcard plugins/*/*.c))))

PACKAGES_common       := json-c
PACKAGES_filters      := nbdkit json-c libcurl
PACKAGES_plugins      := nbdkit json-c libnbd
PACKAGES_orchestrator := json-c libnbd sqlite3 libmariadb libxxhash inih libxml-2.0 libvirt libvirt-qemu \
                         libcurl gnutls libpng hivex
PACKAGES              := $(sort $(PACKAGES_common) $(PACKAGES_filters) $(PACKAGES_plugins) \
                           $(PACKAGES_orchestrator))

pkg_cflags = $(shell pkg-config --cflags $(1) 2>/dev/null)
pkg_libs   = $(shell pkg-config --libs $(1) 2>/dev/null)
# These goals build nothing by themselves, and may come before the packages are there.
BUILD_NOTHING := clean help deps demo check check-asan check-valgrind check-galera check-kill check-convert fuzz bench lint
ifneq ($(filter-out $(BUILD_NOTHING),$(or $(MAKECMDGOALS),all)),)
CFLAGS_packages := $(call pkg_cflags,$(PACKAGES))
LIBS_filters      := $(call pkg_libs,$(filter-out nbdkit,$(PACKAGES_filters)))
LIBS_plugins      := $(call pkg_libs,$(filter-out nbdkit,$(PACKAGES_plugins)))
LIBS_orchestrator := $(call pkg_libs,$(PACKAGES_orchestrator))
LIBS_tests        := $(call pkg_libs,$(filter-out nbdkit,$(PACKAGES))) -lcmocka
NBDKIT_FILTERDIR  := $(shell pkg-config --variable=filterdir nbdkit 2>/dev/null)
NBDKIT_PLUGINDIR  := $(shell pkg-config --variable=plugindir nbdkit 2>/dev/null)
endif

OPTIMIZE ?= -O2 -g
SANITIZE ?=
ifneq ($(SANITIZE),)
SANITIZE_FLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif

override CFLAGS += -std=gnu17 $(OPTIMIZE) -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wvla -fPIC -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -pthread \
  -Icommon -Iorchestrator -I$(BUILD) $(CFLAGS_packages) $(SANITIZE_FLAGS)
override LDFLAGS += -pthread -Wl,--as-needed $(SANITIZE_FLAGS)

# One short line a thing that is made; V=1 shows the commands.
run = $(if $(V),,@printf '  %-5s %s\n' $(1) $(@:$(BUILD)/%=%);)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

COMMON       := $(BUILD)/libcommon.a
ORCHESTRATOR := $(filter-out %/tests/%,$(shell find orchestrator -name '*.c' | sort))
TEST_SOURCES := $(sort $(shell find common filters plugins orchestrator tests -path '*tests/*test-*.c'))
TEST_PROGRAMS := $(sort $(shell find orchestrator -path '*/tests/*.c' ! -name 'test-*.c'))
TESTS        := $(patsubst %.c,$(BUILD)/%,$(TEST_SOURCES) $(TEST_PROGRAMS))
PODS         := $(sort $(shell find common filters plugins orchestrator docs -name '*.pod'))
# Files that people edit (*.conf) are in section 5 of the manual, all else in 1.
section       = $(if $(filter %.conf.pod,$(1)),5,1)
MANUALS      := $(foreach p,$(PODS),$(BUILD)/man/$(notdir $(p:.pod=)).$(call section,$(p)))

filters:  $(FILTERS:%=$(BUILD)/nbdkit-%-filter.so)
plugins:  $(PLUGINS:%=$(BUILD)/nbdkit-%-plugin.so)
programs: $(BUILD)/vmferry $(foreach p,$(PLUGINS),$(if $(wildcard plugins/$(p)/server/*.c),$(BUILD)/nbdkit-$(p)-server))
manuals:  $(MANUALS)
tests:    $(TESTS) $(BUILD)/early.so $(BUILD)/killer.so benchmarks
benchmarks: $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c)) $(BUILD)/orchestrator/replica/tests/export-grant

$(BUILD)/version.h: FORCE
	@mkdir -p $(@D)
	@echo '#define VMFERRY_VERSION "$(VERSION)"' | cmp -s - $@ || \
	  echo '#define VMFERRY_VERSION "$(VERSION)"' > $@

$(BUILD)/%.o: %.c | $(BUILD)/version.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# nbdkit's registering macros define a function that no header declares; clang minds.
$(BUILD)/filters/%.o $(BUILD)/plugins/%.o: override CFLAGS += -Wno-missing-prototypes

$(COMMON): $(call objects,$(wildcard common/*.c))
	@rm -f $@
	$(call run,AR)$(AR) rcs $@ $^

.SECONDEXPANSION:
$(BUILD)/nbdkit-%-filter.so: $$(call objects,$$(wildcard filters/$$*/*.c)) $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $^ $(LIBS_filters)

$(BUILD)/nbdkit-%-plugin.so: $$(call objects,$$(wildcard plugins/$$*/*.c)) $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $^ $(LIBS_plugins)

$(BUILD)/nbdkit-%-server: $$(call objects,$$(wildcard plugins/$$*/server/*.c)) $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_plugins)

# The schema travels inside the program.
MIGRATIONS := $(sort $(wildcard sql/*/*.sql))
$(BUILD)/sql/migrations.c: $(MIGRATIONS) scripts/embed-sql
	@mkdir -p $(@D)
	$(call run,SQL)scripts/embed-sql sql/sqlite sql/mariadb > $@.tmp && mv $@.tmp $@
$(BUILD)/sql/migrations.o: $(BUILD)/sql/migrations.c
	$(call run,CC)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libvmferry.a: $(call objects,$(filter-out orchestrator/main.c,$(ORCHESTRATOR))) $(BUILD)/sql/migrations.o
	@rm -f $@
	$(call run,AR)$(AR) rcs $@ $^

$(BUILD)/vmferry: $(BUILD)/orchestrator/main.o $(BUILD)/libvmferry.a $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_orchestrator)

# A unit test sees the orchestrator and common/; a filter's or plugin's test sees
# the parts of its own folder (but the file that registers with nbdkit), as an archive:
# what calls into nbdkit is linked only when a test uses it.
own_objects = $(call objects,$(filter-out %/$(notdir $(1)).c,$(wildcard $(1)/*.c)))
own_archive = $(if $(filter filters/% plugins/%,$(1)),$(BUILD)/$(patsubst %/tests/,%,$(dir $(1)))/own.a)
$(BUILD)/%/own.a: $$(call own_objects,$$*)
	@rm -f $@
	$(call run,AR)$(AR) rcs $@ $^

$(TESTS): $(BUILD)/%: $(BUILD)/%.o $$(call own_archive,$$*) $(BUILD)/libvmferry.a $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_tests)

# With CC=clang and SANITIZE=…,fuzzer-no-link: the library has the fuzzer's main().
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*.c))
fuzzers: $(FUZZERS)
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(wildcard tests/fuzz/mutator/*.c)) \
  $(BUILD)/libvmferry.a $(COMMON)
	$(call run,LINK)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_orchestrator)

# Loaded into nbdkit by the tests under sanitizers and valgrind.
$(BUILD)/early.so: tests/checked/early.c
	@mkdir -p $(@D)
	$(call run,LINK)$(CC) $(filter-out $(SANITIZE_FLAGS),$(CFLAGS)) -shared -o $@ $<

# Loaded into what the crash tests kill.
$(BUILD)/killer.so: tests/killer/killer.c
	@mkdir -p $(@D)
	$(call run,LINK)$(CC) $(filter-out $(SANITIZE_FLAGS),$(CFLAGS)) -shared -o $@ $<

$(BUILD)/bench/%: $(BUILD)/bench/%.o
	$(call run,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(call pkg_libs,libnbd)

define manual_rule
$(BUILD)/man/$(notdir $(1:.pod=)).$(call section,$(1)): $(1)
	@mkdir -p $$(@D)
	@podchecker -warnings -warnings $$< 2>$$@.log || { cat $$@.log; exit 1; }
	$$(call run,MAN)pod2man --section=$(call section,$(1)) --center="vmferry" --release="$(VERSION)" --name=$(notdir $(1:.pod=)) $$< $$@
endef
$(foreach p,$(PODS),$(eval $(call manual_rule,$(p))))

compile_commands.json: FORCE
	scripts/compile-commands > $@

include scripts/install.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# Objects that only a pattern rule names would be removed, and made again by the next make.
.SECONDARY:

FORCE:
.PHONY: filters plugins programs manuals tests fuzzers benchmarks FORCE
.DEFAULT_GOAL := all
