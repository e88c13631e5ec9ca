"""What several boxes of the feature `redis` cost: one bot on 1, 2, 4 and 8 boxes through a real Redis, beside one box
without the feature. The stand-ins answer at once and, like Redis, share the cores with the boxes.

    fleet_bench.py [--quick] [--kills SECONDS]
"""

import os
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "test.d"))
import relay  # noqa: E402
from bot import until  # noqa: E402
from fleet import KEY, MODEL, MODELS, Redis, kill, post, state  # noqa: E402
from standin import StandIn  # noqa: E402

PLAIN = os.environ["SVS_BOT_PLAIN"]
AOF = {"everysec": ("--appendonly", "yes", "--appendfsync", "everysec"), "always": relay.DURABLE[:4]}
# As the other measurements: many keys, so that no quota of one is met.
KEYS = ",".join(f"AIza{number:035}" for number in range(128))
CALM = {"GROUP_B_KEYS": KEYS, "LOG_LEVEL": "warn"}
IDLE_S = 5


def row(what, value, unit, note=""):
    print(f"| {what} | {value:.3g} {unit} | {note} |", flush=True)


def control(outside, name, body=None):
    status, reply = post(f"{outside.telegram}/control/{name}", body)
    assert status == 200, (name, reply)
    return reply


def push(outside, first, count, rate=None):
    """Private messages of so many chats, at once or so many a second; when that began by the stand-in's clock."""
    from world import World

    lines = "\n".join(World.lines(range(first, first + count), "question")).encode()
    reply = control(outside, f"push?every_us={1e6 / rate:.0f}" if rate else "push", lines)
    return reply.get("begun_ms")


def wait_sent(outside, total):
    until(120, f"{total} answers", lambda: control(outside, "wait", {"total": total, "timeout_ms": 3_000})["ok"])


def commands(redis):
    """Commands by name since the last look, of boxes and not of scripts inside Redis: a script is one."""
    found = {}
    for line in redis.say("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_"):
            name, _, rest = line[8:].partition(":")
            found[name] = int(rest.partition("calls=")[2].partition(",")[0])
    return found


def sent_by_boxes(found):
    return found.get("evalsha", 0)


