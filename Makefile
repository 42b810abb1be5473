# You need Go, git and make. Each target installs the rest: `go tool` builds the tools that internal/tools/go.mod pins, and
# internal/test/setup installs the servers and the browser that the tests use.

# Only the race detector needs a C compiler. Without cgo the binary is static, and runs in a container without a libc.
export CGO_ENABLED ?= 0

TOOL := go tool -modfile=internal/tools/go.mod
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GENERATED := internal/db internal/schema/inventory ui
TEMPLATES := $(wildcard ui/*.templ ui/*/*.templ)

# Packages whose goroutines share memory.
RACE_PACKAGES ?= ./cmd/... ./internal/worker/... ./internal/rollup/event/... ./internal/pgserver/... ./internal/rollup/run/...

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/daymill.
	go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/daymill ./cmd/daymill

.PHONY: setup
setup: ## Install what the tests use, if missing: Postgres, a later Postgres, PgBouncer, Chromium, Redis, ClickHouse.
	@internal/test/setup
	@internal/test/setup-later

.PHONY: demo
demo: build ## Build, and run the demo on a temporary Postgres.
	@internal/test/setup postgresql
	bin/daymill demo

# Tests run without the race detector, which needs a C compiler and takes three times as long on two cores: `make race` uses it.
# -count=1, because results depend on the installed server, which Go's test cache does not take into account.
# -p 3, because tests of two packages leave cores idle while they wait. -vet=off, because `make lint` vets.
# internal/test/complete reads tmp/test.json to check that every test ran.
.PHONY: test
test: setup ## Run all tests.
	@mkdir -p tmp
	$(TOOL) gotestsum --format pkgname-and-test-fails --jsonfile tmp/test.json -- -p 3 -vet=off -count=1 -timeout 20m ./...

# What `make test-bare` leaves on the PATH: what internal/test/setup installs, and what Go and the shell need.
BARE := bash sh env git gcc initdb psql pg_dump pg_dumpall pgbench pgbouncer chromium chromium-browser google-chrome redis-server \
	clickhouse-server awk cat chmod cp cut date dirname basename find flock grep gzip head id kill ln ls mkdir mktemp mv nproc prlimit ps \
	readlink rm sed sha256sum sleep sort stat tail tar touch tr uname wc xargs
PACKAGES ?= ./...

.PHONY: test-bare
test-bare: setup ## Run the tests of PACKAGES with an empty home and environment, and nothing on the PATH but what they need.
	@bare=$$(mktemp -d) && chmod 755 "$$bare" && trap 'rm -rf "$$bare"' EXIT && mkdir "$$bare/bin" "$$bare/home" && \
	for program in $(BARE); do \
		path=$$(command -v $$program) && ln -s "$$path" "$$bare/bin/$$program" || true; \
	done && \
	env -i HOME="$$bare/home" PATH="$$bare/bin:$$(dirname "$$(command -v go)")" CGO_ENABLED=$(CGO_ENABLED) \
		GOCACHE="$$(go env GOCACHE)" GOMODCACHE="$$(go env GOMODCACHE)" DAYMILL_PG_BIN="$(DAYMILL_PG_BIN)" DAYMILL_PG_LATER="$(DAYMILL_PG_LATER)" \
		go test -count=1 -timeout 20m $(PACKAGES)

# Only this target needs node and npm. TestWebhook_Recorded checks in every test run that Daymill still sends the recorded webhooks.
.PHONY: signatures
signatures: ## Verify recorded webhooks with the Standard Webhooks library for JavaScript. Needs node and npm.
	npm --prefix internal/test/signature ci --silent
	node internal/test/signature/verify.mjs internal/capture/sink/webhook/testdata/recorded.json

.PHONY: archive-kills
archive-kills: ## Kill the archiver 20 times under pgbench, and compare a restore with the source. make test kills it 4 times.
	DAYMILL_ARCHIVE_KILLS=20 go test ./internal/archive/restore -run TestFaults/Killed -count=1 -timeout 30m

.PHONY: archive-points
archive-points: ## Restore an archive to 50 random positions and times, and compare each with what was recorded then. make test takes 6.
	DAYMILL_ARCHIVE_POINTS=50 go test ./internal/archive/restore -run TestChain/RandomPoints -count=1 -timeout 30m

