"""Rows a second from a backlog to the stand-in's PostgREST, beside a plain HTTP loop sending as many
bodies of the same size to the same server. The stand-in is not PostgreSQL: the ratio counts, not the rate."""

import http.client
import json
import subprocess
import threading
import time

from world import BINARY, KEYS, TOKEN, World

BATCH = 500


def backlog(world, rows):
    """Turns that were never sent, brought in as a bot would have stored them."""
    import sqlite3

    bot = world.bot().wait_poll()
    world.push([1_000])
    world.wait_sent(1)
    time.sleep(1)
    bot.stop()
    db = sqlite3.connect(world.folder / "data" / "svs-bot.db")
    names = [row[1] for row in db.execute("PRAGMA table_info(history)") if row[1] != "id"]
    one = dict(zip(names, db.execute(f"SELECT {','.join(names)} FROM history LIMIT 1").fetchone()))
    with db:
        for number in range(1, rows):
            one["created_us"] += 1_000
            if "uuid" in one:
                one["uuid"] = None
            db.execute(f"INSERT INTO history ({','.join(names)}) VALUES ({','.join('?' * len(names))})",
                       [one[name] for name in names])
    db.close()


def peak(process, found):
    while process.poll() is None:
        try:
            for line in open(f"/proc/{process.pid}/status"):
                if line.startswith("VmHWM"):
                    found.append(int(line.split()[1]) / 1_024)
        except OSError:
            return
        time.sleep(0.02)


def measure(row, rows):
    with World() as world:
        backlog(world, rows)
        env = {"TELEGRAM_BOT_TOKEN": TOKEN, "GROUP_B_KEYS": KEYS, "HOME": str(world.folder),
               "SUPABASE_URL": world.standin.postgrest, "SUPABASE_KEY": "sb_secret_standin", **world.urls}
        begun = time.monotonic()
        process = subprocess.Popen([BINARY, "sync", "--json", "--data-dir", str(world.folder / "data")], env=env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=world.folder, text=True)
        peaks = []
        watcher = threading.Thread(target=peak, args=(process, peaks))
        watcher.start()
        out, err = process.communicate(timeout=600)
        ours = rows / (time.monotonic() - begun)
        watcher.join()
        told = json.loads(out)
        sent = told["tables"]["chat_history"]["sent"]
        if sent != rows:
            raise RuntimeError(f"{sent} of {rows} sent: {err[-200:]}{out[-300:]}")
        requests = told["requests"]
    with World() as world:
        # The columns of the earlier versions' table, as the bot fills them.
        body = [{"chat_id": 1_000, "user_id": 1_000, "username": "P1000", "message_text": "hello",
                 "response_text": "you said: hello", "model_used": "gemini-3.5-flash-lite",
                 "metadata": {"number": number}, "created_at": "2026-01-01T00:00:00.000001+00:00"}
                for number in range(BATCH)]
        place = world.standin.postgrest[7:]
        link = http.client.HTTPConnection(place)
        text = json.dumps(body)
        begun = time.monotonic()
        for _ in range(rows // BATCH):
            link.request("POST", "/rest/v1/chat_history", text, {
                "apikey": "sb_secret_standin", "Content-Type": "application/json", "Prefer": "return=minimal"})
            reply = link.getresponse()
            told = reply.read()
            if not 200 <= reply.status < 300:
                # A server that refuses is faster than one that stores: no figure to compare with.
                raise RuntimeError(f"the plain loop was refused: {reply.status} {told[:200]}")
        plain = rows / (time.monotonic() - begun)
    note = f"{ours:.0f} rows/s beside {plain:.0f}; {requests} requests"
    return [row("13 sync of a backlog beside a plain HTTP loop, stand-in", ours / plain, "×", 0.7, 0.95, more=True, note=note),
            row("14 peak memory of `svs-bot sync`, whole process", max(peaks), "MB", note=f"{rows} rows")]
