"""A cable between two networks whose packets are carried by hand, and so as badly as asked.

Not every kernel has `netem`, and none has it for one service alone: here each end of the cable is a TUN device in a
network namespace of its own, and this process loses, delays, doubles and reorders what it carries between them.
The services are at the far end; what a check says to them goes by a pipe, which no bad weather meets.
"""

import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

from namespaces import loopback_up
from standin import StandIn

NEAR, FAR = "10.98.0.1", "10.98.0.2"
SERVICES = ("telegram", "gemini", "postgrest")
SUPABASE_KEY = "sb_secret_check"
# What a narrow cable keeps waiting before it throws away.
QUEUE_S = 3.0
FAIR = {"loss": 0.0, "delay_s": 0.0, "jitter_s": 0.0, "twice": 0.0, "bytes_s": 0, "dead": ()}


def tun(name, ours, theirs):
    """One end of the cable, in the namespace of whoever calls."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    # TUNSETIFF with IFF_TUN | IFF_NO_PI.
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    for words in (("addr", "add", ours, "peer", theirs, "dev", name), ("link", "set", name, "up")):
        subprocess.run(["ip", *words], check=True, env={**os.environ, "PATH": path})
    return device


class Wire:
    """`with Wire(seed) as wire:`, then `wire.weather(loss=0.3)`; `wire.counts` says what it did."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.now = dict(FAIR)
        self.counts = {}

    def __enter__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()],
        )
        theirs.close()
        _, (far, *_), _, _ = socket.recv_fds(ours, 16, 1)
        ours.close()
        self.ends = (tun("near", NEAR, FAR), far)
        self.over = os.pipe()
        self.carrier = threading.Thread(target=self.carry)
        self.carrier.start()
        self.ports = json.loads(self.process.stdout.readline())
        return self

    def weather(self, **changes):
        """What the cable does from now on; what is not named is as it should be."""
        self.now = {**FAIR, **changes}
        self.counts = {"carried": 0, "lost": 0, "doubled": 0, "overtaken": 0}

    def carry(self):
        self.weather()
        waiting, number = [], 0
        free_at, newest = [0.0, 0.0], [0, 0]
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for end in select.select((*self.ends, self.over[0]), (), (), left)[0]:
                if end == self.over[0]:
                    return
                side, it, number = self.ends.index(end), self.now, number + 1
                packet = os.read(end, 65_536)
                at = time.monotonic()
                if it["bytes_s"]:
                    at = free_at[side] = max(at, free_at[side]) + len(packet) / it["bytes_s"]
                is_late = bool(it["bytes_s"]) and at - time.monotonic() > QUEUE_S
                if is_late or self.dice.random() < it["loss"] or is_of(packet, it["dead"]):
                    self.counts["lost"] += 1
                    continue
                copies = 2 if self.dice.random() < it["twice"] else 1
                self.counts["doubled"] += copies - 1
                for _ in range(copies):
                    due = at + it["delay_s"] + self.dice.random() * it["jitter_s"]
                    heapq.heappush(waiting, (due, number, side, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, at, side, packet = heapq.heappop(waiting)
                self.counts["overtaken"] += at < newest[side]
                newest[side] = max(newest[side], at)
                self.counts["carried"] += 1
                os.write(self.ends[1 - side], packet)

    def ask(self, service, control, body=None):
        """Steers a stand-in, past the cable."""
        return self.tell({"service": service, "path": f"/control/{control}", "body": body or {}})

    def hang_up(self):
        """Ends every connection, so that the next call needs a new one, and so the address."""
        self.tell({"hang_up": True})

    def tell(self, words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def urls(self, name=None):
        """The settings that lead to the services: by address, or by names that somebody must know."""
        hosts = {it: f"{it}.{name}" if name else FAR for it in SERVICES}
        keys = ("TELEGRAM_API_URL", "GEMINI_API_URL", "SUPABASE_URL")
        return {key: f"http://{hosts[it]}:{self.ports[it]}" for key, it in zip(keys, SERVICES)}

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        os.write(self.over[1], b"x")
        self.carrier.join()
        for end in (*self.ends, *self.over):
            os.close(end)


def is_of(packet, ports):
    """Whether a TCP packet goes to or comes from one of these."""
    if not ports or packet[0] >> 4 != 4 or packet[9] != 6:
        return False
    start = (packet[0] & 15) * 4
    return bool(set(struct.unpack_from("!HH", packet, start)) & set(ports))


def far(door):
    loopback_up()
    device = tun("far", FAR, NEAR)
    with socket.socket(fileno=door) as it:
        socket.send_fds(it, [b"here"], [device])
    os.close(device)
    alive = set()
    with StandIn("--unlimited", "--username", "svs_bot", "--supabase-key", SUPABASE_KEY) as standin:
        print(json.dumps({it: relay(getattr(standin, it), alive) for it in SERVICES}), flush=True)
        for line in sys.stdin:
            words = json.loads(line)
            if words.get("hang_up"):
                for one in list(alive):
                    one.shutdown(socket.SHUT_RDWR)
                print("{}", flush=True)
                continue
            url = getattr(standin, words["service"]) + words["path"]
            with urllib.request.urlopen(url, json.dumps(words["body"]).encode(), timeout=60) as reply:
                print(json.dumps(json.load(reply)), flush=True)


def relay(url, alive):
    """A port at the far end that leads to the stand-in, which listens on loopback only."""
    target = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
    door = socket.create_server((FAR, 0), backlog=64)

    def carry(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            alive.discard(one)
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve():
        while True:
            ours, _ = door.accept()
            theirs = socket.create_connection(target)
            alive.add(ours)
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return door.getsockname()[1]


if __name__ == "__main__":
    far(int(sys.argv[1]))
