# Pairmill. `make` lists the targets.
#   CONFIG=conf/demo.toml   the recipe of a stage or run
#   SET="a.b=1 c.d=2"       overrides of it
#   FROM=urls.parquet       lists of URLs and captions to start from, instead of archives; or a
#                           folder that img2dataset wrote, whose pictures are taken as well
#   REDO=1                  do a finished stage (and those after it) again
SHELL := /bin/bash
.DEFAULT_GOAL := help
CONFIG ?= conf/demo.toml
# What users give may hold names from anywhere: make expands nothing in it, and what stands between
# single quotes below stays there.
GIVEN := CONFIG SET FROM ARCHIVES RELEASE VIEW OUT LIST WHERE LAYOUT EXPECTED REGISTRY IMAGES \
  DATASET CRAWL RUN W SIZES N R SEED STRIKES AGAINST DOMAIN SLICE MODEL PORT PRETRAINED PAIRS RATES SIZE \
  RECIPES JUDGE EVAL
TO_SUBMIT := CLUSTER MASTER SPARK_ARGS DIST
define NEWLINE


endef
given = $(foreach v,$1,$(if $(filter-out undefined,$(origin $v)),$v))
$(foreach v,$(call given,$(GIVEN) $(TO_SUBMIT)),\
  $(if $(findstring $(NEWLINE),$(value $v)),$(error $v must be one line)))
$(foreach v,$(call given,$(GIVEN)),$(eval override $v := $$(subst ','\'',$$(value $v))))
$(foreach v,$(call given,$(TO_SUBMIT)),$(eval override $v := $$(value $v)))
# The launcher reads them from its environment, where make does not put what it has overridden itself.
$(foreach v,$(call given,$(TO_SUBMIT)),$(eval export $v))
STAGES := extract dedupe download match score cluster measure decide shard
# What the set-up chose; SPARK_CONF_DIR holds Spark's log settings.
PY = JAVA_HOME="$$(cat .venv/java_home)" SPARK_CONF_DIR=$(CURDIR)/conf SPARK_LOCAL_IP=127.0.0.1 .venv/bin/python
SUBMIT := conf/environment/submit.sh
SOURCE = $(if $(ARCHIVES),--archives '$(ARCHIVES)') $(if $(FROM),--from '$(FROM)')
# Two processes take the tests of some marks file by file, from both ends; each is told when it is done.
SIDE_BY_SIDE = shared=$$(mktemp -d); trap 'rm -r "$$shared"' EXIT; \
  $(MAKE) --no-print-directory --output-sync=target -k -j2 from-spark from-plain \
    TESTS_SHARED="$$shared" MARKS='$(1)'
JUDGED = --config '$(CONFIG)' --recipes $(foreach r,$(or $(RECIPES),$(CONFIG)),'$(r)') \
  --out '$(or $(OUT),runs/judge)' $(if $(JUDGE),--judge '$(JUDGE)') \
  $(if $(RELEASE),--release '$(RELEASE)') $(if $(RUN),--run '$(RUN)') $(if $(EVAL),--evaluation '$(EVAL)') \
  $(if $(MODEL),--model '$(MODEL)') $(foreach s,$(SET),--set '$(s)')
OPTIONS = --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)') $(if $(REDO),--redo)

.PHONY: help setup demo run retry recheck verify what-if view describe materialise export import takedown grow register hash-pack test test-all test-fast check format bench bench-peers match-plan status cluster-test dist test-spark test-plain lock clean notebooks index explore plan s3-test chaos report licences docs $(STAGES) judge scaling

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9$$()A-Z -]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST) \
	  | sed 's/\$$(STAGES)/<stage>   /'
	@echo "  stages: $(STAGES) report"

setup:  ## Virtual environment, locked packages and a JVM, in .venv
	@conf/environment/setup.sh

demo: setup  ## Mill the embedded web into a release, with precision and recall
	@$(SUBMIT) jobs/run.py --config conf/demo.toml $(foreach s,$(SET),--set '$(s)') $(if $(REDO),--redo)

run: setup  ## The whole line: CONFIG=conf/default.toml [ARCHIVES=<glob> | FROM=<lists>] [SET="a.b=1"]
	@$(SUBMIT) jobs/run.py $(OPTIONS) $(SOURCE)

$(STAGES): setup  ## One stage: CONFIG=conf/demo.toml [ARCHIVES=<glob>] [SET="a.b=1"] [REDO=1]
	@$(SUBMIT) jobs/$@.py $(OPTIONS) $(SOURCE)

