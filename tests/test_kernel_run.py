"""Runs of kernels here: nothing of the user's is lost, read or left running."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lmk.cli.kernel_run import left_by
from lmk.kaggle.bundle import Bundle
from lmk.kaggle.kernels import Kernel, new_kernel
from lmk.kaggle.run_locally import END_SECONDS, Isolation, isolation, play, run_folder
from lmk.util.errors import LimitError, LmkError
from lmk.util.files import alone_in

ALL = isolation()
KINDS = (
    [ALL, Isolation(("unshare", "--user", "--map-root-user", "--net")), Isolation()] if ALL.mounts else [Isolation()]
)


@pytest.fixture(params=KINDS, ids=lambda found: "mounts" if found.mounts else "network" if found.words else "nothing")
def every_isolation(request, monkeypatch) -> Isolation:
    """What different systems allow."""
    monkeypatch.setattr("lmk.kaggle.run_locally.isolation", lambda: request.param)
    return request.param


def run(script: str, root: Path, seconds: float = 30.0, **options):
    told: list[str] = []
    stage = play(Bundle(script, "0" * 12), options.pop("inputs", {}), root, seconds, tell=told.append, **options)
    return stage, told


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> Kernel:
    monkeypatch.setenv("LMK_KERNELS", str(tmp_path / "kernels"))
    made = new_kernel(tmp_path / "kernels", "mine", "print('precious')\n", "some-landmarks")
    (made.folder / "notes.txt").write_text("precious")
    return made


@pytest.mark.parametrize("rerun", [[], ["--rerun"]])
@pytest.mark.parametrize(
    "written", ["{folder}", "{folder}/", "./mine", "../kernels/mine", "mine/", ".", "..", "", ".mine-hidden", "a\nb"]
)
@pytest.mark.parametrize("command", ["run", "push", "status", "logs", "pull"])
def test_a_kernels_name_is_one_plain_part(kernel, lmk, tmp_path, written, rerun, command):
    if command != "run" and rerun:
        return
    words = ["-w", str(tmp_path / "w")] if command in ("run", "pull") else []
    code, _, err = lmk("kernel", command, written.format(folder=kernel.folder), *words, *rerun)
    assert code == 1
    assert "is no name of a kernel" in " ".join(err.split())
    assert (kernel.folder / "notes.txt").read_text() == "precious"


def test_a_new_kernel_is_made_in_its_folder_alone(tmp_path):
    for name in (str(tmp_path / "elsewhere"), "../elsewhere", ".hidden"):
        with pytest.raises(LmkError, match="is no name of a kernel"):
            new_kernel(tmp_path / "kernels", name, "", "some-landmarks")
    assert not (tmp_path / "elsewhere").exists()


def test_a_workspace_whose_folder_of_runs_is_that_of_the_kernels_loses_none(kernel, lmk, tmp_path):
    (tmp_path / "input").mkdir()
    code, _, err = lmk("kernel", "run", "mine", "-w", str(tmp_path), "--input", f"some-landmarks={tmp_path / 'input'}")
    assert code == 1
    assert "which no run made" in " ".join(err.split())
    assert (kernel.folder / "notes.txt").read_text() == "precious"


def test_inputs_are_checked_before_anything_is_removed(kernel, lmk, tmp_path):
    left = tmp_path / "w" / "kernels" / "mine" / "working"
    left.mkdir(parents=True)
    (left / "result.csv").write_text("of an earlier run")
    for words in ([], ["--rerun"]):
        code, _, err = lmk("kernel", "run", "mine", "-w", str(tmp_path / "w"), *words)
        assert code == 1
        assert "input some-landmarks is not at" in " ".join(err.split())
        assert (left / "result.csv").exists()


def test_an_input_that_the_run_would_remove_is_refused(tmp_path):
    root = tmp_path / "run"
    (root / "working" / "of-before").mkdir(parents=True)
    for place in (root, root / "working", root / "working" / "of-before"):
        with pytest.raises(LmkError, match="which is emptied for the run"):
            run("", root, inputs={"data": place})
    assert (root / "working" / "of-before").is_dir()


def test_a_folder_that_no_run_made_is_not_emptied(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(LmkError, match=r"holds thesis\.tex, which no run made"):
        run("", tmp_path / "run")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(LmkError, match="which no run made"):
        run("", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_second_run_of_a_kernel_does_not_remove_the_first_ones_folder(tmp_path):
    with run_folder(tmp_path / "run", []) as root:
        (root / "working").mkdir()
        with pytest.raises(LmkError, match="Another lmk works in"):
            run("", tmp_path / "run")
        assert (root / "working").is_dir()
    with alone_in(tmp_path):
        run("print(1)", tmp_path / "run")


def marked(mark: str) -> list[int]:
    """Living processes with `mark` among their words."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark.encode() in words.split(b"\0") and state not in "ZX":
                found.append(int(folder.name))
    return found


