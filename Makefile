# `make` lists the targets. `make run` and `make test` do the set-up they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The local control plane is a module of its own. What works on it shares these
# settings with its build: Kubernetes compiles once, not once for each.
PLANE := cmd/kubebyon-localplane
IN_PLANE := cd $(PLANE) && CGO_ENABLED=0 GOFLAGS='$(strip $(shell go env GOFLAGS) -trimpath)'
KUBERNETES := $(shell sed -n 's|^.*k8s.io/kubernetes v||p' $(PLANE)/go.mod)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
BUILD := CGO_ENABLED=0 go build -trimpath
STAMP = -X $(1).version=$(VERSION) -X $(1).commit=$(COMMIT)
LDFLAGS := -s -w $(call STAMP,main)
K8S := k8s.io/component-base/version
K8S_LDFLAGS := -X $(K8S).gitVersion=v$(KUBERNETES) -X $(K8S).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES))) \
	-X $(K8S).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES)))

# The race detector needs a C compiler.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# Where the tests find PostgreSQL and RabbitMQ. These are there now, so that a
# test which misses one fails (CI) instead of being skipped.
SERVICES := env=$$(.ci/testservices) && eval "$$env" && export CI=$${CI:-true} &&
# Nobody debugs the tests' programs: without symbols they link in two thirds of the time.
STRIPPED := -ldflags='-s -w'
# SQLite is C made into Go: watched for races it takes three times as long, and tells nothing of ours.
UNWATCHED := GOFLAGS="$$(go env GOFLAGS) -gcflags=modernc.org/...=-race=false"
# Begun first, so that the others run beside them.
LONGEST := ./cmd/acceptance ./cmd/kubebyon ./adapters/helmprovision ./adapters/bunstore ./adapters/kubetenant ./cmd/acceptance/browser
SCRIPTS := $(shell git ls-files -co --exclude-standard '*.sh' .ci/run .ci/testservices)
LINT := $(CURDIR)/.cache/bin/golangci-lint
VULNCHECK := $(CURDIR)/.cache/bin/govulncheck

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: run
run: export KUBEBYON_LOCALPLANE := $(CURDIR)/bin/kubebyon-localplane
run: bin/kubebyon bin/kubebyon-localplane ## Run the whole platform on this machine (ARGS='…' go to kubebyon dev)
	exec bin/kubebyon dev $(ARGS)

.PHONY: build
build: bin/kubebyon bin/kubebyon-worker bin/kubebyon-localplane ## Build the binaries into bin/

# Always asked of go, whose cache knows what is current.
.PHONY: bin/kubebyon bin/kubebyon-worker bin/kubebyon-localplane
bin/kubebyon bin/kubebyon-worker:
	$(BUILD) -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

bin/kubebyon-localplane:
	cd $(PLANE) && $(BUILD) -ldflags '-s -w $(K8S_LDFLAGS)' -o $(CURDIR)/$@ .

# One that suits the tenants' version: the machine's, or upstream's built here.
bin/kubectl: .ci/kubectl/go.mod
	@mkdir -p bin
	@if kubectl version --client 2>/dev/null | grep -qE '^Client Version: v1\.3[3-9]'; then ln -sf "$$(command -v kubectl)" $@; \
	else echo 'kubectl: none of 1.33 or later here, building one' && \
		cd .ci/kubectl && $(BUILD) -ldflags '-s -w $(K8S_LDFLAGS)' -o $(CURDIR)/$@ .; fi
	@touch -ch $@