def memory_mb(it):
    for line in pathlib.Path(f"/proc/{it.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1_024
    return 0.0


def rates(count, questions, redis, program):
    """Answers a second, added latency and memory of so many boxes; one without Redis where there is none."""
    os.environ["SVS_BOT"] = program
    with StandIn("--unlimited", "--keep-last", "50000") as outside:
        boxes = [relay.Shared(outside, redis and redis.url(), **CALM) for _ in range(count)]
        started = []
        try:
            for it in boxes:
                it.__enter__()
                started.append(it)
            if redis:
                until(60, "each has its part", lambda: relay.spread(boxes))
            else:
                until(60, "it listens", lambda: boxes[0].metric("svs_bot_inbox_pending") is not None)
            control(outside, "deliver", {"to": f"127.0.0.1:{boxes[0].hook}"})
            push(outside, 1_000, 100)
            wait_sent(outside, 100)
            idle = 0.0
            if redis:
                redis.say("CONFIG", "RESETSTAT")
                time.sleep(IDLE_S)
                idle = sent_by_boxes(commands(redis)) / IDLE_S
                redis.say("CONFIG", "RESETSTAT")
            begun = time.monotonic()
            push(outside, 10_000, questions)
            wait_sent(outside, 100 + questions)
            took = time.monotonic() - begun
            spent = sent_by_boxes(commands(redis)) if redis else 0
            rate, slow = questions / took, max(10, int(questions / 10))
            gentle = min(rate / 10, 20)
            begun_ms = push(outside, 100_000, slow, gentle)
            wait_sent(outside, 100 + questions + slow)
            sent = {it["chat"]: it["at_ms"] for it in control(outside, "sent", {"after": 100 + questions})["sent"]}
            every_ms = round(1e6 / gentle) / 1e3
            late = sorted(sent[100_000 + n] - begun_ms - n * every_ms for n in range(slow))
            memory = sorted(memory_mb(it) for it in boxes)
        finally:
            for it in started:
                it.process.kill()
                it.process.wait()
                it.folder.cleanup()
    name = f"{count} boxes" if redis else "1 box without the feature"
    row(f"{name}: answers a second", rate, "/s", f"{questions} questions at once, delivered to one box")
    row(f"{name}: added latency, median", late[len(late) // 2], "ms", f"{slow} questions, {gentle:.0f}/s")
    row(f"{name}: added latency, 99th of 100", late[min(slow - 1, slow * 99 // 100)], "ms")
    row(f"{name}: memory of a box after it", memory[len(memory) // 2], "MB", f"most {memory[-1]:.1f}")
    if redis:
        row(f"{name}: commands idle, all boxes", idle, "/s", "looks and beats")
        row(f"{name}: commands an answer", spent / questions, "", f"looks included; without those of idling {max(0, spent - idle * took) / questions:.2f}")


def overshoot(program):
    """Two boxes and one key of 20 a minute: how many requests Gemini had to refuse."""
    os.environ["SVS_BOT"] = program
    limits = {"KEY_RPM": "20", "GEMINI_API_KEY": f"{KEY}@p", "PATIENCE": "3m", "LOG_LEVEL": "warn", **MODELS}
    with Redis() as redis, StandIn("--key", f"{KEY}@p", "--limit", f"{MODEL}=20/400/1000000") as outside:
        boxes = [relay.Shared(outside, redis.url(), **limits) for _ in range(2)]
        try:
            for it in boxes:
                it.__enter__()
            until(60, "each has its part", lambda: relay.spread(boxes))
            control(outside, "deliver", {"to": f"127.0.0.1:{boxes[0].hook}"})
            time.sleep(4.5)
            push(outside, 1_000, 60)
            time.sleep(20)
            quota = state(outside)[0]
        finally:
            for it in boxes:
                kill(it)
                it.folder.cleanup()
    row("quota passed by", quota["refused"], "requests", f"2 boxes, one key of 20 a minute, 60 questions: {quota['taken']} taken in 20 s")


def kills(program, fsync, seconds, seed):
    """Random kills of boxes and, every sixth, of Redis, for so long; what was lost, doubled or out of order."""
    os.environ["SVS_BOT"] = program
    dice, killed, redis_killed, took = random.Random(seed), 0, 0, []
    with Redis(*AOF[fsync]) as redis, StandIn("--unlimited", "--keep-last", "50000") as outside:
        boxes = [relay.Shared(outside, redis.url()) for _ in range(3)]
        try:
            for it in boxes:
                it.__enter__()
            door = relay.Door(boxes)
            until(60, "each has its part", lambda: relay.spread(boxes))
            control(outside, "deliver", {"to": f"127.0.0.1:{boxes[0].hook}"})
            for chat in relay.CHATS:
                outside.hears("question 0000", chat)
            until(60, "the first answers", lambda: len(relay.order(outside)) == len(relay.CHATS))
            # How soon the others have what one held.
            kill(boxes[2])
            died = time.monotonic()
            until(60, "its part is taken over", lambda: relay.spread(boxes[:2]))
            took.append(time.monotonic() - died)
            boxes[2].__enter__()
            end = time.monotonic() + seconds
            with relay.Load(door, relay.CHATS) as load:
                while time.monotonic() < end:
                    if dice.random() < 1 / 6:
                        redis.stop()
                        time.sleep(dice.choice((0, 1)))
                        redis.start()
                        redis_killed += 1
                    else:
                        it = dice.choice(boxes)
                        kill(it)
                        time.sleep(dice.choice((0, 0.1, 1)))
                        it.__enter__()
                        killed += 1
                    time.sleep(dice.uniform(0.2, 2))
            try:
                until(60, "every question is answered", lambda: relay.answered(outside, load))
            except AssertionError:
                pass
            lost, doubled, late, strange = judged(outside, load)
        finally:
            for it in boxes:
                kill(it)
                it.folder.cleanup()
    asked = sum(load.asked.values())
    row(f"{fsync}: taken over after kill -9", took[0], "s")
    row(f"{fsync}: lost", lost, "", f"{killed} kills of boxes, {redis_killed} of Redis, {asked} questions; {doubled} answered twice, "
        f"{late} out of order, {len(strange)} other messages {strange[:2]}")
    return lost, late


def judged(outside, load):
    """Lost, doubled, out of order, and what was said besides."""
    said, lost, doubled, late, strange = relay.order(outside), 0, 0, 0, []
    for chat, count in load.asked.items():
        numbers = []
        for it in said[chat]:
            text = relay.words(it)
            at = text.find("question ")
            if at < 0:
                strange.append(text[:300])
            else:
                numbers.append(int(text[at + 9:at + 13]))
        lost += len(set(range(count + 1)) - set(numbers))
        doubled += len(numbers) - len(set(numbers))
        first = list(dict.fromkeys(numbers))
        late += sum(1 for a, b in zip(first, first[1:]) if b < a)
    return lost, doubled, late, strange


def main():
    words = sys.argv[1:]
    quick = "--quick" in words
    program = os.environ["SVS_BOT"]
    seconds = int(words[words.index("--kills") + 1]) if "--kills" in words else (30 if quick else 300)
    print("| what | figure | how |\n| --- | --- | --- |")
    sizes = [pathlib.Path(it).stat().st_size / 1e6 for it in (program, PLAIN)]
    row("the binary with the feature", sizes[0], "MB", f"without {sizes[1]:.2f}")
    if "--only-kills" not in words:
        questions = 300 if quick else 2_000
        rates(1, questions, None, PLAIN)
        for count in (1, 2, 4, 8):
            with Redis(*AOF["everysec"]) as redis:
                rates(count, questions, redis, program)
        overshoot(program)
    for fsync in AOF:
        kills(program, fsync, seconds, 7)
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()
    print(f"\n{os.cpu_count()} cores shared by all, {version[2]}")


if __name__ == "__main__":
    main()
