"""A machine within this machine: its own mounts, processes and loopback, gone when its first process ends."""

import os
import socket
import struct
import subprocess


def enter(words):
    """The command that runs `words` in there; without root it asks for a user namespace."""
    command = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
    return [*command, *(() if os.geteuid() == 0 else ("--map-root-user",)), *words]


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def loopback_up():
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING.
        fcntl.ioctl(it, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
