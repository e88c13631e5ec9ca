"""Several real boxes of one machine share keys through one file, without Redis: the quota is never passed, whoever is
killed; what one learns the others hear within a second; the file may be taken away, cut, overwritten, held or closed to
them, and they meet again by themselves."""

import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import time
import urllib.request

from bot import until
from fleet import KEY, MODEL, WAIT_S, Box, ask, kill, state
from standin import StandIn, post

# The boxes must not be root: root may write to what nobody may.
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
HEARD_S = 1.0
IDLE_S = 20
WAKE_UPS_S_MAX = 2.0


class Shared:
    """A folder for the file, and boxes over it."""

    def __init__(self, gemini, telegrams, **settings):
        self.folder = tempfile.TemporaryDirectory(prefix="svs-bot-shared-")
        self.path = pathlib.Path(self.folder.name) / "ledger.db"
        program = shutil.copy(os.environ.get("SVS_BOT", Box(gemini, gemini, None).program), self.folder.name)
        os.chmod(self.folder.name, 0o755)
        self.place = pathlib.Path(self.folder.name) / "place"
        self.place.mkdir(mode=0o700)
        self.path = self.place / "ledger.db"
        self.boxes = []
        for number, telegram in enumerate(telegrams):
            it = Box(telegram, gemini, None, wrap=NOBODY, SHARED_LEDGER=str(self.path), STREAM="off", PATIENCE="3m", **settings)
            it.program = program
            (it.path / "data").mkdir()
            self.boxes.append(it)
            for path in (it.path, it.path / "env", it.path / "data", self.place):
                if NOBODY:
                    os.chown(path, 65534, 65534)

    def __enter__(self):
        for it in self.boxes:
            it.__enter__()
        self.joined()
        # Until every box has told what it used alone.
        time.sleep(4)
        return self

    def joined(self):
        count = len(self.boxes)
        for it in self.boxes:
            until(WAIT_S, "the box shares", lambda it=it: it.metric("svs_bot_fleet_boxes") == count and it.metric("svs_bot_fleet_up") == 1)

    def __exit__(self, kind, *rest):
        for it in self.boxes:
            it.__exit__(kind, *rest)
        self.folder.cleanup()

    def count(self, sql):
        """One number, read beside the bots."""
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as db:
            return db.execute(sql).fetchone()[0]

    def says(self, box, *words):
        command = [*NOBODY, box.program, *words, "--env-file", box.path / "env", "--data-dir", box.path / "data"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})


def status(box):
    with urllib.request.urlopen(f"http://127.0.0.1:{box.http}/status.json", timeout=10) as page:
        return json.load(page)


def never_passed():
    """Three boxes, one key of 20 a minute and 40 a day, 54 questions; one box is killed on the way."""
    limits = {"KEY_RPM": "20", "LITE_RPD": "40", "KEY_DAILY_SHARE": "1", "GEMINI_API_KEY": f"{KEY}@p"}
    options = ("--key", f"{KEY}@p", "--limit", f"{MODEL}=20/40/1000000")
    with StandIn(*options) as one, StandIn() as two, StandIn() as three, Shared(one, [one, two, three], **limits) as shared:
        boxes = shared.boxes
        for person in range(100, 118):
            for it in boxes:
                it.telegram.hears(f"question {person}", person)
        until(WAIT_S, "some are answered", lambda: state(one) and state(one)[0]["taken"] >= 8)
        kill(boxes[2])
        boxes[2].__enter__()
        until(170, "everyone has heard", lambda: all(len(it.answers()) == 18 and it.metric("svs_bot_inbox_pending") == 0 for it in boxes))
        quotas = state(one)
        # The last tenth is the owner's; a request cut off by the kill may have been counted and not sent.
        assert len(quotas) == 1 and quotas[0]["refused"] == 0 and 30 <= quotas[0]["taken"] <= 36, quotas
        counted = shared.count("SELECT sum(used) FROM day")
        assert quotas[0]["taken"] <= counted <= 36 + 1, (quotas, counted)
        text = b"".join(path.read_bytes() for path in shared.place.iterdir())
        assert KEY.encode() not in text and b"question" not in text
        seen(shared)
        print(f"one key of 20 a minute and 36 a day, 3 boxes, one killed: {quotas[0]}, the file says {counted}")


def seen(shared):
    """The commands show the boxes."""
    it = shared.boxes[0]
    told = json.loads(shared.says(it, "status", "--fleet", "--json").stdout)["boxes"]
    assert len(told) == 3 and all(box["version"] and box["bot"] for box in told), told
    assert len(shared.says(it, "status", "--fleet").stdout.splitlines()) == 4
    items = json.loads(shared.says(it, "check", "--offline", "--json").stdout)["items"]
    item = next(item for item in items if item["name"] == "shared ledger")
    assert item["level"] == "ok" and "3 boxes" in item["found"], item


