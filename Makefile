# make help says what there is. PYTHON=python3.12 chooses the interpreter of a new environment.
.DEFAULT_GOAL := help
.PHONY: help demo env test test-fast lint types doctest coverage clean
export PYTHON

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo:  ## compress a classifier on embedded data (small environment, minutes on a CPU)
	@requirements/setup_env.sh demo
	.venv/bin/python tools/demo.py

env:  ## the full environment in .venv-full (5 minutes the first time)
	@requirements/setup_env.sh full

test: env  ## every test
	.venv-full/bin/python -m pytest -n auto --dist loadfile tests

test-fast:  ## the tests that need no task library, in the small environment (2 minutes)
	@requirements/setup_env.sh demo
	@.venv/bin/python -m pip install -qq -c requirements/constraints.txt -r requirements/pytest.txt
	.venv/bin/python -m pytest -n auto --dist loadfile -m 'not full and not slow' tests

lint: env  ## ruff, rules and format
	.venv-full/bin/ruff check .
	.venv-full/bin/ruff format --check .

types: env  ## mypy
	.venv-full/bin/mypy

doctest: env  ## the examples in docstrings
	.venv-full/bin/python -m pytest -q --doctest-modules $$(grep -rl --include='*.py' '>>>' mmcompress)

coverage: env  ## every test, and the lines that none reaches (TESTS=tests/core: those of a folder)
	.venv-full/bin/python -m pytest -n auto --dist loadfile --cov --cov-report term:skip-covered --cov-report html $(or $(TESTS),tests)

clean:  ## remove both environments and everything built
	rm -rf .venv .venv-full build dist *.egg-info mmcompress/.mim .pytest_cache .ruff_cache .mypy_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
