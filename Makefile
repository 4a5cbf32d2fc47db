# Everyday targets:
#   make build        build bin/raytap, static
#   make check        format, lint, tests and fuzz targets: what every change must pass
#   make test         check, and the main job on a real Ray, a real Prometheus and a real
#                     log store
#   make test-deploy  everything else: Kubernetes, systemd, image, pipelines, release, page,
#                     the race detector in the slow packages, faults, a hundred jobs
#   make docs         generate docs/metrics.md, docs/configuration.md and the dashboards
#   make manifests    generate deploy/kubernetes/raytap.yaml from the chart
#   make demo         run raytap on a real Ray with a few jobs (DEMO_SECONDS=60 ends it)
#   make release VERSION=1.2.3  build archives and packages under dist/
#   make clean        delete all but the installed tools; make distclean: these too
#
# Stages of make test, each a target of its own:
#   e2e, rules
# Stages of make test-deploy:
#   systemd, kubernetes, kuberay, hundred; faults: fuzz, chaos-short, mutants; neighbours: deploy,
#   pipelines, followers, synapse, sdk, page, darwin, race, release-check
# Other tests:
#   make compat       older Ray versions (COMPAT_RAYS="2.9.3 2.30.0")
#   make chaos        the long form of chaos-short, and the mutants
#   make alerts       alerts on a real Ray, until they resolve (a quarter of an hour)
#   make bench        what raytap costs, compared with others (ten minutes; BENCH_FLAGS="-runs 1")
#   make sizing       what raytap needs for 10 to 5,000 jobs (40 minutes)
#   make pgo          update default.pgo, the profile that the compiler uses
#
# docs/testing.md says what each stage proves and needs. Tools are installed under
# .tools (git-ignored) by scripts/tools when a target needs them. Needed beforehand:
# Go, git and curl; for test and demo also python3 with venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

TOOLS := $(CURDIR)/.tools
STAGE := scripts/stage

VERSION  := $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//')
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
BRANCH   := $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)
# The commit's time, not the build's: the same tree builds the same binary.
DATE     := $(shell git log -1 --format=%cI 2>/dev/null)
V        := github.com/prometheus/common/version
LDFLAGS  := -s -w -X $(V).Version=$(or $(VERSION),0.0.0-dev) -X $(V).Revision=$(or $(REVISION),unknown) \
            -X $(V).Branch=$(or $(BRANCH),unknown) -X $(V).BuildDate=$(or $(DATE),unknown)

OUT      ?= bin/raytap
FUZZTIME ?= 1000x
# How many of the tests on a real Ray run at the same time: they wait more than they compute.
E2E_PARALLEL ?= 2
DEMO_SECONDS ?= 0
ALL_RAYS := 2.9.3 2.30.0 2.40.0 2.53.0 2.60.0
COMPAT_RAYS ?= $(ALL_RAYS)

.PHONY: build check test test-deploy faults neighbours race fuzz hundred e2e chaos-short rules darwin
.PHONY: deploy kubernetes kuberay systemd pipelines followers synapse sdk page mutants release-check
.PHONY: compat chaos alerts bench sizing docs pgo manifests release demo clean distclean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT) .

check:
	@$(STAGE) reset
	@scripts/tools golangci-lint
	@$(STAGE) gofmt scripts/gofmt-check
	@$(STAGE) lint $(TOOLS)/bin/golangci-lint run --timeout 20m
	@$(STAGE) responses go test ./test/responses
	@$(STAGE) unit-tests scripts/unit-tests
	@$(STAGE) observability scripts/check-observability
	@$(STAGE) fuzz scripts/fuzz $(FUZZTIME)
	@$(STAGE) report

test: check
	@$(STAGE) tools scripts/tools prometheus victorialogs ray
	@$(MAKE) --no-print-directory rules e2e
	@$(STAGE) report

# Systemd and Kubernetes need a clean machine, and a hundred jobs the whole processor, so
# they come first. The others are two halves that take about the same time and need no tool
# together.
test-deploy:
	@$(STAGE) reset
	@$(MAKE) --no-print-directory systemd kubernetes kuberay hundred
	@$(MAKE) --no-print-directory -j2 --output-sync=target faults neighbours
	@$(STAGE) report

faults:
	@$(MAKE) --no-print-directory fuzz chaos-short mutants

neighbours:
	@$(MAKE) --no-print-directory deploy pipelines followers synapse sdk page darwin race release-check

# The packages that check tests without the race detector.
race:
	@$(STAGE) race scripts/unit-tests race

# More random inputs than in check.
fuzz:
	@$(STAGE) fuzz scripts/fuzz 10000x

chaos-short:
	@$(STAGE) chaos go run ./test/chaos

mutants:
	@$(STAGE) mutants test/mutants/run

# A release is also built for macOS.
darwin:
	@$(STAGE) darwin env GOOS=darwin GOARCH=arm64 go build -o /dev/null .

rules:
	@$(STAGE) rule-tools scripts/tools prometheus
	@$(STAGE) rules scripts/check-rules

