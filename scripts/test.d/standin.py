"""Starts the stand-ins for a witness, and finds what belongs to the repository."""

import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKEN = "123456:stand-in"
SPEC = ROOT / "tests" / "telegram-bot-api-spec" / "api.min.json"


class StandIn:
    """`with StandIn("--unlimited") as it:`, then `it.telegram`, `it.gemini`, `it.postgrest`."""

    def __init__(self, *options):
        program = os.environ.get("STANDIN", ROOT / "target" / "debug" / "examples" / "standin")
        self.command = [str(program), *options]
        self.numbers = itertools.count(1_000)

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        urls = json.loads(self.process.stdout.readline())
        self.telegram, self.gemini, self.postgrest = (
            urls[name] for name in ("telegram", "gemini", "postgrest")
        )
        self.bot = f"{self.telegram}/bot{TOKEN}"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=10)

    def hears(self, text, person=7):
        """Somebody writes to the bot in private."""
        command = re.match(r"/\w+", text)
        user = {"id": person, "is_bot": False, "first_name": "P", "language_code": "en"}
        message = {"message_id": next(self.numbers), "date": int(time.time()), "text": text, "from": user,
                   "chat": {"id": person, "type": "private", "first_name": "P"},
                   "entities": [{"type": "bot_command", "offset": 0, "length": command.end()}] if command else []}
        status, reply = post(f"{self.telegram}/control/push", json.dumps({"message": message}).encode())
        assert status == 200, reply

    def sent(self):
        """Everything that the bot has sent, oldest first."""
        return post(f"{self.telegram}/control/sent", {"after": 0})[1]["sent"]

    def has_sent(self, words):
        return any(words in json.dumps(it, ensure_ascii=False) for it in self.sent())


def free_port():
    """A port of loopback that nobody has now."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def post(url, body=None, headers=None):
    """POSTs JSON (or bytes) and returns status and JSON, errors as well."""
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
