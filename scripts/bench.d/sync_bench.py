"""Rows a second of `svs-bot sync` into the real PostgREST on PostgreSQL, behind nginx, beside a plain HTTP loop: one
kept connection of Python's http.client that sends the very bodies that svs-bot sent, recorded, to the same address with
the same query and headers. They take turns; the table is emptied before each."""

import http.client
import json
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from world import BINARY, ROOT

sys.path.insert(0, str(ROOT / "tests" / "supabase"))
from peers import missing  # noqa: E402
from rig import US, World  # noqa: E402

# A peak of less than this lasts too short to be seen.
SAMPLE_S = 0.005


class Remote:
    """`with Remote() as world:` the rig of the tests in a folder of its own."""

    def __enter__(self):
        if missing():
            raise RuntimeError(f"missing {' '.join(missing())}: run scripts/test --set-up")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="svs-bot-bench-"))
        self.world = World(self.folder, pathlib.Path(BINARY))
        return self.world

    def __exit__(self, *_):
        self.world.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def peak_kib(pid):
    """VmHWM; 0 once the process is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


class Peak:
    """`with Peak(process) as peak:`, then `peak.mb`."""

    def __init__(self, process):
        self.process, self.kib, self.over = process, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.over.wait(SAMPLE_S):
            self.kib = max(self.kib, peak_kib(self.process.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.mb = self.kib / 1_024


def text(dice, least, most):
    """Words of a chat, in two scripts."""
    words = ("what is the weather like today", "请告诉我", "小爱同学", "and then", "\"quoted\"", "天气怎么样", "line\nbreak", "thank you")
    out = []
    size, wanted = 0, dice.randint(least, most)
    while size < wanted:
        out.append(dice.choice(words))
        size += len(out[-1]) + 1
    return " ".join(out)


def backlog(world, rows):
    dice = random.Random(7)
    now = int(time.time() * US)
    world.add(rows, chat_id=lambda n: -100 - n % 50, user_id=lambda n: 1_000 + n % 997, username=lambda n: f"person{n % 997}",
              message_text=lambda _: text(dice, 10, 120), response_text=lambda _: text(dice, 50, 600),
              model_used="gemini-3.5-flash-lite", created_us=lambda n: now + n * 1_000)
    world.db.execute("pragma wal_checkpoint(truncate)")
    world.db.close()
    shutil.copy(world.data / "svs-bot.db", world.folder / "backlog.db")


def begin_anew(world):
    for name in ("svs-bot.db-wal", "svs-bot.db-shm"):
        (world.data / name).unlink(missing_ok=True)
    shutil.copy(world.folder / "backlog.db", world.data / "svs-bot.db")
    empty(world)


def empty(world):
    world.pg.sql("truncate chat_history restart identity; checkpoint")


def start(world, *words):
    return subprocess.Popen([str(world.binary), *words, "--data-dir", str(world.data)], env=world.env, cwd=world.folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ours(world, rows):
    """Seconds with the start of the process, without it, its report, its peak, its user and system seconds."""
    (user, system), begun = cpu_s(), time.monotonic()
    process = start(world, "sync", "--json")
    with Peak(process) as peak:
        out, err = process.communicate(timeout=900)
        took = time.monotonic() - begun
    told = json.loads(out)
    if told["tables"]["chat_history"]["sent"] != rows or process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {err[-200:]}{out[-300:]}")
    used = cpu_s()
    return took, told["seconds"], told, peak.mb, used[0] - user, used[1] - system


def record(world, rows):
    """The requests of one synchronisation, as they came."""
    begin_anew(world)
    world.gateway.log.clear()
    world.gateway.bodies = []
    through = world.env["SUPABASE_URL"]
    _, _, told, *_ = ours(world, rows)
    drop = ("host", "content-length", "connection", "accept-encoding")
    sent = [(path, {k: v for k, v in headers.items() if k.lower() not in drop}, body)
            for (method, path, _, headers), body in zip(world.gateway.log, world.gateway.bodies) if method == "POST"]
    world.gateway.bodies = None
    world.env["SUPABASE_URL"] = through.replace(str(world.gateway.server_port), str(world.nginx.port))
    return sent, told["requests"]


def plain(world, sent):
    """Seconds of the plain loop; a server that refuses is faster than one that stores, so each reply is checked."""
    link = http.client.HTTPConnection("127.0.0.1", world.nginx.port)
    link.connect()
    begun = time.monotonic()
    for path, headers, body in sent:
        link.request("POST", path, body, headers)
        reply = link.getresponse()
        told = reply.read()
        if reply.status != 201:
            raise RuntimeError(f"the plain loop was refused: {reply.status} {told[:200]}")
    took = time.monotonic() - begun
    link.close()
    return took


def stored(world, rows):
    found = int(world.pg.sql("select count(*) from chat_history"))
    if found != rows:
        raise RuntimeError(f"{found} of {rows} rows are there")


def cpu_s():
    """User and system seconds of all that has run and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime


def waiting_mb(world, *words):
    """Memory of a program that has a row to send and waits for its first answer."""
    world.fresh()
    world.add(1)
    world.gateway.fault = lambda *_: "hang"
    process = start(world, *words)
    end = time.monotonic() + 30
    while not world.gateway.log and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    found = peak_kib(process.pid) / 1_024
    process.kill()
    process.wait()
    return found


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def measure(row, rows, runs):
    with Remote() as world:
        idle = waiting_mb(world, "sync")
        world.fresh()
        backlog(world, rows)
        sent, requests = record(world, rows)
        size = sum(len(body) for _, _, body in sent) / rows
        whole, steady, loop, peaks, users, systems = [], [], [], [], [], []
        for turn in range(runs):
            for who in ("ours", "plain") if turn % 2 == 0 else ("plain", "ours"):
                if who == "ours":
                    begin_anew(world)
                    took, inside, _, peak, user, system = ours(world, rows)
                    whole.append(rows / took)
                    steady.append(rows / inside)
                    peaks.append(peak)
                    users.append(user / requests * 1_000)
                    systems.append(system / requests * 1_000)
                else:
                    empty(world)
                    loop.append(rows / plain(world, sent))
                stored(world, rows)
        note = (f"{runs} turns of {rows} rows, {size:.0f} bytes each; rows/s, median (least–most): ours {spread(steady)}, "
                f"with process start {spread(whole)}, plain loop {spread(loop)}")
        middle = statistics.median
        return [row("13 sync of a backlog beside a plain HTTP loop, real PostgREST", middle(steady) / middle(loop), "×", 0.7, 0.95,
                    more=True, note=note),
                row("13 the same, with the start of the process", middle(whole) / middle(loop), "×", 0.7, 0.95, more=True),
                row("13 CPU per request", middle(users) + middle(systems), "ms",
                    note=f"user {spread(users, 2)}, system {spread(systems, 2)}"),
                row("13 requests per 1,000 rows", requests / rows * 1_000, "", note=f"{requests} for {rows}"),
                row("14 peak memory of sync above idle", max(peaks) - idle, "MB", 4, 2,
                    note=f"{max(peaks):.2f} MB; {idle:.2f} MB while one row waits for its answer")]
