# Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup baselines demo test lint format clean distclean

# What runs below comes from env.bash, never from the shell that called make.
ENV := source env.bash

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  Variables: PYTEST_ARGS='-k word' (make test), TEST_TIMEOUT_S=3600, DEMO_TIMEOUT_S=900,"
	@echo "  SEG2D3D_PYTHON=/path/to/python3.12, SEG2D3D_DATA=recordings for tests of real drives,"
	@echo "  TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu (make test without CUDA wheels)"

setup: ## Build .venv and the ROS packages; seconds when nothing changed
	@bash scripts/setup.sh

baselines: setup ## Build .venv-baselines: trackers to compare with
	@bash scripts/setup_baselines.sh

demo: setup ## Simulate a drive, map it over the real ROS 2 graph, show the picture
	@$(ENV) && timeout -k 30 $${DEMO_TIMEOUT_S:-900} seg2d3d demo --out demo

test: ## Run every test but those marked gpu or slow; fails when none ran
	@bash scripts/setup.sh dev models
	@bash scripts/run_tests.sh $(PYTEST_ARGS)

lint: ## ruff check, ruff format --check, mypy
	@bash scripts/setup.sh dev
	@$(ENV) && ruff check . && ruff format --check . && mypy

format: ## Let ruff format and mend what it can
	@bash scripts/setup.sh dev
	@$(ENV) && ruff check --fix-only . && ruff format .

clean: ## Remove what colcon and the tests made; keeps .venv
	rm -rf build install log demo .reports .pytest_cache .mypy_cache .ruff_cache

distclean: clean ## Remove .venv too
	rm -rf .venv .venv-baselines .setup.lock
