# The commands of the README. `make` alone lists them.
export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup services demo test chaos bench deploy

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## look for what is missing on this machine, and install it where that is possible
	@sh local/setup.sh

services: setup ## start a Kafka and a Postgres, print their addresses, run until Ctrl-C (DATA=folder keeps the data)
	@cargo build --quiet --package local
	@exec $(TARGET)/debug/local services $(if $(DATA),--data "$(DATA)")

demo: export URLS := $(URLS)
demo: export DEMO_SECONDS := $(DEMO_SECONDS)
demo: setup ## watch local websites, or URLS="https://a https://b", until Ctrl-C or for DEMO_SECONDS
	cargo build --release --package producer --package consumer --package local
	@exec $(TARGET)/release/local demo

test: ## run all tests, those that need services on a real Kafka and a real Postgres
	@sh local/setup.sh test
	cargo build --workspace --bins
	exec $(TARGET)/debug/local with -- cargo test --workspace

chaos: export CHAOS_SECONDS := $(CHAOS_SECONDS)
chaos: export CHAOS_SEED := $(CHAOS_SEED)
chaos: export CHAOS_FAULTS := $(CHAOS_FAULTS)
chaos: export CHAOS_TARGETS := $(CHAOS_TARGETS)
chaos: setup ## break everything that can break, for CHAOS_SECONDS from CHAOS_SEED, and account for every result
	cargo build --release --package producer --package consumer --package tests
	@exec $(TARGET)/release/chaos

bench: ## measure checks, rows and queries beside their limits: everything, or BENCH="probe sink" (BENCH=--help)
	@sh local/setup.sh bench
	cargo build --release --package producer --package consumer --package bench
	@exec $(TARGET)/release/bench $(BENCH)

deploy: setup ## check what is in deploy/: manifests, image, units, alerts, dashboard
	cargo build --workspace --bins
	@sh deploy/validate.sh $(TARGET)/debug
