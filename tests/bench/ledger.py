#!/usr/bin/env python3
"""What the ledger of a run costs: CPU a message of its process, flooded by a broker that does nothing else.

tests/bench/ledger.py [--run PROGRAM] [--seconds N] [--devices N]

A broker in this process takes one message of a real run, learns its stamp from it, and then sends the ledger's subscriber messages of
that many devices, numbered in order, as fast as it reads them.
"""
import argparse
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--run", default="build/release/bin/iotix-run")
parser.add_argument("--seconds", type=float, default=5)
parser.add_argument("--devices", type=int, default=100000)
args = parser.parse_args()

SCENARIO = """
local iotix = require "iotix"
local g = iotix.group { name = "w", count = %d, launch = { strategy = "linear", rate = 1 }, behaviour = function(dev)
  assert(dev:connect()) dev:publish("t", "x") dev:sleep("1h")
end }
return iotix.scenario { name = "s", duration = "%ds", stop_timeout = "1s", groups = { g }, broker = iotix.env("BROKER"),
  ledger = { stamp = "topic", late = "0s" } }
"""
ledger, stamp, ready = None, None, threading.Event()


def packet(conn):
    first = conn.recv(1)
    if not first:
        raise OSError
    size = shift = 0
    while True:
        byte = conn.recv(1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    body = b""
    while len(body) < size:
        body += conn.recv(size - len(body))
    return first[0], body


def serve(conn):
    global ledger, stamp
    try:
        while True:
            first, body = packet(conn)
            if first >> 4 == 1:
                conn.sendall(b"\x20\x02\x00\x00")
            elif first >> 4 == 8:
                conn.sendall(b"\x90\x03" + body[:2] + b"\x01")
                ledger = conn
            elif first >> 4 == 3 and not stamp:
                topic = body[2 : 2 + (body[0] << 8 | body[1])].decode()
                stamp = topic.rsplit("/", 1)[1].split(".")
                ready.set()
    except OSError:
        pass


def accept(listener):
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def topics(now):
    """What topics of all devices have before and behind the number of a message."""
    out = []
    for device in range(1, args.devices + 1):
        out.append((b"w/d%d/t/%s.%s.%x." % (device, stamp[0].encode(), stamp[1].encode(), device), b".%x" % now))
    return out


def cpu(pid):
    with open(f"/proc/{pid}/schedstat") as f:
        return int(f.read().split()[0]) / 1e9


def process(parent):
    for child in open(f"/proc/{parent}/task/{parent}/children").read().split():
        if open(f"/proc/{child}/comm").read().strip() == "iotix-ledger":
            return int(child)
    raise SystemExit("no ledger process")


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "s.lua")
    with open(path, "w") as f:
        f.write(SCENARIO % (args.devices, args.seconds + 3))
    env = dict(os.environ, BROKER="mqtt://127.0.0.1:%d" % listener.getsockname()[1])
    summary = os.path.join(directory, "summary.json")
    run = subprocess.Popen([args.run, path, "--summary", "none", "-q", "--summary-json", summary], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert ready.wait(30), "nothing was published"
    pid = process(run.pid)
    payload = b"x" * 150
    heads = topics(int(time.time() * 1e6))
    sent, began, used = 0, time.monotonic(), cpu(pid)
    number = 2
    while time.monotonic() - began < args.seconds:
        data, n = bytearray(), 0
        for head, tail in heads:
            topic = head + b"%x" % number + tail
            body = len(topic) + 2 + len(payload)
            data += bytes([0x30, body & 127 | 128, body >> 7]) + len(topic).to_bytes(2, "big") + topic + payload
            n += 1
        ledger.sendall(data)
        sent, number = sent + n, number + 1
    while True:  # until it is idle
        was = cpu(pid)
        time.sleep(0.3)
        if cpu(pid) - was < 0.02:
            break
    used = cpu(pid) - used
    rss = int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096
    run.send_signal(signal.SIGINT)
    run.wait()
    with open(summary) as f:
        received = json.load(f)["ledger"]["received"]
    assert received >= sent, f"{received} of {sent} were accounted for"
print(f"ledger: {sent:,} messages of {args.devices:,} devices: {used / sent * 1e6:.2f} us of CPU each, "
      f"{sent / used:,.0f} a second on one core, {rss / 1e6:.0f} MB in all")
