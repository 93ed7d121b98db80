# Two commands are enough: `make demo` and `make test`. Both set everything up first, inside this folder.

# Not read from the environment: a sourced ROS distribution sets ROS_DISTRO too.
ROS_DISTRO = kilted
SCENE =
VIDEO =
BOX =

supported_distros = kilted jazzy
ifeq ($(filter $(ROS_DISTRO),$(supported_distros)),)
$(error ROS_DISTRO=$(ROS_DISTRO): PyPI carries only $(supported_distros); for others use colcon in a ROS workspace, see README.md)
endif

# CMake's message generators fail on such a path, after all downloads.
ifneq ($(shell printf '%s' "$$PWD" | LC_ALL=C tr -d '\40-\176' | wc -c),0)
$(error the checkout must lie in a folder whose path has ASCII letters only, not in $(CURDIR): move it)
endif

suffix = $(if $(filter-out kilted,$(ROS_DISTRO)),-$(ROS_DISTRO))
venv = .venv$(suffix)
build = build$(suffix)
install = install$(suffix)
log = log$(suffix)
ros_env = tools/ros_env --distro $(ROS_DISTRO)
pytest_unit = OMP_NUM_THREADS=1 $(ros_env) pytest test/unit -n auto --maxprocesses 4 --dist loadfile

# Folders are listed beside their files: a deleted file changes its folder's date.
sources = $(shell find dytrack_ros config launch msg underlay resource \( -name __pycache__ -o -name '.*_cache' \) -prune -o -print) \
	CMakeLists.txt package.xml pyproject.toml tools/build tools/program.py.in

.PHONY: help setup demo pictures reference test unit coverage lint site clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo                         track a real clip in a real ROS 2 graph, results in demo/'
	@echo 'make demo SCENE=occlusion         a target that goes behind a pillar; SCENE=shake: a shaken camera'
	@echo 'make demo SCENE=follow            a simulated robot that follows a walking target'
	@echo 'make demo VIDEO=file BOX=x,y,w,h  the same on your own clip (box of the first frame in pixels)'
	@echo 'make test                         every test, on the built package'
	@echo 'make unit                         the tests that need no ROS (about a minute)'
	@echo 'make coverage                     every test, and which lines none of them runs'
	@echo 'make lint                         ruff, mypy, import-linter, codespell, xmllint and the documentation site'
	@echo 'make reference                    write docs/reference/ again, from the code'
	@echo 'make pictures                     draw every picture of the README and of docs/ again'
	@echo 'make setup                        only what these two need: $(venv), $(install)'
	@echo 'make clean                        remove all that setup and demo have made'
	@echo 'Add ROS_DISTRO=jazzy to use ROS 2 Jazzy instead of Kilted (its own .venv-jazzy, install-jazzy).'

setup: $(install)/.complete

$(venv)/.complete: requirements/base.txt requirements/constraints.txt requirements/no_deps.txt \
		requirements/$(ROS_DISTRO).txt tools/setup_venv tools/mend_ros_wheels.py
	@tools/setup_venv $(ROS_DISTRO) $(venv)
	@touch $@

$(install)/.complete: $(venv)/.complete $(sources)
	@tools/build $(venv) $(build) $(install) $(log)
	@touch $@

# Through the environment: a file name may contain quotes and dollar signs.
demo: export DEMO_SCENE = $(value SCENE)
demo: export DEMO_VIDEO = $(value VIDEO)
demo: export DEMO_BOX = $(value BOX)
demo: setup
	$(ros_env) $(install)/lib/dytrack_ros/dytrack demo --out demo $${DEMO_SCENE:+--scene "$$DEMO_SCENE"} \
		$${DEMO_VIDEO:+--video "$$DEMO_VIDEO"} $${DEMO_BOX:+--box "$$DEMO_BOX"}

pictures: setup
	$(ros_env) benchmarks/pictures.py

reference: setup
	$(ros_env) python tools/reference.py

# The unit tests run on all cores; the others start nodes and measure times, one after another.
test: unit
	$(ros_env) pytest test/ros test/system

unit: setup
	$(pytest_unit)

coverage: setup
	$(pytest_unit) --cov --cov-report= --durations=10
	$(ros_env) pytest test/ros test/system --cov --cov-append --cov-report=term --durations=20

lint: $(venv)/.complete
	$(venv)/bin/ruff check .
	$(venv)/bin/ruff format --check .
	$(venv)/bin/codespell
	@command -v xmllint >/dev/null || { echo 'make lint: xmllint is missing: sudo apt install libxml2-utils' >&2; exit 1; }
	xmllint --noout package.xml underlay/*/package.xml config/*.xml
	$(venv)/bin/lint-imports
	$(venv)/bin/mypy
	$(venv)/bin/mkdocs build --strict --quiet

clean:
	rm -rf .venv .venv-* build build-* install install-* log log-* demo site