report: setup  ## HTML of a run: CONFIG= [AGAINST=<run or release>]; or of a RELEASE= [VIEW=] OUT=
	@$(if $(RELEASE)$(VIEW),\
	  $(PY) -m jobs.release report '$(or $(RELEASE),$(error VIEW= needs the RELEASE= it is of))' \
	    $(if $(VIEW),--view '$(VIEW)') $(if $(AGAINST),--against '$(AGAINST)') --out '$(or $(OUT),build/report.html)',\
	  $(SUBMIT) jobs/report.py $(OPTIONS) $(SOURCE) \
	    $(if $(AGAINST),--set 'report.against=$(AGAINST)' $(if $(REDO),,--redo)))

retry: setup  ## Ask again for failures that are due: CONFIG= [SET=]
	@$(SUBMIT) jobs/retry.py --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)')

recheck: setup  ## Ask whether stored images are as they were: CONFIG=; or what of a RELEASE= or DATASET= may still be used: [DOMAIN=] [SLICE=3/30] [TAKEDOWN=1] [GONE=1] [PURGE=1]
	@$(SUBMIT) jobs/recheck.py --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)') \
	  $(if $(RELEASE),--release '$(RELEASE)') $(if $(DATASET),--dataset '$(DATASET)') \
	  $(if $(REGISTRY),--registry '$(REGISTRY)') $(foreach d,$(DOMAIN),--domain '$(d)') \
	  $(if $(SLICE),--slice '$(SLICE)') $(if $(TAKEDOWN),--takedown) $(if $(GONE),--gone) $(if $(PURGE),--purge)

verify: setup  ## Images against the run's list, or [EXPECTED=<list>]: CONFIG=; or a RELEASE= [VIEW=]
	@$(if $(RELEASE),$(PY) -m jobs.release verify '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)'),\
	  $(SUBMIT) jobs/verify.py $(OPTIONS) $(if $(EXPECTED),--expected '$(EXPECTED)'))

status: setup  ## What of a run is done, running, missing, with rates and time left: CONFIG= [SET=]
	@$(PY) -m jobs.status $(OPTIONS) $(SOURCE)

what-if: setup  ## Counts by other bounds, nothing written: SET="clip_similarity.low=0.28,0.30" CONFIG=
	@$(SUBMIT) jobs/what_if.py --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)')

judge: setup  ## Train a small CLIP on what each of RECIPES="a.toml b.toml" keeps, on all and on chance; a table: [CONFIG= RUN= RELEASE= EVAL= MODEL= JUDGE= OUT=]
	@$(SUBMIT) jobs/judge.py judge $(JUDGED)

scaling: setup  ## Curves of samples against score for several models, on one of RECIPES=: as judge
	@$(SUBMIT) jobs/judge.py scaling $(JUDGED)

register: setup  ## Add a finished release to a registry: REGISTRY=<folder> CONFIG= [RELEASE=<name>]
	@$(SUBMIT) jobs/register.py --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)') \
	  --registry '$(REGISTRY)' $(if $(RELEASE),--name '$(RELEASE)')

hash-pack: setup  ## Hashes of evaluation pictures: IMAGES=<folder or tars> OUT=<file.parquet> CONFIG=
	@$(PY) -m jobs.hash_pack --config '$(CONFIG)' $(foreach s,$(SET),--set '$(s)') \
	  --images '$(IMAGES)' --out '$(OUT)'

view: setup  ## Select samples of a release: RELEASE= WHERE="width >= 512" OUT=some.view
	@$(PY) -m pipeline.stream select '$(RELEASE)' '$(WHERE)' '$(OUT)'

describe: setup  ## What a release, or a view of it, holds: RELEASE= [VIEW=]
	@$(PY) -m jobs.release describe '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)')

materialise: setup  ## A release of the samples of a view, or of all but tombstones: RELEASE= [VIEW=] OUT=
	@$(PY) -m jobs.release materialise '$(RELEASE)' $(if $(VIEW),--view '$(VIEW)') --out '$(OUT)'

export: setup  ## A release for other tools: RELEASE= LAYOUT=img2dataset|hf|energon-index OUT=
	@$(PY) -m jobs.release export '$(RELEASE)' --layout '$(LAYOUT)' --out '$(OUT)'

grow: setup  ## Add a crawl to a dataset as a new version: DATASET=<folder> CRAWL=<name> CONFIG= [ARCHIVES= | FROM=] [NEW_RECIPE=1]
	@$(SUBMIT) jobs/grow.py --dataset '$(DATASET)' --crawl '$(CRAWL)' --config '$(CONFIG)' \
	  $(foreach s,$(SET),--set '$(s)') $(SOURCE) $(if $(NEW_RECIPE),--new-recipe)

takedown: setup  ## Remove what LIST= names: DATASET= [PURGE=1]; or RELEASE= [OUT=<folder of the next version>] [REGISTRY=]
	@$(PY) -m jobs.takedown $(foreach r,$(RELEASE),'$(r)') --list '$(LIST)' \
	  $(if $(DATASET),--dataset '$(DATASET)') $(if $(PURGE),--purge) \
	  $(if $(OUT),--out '$(OUT)') $(if $(REGISTRY),--registry '$(REGISTRY)')