def heard_soon():
    """A key that one box finds dead, and a model that must rest, are left alone by the others within a second."""
    keys = {"GEMINI_API_KEY": f"{KEY}@p", "GEMINI_API_KEY_2": "check-key-2@q"}
    with StandIn("--unlimited") as one, StandIn() as two, StandIn() as three, Shared(one, [one, two, three], **keys) as shared:
        post(f"{one.gemini}/control/script", {"key": KEY, "times": 1, "fail": "leaked"})

        def dead(it):
            return any(key["last4"] == KEY[-4:] and key["state"] == "dead" for key in status(it)["keys"])

        # Which of the two keys is asked first is a matter of dice.
        for person in range(500, 520):
            if dead(shared.boxes[0]):
                break
            one.hears("hello", person)
            until(WAIT_S, "an answer", lambda person=person: shared.boxes[0].answers().get(person))
        until(WAIT_S, "the first knows", lambda: dead(shared.boxes[0]))
        began = time.monotonic()
        until(HEARD_S, "the others know", lambda: all(dead(it) for it in shared.boxes[1:]))
        print(f"a dead key was with the others {time.monotonic() - began:.2f} s after the first had shown it")
        began = [wake_ups(it) for it in shared.boxes]
        time.sleep(IDLE_S)
        rates = [(wake_ups(it) - before) / IDLE_S for it, before in zip(shared.boxes, began)]
        assert max(rates) <= WAKE_UPS_S_MAX, rates
        print(f"idle, the thread that looks wakes {[f'{rate:.2f}' for rate in rates]} times a second")


def wake_ups(box):
    """Of the thread that looks at the file."""
    # `setpriv` becomes the program, so the process is the bot's.
    for task in pathlib.Path(f"/proc/{box.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "fleet":
            line = next(line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary"))
            return int(line.split()[1])
    raise AssertionError("no thread looks at the file")


def harmed():
    """Whatever is done to the file under the bots, no limit is passed and they meet again by themselves."""
    limits = {"KEY_RPM": "20", "LITE_RPD": "400", "KEY_DAILY_SHARE": "1", "GEMINI_API_KEY": f"{KEY}@p"}
    options = ("--key", f"{KEY}@p", "--limit", f"{MODEL}=20/400/1000000")

    def remove(path):
        path.unlink()

    def cut(path):
        os.truncate(path, 0)

    def overwrite(path):
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"x" * path.stat().st_size)

    with StandIn(*options) as one, StandIn() as two, Shared(one, [one, two], **limits) as shared:
        ask(shared.boxes, 200)
        asked = 10
        for number, (what, harm) in enumerate([("removed", remove), ("cut", cut), ("overwritten", overwrite)]):
            before = [it.log().count("fleet.joined") for it in shared.boxes]
            harm(shared.path)
            ask_slowly(shared.boxes, 300 + 10 * number)
            asked += 10
            shared.joined()
            quota = state(one)[0]
            assert quota["refused"] == 0 and quota["taken"] == asked, (what, quota)
            until(WAIT_S, f"{what}: all is told", lambda: shared.count("SELECT sum(used) FROM day") >= asked)
            for it, joined in zip(shared.boxes, before):
                assert it.log().count("fleet.joined") <= joined + 2, (what, it.log())
        assert (shared.place / "ledger.db.damaged").exists()
        print(f"removed, cut, overwritten: {state(one)[0]}, and the file has all {asked}")


def ask_slowly(boxes, first):
    """As `ask`, with a whole minute of patience: the limit of the minute may hold some back."""
    for person in range(first, first + 5):
        for it in boxes:
            it.telegram.hears("hello", person)
    # Who has to wait is told so first, which is no answer yet.
    for it in boxes:
        until(150, f"answers to {first}", lambda it=it: all(it.answers().get(person) for person in range(first, first + 5))
              and it.metric("svs_bot_inbox_pending") == 0)


def closed():
    """A file that another program holds, or that may only be read, leaves each box its share; it is told once."""
    limits = {"KEY_RPM": "20", "LITE_RPD": "400", "KEY_DAILY_SHARE": "1", "GEMINI_API_KEY": f"{KEY}@p"}
    options = ("--key", f"{KEY}@p", "--limit", f"{MODEL}=20/400/1000000")
    with StandIn(*options) as one, StandIn() as two, Shared(one, [one, two], **limits) as shared:
        other = sqlite3.connect(shared.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ask(shared.boxes, 200)
        assert state(one)[0]["taken"] == 10 and state(one)[0]["refused"] == 0
        for it in shared.boxes:
            lines = until(WAIT_S, "it is told", lambda it=it: away(it))
            assert len(lines) == 1 and "another program holds it" in lines[0], lines
            assert it.metric("svs_bot_fleet_alone_total") >= 4
        other.execute("COMMIT")
        other.close()
        shared.joined()
        until(WAIT_S, "what was used alone is told", lambda: shared.count("SELECT sum(used) FROM day") == 10)
        # Under open files a mode changes nothing; a box that starts is closed out until it may again.
        for path in shared.place.iterdir():
            path.chmod(0o400)
        kill(shared.boxes[1])
        shared.boxes[1].__enter__()
        lines = until(WAIT_S, "it is told", lambda: away(shared.boxes[1]))
        assert "write to it and to its folder" in lines[0], lines
        item = shared.says(shared.boxes[1], "check", "--offline").stdout
        assert "shared ledger" in item and "write to it and to its folder" in item, item
        ask(shared.boxes, 300)
        for path in shared.place.iterdir():
            path.chmod(0o600)
        shared.joined()
        until(WAIT_S, "what was used alone is told", lambda: shared.count("SELECT sum(used) FROM day") == 20)
        assert state(one)[0]["refused"] == 0, state(one)
        print(f"held for a time, closed to one: {state(one)[0]}")


def away(box):
    return [line for line in box.log().splitlines() if "fleet.away" in line]


def main():
    closed()
    heard_soon()
    harmed()
    never_passed()


if __name__ == "__main__":
    main()
