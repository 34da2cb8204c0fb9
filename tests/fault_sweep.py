"""Kills commands, and fills their disk, at each file operation; repeats each; and compares what they leave: a table.

    python tests/fault_sweep.py                   # all commands, in hours: train alone has 300 states of 10 s
    python tests/fault_sweep.py adapt save        # some
    python tests/fault_sweep.py train --every 13  # some of its states, in 7 minutes

It belongs to no test run, as it takes long; what it once found is in `tests/journeys/test_faults.py`. Each command is
run once. Before each of its operations the content of its folder is what a kill would leave there; a fork of the
process goes on with a disk that has been full since then. Operations at one line of the package, reached in the same
way, count once or twice. Then the command is repeated on each of these contents. It must succeed and end with what an
undisturbed run leaves, times of computation aside.
"""

import argparse
import math
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hub_server.session import HubSession

HUB = HubSession()  # libraries read the environment once, on import
os.environ["MATPLOTLIBRC"] = str(Path(__file__).parent)  # small figures

import torch  # noqa: E402
from faults import contents, fill_disk, observed  # noqa: E402
from huggingface_hub import HfApi  # noqa: E402
from small_model import DECODER_CHANNELS, IMAGE_SIZE, small_model, small_sam  # noqa: E402

from bc_sam.cli import main  # noqa: E402
from bc_sam.data.datasets.rendered import write_rendered  # noqa: E402

LABELS = ("basophil", "monocyte", "neutrophil_segmented")
SETTINGS = (
    f"image_size={IMAGE_SIZE}",
    "folds=2",
    "checkpoint_steps=3",
    f"autoencoder.decoder_channels={list(DECODER_CHANNELS)}",
    'classifiers.names=["logistic"]',
    "classifiers.default=logistic",
)
STAGES = ("segmentation.epochs=1", "segmentation.warmup_epochs=0", "segmentation.batch_size=8")
STAGES += ("autoencoder.epochs=2", "autoencoder.batch_size=8")
DIFFERS = b"differs between any two runs"
PACKAGE = str(Path(main.__code__.co_filename).parents[1])


@dataclass(frozen=True)
class State:
    """What a fault left.

    Attributes:
        fault: Kind of the fault.
        place: Line of the package.
        files: Content of the folder; see `faults.contents`.
        output: What was printed.
    """

    fault: str
    place: str
    files: dict
    output: str = ""


def place_of(event):
    """The lines of the package that lead to an operation, innermost first."""
    frame, lines = sys._getframe(), [event]
    while frame := frame.f_back:
        if frame.f_code.co_filename.startswith(PACKAGE):
            lines.append(f"{Path(frame.f_code.co_filename).stem}:{frame.f_lineno}")
    return " < ".join(lines)


