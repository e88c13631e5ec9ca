"""Several real boxes share one key through the real Redis: the quota is never passed, whoever dies; Redis
may go and come back, and every way it can be wrong is one clear line in the log."""

import collections
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn, free_port, post

TARGET = ROOT / "target" / "redis"
MODEL = "gemini-3.5-flash-lite"
KEY = "check-key-1"
PASSWORD = "fleet-password-7"
WAIT_S = 60
MODELS = {name: MODEL for name in ("MODEL_LITE", "MODEL_FLASH", "MODEL_PRO")}


class Redis:
    """A real server of one's own; `stop` keeps its folder, `start` finds it again."""

    def __init__(self, *options):
        self.port, self.options = free_port(), options
        self.folder = tempfile.TemporaryDirectory(prefix="svs-bot-redis-")
        self.process = None

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder.name, "--save", "",
                   "--requirepass", PASSWORD, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(WAIT_S, "redis answers", lambda: b"PONG" in self.say("PING"))
        return self

    def say(self, *words):
        return self.say_as(PASSWORD, *words)

    def say_as(self, password, *words):
        environment = {**os.environ, "REDISCLI_AUTH": password}
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, env=environment, check=False).stdout

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def url(self, password=PASSWORD, number=0):
        return f"redis://:{password}@127.0.0.1:{self.port}/{number}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()


class Box(Bot):
    """A box with a Telegram of its own; Gemini and what is at `url` are everyone's. Without one the settings say."""

    def __init__(self, telegram, gemini, url, **settings):
        self.telegram, self.http = telegram, free_port()
        super().__init__(**{"TELEGRAM_API_URL": telegram.telegram, "GEMINI_API_URL": gemini.gemini, **({"REDIS_URL": url} if url else {}),
                            "HTTP_ADDR": f"127.0.0.1:{self.http}", **MODELS, **settings})

    def metric(self, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return None
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), None)

    def answers(self):
        """Chats by how many messages they were sent."""
        return collections.Counter(sent["chat"] for sent in self.telegram.sent())


def kill(it):
    it.process.send_signal(signal.SIGKILL)
    it.process.wait()


def state(gemini):
    return post(f"{gemini.gemini}/control/state")[1]["quotas"]


def joined(boxes, count):
    for it in boxes:
        until(WAIT_S, "the box is in the fleet", lambda it=it: it.metric("svs_bot_fleet_boxes") == count and it.metric("svs_bot_fleet_up") == 1)
    # The warm-up after Redis began: from then on Redis counts.
    time.sleep(4.5)


def never_passed():
    """Three boxes, one key of 20 a minute and 40 a day, 54 questions; one box is killed on the way."""
    with Redis() as redis, StandIn("--key", f"{KEY}@p", "--limit", f"{MODEL}=20/40/1000000") as one, StandIn() as two, StandIn() as three:
        limits = {"KEY_RPM": "20", "LITE_RPD": "40", "KEY_DAILY_SHARE": "1", "STREAM": "off", "GEMINI_API_KEY": f"{KEY}@p", "PATIENCE": "3m"}
        boxes = [Box(telegram, one, redis.url(), **limits) for telegram in (one, two, three)]
        with boxes[0], boxes[1]:
            boxes[2].__enter__()
            joined(boxes, 3)
            for person in range(100, 118):
                for it in boxes:
                    it.telegram.hears(f"question {person}", person)
            until(WAIT_S, "some are answered", lambda: state(one) and state(one)[0]["taken"] >= 8)
            kill(boxes[2])
            boxes[2].__enter__()
            until(150, "everyone has heard", lambda: all(len(it.answers()) == 18 and it.metric("svs_bot_inbox_pending") == 0 for it in boxes))
            quotas = state(one)
            assert len(quotas) == 1, quotas
            # The last tenth is the owner's; a request cut off by the kill may have been counted and not sent.
            assert quotas[0]["refused"] == 0 and 30 <= quotas[0]["taken"] <= 36, quotas
            assert PASSWORD not in "".join(it.log() for it in boxes)
            keys = redis.say("KEYS", "*").decode().split()
            assert keys and all(key.startswith("svs-bot:") for key in keys), keys
            assert all(int(redis.say("TTL", key)) != -1 for key in keys if key != "svs-bot:{pool}:epoch"), keys
            assert KEY not in redis.say("KEYS", "*").decode()
            spent = [it.metric("svs_bot_fleet_commands_total") for it in boxes]
            print(f"one key of 20 a minute and 36 a day, 3 boxes, one killed: {quotas[0]}, commands {spent}")
            boxes[2].__exit__(None)


