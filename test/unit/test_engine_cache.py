"""The cache of files made from weights: complete or not there, whatever happens."""

import os
import pwd
import tempfile
import threading
import time
from pathlib import Path

import pytest
from engine_answers import finish, python
from filelock import FileLock

from dytrack_ros.engines import cache, registry
from dytrack_ros.engines.cache import cache_folder, cached, replace_cached
from dytrack_ros.utils import provide_home

KIND = "graphs"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache._warn_unwritable.cache_clear()
    return cache_folder(KIND)


@pytest.fixture
def written():
    """The folders that were filled, in order."""
    return []


@pytest.fixture
def entry(written):
    """Gives an entry whose one file must have the content `whole`."""

    def write(folder):
        written.append(folder)
        (folder / "file").write_text("whole")

    def check(folder):
        if (folder / "file").read_text() != "whole":
            raise ValueError(f"{folder} is damaged")

    return lambda name="entry": cached(KIND, name, write, check)


def entries(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_an_entry_is_made_once(entry, written, folder):
    for _ in range(2):
        with entry() as given:
            assert given == folder / "entry"
    assert len(written) == 1 and entries(folder) == ["entry"]


def test_a_damaged_entry_is_made_again(entry, written, folder, caplog):
    with entry() as given:
        (given / "file").write_text("wh")
    with entry() as given:
        assert (given / "file").read_text() == "whole"
    assert len(written) == 2 and entries(folder) == ["entry"]
    assert "is damaged; it is made again" in caplog.text


def fail(folder):
    (folder / "file").touch()
    raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_behind_and_replacing_keeps_the_old_entry(entry, folder):
    with pytest.raises(KeyboardInterrupt), cached(KIND, "entry", fail, lambda folder: None):
        pass
    assert entries(folder) == []
    with entry() as given, pytest.raises(KeyboardInterrupt):
        replace_cached(given, fail)
    assert (given / "file").read_text() == "whole" and entries(folder) == ["entry"]


def test_replacing_makes_an_entry_anew(entry, folder):
    with entry() as given:
        pass
    replace_cached(given, lambda folder: (folder / "other").touch())
    assert [path.name for path in given.iterdir()] == ["other"] and entries(folder) == ["entry"]


def full(*_):
    raise OSError(28, "No space left on device")


def test_where_the_disk_is_full_the_folders_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(
            OSError, match=rf"graphs cannot be written in {tmp_path} .*, nor in the cache \({tmp_path}/cache: "
        ),
        cached(KIND, "entry", full, lambda folder: None),
    ):
        pass
    with pytest.raises(OSError, match=rf"the cache {folder} cannot be written .*No space left"):
        replace_cached(folder / "entry", full)


@pytest.mark.parametrize("cause", ["a file in its place", "no home folder", "a full disk"])
def test_where_nothing_can_be_written_a_temporary_folder_serves(entry, folder, tmp_path, monkeypatch, caplog, cause):
    if cause == "a file in its place":
        (tmp_path / "cache").touch()
    elif cause == "no home folder":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(cache.Path, "home", lambda: exec("raise RuntimeError('no home')"))
    else:
        monkeypatch.setattr(cache, "_make", full)
    for _ in range(2):
        with entry() as given:
            assert (given / "file").read_text() == "whole"
        assert not given.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once"
    assert "XDG_CACHE_HOME" in caplog.text


def test_unused_entries_and_leftovers_are_removed(entry, folder, monkeypatch):
    monkeypatch.setattr(cache, "KEPT_ENTRIES", 2)
    folder.mkdir(parents=True)
    (folder / ".killed.partial").mkdir()
    (folder / ".working.partial").mkdir()
    with FileLock(folder / ".working.lock"):
        for number, name in enumerate("abc"):
            with entry(name) as given:
                os.utime(given, (1000 + number, 1000 + number))
            with entry("a"):  # used again: the newest
                pass
    assert entries(folder) == [".working.partial", "a", "c"]


def test_the_folder_follows_the_xdg_standard(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder(KIND) == tmp_path / ".cache" / "dytrack_ros" / "graphs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder(KIND)) == "/somewhere/dytrack_ros/graphs"


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """A user id without a passwd entry, and no HOME."""
    monkeypatch.setenv("HOME", "")  # restored in the end
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)


def test_a_user_without_a_home_gets_a_temporary_one(no_home, tmp_path):
    home = provide_home()
    assert home == tmp_path / f"dytrack_ros-home-{os.getuid()}" == Path.home()
    assert home.stat().st_mode & 0o777 == 0o700
    assert provide_home() is None


def test_a_temporary_home_of_another_user_is_not_used(no_home, tmp_path):
    (tmp_path / f"dytrack_ros-home-{os.getuid()}").symlink_to(tmp_path)
    assert provide_home().parent == tmp_path and not Path.home().is_symlink()


def test_an_engine_of_a_user_without_a_home_is_given_one(no_home, tmp_path, monkeypatch, caplog):
    """The telemetry that OpenVINO brings cannot be imported without."""
    monkeypatch.setattr(
        registry.EngineSpec, "engine_class", lambda spec: lambda *_, **__: pytest.fail(str(Path.home()))
    )
    with pytest.raises(pytest.fail.Exception, match=f"{tmp_path}/dytrack_ros-home-"):
        registry.create_engine("torch", "weights")
    assert f"{tmp_path}/dytrack_ros-home-{os.getuid()} is used instead" in caplog.text


def test_threads_that_need_an_entry_wait_for_the_one_that_makes_it(entry, written, folder):
    def slow(partial):
        written.append(partial)
        time.sleep(0.3)
        (partial / "file").write_text("whole")

    def use():
        with cached(KIND, "entry", slow, lambda folder: None) as given:
            assert (given / "file").read_text() == "whole"

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1


def test_processes_that_need_an_entry_wait_for_the_one_that_makes_it(folder):
    code = """
import time
from dytrack_ros.engines.cache import cached

def write(folder):
    print("made", end="")
    time.sleep(0.5)

with cached("graphs", "entry", write, lambda folder: None):
    pass
"""
    processes = [python(code) for _ in range(2)]
    assert sorted(finish(process) for process in processes) == ["", "made"]