# SEEDS and SEED_FROM are those of chaos below.
.PHONY: archive-seeds
archive-seeds: ## Break what the archive depends on at random, and judge each moment that can be restored: SEEDS=100 SEED_FROM=1. make test does 2.
	DAYMILL_ARCHIVE_SEEDS=$(SEEDS) DAYMILL_ARCHIVE_SEED=$(SEED_FROM) go test ./internal/archive/restore -run 'TestSeeds$$' -count=1 -timeout 3h -v

# SOURCE is src/test/regress of Postgres's source, from `apt-get source postgresql-15`. It also needs postgresql-server-dev-15 and a C compiler.
SOURCE ?= postgresql-15/src/test/regress

.PHONY: archive-regress
archive-regress: ## Archive a database while Postgres's regression suite runs in it, restore it with psql alone, and compare: SOURCE=…
	go run ./internal/test/regress -source $(SOURCE)

.PHONY: complete
complete: ## Check that the last `make test` ran every test and skipped none.
	go run ./internal/test/complete tmp/test.json

.PHONY: race
race: setup ## Run the tests of concurrent code under the race detector.
	CGO_ENABLED=1 $(TOOL) gotestsum --format pkgname-and-test-fails -- -race -count=1 -timeout 20m $(RACE_PACKAGES)

.PHONY: bench-pages
bench-pages: ## Measure the pages over a million jobs and ten million rows of metrics. Takes some minutes.
	go run ./internal/test/pagebench

.PHONY: bench
bench: ## Compare Daymill with its alternatives. Takes about 25 minutes.
	go run ./internal/test/bench $(BENCH)

.PHONY: bench-docs
bench-docs: ## Run bench, and write docs/benchmarks.md, its plots and the ratios for bench-check.
	mkdir -p tmp
	go run ./internal/test/bench -json tmp/bench.json -markdown docs/benchmarks.md -write-ratios internal/test/bench/ratios.json $(BENCH)
	go run -C internal/test/bench/plot . $(CURDIR)/tmp/bench.json $(CURDIR)/docs/images

.PHONY: bench-check
bench-check: ## Run bench, and fail if a ratio is worse than the committed one by more than its margin.
	go run ./internal/test/bench -check internal/test/bench/ratios.json $(BENCH)

.PHONY: bench-capture
bench-capture: setup ## Compare capture with pg_recvlogical, a subscription and COPY: BENCH="-run land -rounds 5". -bulk-rows 10000000 takes long.
	go run ./internal/test/bench -capture $(BENCH)

.PHONY: bench-capture-docs
bench-capture-docs: setup ## Run bench-capture, and write docs/benchmarks-capture.md and its plots.
	mkdir -p tmp
	go run ./internal/test/bench -capture -json tmp/bench-capture.json -markdown docs/benchmarks-capture.md $(BENCH)
	go run -C internal/test/bench/plot . $(CURDIR)/tmp/bench-capture.json $(CURDIR)/docs/images

.PHONY: bench-large
bench-large: ## Run bench with days of ten million events.
	go run ./internal/test/bench -large $(BENCH)

# SEEDS is the number of seeds, beginning with SEED_FROM. SEED runs only this seed, unless it is 0. LANES is how many run at a time.
SEEDS ?= 200
SEED_FROM ?= 1
SEED ?= 0
LANES ?= 6

.PHONY: chaos
chaos: ## Inject faults into real workers: SEEDS=200 SEED_FROM=1, or SEED=17. See docs/faults.md.
	go test ./internal/test/chaos -count=1 -timeout 90m -v -run TestSeeds -seeds $(SEEDS) -seed-from $(SEED_FROM) -seed $(SEED) -lanes $(LANES)

.PHONY: chaos-capture
chaos-capture: setup ## The same for capture: compare sinks with the application's tables after random work and faults.
	go test ./internal/test/chaos -count=1 -timeout 90m -v -run 'TestCapture$$' -capture-seeds $(SEEDS) -capture-from $(SEED_FROM) -seed $(SEED) -lanes $(LANES)

# ROWS are in one transaction. OUTAGE changes are made while a sink is down for a day: a hundredth of 1,000 a second.
ROWS ?= 10000000
OUTAGE ?= 864000

.PHONY: capture-bounded
capture-bounded: setup ## Bound the worker's memory: ROWS=10000000 in one transaction in both modes, and a sink that is down for a day.
	go test ./internal/test/chaos -count=1 -timeout 6h -v -run 'TestCaptureBounded$$' -bounded-rows $(ROWS) -outage-changes $(OUTAGE)
	go test ./internal/test/chaos -count=1 -timeout 6h -v -run 'TestCaptureBounded$$' -bounded-rows $(ROWS) -outage-changes $(OUTAGE) -bounded-triggers

