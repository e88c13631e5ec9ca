#!/usr/bin/env python3
"""The real daemon in bad weather: stopped for a minute, behind a cable that loses, delays, doubles, reorders or is
narrow, with one service swallowed alone, and with names that nobody knows any more while it runs.

In each scene people go on writing. Afterwards each question has its answer, in order; at most what was in flight
was shown twice; and each exchange is one row here and one row in Supabase.
"""

import collections
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

import disk
from bot import Bot, until
from namespaces import enter, loopback_up, mount
from standin import free_port
from wire import FAR, SUPABASE_KEY, Wire

PATIENCE_S = 240
PEOPLE = 12
WORKERS = 8
STOPPED_S = 60
DEAD_S = 45
SEED = int(os.environ.get("STALLS_SEED", "20261124"))


class Talk:
    """People who write numbered questions to a bot behind a cable."""

    def __init__(self, wire, **settings):
        self.wire, self.said = wire, []
        names, environment = settings.pop("names", None), settings.pop("environment", {})
        self.address = f"127.0.0.1:{free_port()}"
        usual = {"ALLOW_HTTP": "on", "SUPABASE_KEY": SUPABASE_KEY, "SYNC_INTERVAL": "1s", "STREAM": "edit",
                 "WORKERS": str(WORKERS), "HTTP_ADDR": self.address}
        self.bot = Bot(environment=environment, **{**wire.urls(names), **usual, **settings})

    def __enter__(self):
        self.bot.__enter__()
        until(PATIENCE_S, "the bot", self.is_ready)
        self.write(3)
        self.judge(0)
        return self

    def __exit__(self, kind, *rest):
        if kind is not None:
            print(self.bot.log()[-3_000:])
        self.wire.weather()
        self.bot.__exit__(kind, *rest)

    def write(self, count, pause_s=0.0):
        for _ in range(count):
            number = len(self.said)
            person = 100 + number % PEOPLE
            self.said.append((person, f"question {number:04} of {person}."))
            self.wire.ask("telegram", "text", {"chat": person, "user": person, "text": self.said[-1][1]})
            time.sleep(pause_s)

    def shown(self):
        """(person, question) of each answer that stands, oldest first."""
        sent = self.wire.ask("telegram", "sent")["sent"]
        found = ((it["chat"], re.search(r"question \d{4} of \d+\.", it["text"])) for it in sent if not it["deleted"])
        return [(chat, match.group()) for chat, match in found if match]

    def is_ready(self):
        return disk.get(self.address, "/readyz")[0] == 200

    def rows(self):
        with sqlite3.connect(f"file:{self.bot.path}/data/svs-bot.db?mode=ro", uri=True, timeout=30) as database:
            return collections.Counter(row[0] for row in database.execute("SELECT message_text FROM history"))

    def remote(self):
        rows = self.wire.ask("postgrest", "rows", {"table": "chat_history"})["rows"]
        return collections.Counter(row["message_text"] for row in rows)

    def judge(self, doubles_max):
        """All is answered, in order and once; returns how many were shown twice, or asked of Gemini more than once."""
        wanted = set(self.said)
        until(PATIENCE_S, "every answer", lambda: wanted <= set(self.shown()))
        once = collections.Counter(text for _, text in self.said)
        until(PATIENCE_S, "one row each", lambda: self.rows() == once)
        until(PATIENCE_S, "one row each in Supabase", lambda: self.remote() == once)
        shown = self.shown()
        doubles = sum(count - 1 for count in collections.Counter(shown).values())
        assert doubles <= doubles_max, f"{doubles} answers twice: {shown}"
        for person in {person for person, _ in self.said}:
            first = list(dict.fromkeys(text for chat, text in shown if chat == person))
            assert first == [text for chat, text in self.said if chat == person], f"out of order: {first}"
        asked = self.wire.ask("gemini", "state")["totals"]
        return f"{doubles} shown twice, {sum(asked.values()) - len(self.said)} asked again"


