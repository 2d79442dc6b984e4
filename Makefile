# demo     chat with the embedded model on this machine        PORT=8000
# cluster  the same on several processes, as in production     PORT=8000
# test     linters, types, migrations and the whole suite      PYTEST_ARGS="-k resume -x"
# lint     linters and types only
# bench    benchmarks, one table                               BENCH_ARGS="--help"
# chaos    a whole site under random faults                    CHAOS_MINUTES=60 CHAOS_SEED=7
# clean    remove environments, data of the cluster, caches and build results

# The first interpreter that is new enough; PYTHON=/path/to/python3.12 chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help demo cluster test lint bench chaos clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(demo\|cluster\|test\|lint\|bench\|chaos\|clean\) /make \1 /p' Makefile

demo cluster: python
	@$(PYTHON) -m tools.$@

test lint bench chaos: python
	@$(PYTHON) -m tools.suite $@

clean:
	@test ! -L .cluster/postgresql || rm -rf "$$(readlink .cluster/postgresql)"
	rm -rf .cluster .demo .venv .venv-cluster .venv-test .venv-django6 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: python
python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)." >&2; exit 1; }
