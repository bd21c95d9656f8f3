# make install, make uninstall. Both walk the same list of SOURCE:DESTINATION pairs.
#
#   PREFIX/bin                       vmferry, the export server, vmferry-make-certs
#   PREFIX/share/vmferry             data the programs find from where they are
#   PREFIX/share/man/man1, man5      the manuals, compressed
#   PREFIX/share/bash-completion     completion of vmferry
#   PREFIX/lib/systemd/system        units of the export server
#   nbdkit's own directories         filters and plugin, whatever PREFIX is

bindir        := $(PREFIX)/bin
mandir        := $(PREFIX)/share/man
datadir       := $(PREFIX)/share/vmferry
completiondir := $(PREFIX)/share/bash-completion/completions
unitdir       := $(PREFIX)/lib/systemd/system

INSTALL_PROGRAMS := $(BUILD)/vmferry \
  $(foreach p,$(PLUGINS),$(if $(wildcard plugins/$(p)/server/*.c),$(BUILD)/nbdkit-$(p)-server)) \
  $(wildcard scripts/vmferry-*)
INSTALL_UNITS := $(wildcard plugins/*/server/*.service plugins/*/server/*.socket)

# FILES, DIRECTORY, MODE → words "file:directory/name:mode"
pairs = $(foreach f,$(1),$(f):$(2)/$(notdir $(f)):$(3))
INSTALL_PAIRS := \
  $(call pairs,$(INSTALL_PROGRAMS),$(bindir),755) \
  $(call pairs,$(FILTERS:%=$(BUILD)/nbdkit-%-filter.so),$(NBDKIT_FILTERDIR),755) \
  $(call pairs,$(PLUGINS:%=$(BUILD)/nbdkit-%-plugin.so),$(NBDKIT_PLUGINDIR),755) \
  $(foreach s,1 5,$(call pairs,$(filter %.$(s),$(MANUALS)),$(mandir)/man$(s),644)) \
  $(call pairs,$(wildcard share/vmferry/*),$(datadir),644) \
  $(call pairs,$(wildcard completions/*),$(completiondir),644) \
  $(call pairs,$(INSTALL_UNITS),$(unitdir),644)

install: all
	@[ -n "$(NBDKIT_FILTERDIR)" ] && [ -n "$(NBDKIT_PLUGINDIR)" ] || \
	  { echo "pkg-config does not know nbdkit's directories: run 'make deps' first" >&2; exit 1; }
	@set -e; for pair in $(INSTALL_PAIRS); do \
	  IFS=: read -r from to mode <<< "$$pair"; \
	  install -D -m "$$mode" "$$from" "$(DESTDIR)$$to"; \
	done
	@gzip -9nf $(foreach m,$(MANUALS),"$(DESTDIR)$(mandir)/man$(patsubst .%,%,$(suffix $(m)))/$(notdir $(m))")
	@echo "installed $(words $(INSTALL_PAIRS)) files: $(DESTDIR)$(PREFIX), $(DESTDIR)$(NBDKIT_FILTERDIR), $(DESTDIR)$(NBDKIT_PLUGINDIR)"

uninstall:
	@set -e; for pair in $(INSTALL_PAIRS); do \
	  IFS=: read -r from to mode <<< "$$pair"; \
	  rm -f "$(DESTDIR)$$to" "$(DESTDIR)$$to.gz"; \
	done
	@rmdir "$(DESTDIR)$(datadir)" 2>/dev/null || true

install uninstall: SHELL := /bin/bash
.PHONY: install uninstall
