# Packages that test, quick, soak and bench look at.
PKGS ?= ./...
# Build tags of `make build`: pkcs11 adds keys in a hardware security module, and
# needs a C compiler, because the library of such a module is called through cgo.
TAGS ?=
# How long `make soak` spends on each fuzz target.
FUZZTIME ?= 30s
# The same for targets that hold us against another implementation (*Against*).
FUZZLONG ?= 10m

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

export PKGS FUZZTIME FUZZLONG

.DEFAULT_GOAL := help
.PHONY: help setup build test quick soak bench fmt clean

help: ## show this list
	@echo 'make TARGET [PKGS=./internal/store/...]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the checks need (Debian, as root), or say what is missing
	@scripts/setup

build: ## build ./bin/writ, one static binary, and ./bin/writ-envoy (TAGS=pkcs11: for keys in an HSM; not static)
	CGO_ENABLED=$(if $(filter pkcs11,$(TAGS)),1,0) go build -tags '$(TAGS)' -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/writ ./cmd/writ-envoy

test: ## run every check: set-up, gofmt, vet, static analysis, known vulnerabilities, race tests on both databases, in a browser and behind proxies
	@scripts/test

quick: ## run vet and the short tests, on SQLite only; for while you work
	@go vet $(PKGS)
	@env -u WRIT_TEST_POSTGRES -u WRIT_TEST_CHROMIUM -u WRIT_TEST_NGINX -u WRIT_TEST_HAPROXY -u WRIT_TEST_CADDY -u WRIT_TEST_ENVOY -u WRIT_TEST_REQUIRE go test -short -timeout 80s $(PKGS)
	@echo 'Left out: race detector, PostgreSQL, browser, proxies, static analysis and long tests. "make test" runs all.'

soak: ## run the long tests: soak, kill, and each fuzz target for FUZZTIME or FUZZLONG
	@scripts/soak

bench: ## measure: writ bench, the gateway beside other people's, then the Go benchmarks
	go run ./cmd/writ bench
	scripts/bench-gateways
	go test -run '^$$' -bench . -benchmem $(PKGS)

fmt: ## format all Go files
	@gofmt -s -w .

clean: ## remove what make built
	@rm -rf bin
