# make demo   see it work, no API key needed        make serve   the gateway, in front of OpenRouter
# make test   every check                           make bench   speed, beside nginx and others
# make docs   the documentation as a site, in build/site
# make sdk-suite   the OpenAI SDK's own tests, direct and twice through the gateway
# make storm   100,000 requests on shared stores, a third of them cancelled; and redis-py as it was when it leaked
.PHONY: demo test serve bench docs sdk-suite storm lint pins clean
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

docs: .venv/ready-dev
	$(PY) tools/gen_docs.py
	.venv/bin/zensical build --strict --clean

sdk-suite: .venv/ready-dev
	$(PY) -m tests.sdk_suite $(ARGS)

storm: .clients/ready
	$(PY) -m tests.storm $(ARGS)

# Each set of requirements is hashed; the stamp says which one the environment holds.
.venv/ready-demo: requirements/demo.txt pyproject.toml tools/setup.sh
	sh tools/setup.sh demo
.venv/ready-dev: requirements/dev.txt pyproject.toml tools/setup.sh
	sh tools/setup.sh dev
# What tests/clients drives: three sets of Python clients and one of JavaScript (docs/clients.md); and for tests/storm two
# old redis-py, which it must find wanting.
.clients/ready: requirements/clients.txt requirements/clients-instructor.txt requirements/clients-litellm.txt \
		requirements/clients-redis451.txt requirements/clients-redis453.txt \
		tests/clients/js/package-lock.json tools/setup.sh | .venv/ready-dev
	sh tools/setup.sh clients

# Move the pins: needs uv (docs/design/dependencies.md).
pins:
	sh tools/pins.sh

clean:
	rm -rf .venv .clients tests/clients/js/node_modules tests/.sdk-suite build dist .cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
