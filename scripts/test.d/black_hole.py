#!/usr/bin/env python3
"""A network that swallows everything: no refusal, no reset, no reply, as behind a pulled cable.

The services live in a network of their own, one cable away; from one moment on nothing that they send
comes through. The poll that is open then must not be waited for to its end: page, metric, the shipped
alert in the real Prometheus and `svs-bot check` name the cause and the next step, and all goes on by
itself when the network is back. How long each took is printed.
"""

import json
import os
import socket
import subprocess
import sys
import threading

import disk
from bot import Bot, until
from broken import Witnesses
from namespaces import enter, loopback_up
from prometheus import Prometheus, get as fetch, query
from standin import StandIn, free_port, post

NEAR, FAR = "10.99.0.1", "10.99.0.2"
SERVICES = ("telegram", "gemini", "postgrest")
# Only the kernel's own look after a silent connection says this; a poll that ran out of time does not.
GIVEN_UP = "no sign of life"


def main():
    if "near" in sys.argv:
        near()
    elif "far" in sys.argv:
        far()
    else:
        done = subprocess.run(enter([sys.executable, __file__, "near"]))
        assert done.returncode == 0, "see above; networks of its own need root or user namespaces"
        print("ok")


def near():
    loopback_up()
    polling()
    webhook()


def webhook():
    """Nothing is open there that could die; the question how deliveries go has to find it out."""
    with Far() as far:
        address = f"127.0.0.1:{free_port()}"
        settings = {"WEBHOOK_URL": "https://bot.example/hook", "WEBHOOK_SECRET": "a-secret-of-the-hook", "ALLOW_HTTP": "on",
                    "WEBHOOK_ADDR": f"127.0.0.1:{free_port()}", "HTTP_ADDR": address,
                    "TELEGRAM_API_URL": far.urls["telegram"], "GEMINI_API_URL": far.urls["gemini"]}
        with Bot(**settings) as bot, Prometheus(address) as api:
            until(60, "the bot", lambda: disk.get(address, "/readyz")[0] == 200)
            until(60, "a scrape", lambda: fetch(f"{api}/query?query=1") and query(api, "svs_bot_ready == 1"))
            named = Witnesses(bot, address, api)
            far.cut()
            named("the same in webhook mode", ["telegram: ", "svs-bot check tells"],
                  'svs_bot_not_ready{cause="telegram"} 1', "SvsBotNotReady", ["telegram", "firewall"],
                  "telegram", ["no reply", "firewall"])
            far.mend()
            named.mended("SvsBotNotReady")


def polling():
    with Far() as far:
        settings = {"SUPABASE_KEY": "sb_secret_check", "SYNC_INTERVAL": "1s", "ALLOW_HTTP": "on"}
        urls = ("TELEGRAM_API_URL", "GEMINI_API_URL", "SUPABASE_URL")
        settings |= {name: far.urls[service] for name, service in zip(urls, SERVICES)}
        address = f"127.0.0.1:{free_port()}"
        with Bot(HTTP_ADDR=address, **settings) as bot, Prometheus(address) as api:
            until(60, "the bot", lambda: disk.get(address, "/readyz")[0] == 200)
            until(60, "a scrape", lambda: fetch(f"{api}/query?query=1") and query(api, "svs_bot_ready == 1"))

            def say(text):
                post(f"{far.urls['telegram']}/control/text", {"chat": 7, "user": 7, "text": text})

            def is_synced():
                pending = json.loads(disk.get(address, "/status.json")[1])["sync"]["pending"]
                return pending["chat_history"] == 0

            say("before")
            until(60, "an answer", lambda: disk.heard(far, "before"))
            until(60, "its row", is_synced)
            named = Witnesses(bot, address, api)
            far.cut()
            named("the network swallows everything", ["telegram: ", "svs-bot check tells"],
                  'svs_bot_not_ready{cause="telegram"} 1', "SvsBotNotReady", ["telegram", "firewall"],
                  "telegram", ["no reply", "firewall"])
            assert GIVEN_UP in bot.log(), bot.log()[-3000:]
            assert disk.get(address, "/healthz")[0] == 200, "the loop itself is well"
            far.mend()
            named.mended("SvsBotNotReady")
            until(60, "the bot again", lambda: disk.get(address, "/readyz")[0] == 200)
            say("after")
            until(60, "an answer again", lambda: disk.heard(far, "after"))
            until(60, "its row again", is_synced)
            assert "poll.recovered" in bot.log(), bot.log()[-2000:]


class Far:
    """The other end of the cable, with the services on it."""

    def __enter__(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, __file__, "far"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        assert self.process.stdout.readline() == "here\n", "the other end did not begin"
        ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self.process.pid))
        ip("addr", "add", f"{NEAR}/30", "dev", "near")
        ip("link", "set", "near", "up")
        self.urls = json.loads(self.tell("plugged"))
        self.telegram = self.urls["telegram"]
        return self

    def tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def cut(self):
        self.tell("cut")

    def mend(self):
        self.tell("mend")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def far():
    loopback_up()
    print("here", flush=True)
    sys.stdin.readline()
    ip("addr", "add", f"{FAR}/30", "dev", "far")
    ip("link", "set", "far", "up")
    with StandIn("--unlimited", "--username", "svs_bot", "--supabase-key", "sb_secret_check") as standin:
        urls = {name: f"http://{FAR}:{relay(getattr(standin, name))}" for name in SERVICES}
        print(json.dumps(urls), flush=True)
        for line in sys.stdin:
            # What is sent to that address vanishes; what comes from it is still taken in.
            ip("route", {"cut": "add", "mend": "del"}[line.strip()], "blackhole", f"{NEAR}/32")
            print("done", flush=True)


def relay(url):
    """A port on the cable that leads to the stand-in, which listens on loopback only."""
    target = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    door = socket.create_server((FAR, 0), backlog=64)

    def carry(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    def serve():
        while True:
            ours, _ = door.accept()
            theirs = socket.create_connection(target)
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return door.getsockname()[1]


def ip(*words):
    subprocess.run(["ip", *words], check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


if __name__ == "__main__":
    main()