def run(command):
    """Runs a command line; returns its exit status."""
    sys.argv = ["bc-sam", *map(str, command)]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def forked(action, before=lambda: None, seconds=600):
    """Runs an action in a fork, for so many seconds at most; returns its exit status and output."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(reading)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", 1, closefd=False)
        before()
        if action is None:
            return None
        code = 99
        try:
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    return wait_for(child, reading, seconds)


def wait_for(child, reading, seconds):
    """Reads what a process prints until it ends, or is killed after some seconds; returns its exit status with it."""
    output, deadline = b"", time.monotonic() + seconds
    while select.select([reading], [], [], max(0, deadline - time.monotonic()))[0]:
        if not (part := os.read(reading, 2**16)):
            break
        output += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.decode(errors="replace")


class Recording:
    """Runs a command once and records what a fault at each of its operations leaves.

    Args:
        folder: The folder it writes to.
        occurrences: How many operations at the same place are recorded; of kills, also the last one.
    """

    def __init__(self, folder, occurrences=1):
        self.folder, self.occurrences = folder, occurrences
        self.process, self.seen, self.operations = os.getpid(), Counter(), Counter()
        self.killed, self.full, self.undecided, self.last = {}, [], [], contents(folder)
        self.shadow = folder.with_name("shadow")

    def run(self, command):
        code = 99
        try:
            with observed(self.folder, self.react):
                code = run(command)
        except BaseException:
            traceback.print_exc()
        finally:
            if os.getpid() != self.process:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        return code

    def react(self, number, event):
        if os.getpid() != self.process:  # the disk is full
            if event in ("open", "os.mkdir"):
                fill_disk()
            return
        place, now = place_of(event), self._contents()
        self.operations[event] += 1
        self.seen[place] += 1
        self._record_kill(place, now)
        filling = event in ("open", "os.mkdir", "os.rename") and self.seen[place] <= self.occurrences
        filling = filling and "folder_lock" not in place  # filelock refuses a lock that a fork inherits
        if filling and self._fill_disk(place):
            fill_disk()

    def _contents(self):
        """The content of the folder; of what has not changed, the same bytes as before, since thousands are kept."""
        now = contents(self.folder)
        return {name: last if (last := self.last.get(name)) == content else content for name, content in now.items()}

    def _record_kill(self, place, now):
        name = place if self.seen[place] <= self.occurrences else f"{place} last"
        self.killed[f"{name} {min(self.seen[place], self.occurrences + 1)}"] = State("kill", place, now)
        # Half of what was written since the operation before; what was renamed had been written.
        written = set(self.last.values())
        for file, content in now.items():
            if content and self.last.get(file) != content and content not in written:
                short = now | {file: content[: len(content) // 2]}
                self.killed.setdefault(
                    f"{place} half of {re.sub('[0-9]+', '', file)}", State(f"kill in a write of {file}", place, short)
                )
        self.last = now

    def _fill_disk(self, place):
        """Lets a fork go on with a full disk, and restores the folder; returns whether this is the fork."""
        shutil.rmtree(self.shadow, ignore_errors=True)
        self.shadow.mkdir()
        kept = {}
        for number, path in enumerate(sorted(self.folder.rglob("*"))):
            kept[path] = None
            if path.is_file():
                os.link(path, self.shadow / str(number))
                kept[path] = (self.shadow / str(number), path.read_bytes())
        ended = forked(None, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)), 20)
        if ended is None:
            return True
        if ended[0] == -signal.SIGKILL:  # it waited for a thread, which forks do not have
            self.undecided.append(place)
        else:
            self.full.append((ended[0], State("full disk", place, self._contents(), ended[1])))
        if "Traceback" in ended[1]:
            print(f"full disk at {place}:\n{ended[1]}", file=sys.stderr)
        self._restore(kept)
        return False

    def _restore(self, kept):
        """Restores the folder with the same files, which the running command may have open."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            wanted = kept.get(path)
            if path.is_dir() and path not in kept:
                path.rmdir()
            elif path.is_file() and not (wanted and path.samefile(wanted[0])):
                path.unlink()
        for path, wanted in kept.items():
            if wanted is None:
                path.mkdir(exist_ok=True)
                continue
            if not path.exists():
                os.link(wanted[0], path)
            if path.read_bytes() != wanted[1]:
                with path.open("r+b") as file:
                    file.write(wanted[1])
                    file.truncate()
        shutil.rmtree(self.shadow)


