# Pairmill. `make` lists the targets.
#   CONFIG=conf/demo.toml   the recipe of a stage or run
#   SET="a.b=1 c.d=2"       overrides of it
#   FROM=urls.parquet       lists of URLs and captions to start from, instead of archives; or a
#                           folder that img2dataset wrote, whose pictures are taken as well
#   REDO=1                  do a finished stage (and those after it) again
SHELL := /bin/bash
.DEFAULT_GOAL := help
CONFIG ?= conf/demo.toml
STAGES := extract dedupe download match score cluster measure decide shard report
# What the set-up chose; SPARK_CONF_DIR holds Spark's log settings.
PY = JAVA_HOME="$$(cat .venv/java_home)" SPARK_CONF_DIR=$(CURDIR)/conf SPARK_LOCAL_IP=127.0.0.1 .venv/bin/python
SUBMIT := conf/environment/submit.sh
SOURCE = $(if $(ARCHIVES),--archives '$(ARCHIVES)') $(if $(FROM),--from '$(FROM)')
OPTIONS = --config $(CONFIG) $(foreach s,$(SET),--set '$(s)') $(if $(REDO),--redo)

.PHONY: help setup demo run retry recheck verify what-if view describe materialise export import takedown grow register hash-pack test test-fast check format bench bench-peers match-plan status cluster-test dist test-spark test-plain lock clean notebooks $(STAGES)

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z$$()A-Z -]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST) \
	  | sed 's/\$$(STAGES)/<stage>   /'
	@echo "  stages: $(STAGES)"

setup:  ## Virtual environment, locked packages and a JVM, in .venv
	@conf/environment/setup.sh

demo: setup  ## Mill the embedded web into a release, with precision and recall
	@$(SUBMIT) jobs/run.py --config conf/demo.toml $(foreach s,$(SET),--set '$(s)') $(if $(REDO),--redo)

run: setup  ## The whole line: CONFIG=conf/default.toml [ARCHIVES=<glob> | FROM=<lists>] [SET="a.b=1"]
	@$(SUBMIT) jobs/run.py $(OPTIONS) $(SOURCE)

$(STAGES): setup  ## One stage: CONFIG=conf/demo.toml [ARCHIVES=<glob>] [SET="a.b=1"] [REDO=1]
	@$(SUBMIT) jobs/$@.py $(OPTIONS) $(SOURCE)

retry: setup  ## Ask again for failures that are due: CONFIG= [SET=]
	@$(SUBMIT) jobs/retry.py --config $(CONFIG) $(foreach s,$(SET),--set '$(s)')

recheck: setup  ## Ask whether stored images are as they were: CONFIG=; or what of a RELEASE= or DATASET= may still be used: [DOMAIN=] [SLICE=3/30] [TAKEDOWN=1] [GONE=1] [PURGE=1]
	@$(SUBMIT) jobs/recheck.py --config $(CONFIG) $(foreach s,$(SET),--set '$(s)') \
	  $(if $(RELEASE),--release '$(RELEASE)') $(if $(DATASET),--dataset '$(DATASET)') \
	  $(if $(REGISTRY),--registry '$(REGISTRY)') $(foreach d,$(DOMAIN),--domain '$(d)') \
	  $(if $(SLICE),--slice '$(SLICE)') $(if $(TAKEDOWN),--takedown) $(if $(GONE),--gone) $(if $(PURGE),--purge)

verify: setup  ## Images against the run's list, or [EXPECTED=<list>]: CONFIG=; or a RELEASE= [VIEW=]
	@$(if $(RELEASE),$(PY) -m jobs.release verify '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)'),\
	  $(SUBMIT) jobs/verify.py $(OPTIONS) $(if $(EXPECTED),--expected '$(EXPECTED)'))

status: setup  ## What of a run is done, running, missing, with rates and time left: CONFIG= [SET=]
	@$(PY) -m jobs.status $(OPTIONS) $(SOURCE)

what-if: setup  ## Counts by other bounds, nothing written: SET="clip_similarity.low=0.28,0.30" CONFIG=
	@$(SUBMIT) jobs/what_if.py --config $(CONFIG) $(foreach s,$(SET),--set '$(s)')

register: setup  ## Add a finished release to a registry: REGISTRY=<folder> CONFIG= [RELEASE=<name>]
	@$(SUBMIT) jobs/register.py --config $(CONFIG) $(foreach s,$(SET),--set '$(s)') \
	  --registry '$(REGISTRY)' $(if $(RELEASE),--name '$(RELEASE)')

