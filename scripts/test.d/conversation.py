#!/usr/bin/env python3
"""The real daemon in real shapes of conversation; the journal of every call goes to the witnesses.

Generated updates of every kind go in, from a file of the Bot API's own description; the bot must
stay alive, answer the one who asks at the end, and everything that it sent must satisfy the Bot
API's description, Telegram's own parser and Google's own request models.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request

import generate_updates
from bot import Bot, until
from standin import ROOT, StandIn, post

UPDATES = 400
MARKDOWN = "# Title\n\n**bold** _it_ `x<y` [l](https://example.org)\n\n| a | 你 |\n|---|---|\n| 1 | 2 |\n\n```rust\nfn f() {}\n```\n- one\n  - two\n> quote & <b>\n"


def sent(standin):
    with urllib.request.urlopen(f"{standin.telegram}/control/sent", timeout=30) as reply:
        return json.load(reply)["sent"]


def main():
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as journal:
        with StandIn("--unlimited", "--username", "svs_bot", "--keep-last", "5000", "--journal", journal.name) as standin:
            with Bot(TELEGRAM_API_URL=standin.telegram, GEMINI_API_URL=standin.gemini) as bot:
                talk(standin)
                assert "panicked" not in bot.log(), bot.log()
        for witness in ("witness_spec.py", "witness_parser.py", "witness_gemini.py"):
            subprocess.run(
                [sys.executable, ROOT / "scripts" / "test.d" / witness, "--journal", journal.name], check=True
            )


def talk(standin):
    control = f"{standin.telegram}/control"
    body = "\n".join(json.dumps(update) for update in generate_updates.updates(seed=7, count=UPDATES))
    status, reply = post(f"{control}/push", body.encode())
    assert status == 200, reply
    post(f"{standin.gemini}/control/script", {"prompt": "show me", "say": MARKDOWN})
    for text in ("/start", "/help", "/status", "/vip", "/reset", "/nonsense", "show me", "你好"):
        post(f"{control}/text", {"chat": 990_001, "user": 990_001, "text": text})
    post(f"{control}/text", {"chat": 990_002, "user": 990_002, "text": "the last question"})
    until(90, "the last answer", lambda: any(it["chat"] == 990_002 for it in sent(standin)))
    until(30, "the Markdown", lambda: any("fn f() {}" in it["text"] for it in sent(standin)))


if __name__ == "__main__":
    main()
    print("ok")