.PHONY: images
images: ## Build the container images (IMAGE=kubebyon; the worker's has -worker behind it)
	@for target in server worker; do \
		suffix=$${target#server}; name='$(or $(IMAGE),kubebyon)'$${suffix:+-$$suffix}; \
		docker build -f deploy/Dockerfile --target $$target --build-arg VERSION='$(VERSION)' --build-arg COMMIT='$(COMMIT)' -t "$$name:$(VERSION)" .; \
	done

.PHONY: test
test: export KUBEBYON_LOCALPLANE := $(CURDIR)/bin/kubebyon-localplane
test: export KUBEBYON_KUBECTL ?= $(CURDIR)/bin/kubectl
test: build bin/kubectl shellcheck curl servers chromium ## Test everything, on real PostgreSQL, RabbitMQ and Kubernetes
	@$(if $(RACE),,echo 'No C compiler here: testing without the race detector')
	$(SERVICES) $(UNWATCHED) go test $(RACE) $(STRIPPED) -p 3 -count=1 -timeout 25m $(LONGEST) ./...
	$(SERVICES) $(if $(RACE),cd $(PLANE) &&,$(IN_PLANE)) go test $(RACE) $(STRIPPED) -count=1 -timeout 25m ./...

.PHONY: chaos
chaos: export KUBEBYON_LOCALPLANE := $(CURDIR)/bin/kubebyon-localplane
chaos: export KUBEBYON_CHAOS_KILLS ?= 30
chaos: export KUBEBYON_CHAOS_BLOWS ?= 140
chaos: build curl servers ## Kill all there is, again and again, and look for what was lost (KUBEBYON_CHAOS_KILLS, _BLOWS, _SEED)
	CI=$${CI:-true} go test $(RACE) -count=1 -v -timeout 40m -run '^TestAcknowledgedRequestsSurviveKills$$' ./cmd/kubebyon
	CI=$${CI:-true} go test $(RACE) -count=1 -v -timeout 60m -run '^TestNothingIsLostWhateverDies$$' ./cmd/acceptance

.PHONY: test-unit
test-unit: ## Test the rules and the reference adapters, in seconds
	go test -short ./core/... ./ports/... ./app/... ./adapters/mem... ./adapters/gobus ./adapters/keyseal

.PHONY: bench
bench: export KUBEBYON_LOCALPLANE := $(CURDIR)/bin/kubebyon-localplane
bench: export KUBEBYON_KUBECTL ?= $(CURDIR)/bin/kubectl
bench: bin/kubebyon-localplane bin/kubectl servers ## Run the benchmarks (BENCH=regexp, PKG=packages)
	$(SERVICES) go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -timeout 30m $(or $(PKG),./...)

# Each target in turn: go fuzzes one at a time. What breaks one is written to
# testdata/fuzz of its package, where every test run tries it again.
.PHONY: fuzz
fuzz: ## Fuzz every parser for a while (FUZZTIME=30s each, FUZZ=regexp of targets)
	@git grep -Eoh --full-name -H '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | grep -E '$(or $(FUZZ),.)' | while IFS=: read -r file name; do \
		dir=$${file%/*}; module=.; case "$$dir" in $(PLANE)/*) module=$(PLANE); dir=$${dir#$(PLANE)/};; esac; \
		echo "$$module/$$dir $${name#func }"; \
		(cd "$$module" && go test -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(or $(FUZZTIME),30s) "./$$dir") || exit 1; \
	done

.PHONY: generate
generate: ## Make the generated files anew
	go generate ./...

.PHONY: verify
verify: $(LINT) ## Check that generated files, go.mod files and formatting are current
	@tree() { git ls-files -co --exclude-standard -z | xargs -0 sha256sum 2>/dev/null || true; }; \
		before=$$(tree); $(MAKE) generate; \
		diff <(echo "$$before") <(tree) || { echo 'verify: generated files were stale; commit what make generate made'; exit 1; }
	go mod tidy -diff
	cd $(PLANE) && go mod tidy -diff
	$(LINT) fmt --diff
	cd $(PLANE) && $(LINT) fmt --diff

.PHONY: lint
lint: $(LINT) $(VULNCHECK) shellcheck ## Run the linters on both modules and on the scripts
	go vet ./...
	$(LINT) run ./...
	$(IN_PLANE) go vet ./...
	$(IN_PLANE) $(LINT) run ./...
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SCRIPTS); fi
	@set +e; out=$$(timeout 300 $(VULNCHECK) ./... 2>&1); rc=$$?; echo "$$out"; \
		case "$$out" in *'fetching vulnerabilities'*) echo 'lint: the vulnerability database is out of reach; not checked against it'; rc=0;; esac; exit $$rc

$(LINT) $(VULNCHECK) &: .ci/tools/go.mod .ci/tools/go.sum
	@echo 'Building the linters, once'
	cd .ci/tools && CGO_ENABLED=0 go build -o $(CURDIR)/.cache/bin/ tool
	@touch $(LINT) $(VULNCHECK)

# Machines join with it, and the tests join machines.
.PHONY: curl
curl:
	@command -v curl >/dev/null || { [ $$(id -u) = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy curl; } \
		|| { echo 'No curl here: install it (apt-get install curl)'; exit 1; }

# The tests kill a PostgreSQL and a RabbitMQ of their own.
.PHONY: servers
servers:
	@need=; ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need=postgresql; [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || need="$$need rabbitmq-server"; \
		[ -z "$$need" ] || { [ $$(id -u) = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends $$need; } \
		|| { echo "Missing here:$$need. Install with: apt-get install $$need"; exit 1; }

# The tests look at the API with a browser's eyes.
.PHONY: chromium
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ $$(id -u) = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends chromium; } \
		|| { echo 'No Chromium here: install it (apt-get install chromium)'; exit 1; }

.PHONY: shellcheck
shellcheck:
	@command -v shellcheck >/dev/null || { [ $$(id -u) = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy shellcheck; } \
		|| { echo 'No shellcheck here: install it to have the scripts checked'; [ -z "$${CI:-}" ]; }
