# Everything here sets up what it needs: the tools are pinned in internal/tools/go.mod and built by `go tool`, and
# internal/test/setup installs the servers and the browser that the tests use. Go, git and make are enough.

# Nothing needs a C compiler but the race detector. The binary is static, and runs in the slimmest container.
export CGO_ENABLED ?= 0

TOOL := go tool -modfile=internal/tools/go.mod
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GENERATED := internal/db internal/schema/inventory ui
TEMPLATES := $(wildcard ui/*.templ ui/*/*.templ)

# The packages in which goroutines share something.
RACE_PACKAGES ?= ./cmd/... ./internal/worker/... ./internal/rollup/event/... ./internal/pgserver/... ./internal/rollup/run/...

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/daymill.
	go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/daymill ./cmd/daymill

.PHONY: setup
setup: ## Install what the tests use: Postgres, PgBouncer, Chromium, Redis, ClickHouse. Quick where it is there.
	@internal/test/setup

.PHONY: demo
demo: build ## Build, and run the demo on a Postgres of its own.
	@internal/test/setup postgresql
	bin/daymill demo

# Without the race detector, which needs a C compiler and takes three times as long on two cores; `make race` has it.
# -count=1, because the tests' outcome depends on the server that is installed, which the test cache does not know.
# What every test did is in tmp/test.json, for internal/test/complete.
.PHONY: test
test: setup ## Run all tests.
	@mkdir -p tmp
	$(TOOL) gotestsum --format pkgname-and-test-fails --jsonfile tmp/test.json -- -count=1 -timeout 9m ./...

# Needs node and npm, which nothing else does. What it accepts is recorded, and TestWebhook_Recorded holds that in every run.
.PHONY: signatures
signatures: ## Verify recorded webhooks with the Standard Webhooks library for JavaScript. Needs node and npm.
	npm --prefix internal/test/signature ci --silent
	node internal/test/signature/verify.mjs internal/capture/sink/webhook/testdata/recorded.json

.PHONY: complete
complete: ## Check that the last `make test` ran every test and skipped none.
	go run ./internal/test/complete tmp/test.json

.PHONY: race
race: setup ## Run the tests of what runs concurrently under the race detector.
	CGO_ENABLED=1 $(TOOL) gotestsum --format pkgname-and-test-fails -- -race -count=1 -timeout 20m $(RACE_PACKAGES)

.PHONY: bench-pages
bench-pages: ## Measure the pages over a million jobs and ten million rows of metrics. Takes some minutes.
	go run ./internal/test/pagebench

.PHONY: bench
bench: ## Measure Daymill beside what one would do instead. Takes about five minutes.
	go run ./internal/test/bench $(BENCH)

.PHONY: bench-docs
bench-docs: ## Run bench, and write docs/benchmarks.md, its plots and the ratios that bench-check compares with.
	mkdir -p tmp
	go run ./internal/test/bench -json tmp/bench.json -markdown docs/benchmarks.md -write-ratios internal/test/bench/ratios.json $(BENCH)
	go run -C internal/test/bench/plot . $(CURDIR)/tmp/bench.json $(CURDIR)/docs/images

.PHONY: bench-check
bench-check: ## Run bench, and fail where a ratio is worse than the committed one by more than its margin.
	go run ./internal/test/bench -check internal/test/bench/ratios.json $(BENCH)

.PHONY: bench-large
bench-large: ## The same with days of ten million events.
	go run ./internal/test/bench -large $(BENCH)

# How many seeds, the first of them, the only one (0 for all), and how many at a time.
SEEDS ?= 200
SEED_FROM ?= 1
SEED ?= 0
LANES ?= 6

.PHONY: chaos
chaos: ## Do faults to real workers: SEEDS=200 SEED_FROM=1, or SEED=17 again. See docs/faults.md.
	go test ./internal/test/chaos -count=1 -timeout 90m -v -run TestSeeds -seeds $(SEEDS) -seed-from $(SEED_FROM) -seed $(SEED) -lanes $(LANES)

.PHONY: chaos-mutants
chaos-mutants: ## Break the code, one way after another, and count the seeds until that is noticed.
	go test ./internal/test/chaos -count=1 -timeout 90m -v -run TestMutants -mutants 50 -lanes $(LANES)

# A pattern of the mutants' names; all where empty.
ONLY ?=

.PHONY: mutants
mutants: setup ## Take out one safeguard after another, and run the tests that have to notice: ONLY=^Fence/.
	go run ./internal/test/mutant/kill -only '$(ONLY)'

FUZZ ?= 30s

.PHONY: explore
explore: ## Take the model, the properties, the zones and the fuzz targets further than the tests do.
	go test ./internal/test/model -count=1 -v -troubles 3
	go test ./internal/date -count=1 -timeout 30m -v -run TestTiles -every-zone
	go test ./internal/rollup/run ./internal/rollup/event -count=1 -timeout 30m -v -run Equals -rapid.checks=400
	for target in FuzzCSV FuzzNDJSON FuzzTime; do \
		go test ./internal/rollup/event -run NONE -fuzz "^$$target\$$" -fuzztime $(FUZZ) || exit 1; \
	done

# How long, how many writers, how many worker processes.
DURATION ?= 10m
WRITERS ?= 8
WORKERS ?= 2

.PHONY: load
load: ## Write as fast as the machine lets one, and judge what stays: DURATION=10m WRITERS=8 WORKERS=2.
	go run ./internal/test/load -duration $(DURATION) -writers $(WRITERS) -workers $(WORKERS)

.PHONY: generate
generate: ## Generate the Go of the queries and the pages, and what the migrations make.
	$(TOOL) sqlc generate
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

.PHONY: lint
lint: vuln ## Run the linters, gosec among them, and vuln.
	go vet ./...
	$(TOOL) golangci-lint run ./...
ifneq ($(TEMPLATES),)
	$(TOOL) templ fmt -fail ui
endif

# A machine that cannot reach the database (https://vuln.go.dev, or GOVULNDB) is told so, and nothing more is wrong there.
.PHONY: vuln
vuln: ## Look for known vulnerabilities in what is imported, where their database can be reached.
	@found=$$($(TOOL) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./... 2>&1); code=$$?; \
	case "$$found" in \
		*"fetching vulnerabilities"*) echo "govulncheck: NOT CHECKED, its database cannot be reached: $${found##*: }" ;; \
		*) printf '%s\n' "$$found"; exit $$code ;; \
	esac

.PHONY: vet-queries
vet-queries: ## Have a real Postgres prepare every query, for each type of entity.
	@internal/test/setup postgresql
	go run ./internal/test/vet

# What was generated is committed (or at least staged), and is what the queries and pages say.
.PHONY: fresh
fresh: generate ## Check that the generated files are up to date.
	@git diff --exit-code --stat -- $(wildcard $(GENERATED)) && \
		test -z "$$(git ls-files --others --exclude-standard -- $(wildcard $(GENERATED)))" || \
		{ echo "generated files are out of date: commit what 'make generate' wrote"; exit 1; }

.PHONY: tidy
tidy: ## Check that go.mod has what is needed and no more. Asks the module proxy.
	go mod tidy -diff
	go -C internal/test/bench/plot mod tidy -diff
	go vet -C internal/test/bench/plot ./...

.PHONY: ci
ci: fresh tidy lint vet-queries test complete race ## Everything that must hold before a change is merged.

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin
