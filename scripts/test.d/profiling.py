#!/usr/bin/env python3
"""The feature `profiling`: profiles of a real run, read by the standard tool, `go tool pprof`.

The default build must not know of it: none of its crates is in the tree, and its paths are unknown.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn, free_port, post

# A build folder of its own: the other steps use the plain program at the same time.
FOLDER = pathlib.Path(os.environ.get("SVS_BOT_CACHE", ROOT / "scripts" / ".cache")) / "target-profiling"
CRATES = ("pprof", "jemalloc_pprof", "tikv-jemallocator")
SECONDS = 3


def main():
    assert shutil.which("go"), "go is missing: install the package golang-go, or run scripts/test --set-up"
    tree = run("cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none")
    found = [crate for crate in CRATES if f"\n{crate} v" in tree]
    assert not found, f"the default build has {found}"
    with StandIn("--unlimited", "--username", "svs_bot") as standin:
        plain(standin)
        folder = os.environ.get("SVS_BOT_PROFILING_TARGET", str(FOLDER))
        run("cargo", "build", "--locked", "--bins", "--features", "profiling", "--target-dir", folder)
        program = pathlib.Path(folder) / "debug" / "svs-bot"
        with bot(standin, program) as (address, it), tempfile.TemporaryDirectory() as files:
            until(60, "the bot", lambda: get(address, "/readyz")[0] == 200)
            stop = threading.Event()
            talker = threading.Thread(target=talk, args=(standin, address, stop))
            talker.start()
            taken = []
            try:
                until(60, "some answers", lambda: b"svs_bot_answer_seconds_count 0" not in get(address, "/metrics")[1])
                # The heap first: naming what the processor did reads the program's own tables into it.
                for path, word in (("heap", "space"), (f"profile?seconds={SECONDS}", "samples")):
                    status, body = get(address, f"/debug/pprof/{path}")
                    assert status == 200, (path, status, body[:300])
                    taken.append((path, word, body))
                assert get(address, "/debug/pprof/nothing")[0] == 404
            finally:
                stop.set()
                talker.join()
            for path, word, body in taken:
                file = pathlib.Path(files) / path.split("?")[0]
                file.write_bytes(body)
                raw = run("go", "tool", "pprof", "-raw", program, file)
                top = run("go", "tool", "pprof", "-top", "-nodecount=15", program, file)
                print(path, *top.splitlines()[:20], sep="\n")
                assert word in raw and raw.count("\n") > 50, raw[:2000]
                # By file, since line tables alone give no paths to names.
                assert "src/daemon/" in raw or "svs_bot::" in raw, f"{path}: nothing of the program:\n{raw[:3000]}"
                names = [line.split()[-1] for line in top.splitlines()[6:]]
                assert len(set(names)) > 5, f"{path}: all under one name:\n{top}"


def plain(standin):
    with bot(standin, None) as (address, it):
        words = [word for word in (b"debug/pprof", b"jemalloc") if word in pathlib.Path(it.program).read_bytes()]
        assert not words, f"the default build holds {words}"
        until(60, "the bot", lambda: get(address, "/readyz")[0] == 200)
        for path in ("profile?seconds=1", "heap"):
            assert get(address, f"/debug/pprof/{path}")[0] == 404, "the default build knows profiles"


class bot:
    """A daemon with this program, and its address."""

    def __init__(self, standin, program):
        self.address = f"127.0.0.1:{free_port()}"
        self.it = Bot(TELEGRAM_API_URL=standin.telegram, GEMINI_API_URL=standin.gemini, HTTP_ADDR=self.address)
        self.it.program = str(program or self.it.program)

    def __enter__(self):
        self.it.__enter__()
        return self.address, self.it

    def __exit__(self, *why):
        self.it.__exit__(*why)


def talk(standin, address, stop):
    """Work to be seen in the profiles."""
    number = 0
    while not stop.is_set():
        number += 1
        post(f"{standin.telegram}/control/text", {"chat": 7, "user": 7, "text": f"question {number}"})
        get(address, "/")


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=120) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


if __name__ == "__main__":
    main()
    print("ok")
