"""Real engines that fail when they are told to."""

import functools

import pytest

from dytrack_ros.engines import registry

NAMES = ("torch", "onnxruntime")  # the two that load fastest
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of 4 GiB"

needs_both_engines = pytest.mark.skipif(
    bool(registry.missing_packages("onnxruntime")), reason="onnx or onnxruntime is not installed"
)


class Failing:
    """Mixed into an engine: its step `at` fails from its call number `after` on (the first is 0).

    Every step fails while `is_broken`. The warm-up is not counted.
    """

    at, after, error, is_broken = "", 0, RuntimeError(OUT_OF_MEMORY), False

    def _step(self, name, *arguments):
        self.after -= name == self.at
        if self.is_broken or self.after < 0:
            raise type(self.error)(*self.error.args)  # a new one, since an error refers to the frames that raised it
        return getattr(super(), name)(*arguments)

    def _take_template(self, template):
        self._step("_take_template", template)

    def _take_search(self, search):
        self._step("_take_search", search)

    def _run_stage(self, position):
        return self._step("_run_stage", position)

    def _run_head(self, position):
        return self._step("_run_head", position)

    def _reference_answers(self):
        at, self.at = self.at, ""
        answers = super()._reference_answers()
        self.at = at
        return answers


class Engines:
    """Replaces the registry by two engines, each as it is or made to fail.

    Attributes:
        classes: the class loaded under each name; may be replaced.
        loaded: names of the engines loaded, in order.
        is_mended: whether an engine no longer fails when it is loaded a second time.
    """

    def __init__(self, monkeypatch):
        self.whole = {name: registry.SPECS[name].engine_class() for name in NAMES}
        self.classes = dict(self.whole)
        self.loaded = []
        self.is_mended = False
        self._errors = {}
        monkeypatch.setattr(registry, "SPECS", {name: registry.SPECS[name] for name in NAMES[::-1]})
        monkeypatch.setattr(registry.EngineSpec, "engine_class", lambda spec: functools.partial(self.load, spec.name))
        monkeypatch.setattr(registry, "cuda_is_present", lambda: False)

    def load(self, name, *given, **named):
        if name in self._errors:
            raise self._errors[name]
        engine = self.classes[name](*given, **named)
        if self.is_mended:
            self.classes[name] = self.whole[name]
        self.loaded.append(name)
        return engine

    def fail(self, name, at="", after=0, error=None):
        changes = {"at": at, "after": after} | ({"error": error} if error else {})
        self.classes[name] = type("Failing", (Failing, self.whole[name]), changes)

    def fail_to_load(self, name, error=None):
        self._errors[name] = error or OSError("libsomething.so: cannot open shared object file")
