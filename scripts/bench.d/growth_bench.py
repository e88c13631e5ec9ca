"""What a long life costs: the same questions with few and many rows of history, people and keys."""

import os
import pathlib
import shutil
import sqlite3
import statistics
import tempfile
import time

from world import KEYS, World

# One answered question of some 300 bytes, a second apart, all of them sent; nobody's session is open.
HISTORY = """
INSERT INTO history (chat_id, user_id, username, message_text, response_text, model_used, metadata, created_us, sync)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows)
SELECT 1000000 + i % :people, 1000000 + i % :people, 'person' || (i % :people),
       'What is the answer to question number ' || i || '?', substr(:words, 1 + i % 40, 200),
       'gemini-2.5-flash', '{"role":"normal","tokens":120}', CAST((:now_s - (:rows - i) / 12.0) * 1000000 AS INTEGER), 2
FROM n"""
PEOPLE = """
INSERT INTO person (user_id, username, first_name, lang, first_ms, last_ms)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :people)
SELECT 1000000 + i, 'person' || i, 'P' || i, 'en', :now_s * 1000, :now_s * 1000 FROM n"""


def fill(path, rows, people):
    """Without the indexes first: ten million rows then take minutes instead of hours."""
    with sqlite3.connect(path) as db:
        db.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA journal_mode = WAL")
        wanted = "SELECT sql, name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'history' AND sql != ''"
        indexes = db.execute(wanted).fetchall()
        for _, name in indexes:
            db.execute(f"DROP INDEX {name}")
        known = {"rows": rows, "people": people, "now_s": int(time.time()), "words": "as far as anybody knows " * 12}
        db.execute(PEOPLE, known)
        db.execute(HISTORY, known)
        for sql, _ in indexes:
            db.execute(sql)
    db.close()


def prepared(rows, people):
    """A data directory of that age."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="svs-bot-grown-")) / "data"
    with World() as world:
        world.bot().wait_poll().stop()
        shutil.copytree(world.folder / "data", folder)
    fill(folder / "svs-bot.db", rows, people)
    return folder


def renumber(path):
    """New stand-ins number their updates from the beginning: those known must not stand for them."""
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM inbox")
        db.execute("DELETE FROM meta WHERE key = 'next_offset'")
    db.close()


def lived(folder, questions, keys):
    """Start, CPU per answer, memory."""
    renumber(folder / "svs-bot.db")
    with World() as world:
        os.symlink(folder, world.folder / "data")
        bot = world.bot(GROUP_B_KEYS=",".join(KEYS.split(",")[:keys])).wait_poll()
        started = world.control("state")["first_poll_ms"] - bot.started_ms
        world.push(range(1_000_000, 1_000_100))
        world.wait_sent(100, 60)
        before = bot.cpu_s()
        world.push(range(1_000_000, 1_000_000 + questions))
        world.wait_sent(100 + questions, 600)
        cpu = (bot.cpu_s() - before) / questions * 1e3
        memory = bot.rss_mb()
        bot.stop()
        return started, cpu, memory


def measure(row, quick):
    sizes = [(1_000, 100, 128), (100_000, 10_000, 128)]
    if not quick:
        sizes += [(10_000_000, 1_000_000, 128), (1_000, 100, 50)]
    folders = {size: prepared(*size[:2]) for size in sizes}
    try:
        runs = {size: [] for size in sizes}
        for _ in range(2 if quick else 5):
            for size in sizes:
                runs[size].append(lived(folders[size], 500 if quick else 2_000, size[2]))
        rows = []
        middle = {size: [statistics.median(values) for values in zip(*found)] for size, found in runs.items()}
        first = middle[sizes[0]]
        for size in sizes:
            started, cpu, memory = middle[size]
            bytes_ = os.stat(folders[size] / "svs-bot.db").st_size
            what = f"{size[0]:,} rows of history, {size[1]:,} people, {size[2]} keys"
            bounds = (1.5, 1.1) if size[0] == 10_000_000 else (None, None)
            costs = [found[1] for found in runs[size]]
            rows += [row(f"15 CPU per answer beside the smallest, {what}", cpu / first[1], "×", *bounds,
                         note=f"{cpu:.3f} ms ({min(costs):.3f}–{max(costs):.3f}, {len(costs)} runs)"),
                     row(f"2 exec → first getUpdates, {what}", started, "ms", 40, 10, note=f"a file of {bytes_ / 1e6:,.0f} MB"),
                     row(f"15 memory after it, {what}", memory, "MB")]
        return rows
    finally:
        for folder in folders.values():
            shutil.rmtree(folder.parent, ignore_errors=True)
