# `make` builds the C core for every Lua whose headers are on this machine (LUA=luajit: for that one alone), each
# under build/ABI/, so that rebuild.lua works in place under any of them. `make help` lists the rest.

VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
BUILD ?= build
PREFIX ?= /usr/local
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
# The map keeps the name of this folder out of what is built here.
ALL_CFLAGS = -std=c11 $(CFLAGS) $(WARNINGS) $(WERROR) "-ffile-prefix-map=$(CURDIR)=." -fPIC -fvisibility=hidden -pthread -DREVEC_VERSION='"$(VERSION)"' \
	$(shell pkg-config --cflags libcurl 2>/dev/null)
# nodelete: lua_close would otherwise unmap the code under our threads.
ALL_LDFLAGS = -shared -pthread -Wl,-z,nodelete $(LDFLAGS)
LIBS = $(shell pkg-config --libs libcurl 2>/dev/null || echo -lcurl) -lm

# The headers of each version of Lua's C interface. LuaJIT's is that of 5.1: one core serves both.
include_of = $(firstword $(foreach d,/usr/include/lua$(1) /usr/local/include/lua$(1) $(if $(filter 5.1,$(1)),/usr/include/luajit-2.1 /usr/local/include/luajit-2.1),$(if $(wildcard $(d)/lua.h),$(d))))
ifdef LUA
ABIS := $(shell $(LUA) -e 'print((_VERSION:match("%d+%.%d+")))')
else
ABIS := $(foreach v,5.1 5.2 5.3 5.4,$(if $(call include_of,$(v)),$(v)))
endif
CORES := $(ABIS:%=$(BUILD)/%/revec/core.so)

