"""One bot on three real boxes through the real Redis: under load one is killed, one is added, one sleeps, Redis is
killed and started again; every message is answered once and in order."""

import collections
import json
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

import fleet
from bot import until
from fleet import Box, Redis, kill
from standin import StandIn, free_port

SECRET = "a-secret_of-the-fleet"
WAIT_S = 120
CHATS = range(100, 124)
# What Redis has said yes to, it has on its disk.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "local")


class Door:
    """Delivers as Telegram does: each update to any box, again and again until one says 200; in order inside a chat."""

    def __init__(self, boxes):
        self.boxes, self.lock, self.number = boxes, threading.Lock(), 5_000
        self.refused, self.twice = collections.Counter(), 0

    def deliver(self, chat, text, end=None):
        with self.lock:
            self.number += 1
            number = self.number
        user = {"id": chat, "is_bot": False, "first_name": "P", "language_code": "en"}
        message = {"message_id": number, "date": int(time.time()), "text": text, "from": user,
                   "chat": {"id": chat, "type": "private", "first_name": "P"}}
        body = json.dumps({"update_id": number, "message": message}).encode()
        deadline = time.monotonic() + (end or WAIT_S)
        turn = number
        while time.monotonic() < deadline:
            it = self.boxes[turn % len(self.boxes)]
            turn += 1
            status = self.post(it, body)
            if status == 200:
                # Some replies are lost on the way: Telegram delivers again.
                if number % 7 == 0:
                    self.twice += 1
                    self.post(self.boxes[turn % len(self.boxes)], body)
                return
            self.refused[status] += 1
            time.sleep(0.2)
        raise AssertionError(f"update {number} was never taken")

    def post(self, it, body, secret=SECRET):
        head = {"Content-Type": "application/json", "X-Telegram-Bot-Api-Secret-Token": secret}
        request = urllib.request.Request(f"http://127.0.0.1:{it.hook}/hook", body, head)
        try:
            with urllib.request.urlopen(request, timeout=25) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


class Shared(Box):
    """A box of the one bot."""

    def __init__(self, outside, url, **settings):
        self.hook = free_port()
        super().__init__(outside, outside, url, WEBHOOK_URL="https://bot.example.org/hook", WEBHOOK_SECRET=SECRET, STREAM="off",
                         WEBHOOK_ADDR=f"127.0.0.1:{self.hook}", BOT_OWNER_ID="1", USER_QUEUE_MAX="1000", **settings)

    def partitions(self):
        return self.metric("svs_bot_relay_partitions") or 0


def spread(boxes, of=16):
    """All partitions are held, and each box has its part."""
    parts = [it.partitions() for it in boxes]
    return sum(parts) == of and min(parts) >= of // len(boxes)


def order(outside):
    """What each chat was answered, in order."""
    said = collections.defaultdict(list)
    for it in outside.sent():
        said[it["chat"]].append(it)
    return said


def begin(outside, port, chats):
    """The stand-in delivers to this port, and each chat has its first answer: it knows those that have written through it."""
    fleet.post(f"{outside.telegram}/control/deliver", {"to": f"127.0.0.1:{port}"})
    for chat in chats:
        outside.hears("question 0000", chat)
    until(WAIT_S, "the first answers", lambda: len(order(outside)) == len(chats))


class Load:
    """Chats that each ask one question after another, whatever happens."""

    def __init__(self, door, chats):
        self.door, self.ended, self.asked = door, threading.Event(), collections.Counter()
        self.failed = []
        self.threads = [threading.Thread(target=self.chat, args=(chat,)) for chat in chats]

    def chat(self, chat):
        try:
            while not self.ended.is_set():
                self.asked[chat] += 1
                self.door.deliver(chat, f"question {self.asked[chat]:04}")
                self.ended.wait(1.5)
        except AssertionError as error:
            self.failed.append(error)

    def __enter__(self):
        for it in self.threads:
            it.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for it in self.threads:
            it.join()
        assert not self.failed, self.failed


