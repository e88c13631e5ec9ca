#!/usr/bin/env python3
"""The real daemon on slow, small and odd machines: wrong clocks, full and read-only disks, no names, little memory.

It runs in namespaces of its own, so that disks can be mounted, names vanish and IPv6 be switched off.
"""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

from bot import Bot, until, wall_clock
from namespaces import enter, loopback_up, mount
from standin import StandIn

PATIENCE_S = 90
# src/daemon/clock.rs: no honest clock is older.
OLDEST_PLAUSIBLE_MS = 1_793_491_200_000


def bot(standin, **more):
    wrap, environment = more.pop("wrap", ()), more.pop("environment", {})
    settings = {"TELEGRAM_API_URL": standin.telegram, "GEMINI_API_URL": standin.gemini, "STREAM": "off", **more}
    return Bot(wrap=wrap, environment=environment, **settings)


def answers(standin, words, then=lambda: None):
    standin.hears(words)
    then()
    until(PATIENCE_S, f"an answer to '{words}'", lambda: standin.has_sent(words))


def times_of_history(it):
    with sqlite3.connect(f"file:{it.path}/data/svs-bot.db?mode=ro", uri=True) as database:
        return [row[0] // 1_000 for row in database.execute("SELECT created_us FROM history ORDER BY id")]


def says(it, words):
    until(PATIENCE_S, f"'{words}' in the log", lambda: words in it.log())


def fake_clock(folder):
    file = folder / "clock"
    environment = wall_clock(FAKETIME_TIMESTAMP_FILE=str(file), FAKETIME_NO_CACHE="1")
    return environment, lambda text: file.write_text(text + "\n")


def a_clock_that_begins_in_1970(standin, folder):
    environment, set_clock = fake_clock(folder)
    set_clock("@1970-01-01 00:00:10")
    with bot(standin, environment=environment) as it:
        answers(standin, "in the year of the epoch")
        assert min(times_of_history(it)) >= OLDEST_PLAUSIBLE_MS, "a row of 1970 was written"
        # Then the network brings the true time.
        set_clock("+0")
        answers(standin, "in our own year")
        times = times_of_history(it)
        assert times == sorted(times) and abs(times[-1] - time.time() * 1e3) < 600_000, times


def a_clock_that_is_stepped(standin, folder):
    environment, set_clock = fake_clock(folder)
    set_clock("+0")
    with bot(standin, environment=environment) as it:
        for number, step in enumerate(["+0", "-1d", "+2d", "-3d", "+0"]):
            set_clock(step)
            answers(standin, f"after step {number} to {step}")
        times = times_of_history(it)
        assert len(times) >= 5 and times == sorted(times), times
    # The last rows are two days ahead of the true clock: a start goes on all the same.
    with bot(standin) as it:
        answers(standin, "after it all")


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as reply:
            return reply.status == 200
    except (urllib.error.HTTPError, OSError):
        return False


@contextlib.contextmanager
def on_a_disk(standin, *options):
    """A bot whose data directory is a disk of its own; it is let go before the folder is removed."""
    it = bot(standin, HTTP_ADDR="127.0.0.1:9464")
    disk = it.path / "data"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", ",".join(["mode=0700", *options]), "disk", disk)
    with it:
        try:
            yield it, disk
        except AssertionError as error:
            raise AssertionError(f"{error}\n{it.log()[-2000:]}") from error
        finally:
            # What the program holds open stays until it ends.
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def a_disk_that_is_read_only_from_the_start(standin, _):
    it = bot(standin)
    disk = it.path / "data"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "ro,mode=0700", "disk", disk)
    command = [it.program, "run", "--env-file", str(it.path / "env"), "--data-dir", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
    assert "read-only" in done.stderr.lower() and "writable" in done.stderr, done.stderr
    subprocess.run(["umount", str(disk)], check=True)
    it.folder.cleanup()


def a_disk_that_is_full(standin, _):
    with on_a_disk(standin, "size=4m") as (it, disk):
        answers(standin, "while there is room")
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        standin.hears("into the full disk " + "x" * 3_000)
        says(it, "full")
        until(PATIENCE_S, "unreadiness", lambda: not ready(9464))
        assert it.process.poll() is None, "the daemon ended"
        filler.unlink()
        until(PATIENCE_S, "the answer, now that there is room", lambda: standin.has_sent("into the full disk"))
        until(PATIENCE_S, "readiness again", lambda: ready(9464))


@contextlib.contextmanager
def writes_are_refused(it):
    """As by a file system that has turned read-only: what is open stays open, and nothing can be written to it."""
    assert shutil.which("strace"), "strace is missing: install the package strace, or run scripts/test --set-up"
    files = (word for ending in ("", "-wal", "-shm") for word in ("-P", str(it.path / "data" / f"svs-bot.db{ending}")))
    calls = "pwrite64,fsync,fdatasync,ftruncate,fallocate"
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", *files, "-e", f"trace={calls}",
                               "-e", f"inject={calls}:error=EROFS", "-p", str(it.process.pid)])
    traced = pathlib.Path(f"/proc/{it.process.pid}/status")
    try:
        until(PATIENCE_S, "the tracer", lambda: f"TracerPid:\t{tracer.pid}" in traced.read_text() or tracer.poll() is not None)
        assert tracer.poll() is None, "strace may not look at the daemon: run as root, or with kernel.yama.ptrace_scope=0"
        yield
    finally:
        tracer.terminate()
        tracer.wait(timeout=60)