hash-pack: setup  ## Hashes of evaluation pictures: IMAGES=<folder or tars> OUT=<file.parquet> CONFIG=
	@$(PY) -m jobs.hash_pack --config $(CONFIG) $(foreach s,$(SET),--set '$(s)') \
	  --images '$(IMAGES)' --out '$(OUT)'

view: setup  ## Select samples of a release: RELEASE= WHERE="width >= 512" OUT=some.view
	@.venv/bin/python -m pipeline.stream select '$(RELEASE)' '$(subst ','\'',$(WHERE))' '$(OUT)'

describe: setup  ## What a release, or a view of it, holds: RELEASE= [VIEW=]
	@$(PY) -m jobs.release report '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)')

materialise: setup  ## A release of the samples of a view, or of all but tombstones: RELEASE= [VIEW=] OUT=
	@$(PY) -m jobs.release materialise '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)') --out '$(OUT)'

export: setup  ## A release for other tools: RELEASE= LAYOUT=img2dataset|hf|energon-index OUT=
	@$(PY) -m jobs.release export '$(RELEASE)' --layout '$(LAYOUT)' --out '$(OUT)'

grow: setup  ## Add a crawl to a dataset as a new version: DATASET=<folder> CRAWL=<name> CONFIG= [ARCHIVES= | FROM=] [NEW_RECIPE=1]
	@$(SUBMIT) jobs/grow.py --dataset '$(DATASET)' --crawl '$(CRAWL)' --config $(CONFIG) \
	  $(foreach s,$(SET),--set '$(s)') $(SOURCE) $(if $(NEW_RECIPE),--new-recipe)

takedown: setup  ## Remove what LIST= names: DATASET= [PURGE=1]; or RELEASE= [OUT=<folder of the next version>] [REGISTRY=]
	@$(PY) -m jobs.takedown $(foreach r,$(RELEASE),'$(r)') --list '$(LIST)' \
	  $(if $(DATASET),--dataset '$(DATASET)') $(if $(PURGE),--purge) \
	  $(if $(OUT),--out '$(OUT)') $(if $(REGISTRY),--registry '$(REGISTRY)')

import: setup  ## A release of a folder that img2dataset wrote, as it is: FROM= OUT=
	@$(PY) -m jobs.release import '$(FROM)' --out '$(OUT)'

test: setup  ## All tests: those with Spark and the others side by side, told one after the other
	@$(MAKE) --no-print-directory --output-sync=target -k -j2 test-spark test-plain

test-spark test-plain: setup
	@$(PY) -m pytest --durations=10 -m '$(if $(findstring plain,$@),not )spark'

test-fast: setup  ## Tests that need no Spark
	@$(PY) -m pytest -m 'not spark and not slow'

check: setup  ## Lint, format and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: setup  ## Format the code
	@.venv/bin/ruff check --fix-only -q . ; .venv/bin/ruff format .

notebooks: setup  ## Notebooks as .ipynb, executed on RUN=runs/demo, in build/notebooks
	@PAIRMILL_RUN=$(or $(RUN),runs/demo) $(PY) -m jobs.notebooks

bench: setup  ## Benchmarks: W="extract-wat match" or all [SIZES="1e6 1e7"]; JSON in build/bench
	@$(PY) -m tests.benchmarks $(W) $(if $(SIZES),--sizes $(SIZES))

dist: setup  ## What executors of a cluster need: code.zip and environment.tar.gz, in dist
	@$(PY) conf/environment/pack.py dist/code.zip
	@[ dist/environment.tar.gz -nt .venv/.ready ] || $(PY) conf/environment/pack.py dist/environment.tar.gz

cluster-test: dist  ## The line on a real cluster of two workers that lose executors, on this machine
	@$(PY) -m pytest tests/cluster -m cluster

match-plan: setup  ## What a search for near-duplicates of N="1e9 1e10" hashes takes [R="2 4 6"]
	@$(PY) -m tests.benchmarks.match_plan $(if $(N),--hashes $(N)) $(if $(R),--radius $(R))

bench-peers: setup  ## The same against other tools, each in an environment of its own
	@$(PY) -m tests.benchmarks.peers $(W)

lock: setup  ## Lock the packages of conf/environment/*.in again
	@conf/environment/lock.sh

clean:  ## Remove runs and build output; keeps .venv
	@rm -rf runs build
