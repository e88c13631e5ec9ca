#!/usr/bin/env python3
"""The real daemon under steady talk: what grows, and how fast?

People write at an even rate, Gemini answers, Supabase takes every row. Every few seconds the memory,
open files, threads, log and database are measured. At the end each series has a slope over the time
after the warm-up, by least squares, and the database its growth for each thousand answers.
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test.d"))

from bot import Bot, until, wall_clock  # noqa: E402
from standin import free_port  # noqa: E402
from prometheus import get  # noqa: E402
from standin import StandIn, post  # noqa: E402

SAMPLE_S = 5
WARM_UP = 1 / 3
KEY = "sb_secret_soak"


def main():
    options = read_options()
    address = f"127.0.0.1:{free_port()}"
    standin = StandIn("--unlimited", "--username", "svs_bot", "--keep-last", "500", "--supabase-key", KEY)
    # The wall clock alone: a wait of a second stays one, so what waits for a date comes late, and never early.
    fast = wall_clock(FAKETIME=f"+0 x{options.speed:g}") if options.speed != 1 else {}
    standin.command[:0] = ["env", *(f"{name}={value}" for name, value in fast.items())]
    with standin:
        bot = Bot(
            environment=fast, KEEP_HISTORY=options.keep_history,
            TELEGRAM_API_URL=standin.telegram, GEMINI_API_URL=standin.gemini, SUPABASE_URL=standin.postgrest,
            SUPABASE_KEY=KEY, SYNC_INTERVAL="1s", HTTP_ADDR=address, LOG_LEVEL="warn",
        )
        with bot:
            until(60, "the bot", lambda: get(f"http://{address}/readyz"))
            samples = soak(options, bot, standin, address)
            until(300, "the last answers", lambda: number(get(f"http://{address}/metrics"), "svs_bot_inbox_pending") == 0)
            report(options, samples)


def soak(options, bot, standin, address):
    began = time.monotonic()
    sent, samples, sample_at = 0, [], 0
    while (elapsed := time.monotonic() - began) < options.minutes * 60:
        if elapsed >= sample_at:
            samples.append(measure(bot, address, elapsed))
            sample_at += SAMPLE_S
        if sent < elapsed * options.rate:
            person = 1_000 + sent % options.people
            text = f"question {sent}: " + "words and more words " * (sent % 9)
            post(f"{standin.telegram}/control/text", {"chat": person, "user": person, "text": text})
            sent += 1
        else:
            time.sleep(sent / options.rate - elapsed + 0.001)
    samples.append(measure(bot, address, time.monotonic() - began))
    return samples


def measure(bot, address, elapsed):
    pid = bot.process.pid
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    size = lambda name: (bot.path / "data" / name).stat().st_size if (bot.path / "data" / name).exists() else 0
    page = get(f"http://{address}/metrics")
    return {
        "seconds": elapsed,
        "resident KiB": int(status["VmRSS"].split()[0]),
        "peak KiB": int(status["VmHWM"].split()[0]),
        "open files": number(page, "process_open_fds"),
        "threads": int(status["Threads"]),
        "WAL KiB": size("svs-bot.db-wal") // 1024,
        "database KiB": size("svs-bot.db") // 1024,
        "answers": number(page, "svs_bot_answer_seconds_count"),
        "rows waiting": number(page, "svs_bot_sync_pending_rows"),
    }


def number(page, name):
    """The sum of all series of that name."""
    lines = (line for line in (page or "").splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def report(options, samples):
    names = [name for name in samples[0] if name != "seconds"]
    days = f", {options.minutes * options.speed / 1_440:.2f} days by a clock {options.speed:g} times as fast" if options.speed != 1 else ""
    print(f"{options.minutes} minutes{days}, {options.rate} questions a second of {options.people} people")
    print("| minute | " + " | ".join(names) + " |\n|" + " ---: |" * (len(names) + 1))
    every = max(1, len(samples) // 10)
    for sample in [*samples[::every], samples[-1]]:
        print(f"| {sample['seconds'] / 60:.1f} | " + " | ".join(str(sample[name]) for name in names) + " |")
    after = [it for it in samples if it["seconds"] >= samples[-1]["seconds"] * WARM_UP]
    for name in ("resident KiB", "open files", "threads", "WAL KiB", "rows waiting"):
        print(f"slope after the warm-up, {name}: {slope(after, name) * 3600:+.1f} an hour")
    answers = after[-1]["answers"] - after[0]["answers"]
    grown = after[-1]["database KiB"] - after[0]["database KiB"]
    print(f"database: {grown / max(1, answers) * 1000:.0f} KiB for each 1,000 answers")


def slope(samples, name):
    """Least squares, a second."""
    xs, ys = [it["seconds"] for it in samples], [it[name] for it in samples]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    below = sum((x - x0) ** 2 for x in xs)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys)) / below if below else 0.0


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=20, help="questions a second")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--speed", type=float, default=1, help="how fast the wall clock of the daemon and its peers runs, by faketime")
    parser.add_argument("--keep-history", default="90d", help="as the setting; by the fast clock")
    return parser.parse_args()


if __name__ == "__main__":
    main()