import: setup  ## A release of a folder that img2dataset wrote, as it is: FROM= OUT=
	@$(PY) -m jobs.release import '$(FROM)' --out '$(OUT)'

test: setup  ## All tests but those marked long, by two processes side by side
	@$(call SIDE_BY_SIDE,not long)

test-all: setup  ## All tests, those of many minutes too: chaos, kills of the line, growth
	@$(call SIDE_BY_SIDE,)

test-fast: setup  ## Tests that need neither Spark nor long, by two processes side by side
	@$(call SIDE_BY_SIDE,not spark and not slow)

test-spark test-plain: setup
	@$(PY) -m pytest --durations=10 -m '$(if $(findstring plain,$@),not )spark'

.PHONY: from-spark from-plain
from-spark from-plain:
	@TESTS_SHARED='$(TESTS_SHARED)' TESTS_FROM=$(@:from-%=%) \
	  $(PY) -m pytest --durations=10 $(if $(MARKS),-m '$(MARKS)')

check: setup  ## Lint, format and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: setup  ## Format the code
	@.venv/bin/ruff check --fix-only -q . ; .venv/bin/ruff format .

index: setup  ## Index the kept pictures of RUN=runs/demo for make explore [MODEL=clip]
	@$(PY) -m jobs.explore index --run '$(or $(RUN),runs/demo)' $(if $(MODEL),--model '$(MODEL)')

explore: setup  ## A page of the nearest kept pictures to a text or picture: RUN=runs/demo [PORT=8765]
	@$(PY) -m jobs.explore explore --run '$(or $(RUN),runs/demo)' $(if $(PORT),--port '$(PORT)') $(if $(PRETRAINED),--pretrained '$(PRETRAINED)')

notebooks: setup  ## Notebooks as .ipynb, executed on RUN=runs/demo, in build/notebooks
	@PAIRMILL_RUN='$(or $(RUN),runs/demo)' $(PY) -m jobs.notebooks

bench: setup  ## Benchmarks: W="extract-wat match" or all [SIZES="1e6 1e7"]; JSON in build/bench
	@$(PY) -m tests.benchmarks $(foreach w,$(W),'$(w)') $(if $(SIZES),--sizes $(foreach n,$(SIZES),'$(n)'))

dist: setup  ## What executors of a cluster need: code.zip and environment.tar.gz, in dist
	@$(PY) conf/environment/pack.py dist/code.zip
	@[ dist/environment.tar.gz -nt .venv/.ready ] || $(PY) conf/environment/pack.py dist/environment.tar.gz

cluster-test: dist  ## The line on a real cluster of two workers that lose executors, on this machine
	@$(PY) -m pytest tests/cluster -m cluster

s3-test: setup  ## Object storage and the line on it, against a real server from Debian's packages (Ceph)
	@PAIRMILL_S3=ceph $(PY) -m pytest tests/s3 tests/core/test_spark_files.py tests/core/test_claim.py \
	  tests/shards/test_object_storage.py tests/extract/test_stream.py

chaos: setup  ## Kill, fill, cut off and damage a run at 30 points: SEED=1 [STRIKES=30]; a table, a verdict
	@$(PY) -m tests.chaos --seed '$(or $(SEED),1)' --strikes '$(or $(STRIKES),30)' --out build/chaos.md

match-plan: setup  ## What a search for near-duplicates of N="1e9 1e10" hashes takes [R="2 4 6"]
	@$(PY) -m tests.benchmarks.match_plan $(if $(N),--hashes $(foreach n,$(N),'$(n)')) $(if $(R),--radius $(foreach r,$(R),'$(r)'))

plan: setup  ## What PAIRS=10e9 cost by stage: CLUSTER=conf/clusters/cloud.toml [CONFIG=] [RUN=<finished run> | RATES=<file>]
	@$(PY) -m jobs.plan --pairs '$(PAIRS)' --cluster "$$CLUSTER" $(if $(filter command line environment,$(origin CONFIG)),--config '$(CONFIG)') \
	  $(foreach s,$(SET),--set '$(s)') $(if $(RUN),--run '$(RUN)') $(if $(RATES),--rates '$(RATES)')

bench-peers: setup  ## The same against other tools, each in an environment of its own [SIZE=5000 of line]
	@$(PY) -m tests.benchmarks.peers $(foreach w,$(W),'$(w)') $(if $(SIZE),--size '$(SIZE)')

lock: setup  ## Lock the packages of conf/environment/*.in again
	@conf/environment/lock.sh

licences: setup  ## Licence of every locked package; fails on one that licences.toml does not allow
	@.venv/bin/python conf/environment/licences.py

docs: setup  ## The documentation as a site in build/site; what pages say of the code is written anew
	@$(PY) -m jobs.docs

clean:  ## Remove runs and build output; keeps .venv
	@rm -rf runs build
