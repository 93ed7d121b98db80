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

suffix = $(if $(filter-out kilted,$(ROS_DISTRO)),-$(ROS_DISTRO))
venv = .venv$(suffix)
build = build$(suffix)
install = install$(suffix)
log = log$(suffix)
ros_env = tools/ros_env --distro $(ROS_DISTRO)

# Folders are listed beside their files: a deleted file changes its folder's date.
sources = $(shell find dytrack_ros config launch msg underlay resource \( -name __pycache__ -o -name '.*_cache' \) -prune -o -print) \
	CMakeLists.txt package.xml setup.cfg tools/build tools/program.py.in

.PHONY: help setup demo pictures test lint clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo                         track a real clip in a real ROS 2 graph, results in demo/'
	@echo 'make demo SCENE=occlusion         a target that goes behind a pillar; SCENE=shake: a shaken camera'
	@echo 'make demo VIDEO=file BOX=x,y,w,h  the same on your own clip (box of the first frame in pixels)'
	@echo 'make test                         every test, on the built package'
	@echo 'make pictures                     draw every picture of the README and of docs/ again'
	@echo 'make setup                        only what these two need: $(venv), $(install)'
	@echo 'make lint                         ruff, codespell and xmllint'
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

demo: setup
	$(ros_env) $(install)/lib/dytrack_ros/demo $(if $(SCENE),--scene '$(SCENE)') $(if $(VIDEO),--video '$(VIDEO)') $(if $(BOX),--box '$(BOX)') --out demo

pictures: setup
	$(ros_env) benchmarks/pictures.py

test: setup
	$(ros_env) pytest test

lint: $(venv)/.complete
	$(venv)/bin/ruff check .
	$(venv)/bin/codespell
	@command -v xmllint >/dev/null || { echo 'make lint: xmllint is missing: sudo apt install libxml2-utils' >&2; exit 1; }
	xmllint --noout package.xml underlay/*/package.xml config/*.xml

clean:
	rm -rf .venv .venv-* build build-* install install-* log log-* demo