def answered(outside, load):
    said = order(outside)
    return all(len(said[chat]) > count for chat, count in load.asked.items())


def words(it):
    return json.dumps(it, ensure_ascii=False)


def judge(outside, load, doubled_most):
    """Every question of every chat has its answer, in order; how many have two."""
    said, doubled, lost, late = order(outside), 0, 0, 0
    for chat, count in load.asked.items():
        numbers = [next((n for n in range(count + 1) if f"question {n:04}" in words(it)), -1) for it in said[chat]]
        seen = collections.Counter(numbers)
        assert seen[-1] == 0, [words(it) for it, n in zip(said[chat], numbers) if n < 0]
        lost += sum(1 for n in range(count + 1) if not seen[n])
        doubled += sum(times - 1 for times in seen.values())
        first = list(dict.fromkeys(numbers))
        late += sum(1 for a, b in zip(first, first[1:]) if b < a)
    assert lost == 0 and late == 0 and doubled <= doubled_most, (lost, late, doubled)
    return sum(load.asked.values()), doubled


def three_boxes():
    with Redis(*DURABLE) as redis, StandIn("--unlimited") as outside:
        boxes = [Shared(outside, redis.url()) for _ in range(4)]
        door = Door(boxes[:3])
        with boxes[0], boxes[1]:
            boxes[2].__enter__()
            until(WAIT_S, "each has its part", lambda: spread(boxes[:3]))
            assert door.post(boxes[0], b"{}", secret="forged") == 401
            assert door.post(boxes[0], b"x" * (5 << 20)) in (0, 413)
            # The stand-in knows the chats that have written through it.
            begin(outside, boxes[0].hook, CHATS)
            with Load(door, CHATS) as load:
                time.sleep(4)
                # One dies.
                kill(boxes[2])
                died = time.monotonic()
                door.boxes = boxes[:2]
                until(WAIT_S, "its part is taken over", lambda: spread(boxes[:2]))
                took = time.monotonic() - died
                time.sleep(3)
                # One is added.
                boxes[3].__enter__()
                door.boxes = [boxes[0], boxes[1], boxes[3]]
                until(WAIT_S, "the new one has its part", lambda: spread(door.boxes))
                time.sleep(3)
                # One sleeps for longer than it may, and wakes.
                boxes[1].process.send_signal(signal.SIGSTOP)
                door.boxes = [boxes[0], boxes[3]]
                until(WAIT_S, "nobody waits for who sleeps", lambda: spread(door.boxes))
                boxes[1].process.send_signal(signal.SIGCONT)
                door.boxes = [boxes[0], boxes[1], boxes[3]]
                until(WAIT_S, "who slept has its part again", lambda: spread(door.boxes))
                # Redis dies and comes back with all it has said yes to.
                redis.stop()
                time.sleep(3)
                redis.start()
                until(WAIT_S, "all are back", lambda: spread(door.boxes))
                time.sleep(3)
            until(WAIT_S, "every question is answered", lambda: answered(outside, load))
            until(WAIT_S, "nothing is left", lambda: boxes[0].metric("svs_bot_relay_backlog") == 0)
            count, doubled = judge(outside, load, doubled_most=24)
            for key in redis.say("KEYS", "*").decode().split():
                assert key.startswith("svs-bot:"), key
            spent = sum(it.metric("svs_bot_relay_commands_total") for it in door.boxes)
            print(f"{count} questions of 24 chats: none lost, all in order, {doubled} answered twice; taken over after {took:.1f} s; "
                  f"{door.twice} delivered twice, refused {dict(door.refused)}, {spent:.0f} commands")
            boxes[3].__exit__(None)


