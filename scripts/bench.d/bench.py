#!/usr/bin/env python3
"""The measurements of `scripts/bench`; each is one function named in `ALL`."""

import argparse
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

from world import BINARY, ROOT, World, cpu_of, post

QUICK = False
WRITE = False
RUNS = 5
WORDS_2KB = ("Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 40)[:2_000]
MARKS = ("<!-- figures: begin -->", "<!-- figures: end -->")


class Row:
    """One figure: `must` and `goal` are upper bounds, lower ones where `more` is set."""

    def __init__(self, name, value, unit, must=None, goal=None, more=False, note=""):
        self.name, self.value, self.unit = name, value, unit
        self.must, self.goal, self.more, self.note = must, goal, more, note

    def verdict(self):
        def holds(bound):
            return self.value >= bound if self.more else self.value <= bound

        if self.must is None:
            return "–"
        if not holds(self.must):
            return "**not met**"
        return "goal met" if self.goal is None or holds(self.goal) else "met, goal not met"

    def line(self):
        def show(bound):
            return "–" if bound is None else f"{bound:g} {self.unit}".strip()

        return (f"| {self.name} | {self.value:.4g} {self.unit} | {show(self.must)} | {show(self.goal)} "
                f"| {self.verdict()} | {self.note} |")


def spread(values):
    return f"{len(values)} runs, {min(values):.3g}–{max(values):.3g}"


def size():
    """1: bytes of the binary"""
    return [Row("1 binary size", os.stat(BINARY).st_size / 1e6, "MB", 4, 3)]


def start():
    """2: from exec to the first getUpdates, empty database and one that exists"""
    fresh, again = [], []
    for _ in range(RUNS * 2):
        for data, values in (("data", fresh), ("data", again)):
            with_data = values is again
            if not with_data:
                world = World().__enter__()
            else:
                # The first poll is remembered by the stand-in for life: a new one, the old directory.
                world = World()
                world.__enter__()
                old.rename(world.folder / "data")
            try:
                bot = world.bot(data).wait_poll()
                values.append(world.control("state")["first_poll_ms"] - bot.started_ms)
                bot.stop()
                if not with_data:
                    old = pathlib.Path(str(world.folder) + "-data")
                    (world.folder / "data").rename(old)
            finally:
                world.__exit__()
    return [Row("2 exec → first getUpdates, empty database", statistics.median(fresh), "ms", 40, 10, note=spread(fresh)),
            Row("2 the same, second start", statistics.median(again), "ms", 40, 10, note=spread(again))]


def idle():
    """3, 12: memory, wake-ups and CPU while polling"""
    rows = []
    seconds = 15 if QUICK else 30
    for tls in (False, True):
        with World(tls=tls) as world:
            bot = world.bot().wait_poll()
            time.sleep(8)
            before, cpu = bot.switches(), bot.cpu_fine_s()
            time.sleep(seconds)
            after, used = bot.switches(), bot.cpu_fine_s() - cpu
            rate = sum(count - before.get(name, 0) for name, count in after.items()) / seconds
            per = {name.split(":")[0]: round((count - before.get(name, 0)) / seconds, 2) for name, count in after.items()}
            kind = "TLS" if tls else "plain HTTP"
            rows.append(Row(f"3 memory, idle, polling over {kind}", bot.rss_mb(), "MB", *((6, 3.5) if tls else (None, None)),
                            note=f"after {seconds + 8} s; {file_mb(bot.pid)}"))
            rows.append(Row(f"12 idle wake-ups a second, {kind}", rate, "/s", 2, 1, note=f"over {seconds} s: {per}"))
            rows.append(Row(f"12 idle CPU an hour, {kind}", used / seconds * 3_600, "s", 2, 0.5))
    return rows


def file_mb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = {name: int(re.search(rf"{name}:\s+(\d+)", text).group(1)) / 1_024 for name in ("RssAnon", "RssFile")}
    return f"own {found['RssAnon']:.1f} MB, pages of the file {found['RssFile']:.1f} MB"


def in_flight():
    """4, 4b: peak memory with 64 and 128 answers in flight"""
    rows = []
    for count, must, goal in ((64, 14, 9), (128, 20, 16)):
        for tls in (False, True):
            with World("--first-ms", "3000", tls=tls) as world:
                world.script(say=WORDS_2KB, times=10_000)
                bot = world.bot(WORKERS=count).wait_poll()
                for turn in range(1, 3):
                    world.push(range(1_000, 1_000 + count), "tell me a lot")
                    world.wait_sent(count * turn, 120)
                kind = "TLS" if tls else "plain HTTP"
                rows.append(Row(f"4 peak memory, {count} answers of 2 kB in flight, {kind}", bot.peak_mb(), "MB",
                                *((must, goal) if tls else (None, None)), note=file_mb(bot.pid)))
    return rows


def many_chats():
    """5: 10,000 chats with one question each waiting"""
    count = 2_000 if QUICK else 10_000
    with World("--first-ms", "20") as world:
        bot = world.bot(PATIENCE="1h").wait_poll()
        begun, cpu = time.monotonic(), bot.cpu_s()
        world.push(range(1_000, 1_000 + count))
        world.wait_sent(count, 600)
        took, used = time.monotonic() - begun, bot.cpu_s() - cpu
        return [Row(f"5 peak memory, {count} chats with a question each", bot.peak_mb(), "MB", 20, 8,
                    note=f"all answered in {took:.1f} s, {used / count * 1e3:.2f} ms of CPU each")]


def growth():
    """6, 7, 8: memory after many answers, answers per second, CPU per answer"""
    parts, part = (3, 1_000) if QUICK else (100, 1_000)
    rates, cpus = [], []
    with World() as world:
        bot = world.bot().wait_poll()
        first, others = 0, cpu_of(world.standin.process.pid)
        for turn in range(parts):
            begun, cpu = time.monotonic(), bot.cpu_s()
            world.push(range(1_000, 1_000 + part))
            world.wait_sent(part * (turn + 1), 300)
            rates.append(part / (time.monotonic() - begun))
            cpus.append((bot.cpu_s() - cpu) / part * 1e3)
            if turn == 0:
                time.sleep(5)
                first = bot.rss_mb()
        others = (cpu_of(world.standin.process.pid) - others) / parts / part * 1e3
        time.sleep(5)
        last = bot.rss_mb()
        cpu = statistics.median(cpus)
        return [Row(f"6 memory after {parts * part} answers less after {part}", last - first, "MB", 1, 0.2,
                    note=f"{first:.1f} → {last:.1f} MB; peak {bot.peak_mb():.1f} MB"),
                Row("7 answers a second, instant stand-ins", statistics.median(rates), "/s",
                    note=f"stand-ins on the same two cores; {spread(rates)}; one core's worth {1e3 / cpu:.0f}/s"),
                Row("8 CPU per answer", cpu, "ms", 1, 0.3, note=spread(cpus)),
                Row("CPU of both stand-ins per answer", others, "ms", note="on the same two cores")]


def latency():
    """9: added latency at 10, 50 and 90 % of saturation, each question timed from when it was due"""
    import latency_bench
    return latency_bench.measure(Row, QUICK)


def compared():
    """7, 8, 2, 3: the same questions for us and for a bot in Python, one after the other, several times"""
    from world import Bot, ComparedBot
    kinds, part = ((Bot, "svs-bot"), (ComparedBot, "Python")), 200 if QUICK else 1_000
    found = {name: {"wall": [], "cpu": [], "start": [], "rss": [], "wakes": []} for _, name in kinds}
    for _ in range(max(RUNS, 1)):
        for kind, name in kinds:
            with World() as world:
                bot = world.bot(kind=kind).wait_poll()
                mine = found[name]
                mine["start"].append(world.control("state")["first_poll_ms"] - bot.started_ms)
                world.push(range(500, 600))
                world.wait_sent(100, 300)
                begun, cpu = time.monotonic(), bot.cpu_s()
                world.push(range(1_000, 1_000 + part))
                world.wait_sent(part + 100, 600)
                mine["wall"].append(part / (time.monotonic() - begun))
                mine["cpu"].append((bot.cpu_s() - cpu) / part * 1e3)
                mine["rss"].append(bot.rss_mb())
                time.sleep(4)
                before = bot.switches()
                time.sleep(8)
                mine["wakes"].append(sum(n - before.get(name, 0) for name, n in bot.switches().items()) / 8)
    def ratio(key, turned=False):
        ours, theirs = (statistics.median(found[name][key]) for _, name in kinds)
        return theirs / ours if turned else ours / theirs
    def note(key):
        return "; ".join(f"{name} {statistics.median(found[name][key]):.4g} ({spread(found[name][key])})" for _, name in kinds)
    return [Row("7 answers for one core's worth of CPU, ours beside Python's", ratio("cpu", turned=True), "×", 10, 40,
                note=f"ms of CPU an answer: {note('cpu')}", more=True),
            Row("7 answers a second on the clock, ours beside Python's", ratio("wall"), "×", note=f"per second: {note('wall')}"),
            Row("12 wake-ups a second at rest, ours", statistics.median(found["svs-bot"]["wakes"]), "/s", 2, 1, note=note("wakes")),
            Row("3 memory under load, Python's beside ours", ratio("rss", turned=True), "×", note=f"MB: {note('rss')}"),
            Row("8 CPU for 1,000 answers, ours", statistics.median(found["svs-bot"]["cpu"]), "s", note=f"Python's: {statistics.median(found['Python']['cpu']):.3g}"),
            Row("2 from exec to polling, Python's beside ours", ratio("start", turned=True), "×", note=f"ms: {note('start')}")]


def five():
    """10: five chats at once, a model of 2 s"""
    walls = []
    with World("--first-ms", "2000") as world:
        world.bot().wait_poll()
        for turn in range(1, (2 if QUICK else 4)):
            begun = time.time() * 1e3
            world.push(range(1_000, 1_005))
            world.wait_sent(5 * turn)
            newest = max(it["at_ms"] for it in world.control("sent", {"after": 5 * turn - 5})["sent"])
            walls.append((newest - begun) / 1e3)
    return [Row("10 five chats at once, 2 s model", statistics.median(walls), "s", 2.2, 2.05, note=spread(walls))]


def fsyncs():
    """11: fsyncs per answered message, alone and under load"""
    rows = []
    for name, alone, count, must, goal in (("alone", True, 12, 3, 2), ("under load", False, 600, 1, 0.2)):
        with World() as world:
            trace = world.folder / "trace"
            bot = world.bot(wrap=("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))).wait_poll()
            time.sleep(4)
            before = len(trace.read_text().splitlines())
            if alone:
                for turn in range(count):
                    world.push([1_000 + turn])
                    world.wait_sent(turn + 1)
                    time.sleep(2.5)
            else:
                world.push(range(1_000, 1_000 + count))
                world.wait_sent(count, 300)
                time.sleep(2)
            lines = [line for line in trace.read_text().splitlines()[before:] if "unfinished" not in line]
            rows.append(Row(f"11 fsyncs per answered message, {name}", len(lines) / count, "", must, goal,
                            note=f"{len(lines)} for {count}"))
            # strace holds SIGTERM back; what it traces takes it.
            children = pathlib.Path(f"/proc/{bot.pid}/task/{bot.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            bot.process.wait(timeout=60)
    return rows


def request():
    """16: bytes of the request for one hello"""
    with World() as world:
        world.bot().wait_poll()
        world.push([1_000])
        world.wait_sent(1)
        _, reply = post(f"{world.standin.gemini}/control/asked", {"limit": 1})
        return [Row("16 request to Gemini for one hello", reply["asked"][0]["bytes"], "bytes", 4_000, 2_000)]


def crates():
    """19: crates in the tree"""
    tree = subprocess.run(["cargo", "tree", "--edges", "normal", "--prefix", "none", "--locked"], cwd=ROOT,
                          check=True, capture_output=True, text=True).stdout
    names = {line.replace(" (*)", "") for line in tree.splitlines() if line}
    return [Row("19 crates in the normal tree", len(names), "", 80, 65)]


def sync():
    """13, 14: rows a second from a backlog to the real PostgREST, beside a plain HTTP loop; memory"""
    import sync_bench
    return sync_bench.measure(Row, 10_000 if QUICK else 100_000, RUNS)


def transfer():
    """14: rows a second and memory of import from each source, and of export"""
    import transfer_bench
    return transfer_bench.measure(Row, (10_000, 30_000) if QUICK else (100_000, 300_000, 1_000_000))


def markdown():
    """17: Markdown to parts, over the READMEs in cargo's registry"""
    import render_bench
    return render_bench.markdown(Row)


def media():
    """17: peak memory while a photo of 10 MB and a PDF of 20 MB pass through"""
    import render_bench
    return render_bench.media(Row)


def showing():
    """17: time to the first visible text, and calls of Telegram per answer, by mode"""
    import render_bench
    return render_bench.showing(Row)


def instructions():
    """8: instructions per answer by callgrind, and what they were when they were last written down"""
    import instructions as counted
    return counted.measure(Row, QUICK, WRITE)


def grown():
    """2, 15: start, CPU per answer and memory with 1,000 to 10,000,000 rows of history"""
    import growth_bench
    return growth_bench.measure(Row, QUICK)


ALL = [size, start, idle, in_flight, many_chats, growth, compared, latency, five, fsyncs, request, crates, instructions, grown, sync, transfer, markdown, media, showing]


def write(text, marks=MARKS):
    path = ROOT / "docs" / "BENCHMARKS.md"
    old = path.read_text()
    head, _, rest = old.partition(marks[0])
    _, _, tail = rest.partition(marks[1])
    assert tail, f"{path}: the marks {marks} are missing"
    path.write_text(f"{head}{marks[0]}\n{text}\n{marks[1]}{tail}")


def main():
    global QUICK, RUNS, WRITE
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=[it.__name__ for it in ALL])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        import instructions as counted
        return counted.profile()
    if options.list:
        for it in ALL:
            print(f"{it.__name__:12} {it.__doc__}")
        return 0
    WRITE = options.write
    QUICK, RUNS = options.quick, 1 if options.quick else options.runs
    version = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    lines = [f"Measured: `{version}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load "
             f"{os.getloadavg()[0]:.1f} at the start{', `--quick`' if QUICK else ''}.", "",
             "| figure | measured | must | goal | | how it went |", "|---|---|---|---|---|---|"]
    failed = 0
    print("\n".join(lines), flush=True)
    for it in ALL:
        if options.only and it.__name__ not in options.only:
            continue
        try:
            found = [row.line() for row in it()]
        except Exception as error:  # one measurement that breaks must not cost the others
            failed += 1
            found = [f"| {it.__doc__} | – | | | not measured | {type(error).__name__}: {str(error)[-300:]} |"]
        lines += found
        print("\n".join(found), flush=True)
    if options.write and not options.only:
        write("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
