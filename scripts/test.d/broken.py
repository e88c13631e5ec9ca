#!/usr/bin/env python3
"""Break it on purpose: whatever it is, four witnesses name the cause and the next step.

Supabase stopped, Gemini stopped, a key revoked, Telegram out of reach, the disk full: each time the status page, a
metric, a shipped alert in the real Prometheus and `svs-bot check` must say so, and when it is mended
the alert must end. How long each took is printed; the bounds here are for slow machines.
"""

import html
import json
import os
import time

import disk
from bot import Bot, until
from page import free_port
from prometheus import Prometheus, get as fetch, query
from standin import StandIn, post

LIVING, REVOKED = "check-key-1", "a-key-to-be-revoked"
WITHIN_S = 180
NEVER_TRUE = "no such words"


def broken(folder):
    address = f"127.0.0.1:{free_port()}"
    ports = {name: free_port() for name in ("telegram", "gemini", "postgrest")}
    services = {
        "telegram": ["--username", "svs_bot"],
        "gemini": ["--unlimited", "--key", f"{LIVING}@p1", "--key", f"{REVOKED}@p2"],
        "postgrest": ["--supabase-key", "sb_secret_check"],
    }

    def start(name, *options):
        # Each in a process of its own, so that each can die alone.
        return StandIn(f"--{name}-port", str(ports[name]), *(options or services[name])).__enter__()

    running = {name: start(name) for name in services}
    bot = Bot(
        TELEGRAM_API_URL=running["telegram"].telegram, GEMINI_API_URL=running["gemini"].gemini,
        SUPABASE_URL=running["postgrest"].postgrest, SUPABASE_KEY="sb_secret_check", SYNC_INTERVAL="1s",
        GROUP_D_KEYS=f"{REVOKED},{LIVING}", GEMINI_API_KEY="", HTTP_ADDR=address,
    )
    (bot.path / "data").symlink_to(folder)

    def stop(name):
        running.pop(name).__exit__()

    def say(text):
        post(f"{running['telegram'].telegram}/control/text", {"chat": 7, "user": 7, "text": text})

    try:
        with bot, Prometheus(address) as api:
            until(60, "the bot", lambda: disk.get(address, "/readyz")[0] == 200)
            until(60, "a scrape", lambda: fetch(f"{api}/query?query=1") and query(api, "svs_bot_ready == 1"))
            named = Witnesses(bot, address, api)

            stop("postgrest")
            say("a row for nobody")
            named("Supabase stopped", ["supabase: connection refused", "svs-bot check"],
                  "svs_bot_sync_failing 1", "SvsBotSyncFailing", ["Supabase", "svs-bot check"],
                  "supabase", ["no reply", "SUPABASE_URL"])
            running["postgrest"] = start("postgrest")
            named.mended("SvsBotSyncFailing", lambda: say("a row"))

            stop("gemini")
            for number in range(3):
                say(f"is anybody there? {number}")
            named("Gemini out of reach", ["gemini gives no answers: connection refused", "svs-bot check names"],
                  "svs_bot_gemini_failing 1", "SvsBotGeminiFailing", ["Gemini", "svs-bot check"],
                  "gemini", ["no reply", "GEMINI_API_URL"])
            running["gemini"] = start("gemini", "--unlimited", "--key", f"{LIVING}@p1")
            for number in range(4):
                say(f"question {number}")
            named("a revoked key", ["dead", "…oked", "aistudio.google.com"],
                  'svs_bot_keys{group="D",state="dead"} 1', "SvsBotKeyDead", ["group D", "svs-bot keys list"],
                  "…oked", ["not a valid key", "aistudio.google.com"])
            named.mended("SvsBotGeminiFailing")

            stop("telegram")
            named("Telegram out of reach", ["telegram: ", "connection refused", "svs-bot check tells"],
                  'svs_bot_not_ready{cause="telegram"} 1', "SvsBotNotReady", ["telegram", "svs-bot check tells"],
                  "telegram", ["no reply", "TELEGRAM_API_URL"])
            running["telegram"] = start("telegram")
            named.mended("SvsBotNotReady")

            disk.fill(folder / "filler")
            say("while the disk is full")
            named("a full disk", ["database: ", "full", "make room"],
                  'svs_bot_not_ready{cause="database"} 1', "SvsBotNotReady", ["database", "make room"],
                  "disk", ["0 B", "free"])
            (folder / "filler").unlink()
            named.mended("SvsBotNotReady")
    finally:
        for name in list(running):
            stop(name)


class Witnesses:
    def __init__(self, bot, address, api):
        self.bot, self.address, self.api = bot, address, api

    def __call__(self, what, page, metric, alert, told, item, found):
        began, seconds = time.monotonic(), {}

        def wait(witness, look):
            until(WITHIN_S, f"{what}: {witness}", look)
            seconds[witness] = round(time.monotonic() - began)

        wait("page", lambda: has(html.unescape(disk.get(self.address, "/")[1]), page))
        wait("metric", lambda: metric in disk.get(self.address, "/metrics")[1].splitlines())
        wait("alert", lambda: has(self.firing(alert), told))
        items = [it for it in disk.check(self.bot) if item in it["name"] and it["level"] == "fail"]
        assert items, f"{what}: check says nothing of {item}: {disk.check(self.bot)}"
        assert has(json.dumps(items, ensure_ascii=False), found) and all(it["todo"] for it in items), items
        print(f"{what}: {', '.join(f'{name} after {took} s' for name, took in seconds.items())}; check at once")

    def firing(self, alert):
        """The words of that alert, where it fires."""
        alerts = json.loads(fetch(f"{self.api}/alerts") or "{}").get("data", {}).get("alerts", [])
        mine = [it for it in alerts if it["labels"]["alertname"] == alert and it["state"] == "firing"]
        return " ".join(text for it in mine for text in it["annotations"].values()) or NEVER_TRUE

    def mended(self, alert, meanwhile=lambda: None):
        meanwhile()
        until(WITHIN_S, f"the end of {alert}", lambda: self.firing(alert) == NEVER_TRUE)


def has(text, words):
    return all(word in text for word in words)


if __name__ == "__main__":
    disk.main(broken)
    if disk.INSIDE not in os.environ:
        print("ok")
