# Each target has one line of help; "make" prints them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO      ?= go
CACHE   ?= $(HOME)/.cache/outrigger
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
# Without the tag gRPC brings in templates, and the linker keeps every method of
# every message: 10 MB more binary, 6 MB more memory.
TAGS    := grpcnotrace
LDFLAGS := -s -w -X main.version=$(VERSION)

LINT_VERSION := v2.15.0
LINT := $(CACHE)/tools/golangci-lint-$(LINT_VERSION)/golangci-lint

# The packages that need no root; the rest talks to a real istiod.
MESH = ./internal/testmesh/... ./internal/acceptance/... ./internal/conformance/... ./internal/demo/...
# Without this the tests of cmd/outrigger would compile the product once more, by
# its profile.
TEST_FLAGS = -pgo=off
UNIT = $(shell $(GO) list ./... | grep -v -e /internal/testmesh -e /internal/acceptance -e /internal/conformance -e /internal/demo)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: needs-mesh build ## bring up istiod and a small shop, and show what the sidecars do (KEEP=1 leaves it up)
	@KEEP=$(KEEP) OUTRIGGER_BIN_DIR=$(CURDIR)/bin $(GO) run ./internal/demo

.PHONY: test
test: needs-mesh needs-browser check mesh ## all tests: check, then those with a real istiod

.PHONY: check
check: fmt-check lint unit race ## format, lint, unit tests plain and with the race detector (both run the seeds of the fuzz targets)

.PHONY: build
build: ## build the static binaries into bin/
	@mkdir -p bin
	@echo 'building the sidecar (the first time this compiles its modules and takes a minute or two)'
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/outrigger ./cmd/outrigger-init

.PHONY: unit
unit: ## unit tests without the race detector (allocation and timing tests run here)
	$(GO) test $(TEST_FLAGS) $(UNIT)

.PHONY: race
race: needs-gcc ## unit tests with the race detector
	CGO_ENABLED=1 $(GO) test $(TEST_FLAGS) -race $(UNIT)

.PHONY: mesh
mesh: needs-mesh build ## tests with a real istiod and network namespaces (root)
	$(GO) run ./internal/testmesh/cmd/meshbuild
	OUTRIGGER_BIN_DIR=$(CURDIR)/bin $(GO) test $(TEST_FLAGS) -count=1 -p 1 -timeout 30m $(MESH)

.PHONY: bench
bench: bench-ready ## measure what a sidecar costs beside Envoy, HAProxy and nginx (QUICK=1: a quarter of an hour, JSON=file, CASE=names)
	$(BENCH) $(BENCH_FLAGS)

.PHONY: bench-check
bench-check: bench-ready ## measure in full, and fail where a figure misses its limit (FROM=file checks results that are there)
	$(BENCH) -check $(if $(FROM),-from $(FROM) -html '',$(BENCH_FLAGS))

BENCH = OUTRIGGER_BIN_DIR=$(CURDIR)/bin OUTRIGGER_ENVOY=$$(scripts/envoy) bin/meshbench -outrigger bin/outrigger
BENCH_FLAGS = $(if $(QUICK),-quick) $(if $(CASE),-case '$(CASE)') $(if $(JSON),-json $(JSON)) -html bin/bench.html

.PHONY: bench-ready
bench-ready: needs-mesh build
	@scripts/need haproxy:haproxy nginx:nginx-light
	@scripts/envoy >/dev/null
	$(GO) run ./internal/testmesh/cmd/meshbuild
	$(GO) build -o bin/meshbench ./internal/meshbench

.PHONY: pgo
pgo: build ## profile the sidecar under the benchmark, and keep the profile that builds use
	scripts/pgo bin/outrigger cmd/outrigger/default.pgo

.PHONY: twin
twin: needs-mesh build ## compare with a real Envoy under one istiod (ALTER=route, match, weight … has to fail, ALTER=all tries each, ONLY='outbound/*', ALL=1 prints all, UPDATE=1 records)
	$(GO) run ./internal/testmesh/cmd/meshbuild
	@envoy=$$(scripts/envoy); $(GO) run ./internal/twin/cmd/twin -envoy "$$envoy" -bin $(CURDIR)/bin $(if $(ALTER),-alter '$(ALTER)') $(if $(ONLY),-only '$(ONLY)') $(if $(ALL),-all) $(if $(UPDATE),-update)

.PHONY: h2spec
h2spec: needs-mesh build ## every case of h2spec against a running sidecar, both sides (root)
	$(GO) run ./internal/testmesh/cmd/meshbuild
	OUTRIGGER_BIN_DIR=$(CURDIR)/bin OUTRIGGER_MUST_MESH=1 $(GO) test -count=1 -v -run H2spec ./internal/conformance

.PHONY: lint
lint: $(LINT) ## golangci-lint
	$(LINT) run --allow-parallel-runners ./...

.PHONY: fmt
fmt: $(LINT) ## format all Go files
	$(LINT) fmt

.PHONY: fmt-check
fmt-check: $(LINT) ## fail where a file is not formatted
	@out=$$($(LINT) fmt --diff || true); if [ -n "$$out" ]; then echo "$$out"; echo 'run "make fmt"'; exit 1; fi

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION) (once, some minutes)"
	@GOBIN=$(dir $(LINT)) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (1m)
	@scripts/fuzz $(or $(FUZZTIME),1m)

.PHONY: deps
deps: ## list the modules that the product is built from
	@$(GO) list -deps -f '{{with .Module}}{{.Path}} {{.Version}}{{end}}' ./cmd/... | sort -u

.PHONY: clean
clean: ## remove what was built here (the cache of istiod and tools stays)
	rm -rf bin dist

.PHONY: needs-gcc needs-mesh needs-browser
needs-gcc:
	@scripts/need gcc:gcc
needs-mesh:
	@scripts/need ip:iproute2 iptables-restore:iptables ss:iproute2
needs-browser: # the benchmark's page is tested in a real one
	@scripts/need chromium:chromium
