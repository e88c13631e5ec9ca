#!/usr/bin/env python3
"""A disk that is full: nothing is lost, the cause is named everywhere, and room is all it takes.

The data directory lies on a small tmpfs, so this needs the right to mount one: root, or a namespace
of one's own, which `unshare` gives. Without either the step fails and says so.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from bot import Bot, until
from standin import StandIn, free_port, post

DISK = "6m"
INSIDE = "SVS_BOT_DISK_INSIDE"


def main(full=None, size=DISK):
    """Calls `full` with a folder that is a small disk."""
    if INSIDE not in os.environ:
        # A mount namespace of our own: nothing stays mounted, whatever happens.
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        done = subprocess.run(
            ["unshare", *user, "--mount", sys.executable, sys.argv[0]], env={**os.environ, INSIDE: "1"}
        )
        assert done.returncode == 0, "a full disk: see above; mounting a tmpfs needs root or user namespaces"
        return
    with tempfile.TemporaryDirectory(prefix="svs-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", folder], check=True)
        try:
            (full or fill_up)(pathlib.Path(folder))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(folder):
    address = f"127.0.0.1:{free_port()}"
    with StandIn("--unlimited", "--username", "svs_bot") as standin:
        settings = {
            "TELEGRAM_API_URL": standin.telegram,
            "GEMINI_API_URL": standin.gemini,
            "HTTP_ADDR": address,
        }
        bot = Bot(**settings)
        (bot.path / "data").symlink_to(folder)
        with bot:
            until(60, "the bot", lambda: get(address, "/readyz")[0] == 200)
            say(standin, "before")
            until(60, "an answer", lambda: heard(standin, "before"))
            filler = folder / "filler"
            fill(filler)
            say(standin, "while the disk is full")
            until(60, "the page", lambda: "not ready" in get(address, "/")[1])
            page, ready = get(address, "/")[1], get(address, "/readyz")
            assert "database: " in page and "full" in page.lower(), page[:2000]
            assert ready[0] == 503 and ready[1].startswith("database: "), ready
            assert get(address, "/healthz")[0] == 200, "the loop itself is well"
            assert "\nsvs_bot_ready 0\n" in get(address, "/metrics")[1]
            item = next(it for it in check(bot, "--offline") if it["name"] == "disk")
            assert item["level"] == "fail" and item["todo"], item
            filler.unlink()
            until(60, "the end of it", lambda: get(address, "/readyz")[0] == 200)
            until(60, "the waiting answer", lambda: heard(standin, "while the disk is full"))
            assert "database.failed" in bot.log() and "database.recovered" in bot.log(), bot.log()[-2000:]
    print("the page, /readyz, the metric and check named the full disk; nothing was lost")


def fill(path):
    with open(path, "wb", buffering=0) as file:
        for size in (65_536, 4_096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def check(bot, *options):
    done = subprocess.run(
        [bot.program, "check", "--json", *options, "--env-file", bot.path / "env", "--data-dir", bot.path / "data"],
        capture_output=True, text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return json.loads(done.stdout)["items"]


def say(standin, text):
    post(f"{standin.telegram}/control/text", {"chat": 7, "user": 7, "text": text})


def heard(standin, text):
    with urllib.request.urlopen(f"{standin.telegram}/control/sent", timeout=30) as reply:
        return any(text in it["text"] for it in json.load(reply)["sent"])


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


if __name__ == "__main__":
    main()
    if INSIDE not in os.environ:
        print("ok")
