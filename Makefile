# make check   what every change must pass: format, vet, staticcheck, tests, fuzz
# make test    check, and the end-to-end tests on a real Ray
# make release-check  a release, built twice and compared
# make compat  older Rays, run for real, by each way and with kills (COMPAT_RAYS="2.9.3 …")
# make alerts  alerts on a real Ray, until they end by themselves (a quarter of an hour)
# make chaos   the long form of the harness that kills raytap, and its mutants
# make sdk     the client that Synapse agents publish, on the fake agent
# make followers  vlagent and rsyslog behind the file, and the bounds of memory
# make agent   a million lines from a fake Synapse agent that drops and errs
# make page    the status page in headless Chromium (PAGE_SCREENSHOTS=DIR keeps pictures)
# make systemd  the package and the unit on a booted Debian, and the image (as root)
# make deploy  the chart, manifests, unit, package, release, compose file, options and LogQL
# make pipelines  raytap's lines through each program that can be had, to a store, and Vector's program
# make kubernetes  raytap on a real Kubernetes of one node, by the docs' own commands
# make manifests  deploy/kubernetes/raytap.yaml anew, from the chart
# make release VERSION=1.2.3  archives and packages under dist/
# make demo    a real Ray, a few jobs, and raytap on them (DEMO_SECONDS=60 ends it)
# make build   bin/raytap, static
# make bench   what raytap costs beside others (ten minutes; BENCH_FLAGS="-runs 1")
# make sizing  what raytap takes at 10 to 5,000 jobs (40 minutes)
# make docs    docs/metrics.md, docs/configuration.md and the dashboards, from the code
# make pgo     refresh default.pgo, which the compiler reads
# make clean   all but the installed tools; make distclean: these too
#
# Tools are installed under .tools (git-ignored) by scripts/tools when a target
# needs them. Needed beforehand: Go, git, curl; for test and demo python3 with venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

TOOLS := $(CURDIR)/.tools
STAGE := scripts/stage

VERSION  := $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//')
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
BRANCH   := $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)
# The commit's time, not the build's: the same tree gives the same binary.
DATE     := $(shell git log -1 --format=%cI 2>/dev/null)
V        := github.com/prometheus/common/version
LDFLAGS  := -s -w -X $(V).Version=$(or $(VERSION),0.0.0-dev) -X $(V).Revision=$(or $(REVISION),unknown) \
            -X $(V).Branch=$(or $(BRANCH),unknown) -X $(V).BuildDate=$(or $(DATE),unknown)

OUT      ?= bin/raytap
FUZZTIME ?= 10000x
DEMO_SECONDS ?= 0
ALL_RAYS := 2.9.3 2.30.0 2.40.0 2.53.0 2.60.0
COMPAT_RAYS ?= $(ALL_RAYS)

.PHONY: build check test hundred beside harness mutants rules darwin deploy systemd pipelines kubernetes manifests release release-check followers agent sdk page e2e compat alerts chaos docs bench sizing pgo demo clean distclean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT) .

check:
	@$(STAGE) reset
	@scripts/tools staticcheck
	@$(STAGE) gofmt scripts/gofmt-check
	@$(STAGE) vet go vet ./...
	@$(STAGE) vet-e2e go vet -tags e2e ./test/...
	@$(STAGE) staticcheck $(TOOLS)/bin/staticcheck -tags e2e ./...
	@$(STAGE) responses go test ./test/responses
	@$(STAGE) unit-tests bash -c 'go test -race -timeout 15m $$(go list ./... | grep -v /test/responses$$)'
	@$(STAGE) observability scripts/check-observability
	@$(STAGE) fuzz scripts/fuzz $(FUZZTIME)
	@$(STAGE) report

# First the tools that several stages need: two must not install the same one. Then
# what takes all of the processor. The other end-to-end tests wait more than they
# work, so the remaining stages run beside them, one at a time.
test: check
	@$(STAGE) tools scripts/tools prometheus helm victorialogs vlagent rsyslog chromium ray
	@$(MAKE) --no-print-directory hundred
	@$(MAKE) --no-print-directory -j2 --output-sync=target e2e beside
	@$(STAGE) report

beside:
	@nice -n 5 $(MAKE) --no-print-directory systemd kubernetes mutants harness rules darwin deploy pipelines followers agent sdk page

harness:
	@$(STAGE) chaos go run ./test/chaos

mutants:
	@$(STAGE) mutants test/mutants/run

# What the release builds beside Linux has to build.
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
	@GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null .
	@$(STAGE) release-check bash -c 'cd test/deploy && go test -count=1 -timeout 20m -run TestRelease_ ./...'

pipelines:
	@$(STAGE) pipeline-tools scripts/tools victorialogs vlagent rsyslog otelcol vrl
	@$(STAGE) pipelines go test -tags e2e -count=1 -v -timeout 10m ./test/pipelines

kubernetes:
	@$(STAGE) kubernetes-tools scripts/tools kubernetes helm prometheus victorialogs vlagent
	@$(STAGE) kubernetes go test -tags e2e -count=1 -v -timeout 10m ./test/kubernetes

manifests:
	@scripts/tools helm
	@mkdir -p bin
	@{ echo "# What the chart in deploy/helm/raytap makes of its defaults, in the namespace"; \
	  echo "# that kubectl is told. Made by \`make manifests\`; do not edit."; \
	  $(TOOLS)/bin/helm template raytap deploy/helm/raytap --namespace ray; } >bin/manifests.yaml
	@mv bin/manifests.yaml deploy/kubernetes/raytap.yaml

release:
	@scripts/tools cyclonedx-gomod
	@scripts/release $(VERSION)

followers:
	@$(STAGE) follower-tools scripts/tools victorialogs vlagent rsyslog
	@$(STAGE) followers go test -tags e2e -count=1 -v -timeout 10m ./test/followers

agent:
	@$(STAGE) agent go test -tags e2e -count=1 -v -timeout 10m ./test/synapse

sdk:
	@$(STAGE) sdk-tools scripts/tools synapse
	@$(STAGE) sdk go test -tags e2e -count=1 -v -timeout 5m ./test/sdk

page:
	@$(STAGE) page-tools scripts/tools chromium
	@$(STAGE) page go test -tags e2e -count=1 -v -timeout 5m ./test/page

chaos:
	go run ./test/chaos -kills 200 -cuts 2000
	test/mutants/run

hundred:
	@$(STAGE) hundred-tools scripts/tools ray
	@$(STAGE) hundred go test -tags e2e -count=1 -v -timeout 30m -run '^TestShipper_HundredJobs' ./test

e2e:
	@$(STAGE) e2e-tools scripts/tools ray prometheus victorialogs
	@$(STAGE) e2e go test -tags e2e -count=1 -v -timeout 30m -skip '^TestShipper_HundredJobs' ./test

# One after another: each takes the two cores of a small machine. COMPAT_RAYS=today is
# one of them, by the day of the year.
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

# What default.pgo is made from: the work that raytap does most.
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