deploy:
	@$(STAGE) deploy-tools scripts/tools prometheus helm kubeconform kubernetes-schemas lezer-logql
	@$(STAGE) deploy bash -c 'cd test/deploy && go vet ./... && go test -short -count=1 -timeout 10m ./...'

systemd:
	@$(STAGE) systemd-tools scripts/tools debian
	@$(STAGE) systemd go test -tags e2e -count=1 -v -parallel 4 -timeout 10m ./test/systemd ./test/image

# Builds a release twice, once without a cache, and compares the bytes.
release-check:
	@scripts/tools cyclonedx-gomod
	@$(STAGE) release-check bash -c 'cd test/deploy && go test -count=1 -timeout 20m -run TestRelease_ ./...'

pipelines:
	@$(STAGE) pipeline-tools scripts/tools victorialogs vlagent rsyslog otelcol vrl
	@$(STAGE) pipelines go test -tags e2e -count=1 -v -timeout 10m ./test/pipelines

kubernetes:
	@$(STAGE) kubernetes-tools scripts/tools kubernetes helm prometheus victorialogs vlagent
	@$(STAGE) kubernetes go test -tags e2e -count=1 -v -timeout 10m ./test/kubernetes

kuberay:
	@$(STAGE) kuberay-tools scripts/tools kubernetes kuberay helm ray
	@$(STAGE) kuberay go test -tags e2e -count=1 -v -timeout 15m ./test/kuberay

manifests:
	@scripts/tools helm
	@mkdir -p bin
	@{ echo "# The chart in deploy/helm/raytap, rendered with its defaults, without a namespace."; \
	  echo "# Generated by \`make manifests\`; do not edit."; \
	  $(TOOLS)/bin/helm template raytap deploy/helm/raytap --namespace ray; } >bin/manifests.yaml
	@mv bin/manifests.yaml deploy/kubernetes/raytap.yaml

release:
	@scripts/tools cyclonedx-gomod
	@scripts/release $(VERSION)

followers:
	@$(STAGE) follower-tools scripts/tools victorialogs vlagent rsyslog
	@$(STAGE) followers go test -tags e2e -count=1 -v -timeout 10m ./test/followers

synapse:
	@$(STAGE) synapse go test -tags e2e -count=1 -v -timeout 10m ./test/synapse

sdk:
	@$(STAGE) sdk-tools scripts/tools synapse
	@$(STAGE) sdk go test -tags e2e -count=1 -v -timeout 5m ./test/sdk

page:
	@$(STAGE) page-tools scripts/tools chromium
	@$(STAGE) page go test -tags e2e -count=1 -v -timeout 5m ./test/page

chaos:
	go run ./test/chaos -kills 200 -cuts 2000 -rotations 200
	test/mutants/run

hundred:
	@$(STAGE) hundred-tools scripts/tools ray
	@$(STAGE) hundred go test -tags e2e -count=1 -v -timeout 30m -run '^TestShipper_HundredJobs' ./test

e2e:
	@$(STAGE) e2e-tools scripts/tools ray prometheus victorialogs
	@$(STAGE) e2e go test -tags e2e -count=1 -v -parallel $(E2E_PARALLEL) -timeout 30m -skip '^TestShipper_HundredJobs' ./test

# One version after the other: each needs two cores. COMPAT_RAYS=today selects one by the
# day of the year.
compat:
	@set -- $(COMPAT_RAYS); \
	if [ "$$*" = today ]; then set -- $(ALL_RAYS); day=$$(date -u +%j); shift $$((10#$$day % $$#)); set -- "$$1"; fi; \
	for ray in "$$@"; do \
		tool=ray-$$ray; [ "$$ray" != 2.60.0 ] || tool=ray; \
		$(STAGE) "tools-$$ray" scripts/tools "$$tool"; \
		$(STAGE) "compat-$$ray" go test -tags e2e -count=1 -v -timeout 15m ./test/compat -ray "$$ray"; \
	done

alerts:
	@$(STAGE) tools scripts/tools ray prometheus
	@$(STAGE) alerts go test -tags e2e -count=1 -v -timeout 40m -run TestAlerts_Resolve ./test -resolve

docs:
	go run ./docs/gen
	go -C deploy/gen run .

bench: build
	@scripts/tools vlagent rsyslog synapse
	@go build -trimpath -o bin/raytap-bench ./bench
	@bin/raytap-bench $(BENCH_FLAGS)

sizing: build
	@go build -trimpath -o bin/raytap-bench ./bench
	@bin/raytap-bench -lines 1000 -only sizing

# default.pgo is a profile of the work that raytap does most.
pgo:
	@go build -trimpath -pgo=off -o bin/raytap-bench ./bench
	@bin/raytap-bench -profile default.pgo

demo: build
	@scripts/tools ray
	@go build -o bin/raytap-demo ./deploy/demo
	@exec bin/raytap-demo -ray $(TOOLS)/ray/bin/ray -raytap bin/raytap -seconds $(DEMO_SECONDS)

clean:
	rm -rf bin dist coverage.out

distclean: clean
	rm -rf $(TOOLS)