def a_disk_that_turns_read_only_and_back(standin, _):
    with bot(standin, HTTP_ADDR="127.0.0.1:9464") as it:
        answers(standin, "while the disk takes it")
        with writes_are_refused(it):
            standin.hears("onto the read-only disk")
            says(it, "Read-only file system")
            until(PATIENCE_S, "unreadiness", lambda: not ready(9464))
            assert it.process.poll() is None, "the daemon ended"
            assert not standin.has_sent("onto the read-only disk"), "answered what is on no disk"
        until(PATIENCE_S, "the answer, now that the disk takes it", lambda: standin.has_sent("onto the read-only disk"))
        until(PATIENCE_S, "readiness again", lambda: ready(9464))
        says(it, "the database works again")


def a_file_system_that_gives_up(standin, folder):
    """ext4 after an error that it cannot mend: read-only for good, until it is checked and mounted again."""
    if not shutil.which("mkfs.ext4"):
        print("    not played: mkfs.ext4 is missing: install the package e2fsprogs")
        return
    image, it = folder / "image", bot(standin, HTTP_ADDR="127.0.0.1:9464")
    disk = it.path / "data"
    disk.mkdir()
    with open(image, "wb") as file:
        file.truncate(32 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    done = subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, disk], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"    not played: this machine has no loop device to give: {done.stderr.strip()}")
        return
    disk.chmod(0o700)
    it.__enter__()
    try:
        answers(standin, "before the file system gives up")
        mount("-o", "remount,abort", disk)
        standin.hears("after it gave up")
        says(it, "Read-only file system")
        until(PATIENCE_S, "unreadiness", lambda: not ready(9464))
        assert it.process.poll() is None, "the daemon ended"
    finally:
        it.process.terminate()
        code = it.process.wait(timeout=60)
        subprocess.run(["umount", str(disk)], check=True)
    assert code in (0, 1), f"exit {code}: {it.log()[-2000:]}"
    # What fsck says is in its exit code: 1 is mended.
    assert subprocess.run(["e2fsck", "-f", "-y", image], capture_output=True).returncode in (0, 1)
    mount("-o", "loop", image, disk)
    with it:
        until(PATIENCE_S, "the answer, after the repair", lambda: standin.has_sent("after it gave up"))
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def no_names_at_the_start(standin, folder):
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    mount("--bind", hosts, "/etc/hosts")
    port = standin.telegram.rpartition(":")[2]
    with bot(standin, TELEGRAM_API_URL=f"http://telegram.test:{port}", ALLOW_HTTP="on") as it:
        standin.hears("once there are names")
        says(it, "next try in")
        assert it.process.poll() is None, "the daemon ended"
        with open(hosts, "a") as file:
            file.write("127.0.0.1 telegram.test\n")
        until(PATIENCE_S, "the answer, now that names are known", lambda: standin.has_sent("once there are names"))
    subprocess.run(["umount", "/etc/hosts"], check=True)