def write(folder, files):
    """Replaces the content of a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in sorted(files):
        if files[name] is None:
            (folder / name).mkdir(exist_ok=True, parents=True)
        else:
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_bytes(files[name])


def _mask(content, first, second):
    if first == second or content is None:
        return content
    lines = [text.split(b"\n") for text in (content, first, second)]
    if b"\0" in content or len(lines[1]) != len(lines[2]):
        return DIFFERS
    return [line for line, a, b in zip(*lines, strict=False) if a == b] + [len(lines[0])]


# A duration or the peak memory, as JSON.
_MEASURED = rb'("[a-z_]*(?:seconds|memory_mib)":) *[0-9.e+-]+'


def _without_costs(files):
    """The content of a folder without durations and memory, and without any numbers of the texts that report them."""
    patterns = {".html": (rb"[0-9.,]+", b"#"), ".md": (rb"[0-9.,]+", b"#"), ".json": (_MEASURED, rb"\1#")}
    return {
        name: re.sub(*patterns[suffix], content) if content and (suffix := Path(name).suffix) in patterns else content
        for name, content in files.items()
    }


def differences(files, undisturbed):
    """Names of the files in which a folder differs from that of two undisturbed runs."""
    files, first, second = map(_without_costs, (files, *undisturbed))
    names = sorted(first.keys() ^ files.keys())
    return names + [
        name
        for name in first.keys() & files.keys()
        if _mask(files[name], first[name], second[name]) != _mask(first[name], first[name], second[name])
    ]


def sweep(name, command, folder, initial, complaint=None, every=1, minutes=math.inf):
    """Tries one command; returns a row of the table.

    Args:
        name: Its name in the table.
        command: The command line.
        folder: The folder in which it writes.
        initial: What is in the folder before.
        complaint: What the command may say, instead of succeeding, once its work is done.
        every: Of how many states one is tried.
        minutes: When to stop trying.
    """
    undisturbed = []
    for _ in range(2):
        write(folder, initial)
        code, output = forked(partial(run, command))
        assert code == 0, output
        undisturbed.append(contents(folder))
    loose = [
        file for file in undisturbed[0] if _mask(*[undisturbed[0][file]] * 2, undisturbed[1].get(file)) == DIFFERS
    ]
    write(folder, initial)
    recording = Recording(folder)
    assert recording.run(command) == 0
    assert not differences(contents(folder), undisturbed), differences(contents(folder), undisturbed)
    states = [*recording.killed.values(), *(state for _, state in recording.full)]
    print(f"{name}: {len(states)} states, of which {len(states[::every])} are tried", flush=True)
    failures, tried = [], {}
    start = time.perf_counter()
    for state in states[::every]:
        if time.perf_counter() - start > 60 * minutes:
            break
        key = repr(
            sorted((re.sub(r"\.[^./]+\.part", ".part", file), hash(content)) for file, content in state.files.items())
        )
        if key not in tried:
            write(folder, state.files)
            code, output = forked(partial(run, command))
            wrong = differences(contents(folder), undisturbed)
            if code != 0 and not wrong and complaint and complaint in output:
                code = 0
            said = [line for line in output.splitlines() if "rror" in line] or [output]
            tried[key] = (code, wrong, "\n".join(said)[-600:] if code else "")
        code, wrong, output = tried[key]
        if code or wrong:
            failures.append((state, code, wrong, output))
            print(f"failed: {state.fault} at {state.place}", flush=True)
    for code, state in recording.full:
        if "Traceback" in state.output:
            failures.append((state, code, ["a traceback"], state.output[-1500:]))
    print(
        f"\n{name}: {sum(recording.operations.values())} operations {dict(recording.operations)}, "
        f"{len(recording.killed)} kills, {len(recording.full)} full disks, "
        f"{len(recording.undecided)} undecided, "
        f"{len(tried)} states in {time.perf_counter() - start:.0f} s, "
        f"{len(failures)} failures; compared by name only: {loose}"
    )
    for state, code, wrong, output in failures:
        print(f"--- {state.fault} at {state.place}: exit {code}, differs: {wrong[:6]} ({len(wrong)})\n{output}")
    said = Counter(
        state.output.strip().splitlines()[-1][:150] if state.output.strip() else "nothing"
        for _, state in recording.full
    )
    for text, count in said.most_common():
        print(f"    full disk, {count} times: {text}")
    sys.stdout.flush()


def scenarios(root):
    """Yields the name, command line, written folder, initial content and complaint of each command."""
    cells = root / "cells"
    write_rendered(cells, ("munich", "barcelona", "tehran"), cells_per_class=6, size=64, labels=LABELS)
    base, work = root / "base", root / "work"
    small_sam().save_pretrained(base)
    work.mkdir()
    data = (
        "--data",
        f"north={cells}/munich",
        "--data",
        f"south={cells}/barcelona",
        "--masks",
        cells / "masks/pairs.csv",
    )
    settings = [option for setting in (*SETTINGS, *STAGES) for option in ("--set", setting)]
    train = ("train", "--base", base, "--out", work / "run", *data, *settings)
    yield "train", train, work, {}, None
    views = ("--set", "views=12", "--set", "autoencoder.label_weight=0.1")
    yield "train with views", (*train, *views), work, {}, None
    old = root / "old"
    code, output = forked(partial(run, ("train", "--base", base, "--out", old, *data, *settings)))
    assert code == 0, output
    adapting = [
        o
        for s in ("segmentation.epochs=1", "autoencoder.epochs=1", "checkpoint_steps=1")
        for o in ("--set", f"training.{s}")
    ]
    own = ("--data", f"ours={cells}/tehran", "--masks", cells / "masks/pairs.csv")
    yield "adapt", ("adapt", old, "--out", work / "run", *own, *adapting), work, {}, None
    sizes = (
        "epochs=1",
        "warmup_epochs=0",
        "input_size=48",
        "batch_size=8",
        "reduction=4",
        "image_backbone=tiny:resnet",
    )
    network = [option for size in sizes for option in ("--set", f"network.{size}")]
    methods = ("--method", "bc-sam", "--method", "slca")
    yield (
        "compare",
        ("compare", "--out", work / "table", "--base", base, *methods, *data, *settings, *network),
        work,
        {},
        None,
    )
    yield "save", ("save", old, work / "copy"), work, {}, None
    in_place = {f"copy/{name}": content for name, content in contents(old / "model").items()} | {"copy": None}
    yield (
        "save over another",
        ("save", old, work / "copy", "--labels", "basophil,monocyte", "--half"),
        work,
        in_place,
        None,
    )
    done = "exists and is not an empty folder"
    yield (
        "data",
        ("data", f"ours={cells}/tehran", "--masks", cells / "masks/pairs.csv", "--out", work / "parquet"),
        work,
        {},
        done,
    )
    yield "render", ("render", work / "drawn", "--cells-per-class", "1", "--laboratory", "munich"), work, {}, done
    yield "predict", ("predict", cells / "tehran", "--model", old, "--csv", work / "cells.csv"), work, {}, None


def sweep_push(model, work, every=1):
    """Tries to push a model; returns a row of the table.

    Each try has a repository of its own and is followed by a push without a fault. All are forks, since the client's
    own threads do not survive one.
    """
    tempfile.tempdir = str(work)
    os.environ["HF_TOKEN"] = HUB.hub().ALICE

    def push(repo_id, at=None, is_kill=False):
        def react(number, event):
            if is_kill and number == at:
                os._exit(9)
            if not is_kill and at is not None and number >= at and event in ("open", "os.mkdir"):
                fill_disk()

        with observed(work, react) as watch:
            code = run(("push", model, repo_id))
        print(f"operations {watch.seen}")
        return code

    def pushed(repo_id):
        api = HfApi()
        tree = {
            file.path: file.blob_id for file in api.list_repo_tree(repo_id, recursive=True) if hasattr(file, "blob_id")
        }
        return {name: blob for name, blob in tree.items() if name != "README.md"}, len(api.list_repo_commits(repo_id))

    code, output = forked(partial(push, "alice/undisturbed"))
    assert code == 0, output
    expected = pushed("alice/undisturbed")
    n_operations = int(output.split("operations ")[1])
    tries = [(kill, number) for kill in (True, False) for number in range(0, n_operations, every)]
    said, failures = Counter(), []
    for kill, number in tries:
        repo_id = f"alice/{'killed' if kill else 'full'}-{number}"
        code, output = forked(partial(push, repo_id, number, is_kill=kill))
        left = list(work.rglob("*"))
        if not kill:
            said[output.strip().splitlines()[-2][:150]] += 1
        if "Traceback" in output or (left and not kill):
            failures.append((repo_id, "first", left, output[-1500:]))
        code, output = forked(partial(push, repo_id))
        if code or pushed(repo_id) != expected or list(work.rglob("*")):
            failures.append((repo_id, code, list(work.rglob("*")), output[-1500:]))
    print(f"\npush: {n_operations} operations, {len(tries)} tries, {len(failures)} failures")
    for failure in failures:
        print("---", *failure)
    for text, count in said.most_common():
        print(f"    full disk, {count} times: {text}")


def main_sweep():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="first words of the commands to try; all by default")
    parser.add_argument("--every", type=int, default=1, help="try one of so many states")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop trying a command after so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        for name, *scenario in scenarios(Path(root)):
            if not options.commands or name.split()[0] in options.commands:
                sweep(name, *scenario, every=options.every, minutes=options.minutes)
        if not options.commands or "push" in options.commands:
            write(Path(root, "work"), {})
            saved = small_model(classifiers=("logistic",)).save_pretrained(Path(root, "small"))
            sweep_push(saved, Path(root, "work"), options.every)


if __name__ == "__main__":
    try:
        main_sweep()
    finally:
        HUB.close()
