# make help says what there is. PYTHON=python3.12 chooses the interpreter of a new environment.
.DEFAULT_GOAL := help
.PHONY: help demo env test lint clean
export PYTHON

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo:  ## compress a classifier on embedded data (small environment, minutes on a CPU)
	@requirements/setup_env.sh demo
	.venv/bin/python tools/demo.py

env:  ## the full environment in .venv-full (10 minutes the first time)
	@requirements/setup_env.sh full

test: env  ## every test
	.venv-full/bin/python -m pytest -n auto --dist loadfile tests

lint: env  ## ruff, rules and format
	.venv-full/bin/ruff check .
	.venv-full/bin/ruff format --check .

clean:  ## remove both environments and everything built
	rm -rf .venv .venv-full build dist *.egg-info mmcompress/.mim .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