def no_ipv6(standin, _):
    assert not pathlib.Path("/proc/net/if_inet6").read_text().strip(), "this scene still has IPv6"
    by_name = standin.telegram.replace("127.0.0.1", "localhost")
    with bot(standin, TELEGRAM_API_URL=by_name):
        answers(standin, "by the older protocol")


def little_address_space_and_one_core(standin, _):
    limited = ["bash", "-c", 'ulimit -v 262144 && exec taskset --cpu-list 0 "$@"', "bash"]
    # The C library of a dynamic build reserves 64 MB for each of its arenas; the shipped one has none of these.
    with bot(standin, wrap=limited, environment={"MALLOC_ARENA_MAX": "2"}, WORKERS="16") as it:
        for number in range(40):
            standin.hears(f"small box {number}", person=100 + number)
        until(PATIENCE_S, "forty answers", lambda: all(standin.has_sent(f"small box {number}") for number in range(40)))
        assert "cannot allocate" not in it.log().lower(), it.log()[-2000:]


def a_slow_card(standin, folder):
    """100 ms for each sync: what is alone waits for two, what comes together shares them."""
    assert shutil.which("strace"), "strace is missing: install the package strace, or run scripts/test --set-up"
    trace = folder / "trace"
    wrap = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=100000"]
    syncs = lambda: sum("unfinished" not in line for line in trace.read_text().splitlines())  # noqa: E731
    it = bot(standin, wrap=wrap)
    it.__enter__()
    try:
        answers(standin, "the first, for what is done once")
        time.sleep(3)
        before = syncs()
        answers(standin, "alone on a slow card")
        time.sleep(3)
        alone = syncs() - before
        before, count = syncs(), 100
        for number in range(count):
            standin.hears(f"slow card {number:03}", person=1_000 + number)
        until(PATIENCE_S * 2, "all answers", lambda: sum("slow card" in str(sent) for sent in standin.sent()) >= count)
        together = syncs() - before
        print(f"    syncs: {alone} for one message alone, {together} for {count} at once")
        assert alone <= 6, f"{alone} syncs for one message"
        assert together <= count, f"{together} syncs for {count} messages at once"
    finally:
        # strace holds signals back from what it traces.
        children = pathlib.Path(f"/proc/{it.process.pid}/task/{it.process.pid}/children").read_text().split()
        subprocess.run(["kill", *children], check=True)
        assert it.process.wait(timeout=60) == 0, it.log()[-2000:]
        it.folder.cleanup()


SCENES = [
    a_clock_that_begins_in_1970, a_clock_that_is_stepped, a_disk_that_is_read_only_from_the_start,
    a_disk_that_is_full, a_disk_that_turns_read_only_and_back, a_file_system_that_gives_up, no_names_at_the_start, no_ipv6, little_address_space_and_one_core, a_slow_card,
]


def main():
    import tempfile

    if sys.argv[1:2] != ["--inside"]:
        os.execvp("unshare", enter([sys.executable, os.path.abspath(__file__), "--inside", *sys.argv[1:]]))
    disable = pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if disable.exists():
        disable.write_text("1")
    loopback_up()
    mount("--make-rprivate", "/")
    failed = 0
    for scene in SCENES:
        name = scene.__name__.replace("_", " ")
        if sys.argv[2:] and scene.__name__ not in sys.argv[2:]:
            continue
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="svs-bot-odd-") as folder, StandIn("--unlimited") as standin:
                scene(standin, pathlib.Path(folder))
            print(f"holds: {name}, {time.monotonic() - began:.0f} s", flush=True)
        except Exception as error:  # the other scenes are worth their word too
            failed += 1
            print(f"does not hold: {name}: {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
