# make demo   see it work, no API key needed        make serve   the gateway, in front of OpenRouter
# make test   every check                           make bench   speed, beside nginx and others
# make sdk-suite   the OpenAI SDK's own tests, direct and twice through the gateway
.PHONY: demo test serve bench sdk-suite lint pins clean
PY := .venv/bin/python

demo: .venv/ready-demo
	$(PY) -m payonce demo

test: lint .clients/ready
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/ready-dev
	$(PY) tools/check_tree.py
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

serve: .venv/ready-demo
	$(PY) -m payonce serve $(ARGS)

bench: .venv/ready-dev
	$(PY) -m benchmarks $(ARGS)

sdk-suite: .venv/ready-dev
	$(PY) -m tests.sdk_suite $(ARGS)

# Each set of requirements is hashed; the stamp says which one the environment holds.
.venv/ready-demo: requirements/demo.txt pyproject.toml tools/setup.sh
	sh tools/setup.sh demo
.venv/ready-dev: requirements/dev.txt pyproject.toml tools/setup.sh
	sh tools/setup.sh dev
# What tests/clients drives: three sets of Python clients and one of JavaScript (docs/clients.md).
.clients/ready: requirements/clients.txt requirements/clients-instructor.txt requirements/clients-litellm.txt \
		tests/clients/js/package-lock.json tools/setup.sh | .venv/ready-dev
	sh tools/setup.sh clients

# Move the pins: needs uv (docs/design/dependencies.md).
pins:
	sh tools/pins.sh

clean:
	rm -rf .venv .clients tests/clients/js/node_modules tests/.sdk-suite build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
