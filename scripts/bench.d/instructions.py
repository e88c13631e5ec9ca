"""Instructions per answered message, counted by callgrind: the same on a busy machine as on a quiet one.

`instructions.tsv` keeps what was measured; a later count that is a tenth higher is a regression.
"""

import os
import pathlib
import re
import subprocess
import time

from world import BINARY, ROOT, World

KEPT = ROOT / "scripts" / "bench.d" / "instructions.tsv"
REGRESSION = 1.10


def control(option, pid):
    subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True)


def count(messages, alone, listing=None):
    """Instructions per message after as many that warm up; `listing` keeps callgrind's file."""
    with World() as world:
        out = listing or world.folder / "callgrind.out"
        wrap = ("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}")
        bot = world.bot(wrap=wrap).wait_poll()

        def ask(first, total):
            if not alone:
                world.push(range(1_000, 1_000 + messages))
                world.wait_sent(total, 600)
                return
            for turn in range(messages):
                world.push([1_000 + turn])
                world.wait_sent(first + turn + 1, 60)

        ask(0, messages)
        time.sleep(2)
        control("-z", bot.pid)
        ask(messages, 2 * messages)
        time.sleep(2)
        control("-d", bot.pid)
        bot.stop()
        text = pathlib.Path(f"{out}.1").read_text()
        return int(re.search(r"^(?:summary|totals): (\d+)", text, re.M).group(1)) / messages


def kept():
    lines = [line.split("\t") for line in KEPT.read_text().splitlines() if line and not line.startswith("#")]
    return {line[0]: line for line in lines}


def measure(row, quick, write):
    version = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout.split()
    target = version[2]
    loaded, alone = (count(*how) for how in ((100 if quick else 300, False), (20 if quick else 50, True)))
    before = kept().get(target)

    def note(now, column):
        if before is None:
            return "nothing to compare with"
        then = int(before[column])
        change = f"{(now / then - 1) * 100:+.1f} % since {before[1]}"
        return f"**regression**: {change}" if now > then * REGRESSION else change

    rows = [row("8 instructions per answer, under load", loaded / 1e6, "million", note=note(loaded, 2)),
            row("8 instructions per answer, alone", alone / 1e6, "million", note=note(alone, 3))]
    if write:
        lines = [line for line in KEPT.read_text().splitlines() if not line.startswith(target + "\t")]
        lines.append("\t".join((target, time.strftime("%Y-%m-%d"), f"{loaded:.0f}", f"{alone:.0f}")))
        KEPT.write_text("\n".join(lines) + "\n")
    return rows


def profile():
    """A listing by function of a build that keeps its names: instructions with and without those called."""
    folder = ROOT / "target" / "named"
    env = {**os.environ, "CARGO_TARGET_DIR": str(folder), "CARGO_PROFILE_RELEASE_STRIP": "none"}
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "svs-bot"], check=True, cwd=ROOT, env=env)
    import world
    world.BINARY = str(folder / "release" / "svs-bot")
    listing = folder / "callgrind.out"
    print(f"{count(300, False, listing) / 1e6:.2f} million instructions per answer; {listing}.1 for kcachegrind")
    for kind in ("no", "yes"):
        print(f"\nby function, those it calls included: {kind}")
        text = subprocess.run(["callgrind_annotate", f"--inclusive={kind}", f"{listing}.1"], check=True,
                              capture_output=True, text=True).stdout
        lines = [line for line in text.splitlines() if re.match(r"^ *[\d,]+ \(", line)]
        print("\n".join(line[:160] for line in lines[:60]))
    return 0