# What knows Lua is built once for each of its versions, the rest once.
LUA_SOURCES := src/core.c src/engine.c src/content.c src/walking.c src/workers.c src/system.c src/strings.c src/compat.c
SOURCES := $(filter-out $(LUA_SOURCES) src/absent.c,$(wildcard src/*.c))
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/obj/%.o)

# Modules beside the core: what of them knows Lua, the headers they need, their packages (Debian), how to link them.
MODULES := store describe digest
store_LUA := store records search
store_HEADERS := sqlite3.h
store_PACKAGES := libsqlite3-dev
store_LIBS := -lsqlite3
describe_LUA := describe
describe_HEADERS := gd.h jpeglib.h png.h
describe_PACKAGES := libgd-dev libjpeg-dev libpng-dev
describe_LIBS := -lgd -ljpeg -lpng -lm
digest_LUA := digest
digest_HEADERS := openssl/evp.h
digest_PACKAGES := libssl-dev
digest_LIBS := -lcrypto
# $(call built_from,module,lua version): its objects; without its libraries' headers a stand-in that says so.
has_headers = $(shell printf '$(hash)include <%s>\n' stdio.h $($(1)_HEADERS) | $(CC) $(ALL_CFLAGS) -E -x c - >/dev/null 2>&1 && echo yes)
hash := \#
$(foreach m,$(MODULES),$(eval $(m)_FOUND := $(call has_headers,$(m))))
lua_part = $($(1)_LUA:%=src/$(1)/%.c)
lua_free_part = $(filter-out $(lua_part),$(wildcard src/$(1)/*.c))
built_from = $(if $($(1)_FOUND),$(patsubst src/%.c,$(BUILD)/$(2)/obj/%.o,$(lua_part) src/compat.c) $(patsubst src/%.c,$(BUILD)/obj/%.o,$(lua_free_part)),$(BUILD)/$(2)/obj/absent_$(1).o)

.PHONY: all
all: $(CORES) $(foreach v,$(ABIS),$(MODULES:%=$(BUILD)/$(v)/revec/%.so))
ifeq ($(strip $(ABIS)),)
	@echo "revec: no Lua headers found (lua.h of 5.1 to 5.4 or LuaJIT): run 'make deps'" >&2; exit 1
endif

.PHONY: check-curl
check-curl:
	@echo '#include <curl/curl.h>' | $(CC) $(ALL_CFLAGS) -E -x c - >/dev/null 2>&1 || \
		{ echo "revec: libcurl's headers are missing: run 'make deps' (Debian: libcurl4-openssl-dev)" >&2; exit 1; }

$(BUILD)/obj/%.o: src/%.c $(wildcard src/*.h src/*/*.h) Makefile | check-curl
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

define core_rules
$(BUILD)/$(1)/obj/%.o: src/%.c $(wildcard src/*.h src/*/*.h) Makefile | check-curl
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -I$(or $(LUA_INCDIR),$(call include_of,$(1))) -c -o $$@ $$<
$(BUILD)/$(1)/revec/core.so: $(LUA_SOURCES:src/%.c=$(BUILD)/$(1)/obj/%.o) $(OBJECTS)
	@mkdir -p $$(@D)
	$$(CC) -o $$@ $$^ $$(ALL_LDFLAGS) $$(LIBS)
# The C functions that have no Lua face of their own, for their specs.
$(BUILD)/$(1)/obj/internals.o: spec/support/internals.c $(wildcard src/*.h) Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -Isrc -I$(or $(LUA_INCDIR),$(call include_of,$(1))) -c -o $$@ $$<
$(BUILD)/$(1)/revec/internals.so: $(BUILD)/$(1)/obj/internals.o $(BUILD)/$(1)/obj/compat.o $(OBJECTS)
	@mkdir -p $$(@D)
	$$(CC) -o $$@ $$^ $$(ALL_LDFLAGS) $$(LIBS)
# The core whose every call for memory, a descriptor or a thread can be made to fail.
$(BUILD)/$(1)/obj/failing.o: spec/support/failing.c $(wildcard src/*.h) Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -Isrc -I$(or $(LUA_INCDIR),$(call include_of,$(1))) -c -o $$@ $$<
$(BUILD)/$(1)/revec/failing.so: $(BUILD)/$(1)/obj/failing.o $(LUA_SOURCES:src/%.c=$(BUILD)/$(1)/obj/%.o) $(OBJECTS)
	@mkdir -p $$(@D)
	$$(CC) -o $$@ $$^ $(FAILING:%=-Wl,--wrap=%) $$(ALL_LDFLAGS) $$(LIBS)
endef
FAILING := malloc calloc realloc strdup free open openat fcntl pipe2 opendir fdopendir pthread_create curl_global_init
$(foreach v,$(ABIS),$(eval $(call core_rules,$(v))))

define module_rules
$(BUILD)/$(2)/obj/absent_$(1).o: src/absent.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -I$(or $(LUA_INCDIR),$(call include_of,$(2))) -DRV_MODULE=$(1) \
		'-DRV_ABSENT="revec.$(1): built without its libraries: install $($(1)_PACKAGES) (names as in Debian) and run make again"' -c -o $$@ $$<
$(BUILD)/$(2)/revec/$(1).so: $(call built_from,$(1),$(2))
	@mkdir -p $$(@D)
	$$(CC) -o $$@ $$^ $$(ALL_LDFLAGS) $(if $($(1)_FOUND),$($(1)_LIBS))
endef
$(foreach m,$(MODULES),$(foreach v,$(ABIS),$(eval $(call module_rules,$(m),$(v)))))

.PHONY: internals
internals: $(ABIS:%=$(BUILD)/%/revec/internals.so) $(ABIS:%=$(BUILD)/%/revec/failing.so) $(if $(describe_FOUND),$(BUILD)/picture)

$(BUILD)/picture: spec/support/picture.c Makefile
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) $(WARNINGS) $(WERROR) -o $@ $< $(describe_LIBS)

# ---- what is needed, installed where it is missing (Debian) ----

BUILD_DEPS := gcc pkg-config libcurl4-openssl-dev lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev lua-cjson lua-argparse $(foreach m,$(MODULES),$($(m)_PACKAGES))
DEMO_DEPS := $(BUILD_DEPS) nginx libnginx-mod-http-lua curl procps
TEST_DEPS := $(DEMO_DEPS) lua-busted lua-socket lua-sec lua-luv lua-cqueues lua-dbi-sqlite3 lua-dbi-postgresql lua5.1 liblua5.1-0-dev luarocks bsdutils openssl iproute2 nftables
LINT_DEPS := clang cppcheck lua-check

# $(call install,packages): those of them that are not installed.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then \
	command -v apt-get >/dev/null || { echo "revec: install these first (names as in Debian):" $$missing >&2; exit 1; }; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo "installing:" $$missing; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
fi
endef

# Databases that the specs of indexes ask where they are there (npm packages, half a gigabyte): installed once, and again when
# their versions change.
SERVICES := $(BUILD)/services/installed
SERVICE_FILES := $(addprefix spec/services/,package.json package-lock.json .npmrc events.mjs)
$(SERVICES): $(SERVICE_FILES)
	$(if $(shell command -v npm),,$(call install,nodejs npm))
	@echo "installing what the specs of indexes ask (npm; takes minutes)"
	@mkdir -p $(@D)
	@cp $(SERVICE_FILES) $(@D)
	@cd $(@D) && npm ci --loglevel=error >/dev/null
	@# An empty database, as its making takes longer than the specs.
	@cd $(@D) && rm -rf postgresql && node --input-type=module -e \
		'import { PGlite } from "@electric-sql/pglite"; await (await PGlite.create("postgresql")).close(); process.exit()'
	@touch $@

.PHONY: deps deps-demo deps-test deps-services
deps: deps-test deps-services
	$(call install,$(LINT_DEPS))
deps-demo:
	$(call install,$(DEMO_DEPS))
deps-test:
	$(call install,$(TEST_DEPS))
deps-services: $(SERVICES)

# ---- to see it work ----

RENDER_SOURCES := $(wildcard examples/images/*.c)
$(BUILD)/render: $(RENDER_SOURCES) $(wildcard examples/images/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) $(WARNINGS) $(WERROR) -o $@ $(RENDER_SOURCES) -lgd -lm

# The rules know which Luas there are only in a make that starts after deps have installed them.
.PHONY: demo
demo: deps-demo
	@$(MAKE) --no-print-directory -s all $(BUILD)/render
	@BUILD=$(BUILD) examples/demo

.PHONY: test
test: deps-test
	@$(MAKE) --no-print-directory -s all internals $(BUILD)/render
	@spec/run

# ---- longer, and apart ----

FUZZ_SECONDS ?= 600
FUZZERS := $(patsubst spec/fuzz/%.c,%,$(wildcard spec/fuzz/*.c))
.PHONY: fuzz
fuzz: deps-test
	$(call install,clang libclang-rt-14-dev)
	@mkdir -p build-fuzz
	@for f in $(FUZZERS); do \
		clang -std=c11 -O1 -g -pthread -fsanitize=fuzzer,address,undefined -DREVEC_VERSION='""' -Isrc -I$(call include_of,5.4) \
			-o build-fuzz/$$f spec/fuzz/$$f.c $(LUA_SOURCES) $(SOURCES) -llua5.4 -lcurl -lm && mkdir -p build-fuzz/$$f.corpus && \
		build-fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -len_control=0 -max_len=6000 -print_final_stats=1 -artifact_prefix=build-fuzz/ \
			$$(test ! -f spec/fuzz/$$f.dict || echo -dict=spec/fuzz/$$f.dict) build-fuzz/$$f.corpus || exit 1; done

# All specs of revec, the commands that they start included, under ASan with UBSan and LSan, then under TSan; not those of
# what runs in programs that cannot take a sanitizer.
SANITIZE_LUA ?= lua5.4
SANITIZE_SPECS := spec/core spec/embedders spec/indexes $(filter-out $(foreach s,support demo install openresty examples long/openresty,spec/$(s)_spec.lua),$(wildcard spec/*_spec.lua spec/long/*_spec.lua))
sanitize_run = REVEC_BUILD=build-$(1) LD_PRELOAD=$$($(CC) -print-file-name=lib$(1).so) $(2) $(SANITIZE_LUA) /usr/bin/busted -p _spec $(SANITIZE_SPECS)
.PHONY: sanitize
sanitize: deps-test
	@$(MAKE) --no-print-directory -s BUILD=build-asan CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' LDFLAGS='-fsanitize=address,undefined' all internals build-asan/render
	@$(MAKE) --no-print-directory -s BUILD=build-tsan CFLAGS='-O1 -g -fsanitize=thread' LDFLAGS='-fsanitize=thread' all internals build-tsan/render
	$(call sanitize_run,asan,ASAN_OPTIONS=detect_leaks=1 REVEC_FAILING=1)
	$(call sanitize_run,tsan)

SOAK_MINUTES ?= 30
.PHONY: soak
soak: deps-test
	@$(MAKE) --no-print-directory -s all internals
	@SOAK_MINUTES=$(SOAK_MINUTES) REVEC_REQUESTS=100000 REVEC_KILLS=200 REVEC_FILES=1000000 REVEC_NAMES=1 \
		REVEC_CYCLES=1000 REVEC_RELOADS=50 spec/run spec/long

# The specs of indexes with the databases that can be had here: a real Chroma, a real PostgreSQL with pgvector, Prism for Qdrant.
.PHONY: test-services
test-services: deps-test deps-services
	@$(MAKE) --no-print-directory -s all internals $(BUILD)/render
	@for lua in lua5.4 luajit; do REVEC_LUA=$$lua spec/run spec/indexes || exit 1; done

# What `make test` leaves out: the other Luas, and the whole suite with the JIT off.
.PHONY: compat
compat:
	$(call install,$(TEST_DEPS) lua5.2 liblua5.2-dev lua5.3 liblua5.3-dev)
	@$(MAKE) --no-print-directory -s all internals $(BUILD)/render
	@for lua in lua5.1 lua5.2 lua5.3; do REVEC_LUA=$$lua spec/run spec/core spec/store_spec.lua spec/describe_spec.lua spec/digest_spec.lua spec/workers_spec.lua || exit 1; done
	@REVEC_LUA="luajit -joff" spec/run spec

.PHONY: lint
lint:
	$(call install,$(LINT_DEPS))
	@for cc in gcc clang; do \
		$(MAKE) --no-print-directory -s BUILD=build-lint-$$cc CC=$$cc WERROR=-Werror all internals build-lint-$$cc/render || exit 1; done
	cppcheck -q --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem -Isrc -DREVEC_VERSION='""' -DRV_MODULE=store -DRV_ABSENT='""' src examples/images bench spec/support
	luacheck -q .

# ---- installing: make install [PREFIX=/usr/local] [LUA=lua5.4] ----

INSTALL_ABI = $(firstword $(if $(LUA),$(ABIS),$(lastword $(ABIS))))
LUADIR ?= $(PREFIX)/share/lua/$(INSTALL_ABI)
LIBDIR ?= $(PREFIX)/lib/lua/$(INSTALL_ABI)
BINDIR ?= $(PREFIX)/bin
LUA_FILES := $(shell cd lua && find revec -name '*.lua')

.PHONY: install uninstall
install: $(patsubst %,$(BUILD)/$(INSTALL_ABI)/revec/%.so,core $(MODULES))
	@for f in $(LUA_FILES); do install -D -m 644 lua/$$f "$(DESTDIR)$(LUADIR)/$$f" || exit 1; done
	@for f in $(^F); do install -D $(<D)/$$f "$(DESTDIR)$(LIBDIR)/revec/$$f" || exit 1; done
	@mkdir -p "$(DESTDIR)$(BINDIR)"
	@{ echo '#!$(or $(shell command -v $(or $(LUA),lua$(INSTALL_ABI))),/usr/bin/env lua$(INSTALL_ABI))'; \
	   $(if $(ROCK),,echo 'package.path = "$(LUADIR)/?.lua;$(LUADIR)/?/init.lua;" .. package.path'; \
	   echo 'package.cpath = "$(LIBDIR)/?.so;" .. package.cpath';) \
	   echo 'os.exit(require "revec.main" (arg), true)'; } > "$(DESTDIR)$(BINDIR)/revec"
	@chmod 755 "$(DESTDIR)$(BINDIR)/revec"

# What luarocks runs: it knows nothing of the system's packages, so what it cannot know is said here.
.PHONY: rock
rock: all
	@for m in cjson argparse; do $(LUA) -e "require '$$m'" 2>/dev/null || \
		echo "revec: $$m is not there for $(LUA): install it before the first run (Debian: lua-$$m)" >&2; done

uninstall:
	rm -rf "$(DESTDIR)$(LUADIR)/revec" "$(DESTDIR)$(LIBDIR)/revec" "$(DESTDIR)$(BINDIR)/revec"

# ---- the rest ----

.PHONY: docs
docs: all
	lua5.4 doc/generate.lua > doc/options.md

.PHONY: help
help:
	@echo "make            the C core, for every Lua with headers here (LUA=luajit: that one)"
	@echo "make demo       installs what is missing, then shows a whole run on real images"
	@echo "make test       installs what is missing, then runs every spec"
	@echo "make compat     the core's specs under Lua 5.1 to 5.3, all specs with the JIT off"
	@echo "make test-services  the specs of indexes with real databases, from npm: half a gigabyte"
	@echo "make lint       compilers' warnings, cppcheck, luacheck"
	@echo "make fuzz       what is read from outside, under libFuzzer, FUZZ_SECONDS=600 each"
	@echo "make sanitize   revec's specs under ASan, UBSan, LSan and TSan; SANITIZE_LUA=luajit"
	@echo "make soak       the long specs at full length: SOAK_MINUTES=30, 100,000 requests, 200 kills, a million files"
	@echo "make install    PREFIX=/usr/local LUA=lua5.4; make uninstall takes it away again"
	@echo "make docs       doc/options.md from the table of options"
	@echo "make clean      removes what was built"

.PHONY: clean
clean:
	rm -rf build build-*
