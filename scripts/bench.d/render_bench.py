"""`scripts/bench render`: Markdown, files passing through, the first visible text, calls per answer."""

import json
import pathlib
import statistics
import subprocess
import time

from world import ROOT, World, post

# One answer of about 2.4 kB that takes six seconds, as models do.
ANSWER = " ".join(f"word{number:03}" for number in range(300))
PACE = ("--first-ms", "600", "--pace-ms", "60", "--piece-chars", "24")
FILES = (("10 MB photo", "photo", "p.jpg", b"\xff\xd8\xff\xe0", 10 << 20),
         ("20 MB PDF", "document", "d.pdf", b"%PDF-1.7\n", 20 << 20))


def markdown(row):
    """Markdown to parts, over the READMEs in cargo's registry"""
    reply = subprocess.run(["cargo", "run", "--quiet", "--release", "--locked", "--example", "render_bench"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = json.loads(reply)
    note = f"{found['files']} READMEs, {found['megabytes']} MB, {found['parts']} parts; best of five"
    return [row("17 Markdown to parts", found["megabytes_a_second"], "MB/s", note=note)]


def media(row):
    """17: peak memory while a photo and a PDF pass through"""
    rows = []
    for name, kind, path, begin, size in FILES:
        with World() as world:
            bot = world.bot(MEDIA_MAX="20M").wait_poll()
            # What the first answer of all costs is no matter of files.
            world.push([1_000])
            world.wait_sent(1)
            time.sleep(3)
            # The peak so far is the start's: it is begun anew.
            pathlib.Path(f"/proc/{bot.pid}/clear_refs").write_text("5")
            idle = bot.rss_mb()
            size -= 1
            world.control("file", {"file_id": "f", "path": path, "size": size, "hex": begin.hex()})
            about = {"file_id": "f", "file_unique_id": "f", "file_size": size}
            fields = {"photo": [{**about, "width": 9, "height": 9}]} if kind == "photo" else {
                "document": {**about, "mime_type": "application/pdf", "file_name": path}}
            world.control("text", {"chat": 1_000, "user": 1_000, "fields": {**fields, "caption": "look"}})
            world.wait_sent(2, 120)
            _, reply = post(f"{world.standin.gemini}/control/asked", {"limit": 1})
            through = reply["asked"][0]["bytes"]
            assert through > size * 4 // 3, f"{through} bytes reached Gemini"
            rows.append(row(f"17 peak memory over rest, a {name} passing through", bot.peak_mb() - idle, "MB", 1.5, 1.5,
                            note=f"rest {idle:.1f} MB, {through >> 20} MB of request"))
    return rows


def showing(row):
    """17: time from Gemini's first text to the first visible text, and calls per answer, by mode"""
    rows = []
    # Without streaming the stand-in does not take six seconds, so the time of `off` tells only of us.
    for mode in ("off", "edit", "draft"):
        waits, calls = [], []
        with World(*PACE) as world:
            world.script(say=ANSWER, times=100)
            bot = world.bot(STREAM=mode).wait_poll()
            for turn in range(1, 6):
                world.push([1_000 + turn], "tell me")
                world.wait_sent(turn, 60)
                if mode == "edit":
                    time.sleep(9)
                time.sleep(1)
                all_calls = [call for call in world.control("calls", {})["calls"]
                             if call["params"].get("chat_id") == str(1_000 + turn)]
                _, reply = post(f"{world.standin.gemini}/control/asked", {"limit": 1})
                shown = next(call["at_ms"] for call in all_calls if call["method"] != "sendchataction")
                waits.append(shown - reply["asked"][-1]["at_ms"] - 600)
                calls.append(len(all_calls))
            bot.kill()
        note = "the stand-in says it whole" if mode == "off" else f"answers of {len(ANSWER)} bytes over about 6 s; typing counts as a call"
        rows.append(row(f"17 first text from Gemini → first text shown, `STREAM={mode}`", statistics.median(waits), "ms", note=note))
        rows.append(row(f"17 calls of Telegram per answer, `STREAM={mode}`", statistics.median(calls), ""))
    return rows
