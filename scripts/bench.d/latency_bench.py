"""Latency at a tenth, a half and nine tenths of what the bot can answer, by the stand-ins' clocks.

Questions are put at their time whatever comes back, and each is timed from when it was due, so that a
pause counts for every question it delays. Telegram and Gemini answer at once: what is seen is what is added.
"""

import re
import time

from world import World, post


def saturation():
    with World() as world:
        world.bot().wait_poll()
        world.push(range(100, 200))
        world.wait_sent(100)
        begun = time.monotonic()
        world.push(range(1_000, 3_000))
        world.wait_sent(2_100)
        return 2_000 / (time.monotonic() - begun)


def spread_out(rate, seconds):
    """(total, until asked, from asked to sent, due after) in ms for each question."""
    with World() as world:
        bot = world.bot().wait_poll()
        world.push(range(100, 200))
        world.wait_sent(100)
        count = int(rate * seconds)
        # By the stand-in: a generator in Python would take a core from those it measures.
        begun = world.push_at(rate, range(1_000, 1_000 + count), "question {chat}")
        every_ms = round(1e6 / rate) / 1e3
        world.wait_sent(100 + count, 120)
        sent = {it["chat"]: it["at_ms"] for it in world.control("sent", {"after": 100})["sent"]}
        status, reply = post(f"{world.standin.gemini}/control/asked", {})
        assert status == 200, reply
        asked = {}
        for it in reply["asked"]:
            found = re.search(r"question (\d+)", str(it["body"]))
            if found:
                asked.setdefault(int(found.group(1)), it["at_ms"])
        histogram = [float(edge) * 1e3 for edge in bot.quantiles("svs_bot_added_latency_seconds", (0.5, 0.99))]
    found = []
    for number in range(count):
        chat, due = 1_000 + number, begun + number * every_ms
        found.append((sent[chat] - due, asked[chat] - due, sent[chat] - asked[chat], number / rate))
    return found, histogram


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def measure(row, quick):
    full = saturation()
    rows = [row("9 saturation: answers a second with the stand-ins on the same cores", full, "/s")]
    for share in (0.1, 0.5, 0.9):
        rate = full * share
        found, histogram = spread_out(rate, 5 if quick else 20)
        at = f"at {share:.0%} of it"
        bounds = ((5, 1), (25, 5)) if share == 0.5 else ((None, None), (None, None))
        totals, before, after = ([it[n] for it in found] for n in range(3))
        rows.append(row(f"9 added latency, median, {at}", quantile(totals, 0.5), "ms", *bounds[0],
                        note=f"{len(found)} questions, {rate:.0f}/s; taken in, stored and sent to Gemini "
                             f"{quantile(before, 0.5):.1f}, stored and sent to Telegram {quantile(after, 0.5):.1f}; "
                             f"the bot's own histogram: at most {histogram[0]:g}"))
        rows.append(row(f"9 added latency, 99th of 100, {at}", quantile(totals, 0.99), "ms", *bounds[1],
                        note=f"{quantile(before, 0.99):.1f} and {quantile(after, 0.99):.1f}; own histogram: at most {histogram[1]:g}"))
        slow = sorted(found, reverse=True)[:10]
        shown = ", ".join(f"{total:.0f} ({first:.0f}+{last:.0f}, {when:.1f} s)" for total, first, last, when in slow)
        rows.append(row(f"9 added latency, 999th of 1000, {at}", quantile(totals, 0.999), "ms",
                        note=f"the slowest ten, ms (until asked + until sent, due at): {shown}"))
    return rows