def gone(mark: str, seconds: float = END_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not marked(mark)


CHILD = (
    "import subprocess, sys, time\n"
    "words = [sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)', MARK]\n"
    "subprocess.Popen(words, start_new_session=True, stdout=OUT)\n"
    "print('started', flush=True)\n"
)
TWICE = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(99)', MARK])\n"
    "    os._exit(0)\n"
    "print('started', flush=True)\n"
)


@pytest.mark.parametrize("script", [CHILD, TWICE], ids=["session of its own", "daemon"])
@pytest.mark.parametrize("ends", ["by its limit", "by itself", "by an error"])
def test_nothing_that_a_kernel_started_outlives_its_run(every_isolation, tmp_path, script, ends):
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    script = script.replace("MARK", repr(mark)).replace("OUT", "None")
    script += {"by its limit": "time.sleep(99)\n", "by itself": "", "by an error": "1 / 0\n"}[ends]
    start = time.monotonic()
    if ends == "by its limit":
        with pytest.raises(LimitError, match="stopped after 2 s"):
            run(script, tmp_path / "run", seconds=2.0)
    elif ends == "by an error":
        with pytest.raises(LmkError, match="ZeroDivisionError"):
            run(script, tmp_path / "run")
    else:
        run(script, tmp_path / "run")
    assert time.monotonic() - start < 25
    assert gone(mark)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_kernel_ends_with_the_lmk_that_runs_it(tmp_path, number, kernel):
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    script = CHILD.replace("MARK", repr(mark)).replace("OUT", "None") + "time.sleep(99)\n"
    (kernel.folder / "mine.py").write_text(script)
    (tmp_path / "input").mkdir()
    words = [sys.executable, "-m", "lmk.cli.main", "kernel", "run", "mine", "-w", str(tmp_path / "w")]
    process = subprocess.Popen(
        [*words, "--input", f"some-landmarks={tmp_path / 'input'}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 60
    while not marked(mark) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert marked(mark), process.communicate()[0].decode()
    process.send_signal(number)
    said = process.communicate(timeout=60)[0].decode()
    expected = {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}.get(number, 128 + number)
    assert process.returncode == expected
    assert "Traceback" not in said
    assert gone(mark)


def test_output_without_an_end_of_line_takes_no_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stage, told = run("import os\nfor _ in range(3000):\n    os.write(1, b'x' * 100_000)\n", tmp_path / "run", 120.0)
    assert stage.log.stat().st_size == 300_000_000
    assert sum(map(len, told)) == 300_000_000 or not ALL.mounts  # else the first lines say what is not kept off
    assert max(map(len, told)) <= 4_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 900_000  # KiB: what this test keeps of the lines itself, not three copies


def test_every_byte_of_the_output_is_in_the_log_and_the_last_line_is_the_reason(tmp_path):
    script = "import os, sys\nos.write(1, b'caf\\xe9\\r\\n\\x1b[31mred')\nsys.exit('the reason')\n"
    with pytest.raises(LmkError, match="the reason"):
        run(script, tmp_path / "run")
    assert (tmp_path / "run" / "log.txt").read_bytes() == b"caf\xe9\r\n\x1b[31mredthe reason\n"


needs_mounts = pytest.mark.skipif(not ALL.mounts, reason="this system allows no mount name space")


@needs_mounts
def test_a_kernel_sees_no_files_but_its_own_and_its_inputs(tmp_path, monkeypatch):
    secret = tmp_path / "home" / ".kaggle" / "access_token"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret-of-mine")
    data = tmp_path / "home" / "data"
    (data / "train").mkdir(parents=True)
    (data / "train" / "photo.txt").write_text("photo")
    other = tmp_path / "disk"
    other.mkdir()
    (other / "far.txt").write_text("far")
    (data / "test").symlink_to(other)
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)
    listener.bind("s")
    listener.listen()
    scratch = f"lmk-test-{time.monotonic_ns()}"
    script = f"""
import ctypes, os, socket
from pathlib import Path
data = Path(os.environ["LMK_KAGGLE_INPUT"], "data")
def told(name, action):
    try:
        print(name, action(), flush=True)
    except OSError as error:
        print(name, type(error).__name__, flush=True)
told("secret", Path({str(secret)!r}).read_text)
told("home", lambda: os.listdir(os.environ["HOME"]))
told("photo", (data / "train" / "photo.txt").read_text)
told("linked", (data / "test" / "far.txt").read_text)
told("write input", lambda: (data / "x").write_text("x"))
told("write through", lambda: Path({str(data)!r}, "x").write_text("x"))
told("remove", (data / "train" / "photo.txt").unlink)
told("write etc", lambda: Path("/etc/x").write_text("x"))
told("write root", lambda: Path("/x").write_text("x"))
told("write script", lambda: Path(__file__).write_text("x"))
told("write python", lambda: Path({sys.prefix!r}, "x").write_text("x"))
told("write working", lambda: Path("x").write_text("x"))
told("write tmp", lambda: Path("/tmp", {scratch!r}).write_text("x"))
told("socket", lambda: socket.socket(socket.AF_UNIX).connect({str(tmp_path / "s")!r}))
told("processes", lambda: len([name for name in os.listdir("/proc") if name.isdecimal()]) < 5)
told("kill", lambda: os.kill({os.getpid()}, 0))
told("root of lmk", lambda: os.listdir("/proc/{os.getpid()}/root"))
told("run", lambda: os.listdir("/run"))
place = bytes(data)
told("remount", lambda: ctypes.CDLL(None).mount(None, place, None, 32 | 4096, None))
told("unmount", lambda: ctypes.CDLL(None).umount2(place, 2))
"""
    stage, told = run(script, tmp_path / "run", inputs={"data": data})
    found = dict(line.rsplit(" ", 1) for line in told if " " in line)
    lost = {"secret", "socket", "root of lmk", "run"}
    assert {name: found[name] for name in lost} == dict.fromkeys(lost, "FileNotFoundError")
    assert (found["home"], found["photo"], found["linked"]) == ("[]", "photo", "far")
    refused = ["write input", "write through", "remove", "write etc", "write root", "write script", "write python"]
    assert [found[name] in ("OSError", "PermissionError", "FileNotFoundError") for name in refused] == [True] * 7
    assert (found["write working"], found["write tmp"], found["processes"]) == ("1", "1", "True")
    assert found["kill"] in ("ProcessLookupError", "PermissionError")
    assert (found["remount"], found["unmount"]) == ("-1", "-1")
    assert (stage.working / "x").read_text() == "x"
    assert sorted(path.name for path in data.rglob("*")) == ["photo.txt", "test", "train"]
    assert not Path("/tmp", scratch).exists()


@needs_mounts
def test_what_is_not_kept_from_a_kernel_is_said(tmp_path, monkeypatch):
    assert run("", tmp_path / "run")[1] == []
    for kind in KINDS[1:]:
        monkeypatch.setattr("lmk.kaggle.run_locally.isolation", lambda kind=kind: kind)
        assert "can read and write your files" in run("", tmp_path / "run")[1][0]


def test_two_runs_at_once_in_two_folders_do_not_end_each_other(tmp_path):
    done: list[str] = []

    def one(name: str) -> None:
        _, told = run("import time\ntime.sleep(1)\nprint('well')\n", tmp_path / name)
        done.append(told[-1])

    threads = [threading.Thread(target=one, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["well", "well"]


def test_files_that_a_kernel_left_are_counted_by_folder(tmp_path):
    assert left_by(tmp_path) == [f"{tmp_path} is empty."]
    for name in ("submission.csv", "runs/a.json", "stores/a/0.npz", "stores/b/1.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    assert left_by(tmp_path) == [
        f"{tmp_path}:",
        "  submission.csv  4 bytes",
        "  runs/  1 file, 4 bytes",
        "  stores/  2 files, 8 bytes",
    ]