def wrong_on_the_way():
    """Redis gets full, its password changes, a key of ours becomes a stranger's: refused or waited for, then answered; nobody crashes."""
    with Redis() as redis, StandIn("--unlimited") as outside:
        boxes = [Shared(outside, redis.url()) for _ in range(2)]
        door = Door(boxes)
        with boxes[0], boxes[1]:
            until(WAIT_S, "each has its part", lambda: spread(boxes))
            fleet.post(f"{outside.telegram}/control/deliver", {"to": f"127.0.0.1:{boxes[0].hook}"})
            ask(outside, 0)
            # Full: what is new is refused, and Telegram keeps it.
            redis.say("CONFIG", "SET", "maxmemory", "1")
            until(WAIT_S, "a full Redis refuses", lambda: door.post(boxes[0], update(90_001)) == 503)
            assert all(it.metric("svs_bot_relay_partitions") == 8 for it in boxes)
            redis.say("CONFIG", "SET", "maxmemory", "0")
            ask(outside, 1)
            # The password is changed under open connections, and back.
            redis.say("CONFIG", "SET", "requirepass", "rotated-password-9")
            redis.say_as("rotated-password-9", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            until(WAIT_S, "the password is refused", lambda: all("password or user is refused" in it.log() for it in boxes))
            assert door.post(boxes[0], update(90_002)) == 503
            redis.say_as("rotated-password-9", "CONFIG", "SET", "requirepass", fleet.PASSWORD)
            ask(outside, 2)
            # A stranger writes over a key of ours.
            leases = redis.say("KEYS", "svs-bot:*leases").decode().split()
            redis.say("SET", leases[0], "a stranger's")
            until(WAIT_S, "it is named", lambda: all("in use by another program" in it.log() for it in boxes))
            redis.say("DEL", leases[0])
            ask(outside, 3)
            assert all("rotated-password-9" not in it.log() and fleet.PASSWORD not in it.log() for it in boxes)
            assert all(it.process.poll() is None for it in boxes)
            print("Redis full, its password changed, a key taken by a stranger: refused, then answered")


def kills(count):
    """Three boxes under load; now this one is killed, now that, and started again sooner or later than it is taken over."""
    dice = random.Random(7)
    with Redis(*DURABLE) as redis, StandIn("--unlimited") as outside:
        boxes = [Shared(outside, redis.url()) for _ in range(3)]
        for it in boxes:
            it.__enter__()
        door = Door(boxes)
        until(WAIT_S, "each has its part", lambda: spread(boxes))
        begin(outside, boxes[0].hook, CHATS)
        with Load(door, CHATS) as load:
            for _ in range(count):
                it = dice.choice(boxes)
                kill(it)
                time.sleep(dice.choice((0.1, 1, 10)))
                it.__enter__()
                time.sleep(dice.uniform(1, 4))
        until(WAIT_S, "every question is answered", lambda: answered(outside, load))
        until(WAIT_S, "nothing is left", lambda: boxes[0].metric("svs_bot_relay_backlog") == 0)
        asked, doubled = judge(outside, load, doubled_most=len(CHATS) * count)
        print(f"{count} kills, {asked} questions: none lost, all in order, {doubled} answered twice")
        for it in boxes:
            it.__exit__(None)


def update(number):
    """A delivery that asks nothing of anybody."""
    return json.dumps({"update_id": number, "poll": {"id": "1"}}).encode()


def ask(outside, n):
    """A question of each of some chats; Telegram delivers until it is taken."""
    chats = range(200, 206)
    before = {chat: len(said) for chat, said in order(outside).items()}
    for chat in chats:
        outside.hears(f"question {n:04}", chat)
    until(WAIT_S, f"answers to {n}", lambda: all(len(order(outside)[chat]) == before.get(chat, 0) + 1 for chat in chats))


def main():
    fleet.build()
    wrong_on_the_way()
    three_boxes()
    # `relay.py 100`: so many random kills besides.
    if len(sys.argv) > 1:
        kills(int(sys.argv[1]))


if __name__ == "__main__":
    main()
