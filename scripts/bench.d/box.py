#!/usr/bin/env python3
"""`scripts/bench box`: what a small board pays, beside the figures that the earlier versions gave of themselves."""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

import bench
import growth_bench
from world import BINARY, World

MARKS = ("<!-- box: begin -->", "<!-- box: end -->")
HEAD = ["| figure | svs-bot | Go version | Python version | how it went |", "|---|---|---|---|---|"]


def line(name, value, note="", go="–", python="–"):
    return f"| {name} | {value} | {go} | {python} | {note} |"


def small(_):
    # The rows of the whole bench, for what is not asked of a board alone.
    size = bench.size()[0]
    fresh, again = bench.start()
    return [line("binary size", f"{size.value:.2f} MB", go="15–20 MB", python="an interpreter and its packages"),
            line("exec → first poll, empty database", f"{fresh.value:.0f} ms", fresh.note, "100 ms", "3 s"),
            line("exec → first poll, later starts", f"{again.value:.0f} ms", again.note, "100 ms", "3 s")]


def past(_):
    """A start with a database of some 1 GB."""
    folder = growth_bench.prepared(*((100_000, 1_000) if bench.QUICK else (3_000_000, 10_000)))
    try:
        size = (folder / "svs-bot.db").stat().st_size / 1e9
        found = [growth_bench.lived(folder, 100, 128)[0] for _ in range(bench.RUNS)]
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    return [line(f"exec → first poll, a database of {size:.2f} GB", f"{statistics.median(found):.0f} ms", bench.spread(found))]


def idle(minutes):
    with World(tls=True) as world:
        bot = world.bot().wait_poll()
        time.sleep(10)
        switches, cpu, written = sum(bot.switches().values()), bot.cpu_fine_s(), io(bot)
        seconds = minutes * 60
        time.sleep(seconds)
        rate = (sum(bot.switches().values()) - switches) / seconds
        used, wrote = (bot.cpu_fine_s() - cpu) / seconds * 3_600, (io(bot) - written) / seconds * 3_600 / 1_024
        return [line(f"memory, idle for {minutes} min, polling over TLS", f"{bot.rss_mb():.1f} MB", bench.file_mb(bot.pid),
                     "20 MB", "200 MB"),
                line("wake-ups a second, idle", f"{rate:.2f}", f"voluntary switches of all threads over {seconds} s"),
                line("CPU an hour, idle", f"{used:.2f} s"),
                line("written an hour, idle", f"{wrote:.0f} KiB", "`write_bytes` of `/proc/PID/io`")]


def in_flight(_):
    count = 64
    with World("--first-ms", "3000", tls=True) as world:
        world.script(say=bench.WORDS_2KB, times=10_000)
        bot = world.bot(WORKERS=count).wait_poll()
        for turn in range(1, 3):
            world.push(range(1_000, 1_000 + count), "tell me a lot")
            world.wait_sent(count * turn, 120)
        return [line(f"peak memory, {count} answers of 2 kB in flight over TLS", f"{bot.peak_mb():.1f} MB",
                     bench.file_mb(bot.pid))]


def io(bot):
    return int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{bot.pid}/io").read_text(), re.M).group(1))


def message(_):
    alone, together, count = [], 0, 300
    with World() as world:
        bot = world.bot().wait_poll()
        world.push([999])
        world.wait_sent(1)
        time.sleep(4)
        for turn in range(8):
            before = io(bot)
            world.push([1_000 + turn])
            world.wait_sent(2 + turn)
            time.sleep(2.5)
            alone.append((io(bot) - before) / 1_024)
        before = io(bot)
        world.push(range(2_000, 2_000 + count))
        world.wait_sent(9 + count)
        time.sleep(3)
        together = (io(bot) - before) / count / 1_024
    syncs = bench.fsyncs()
    return [line("written per answered message, alone", f"{statistics.median(alone):.0f} KiB", bench.spread(alone)),
            line(f"the same, {count} at once", f"{together:.1f} KiB"),
            *(line(row.name.removeprefix("11 "), f"{row.value:.2f}", row.note) for row in syncs)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    bench.QUICK, bench.RUNS = options.quick, 2 if options.quick else options.runs
    version = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    lines = [f"Measured: `{version}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load "
             f"{os.getloadavg()[0]:.1f} at the start{', `--quick`' if options.quick else ''}.", "", *HEAD]
    print("\n".join(lines), flush=True)
    failed = 0
    for it in (small, past, in_flight, message, idle):
        try:
            found = it(1 if options.quick else 10)
        except Exception as error:  # one measurement that breaks must not cost the others
            failed += 1
            found = [line(it.__name__, "not measured", f"{type(error).__name__}: {str(error)[-200:]}")]
        lines += found
        print("\n".join(found), flush=True)
    if options.write:
        bench.write("\n".join(lines), MARKS)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