def redis_goes_and_comes():
    """Two boxes answer while Redis is away, and find each other again when it is back, empty."""
    with Redis() as redis, StandIn("--unlimited") as one, StandIn("--unlimited") as two:
        boxes = [Box(it, one, redis.url(), STREAM="off", LITE_RPD="400") for it in (one, two)]
        with boxes[0], boxes[1]:
            joined(boxes, 2)
            ask(boxes, 200)
            redis.stop()
            until(WAIT_S, "Redis is missed", lambda: all(it.metric("svs_bot_fleet_up") == 0 for it in boxes))
            ask(boxes, 300)
            assert all(it.metric("svs_bot_fleet_alone_total") >= 5 for it in boxes)
            redis.start()
            joined(boxes, 2)
            ask(boxes, 400)
            # Each box has told Redis what it did alone and before.
            days = [key for key in redis.say("KEYS", "svs-bot:{pool}:day:*").decode().split()]
            assert len(days) == 1, days
            used = [int(it) for it in redis.say("HVALS", days[0]).decode().split()]
            assert sorted(used) == [15, 15], used
            assert all(set(it.answers().values()) == {1} for it in boxes), [it.answers() for it in boxes]
            print(f"Redis away and back, empty: 30 answers, each once; Redis knows {used}")


def ask(boxes, first):
    for person in range(first, first + 5):
        for it in boxes:
            it.telegram.hears("hello", person)
    for it in boxes:
        until(WAIT_S, f"answers to {first}", lambda it=it: all(it.answers().get(person) for person in range(first, first + 5)))


def told_clearly():
    """Every way Redis can be wrong is one line, without the password; the box runs on."""
    with (Redis() as good, Redis("--maxmemory", "1") as full, Redis() as replica, Redis("--cluster-enabled", "yes") as cluster,
          StandIn("--unlimited") as it):
        assert cluster.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383").strip() == b"OK"
        replica.say("CONFIG", "SET", "masterauth", PASSWORD)
        replica.say("REPLICAOF", "127.0.0.1", str(good.port))
        until(WAIT_S, "a replica", lambda: b"READONLY" in replica.say("SET", "x", "1"))
        foreign = good.url(number=3)
        good.say("-n", "3", "SET", "svs-bot:{pool}:boxes", "another program's")
        cases = [
            ("password", good.url(password="wrong-password-9"), "password or user is refused"),
            ("full", full.url(), "redis is full"),
            ("replica", replica.url(), "read-only replica"),
            ("number", good.url(number=99), "no database of this number"),
            ("foreign key", foreign, "in use by another program"),
            ("cluster", cluster.url(), "this is a redis cluster"),
            ("nobody there", f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0", "not reachable"),
            ("TLS to a plain port", f"rediss://:{PASSWORD}@127.0.0.1:{good.port}/0", "fleet.away: redis: "),
        ]
        for what, url, words in cases:
            with Bot(TELEGRAM_API_URL=it.telegram, GEMINI_API_URL=it.gemini, REDIS_URL=url) as bot:
                line = until(WAIT_S, what, lambda: [line for line in bot.log().splitlines() if "fleet.away" in line])
                assert words in line[0] and len(line) == 1, (what, line)
                assert PASSWORD not in bot.log() and "wrong-password-9" not in bot.log(), what
        print(f"{len(cases)} ways to be wrong, each one line")


def build():
    """The program with the feature, and a Redis."""
    if not shutil.which("redis-server"):
        root = [] if os.getuid() == 0 else ["sudo"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis-server"],
                       check=True, stdout=subprocess.DEVNULL, env=environment)
    command = ["cargo", "build", "--locked", "--features", "redis", "--bin", "svs-bot", "--target-dir", TARGET]
    subprocess.run(command, cwd=ROOT, check=True)
    os.environ["SVS_BOT"] = str(pathlib.Path(TARGET) / "debug" / "svs-bot")


def main():
    build()
    told_clearly()
    redis_goes_and_comes()
    never_passed()


if __name__ == "__main__":
    main()