def stopped_for_a_minute(wire, folder):
    """SIGSTOP, as by a hypervisor or a suspended laptop, while answers are on their way."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(f"{folder}/notify")
    told.setblocking(False)
    environment = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "4000000"}

    def fed():
        """How often the watchdog was fed since the last look."""
        count = 0
        while True:
            try:
                count += told.recv(4_096) == b"WATCHDOG=1"
            except BlockingIOError:
                return count

    with Talk(wire, environment=environment) as talk:
        until(30, "a fed watchdog", fed)
        wire.ask("gemini", "script", {"slow": 1_500, "times": WORKERS})
        talk.write(20)
        until(30, "answers on their way", lambda: len(wire.ask("gemini", "asked")["asked"]) > 6)
        talk.bot.process.send_signal(signal.SIGSTOP)
        fed()
        talk.write(20)
        time.sleep(STOPPED_S)
        assert fed() == 0, "systemd was told that all is well by a process that does nothing"
        # Nothing of the daemon's is taken by a command beside it.
        done = command(talk, "sync")
        assert done.returncode in (0, 75), f"{done.returncode} {done.stdout}{done.stderr}"
        talk.bot.process.send_signal(signal.SIGCONT)
        until(30, "a fed watchdog again", fed)
        until(30, "readiness again", talk.is_ready)
        again = talk.judge(WORKERS)
        print(f"    `sync` beside it ended with {done.returncode}; {again}")


def command(talk, *words):
    options = ("--env-file", talk.bot.path / "env", "--data-dir", talk.bot.path / "data")
    return subprocess.run([talk.bot.program, *words, *options], capture_output=True, text=True, timeout=120)


def weather(count, pause_s, doubles_max, **changes):
    def scene(wire, _):
        with Talk(wire) as talk:
            wire.weather(**changes)
            began = time.monotonic()
            talk.write(count, pause_s)
            until(PATIENCE_S, "every answer", lambda: set(talk.said) <= set(talk.shown()))
            took, counts = time.monotonic() - began, dict(wire.counts)
            health = disk.get(talk.address, "/healthz")
            assert health[0] == 200, f"the loop itself is well: {health}"
            again = talk.judge(doubles_max)
            print(f"    {count} answers after {took:.0f} s; packets: {counts}; {again}")
    return scene


def one_service_swallowed(service, cause, goes_on):
    def scene(wire, _):
        with Talk(wire) as talk:
            wire.weather(dead=(wire.ports[service],))
            talk.write(6)
            began = time.monotonic()
            until(PATIENCE_S, f"{cause} as the cause", lambda: cause in disk.get(talk.address, "/")[1])
            named = time.monotonic() - began
            goes_on(talk)
            assert disk.get(talk.address, "/healthz")[0] == 200, "the loop itself is well"
            time.sleep(max(0.0, DEAD_S - (time.monotonic() - began)))
            lost = wire.counts["lost"]
            assert lost > 0, "no packet was swallowed"
            wire.weather()
            talk.write(3)
            again = talk.judge(WORKERS)
            until(PATIENCE_S, "readiness", talk.is_ready)
            print(f"    named on the page after {named:.0f} s; {lost} packets swallowed; {again}")
    return scene


def nothing_goes_on(_talk):
    """Without Telegram nobody can write."""


def commands_go_on(talk):
    before = talk.wire.ask("telegram", "state")["sent_total"]
    talk.wire.ask("telegram", "text", {"chat": 99, "user": 99, "text": "/help"})
    until(60, "/help while Gemini is away", lambda: talk.wire.ask("telegram", "state")["sent_total"] > before)


def answers_go_on(talk):
    until(60, "answers while Supabase is away", lambda: set(talk.said) <= set(talk.shown()))


class Names:
    """A name server on loopback, in a mood."""

    NXDOMAIN, SERVFAIL = 3, 2

    def __init__(self):
        self.mood, self.asked = "good", collections.Counter()
        self.door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.door.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            question, who = self.door.recvfrom(4_096)
            mood = self.mood
            self.asked[mood] += 1
            if mood == "slow":
                threading.Timer(3, self.answer, (question, who, "good")).start()
            elif mood != "silent":
                self.answer(question, who, mood)

    def answer(self, question, who, mood):
        if mood == "garbage":
            return self.door.sendto(question[:2] + b"\xff" * 40, who)
        code = {"nxdomain": self.NXDOMAIN, "servfail": self.SERVFAIL}.get(mood, 0)
        end = question.index(b"\0", 12) + 5
        kind = struct.unpack_from("!H", question, end - 4)[0]
        has = mood == "good" and kind == 1
        head = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, int(has), 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(FAR) if has else b""
        return self.door.sendto(head + question[12:end] + record, who)


def names_that_fail_in_mid_run(wire, folder):
    names = Names()
    for file, text in (("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"),
                       ("nsswitch.conf", "hosts: files dns\n")):
        (folder / file).write_text(text)
        # Where it is a link, what it leads to is covered.
        mount("--bind", folder / file, pathlib.Path("/etc", file).resolve())
    with Talk(wire, names="test") as talk:
        assert names.asked["good"], "nobody asked for a name"
        for mood in ("nxdomain", "servfail", "silent", "garbage", "slow"):
            names.mood = mood
            wire.hang_up()
            talk.write(4)
            if mood == "slow":
                talk.judge(WORKERS)
            else:
                until(PATIENCE_S, f"unreadiness: {mood}", lambda: not talk.is_ready())
                reason = disk.get(talk.address, "/readyz")[1].strip()
                assert "telegram" in reason and talk.bot.process.poll() is None, reason
            assert names.asked[mood], f"nobody asked for a name: {mood}"
            names.mood = "good"
            began = time.monotonic()
            again = talk.judge(WORKERS)
            until(PATIENCE_S, "readiness", talk.is_ready)
            words = "answered all the same" if mood == "slow" else f"said '{reason}'"
            print(f"    {mood}: {words}; all answered {time.monotonic() - began:.0f} s after names were back; {again}")


SCENES = {
    "stopped for a minute": stopped_for_a_minute,
    "30 % of all packets lost": weather(20, 0.5, WORKERS, loss=0.3),
    "two seconds each way": weather(12, 0.5, 0, delay_s=2.0),
    "packets overtake and double": weather(30, 0.2, 0, jitter_s=0.4, twice=0.2),
    "6 KiB a second": weather(12, 1.0, WORKERS, bytes_s=6_144),
    "all of it at once": weather(12, 1.0, WORKERS, loss=0.1, delay_s=0.3, jitter_s=0.5, twice=0.1, bytes_s=32_768),
    "Telegram swallowed alone": one_service_swallowed("telegram", "telegram: ", nothing_goes_on),
    "Gemini swallowed alone": one_service_swallowed("gemini", "gemini gives no answers", commands_go_on),
    "Supabase swallowed alone": one_service_swallowed("postgrest", "supabase: ", answers_go_on),
    "names that fail in mid-run": names_that_fail_in_mid_run,
}


def main():
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        print("not played: this machine has no /dev/net/tun to make a cable of: `modprobe tun`, or run as root")
        return 0
    if sys.argv[1:2] != ["--inside"]:
        os.execvp("unshare", enter([sys.executable, os.path.abspath(__file__), "--inside", *sys.argv[1:]]))
    loopback_up()
    mount("--make-rprivate", "/")
    failed = 0
    print(f"seed {SEED}: STALLS_SEED={SEED} repeats the dice")
    for name, scene in SCENES.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="svs-bot-stalls-") as folder, Wire(SEED) as wire:
                scene(wire, pathlib.Path(folder))
            print(f"holds: {name}, {time.monotonic() - began:.0f} s", flush=True)
        except Exception as error:  # the other scenes are worth their word too
            failed += 1
            print(f"does not hold: {name}: {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
