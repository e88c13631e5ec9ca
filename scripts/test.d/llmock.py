#!/usr/bin/env python3
"""The real daemon against a Gemini that nobody here wrote; its own verdict must find no fault."""

import json
import os
import subprocess
import sys
import urllib.request

from bot import Bot, until
from standin import StandIn, free_port, post

FAULTS = [
    {"type": "fail", "status": 429, "retry_after": 1},
    {"type": "fail", "status": 503},
    {"type": "fail", "status": 500},
    {"type": "stream_fault", "kind": "disconnect", "after_chunks": 1},
    {"type": "stream_fault", "kind": "truncate", "after_chunks": 1},
    {"type": "stream_fault", "kind": "malformed", "after_chunks": 1},
    {"type": "delay", "seconds": 1.5},
]


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read().decode()


def main():
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    program = os.path.join(os.path.dirname(sys.executable), "llmock")
    server = subprocess.Popen(
        [program, "serve", "-h", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(20, "llmock", lambda: is_up(base))
        with StandIn("--unlimited", "--username", "svs_bot") as standin:
            settings = {
                "TELEGRAM_API_URL": standin.telegram,
                "GEMINI_API_URL": f"{base}/gemini",
                "GROUP_A_KEYS": "check-key-a1,check-key-a2",
                # One model: the judge takes the same question to another model for another call.
                "MODEL_LITE": "gemini-2.0-flash",
                "MODEL_FLASH": "gemini-2.0-flash",
                "MODEL_PRO": "gemini-2.0-flash",
            }
            with Bot(**settings):
                talk(standin, base)
        verdict = fetch(f"{base}/_llmock/verdict?format=text")
        print(verdict)
        judged = json.loads(fetch(f"{base}/_llmock/verdict"))
        assert judged["passed"], "llmock found fault with the bot"
    finally:
        server.terminate()
        server.wait(timeout=10)


def is_up(base):
    try:
        return fetch(f"{base}/_llmock/requests")
    except OSError:
        return False


def talk(standin, base):
    control = f"{standin.telegram}/control"
    chat = 5_000
    for fault in [None, *FAULTS]:
        chat += 1
        if fault:
            status, reply = post(f"{base}/_llmock/scenario", {"behaviors": [fault]})
            assert status < 300, reply
        post(f"{control}/text", {"chat": chat, "user": chat, "text": f"question {chat}"})
        until(60, f"the answer after {fault}", lambda: answered(standin, chat))


def answered(standin, chat):
    sent = json.loads(fetch(f"{standin.telegram}/control/sent"))["sent"]
    return [it for it in sent if it["chat"] == chat]


if __name__ == "__main__":
    main()
    print("ok")