.PHONY: chaos-mutants
chaos-mutants: ## Break the code in one way after another, and count the seeds until a test fails.
	go test ./internal/test/chaos -count=1 -timeout 90m -v -run TestMutants -mutants 50 -lanes $(LANES)

# A pattern of the mutants' names; empty means all.
ONLY ?=

.PHONY: mutants
mutants: setup ## Remove one safeguard after another, and run the tests that must fail: ONLY=^Fence/.
	go run ./internal/test/mutant/kill -only '$(ONLY)'

FUZZ ?= 30s

.PHONY: explore
explore: ## Run the model, the properties, the zones and the fuzz targets with more cases than the tests do.
	go test ./internal/test/model -count=1 -v -troubles 3
	go test ./internal/date -count=1 -timeout 30m -v -run TestTiles -every-zone
	go test ./internal/rollup/run ./internal/rollup/event -count=1 -timeout 30m -v -run Equals -rapid.checks=400
	for target in FuzzCSV FuzzNDJSON FuzzTime; do \
		go test ./internal/rollup/event -run NONE -fuzz "^$$target\$$" -fuzztime $(FUZZ) || exit 1; \
	done

# How long the load test runs, and how many writers and worker processes it has.
DURATION ?= 10m
WRITERS ?= 8
WORKERS ?= 2

.PHONY: load
load: ## Write as fast as possible while workers run, and check the bounds: DURATION=10m WRITERS=8 WORKERS=2.
	go run ./internal/test/load -duration $(DURATION) -writers $(WRITERS) -workers $(WORKERS)

.PHONY: generate
generate: ## Generate Go from queries, pages and the API's document, and the list of what the migrations create.
	$(TOOL) sqlc generate
	$(TOOL) oapi-codegen -config ui/api/client/config.yaml ui/api/openapi.json
ifneq ($(TEMPLATES),)
	$(TOOL) templ generate -log-level error -path ui
endif
	go test ./internal/schema/inventory -run '^TestManifest$$' -count=1 -update

.PHONY: format
format: ## Format the Go and the pages.
	$(TOOL) golangci-lint fmt
ifneq ($(TEMPLATES),)
	$(TOOL) templ fmt ui
endif

# internal/tools/wrapnil finds errors that are wrapped and may be nil.
.PHONY: lint
lint: vuln ## Run the linters, including gosec, and vuln.
	go vet ./...
	go -C internal/tools build -o $(CURDIR)/bin/wrapnil ./wrapnil
	go vet -vettool=bin/wrapnil ./...
	$(TOOL) golangci-lint run ./...
ifneq ($(TEMPLATES),)
	$(TOOL) templ fmt -fail ui
endif

# If the machine cannot reach the database (https://vuln.go.dev, or GOVULNDB), this target prints a line and
# does not fail.
.PHONY: vuln
vuln: ## Look for known vulnerabilities in dependencies, if their database can be reached.
	@found=$$($(TOOL) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./... 2>&1); code=$$?; \
	case "$$found" in \
		*"fetching vulnerabilities"*) echo "govulncheck: NOT CHECKED, its database cannot be reached: $${found##*: }" ;; \
		*) printf '%s\n' "$$found"; exit $$code ;; \
	esac

.PHONY: vet-queries
vet-queries: ## Let a real Postgres prepare every query, for each type of entity.
	@internal/test/setup postgresql
	go run ./internal/test/vet

# Generated files must be committed or staged, and match the queries and pages.
.PHONY: fresh
fresh: generate ## Check that the generated files are up to date.
	@git diff --exit-code --stat -- $(wildcard $(GENERATED)) && \
		test -z "$$(git ls-files --others --exclude-standard -- $(wildcard $(GENERATED)))" || \
		{ echo "generated files are out of date: commit what 'make generate' wrote"; exit 1; }

.PHONY: tidy
tidy: ## Check that go.mod lists exactly what is needed. Uses the module proxy.
	go mod tidy -diff
	go -C internal/test/bench/plot mod tidy -diff
	go vet -C internal/test/bench/plot ./...

.PHONY: ci
ci: fresh tidy lint vet-queries test complete race ## Everything that must hold before a change is merged.

.PHONY: clean
clean: ## Remove the built binary.
	rm -rf bin
