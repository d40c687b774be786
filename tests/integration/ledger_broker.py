"""A broker that treats messages badly and says exactly how: MQTT 3.1.1, QoS 0 and 1, one subscriber to everything.

ledger_broker.py [suback=SECONDS] [refuse] [drop=N] [double=N] [swap=N] [delay=SECONDS]

Of the messages, counted over all senders, every N-th is dropped, delivered twice, or delivered behind the next one of the same
topic (or in its place, when its sender leaves). Prints "port P", and at the end (SIGTERM) one line of JSON.
"""
import heapq
import json
import selectors
import signal
import socket
import sys
import time

options = dict(word.partition("=")[::2] for word in sys.argv[1:])
DROP, DOUBLE, SWAP = (int(options.get(name, 0)) for name in ("drop", "double", "swap"))
DELAY, SUBACK = float(options.get("delay", 0)), float(options.get("suback", 0))
seen = {"sent": 0, "dropped": 0, "doubled": 0, "swapped": 0, "early": 0}
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(512)
sel = selectors.DefaultSelector()
sel.register(listener, selectors.EVENT_READ)
inbox, held, later = {}, {}, []
subscriber, subscribed = None, False


def end(*_):
    print(json.dumps(seen), flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)


def at(seconds, conn, data):
    heapq.heappush(later, (time.monotonic() + seconds, len(later), id(conn), conn, data))


def deliver(packet):
    if not subscriber:
        return
    if DELAY:
        at(DELAY, subscriber, packet)
    else:
        subscriber.sendall(packet)


def swap_back(topic):
    if topic in held:
        deliver(held.pop(topic)[1])
        return True
    return False


def publish(conn, first, body):
    n = body[0] << 8 | body[1]
    topic, rest = body[2 : 2 + n], body[2 + n :]
    if first >> 1 & 3:
        conn.sendall(b"\x40\x02" + rest[:2])
        rest = rest[2:]
    body = body[: 2 + n] + rest
    size, length = len(body), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    packet = b"\x30" + length + bytes([size]) + body
    seen["sent"] += 1
    seen["early"] += not subscribed
    k = seen["sent"]
    if DROP and k % DROP == 0:
        seen["dropped"] += 1
        return
    if SWAP and k % SWAP == 0 and topic not in held:
        held[topic] = (conn, packet)
        return
    deliver(packet)
    if DOUBLE and k % DOUBLE == 0:
        deliver(packet)
        seen["doubled"] += 1
    seen["swapped"] += swap_back(topic)


def handle(conn, first, body):
    global subscriber
    kind = first >> 4
    if kind == 1:
        seen["early"] += b"iotix-ledger" not in body and not subscribed
        conn.sendall(b"\x20\x02\x00\x00")
    elif kind == 3:
        publish(conn, first, body)
    elif kind == 8:
        subscriber = conn
        at(SUBACK, conn, b"\x90\x03" + body[:2] + (b"\x80" if "refuse" in options else b"\x01"))
    elif kind == 12:
        conn.sendall(b"\xd0\x00")


def packets(conn):
    data = inbox[conn]
    while len(data) > 1:
        size, shift, i = 0, 0, 1
        while i < len(data):
            size |= (data[i] & 127) << shift
            shift += 7
            i += 1
            if data[i - 1] < 128:
                break
        else:
            return
        if len(data) < i + size:
            return
        first, body = data[0], bytes(data[i : i + size])
        del data[: i + size]
        handle(conn, first, body)


print("port", listener.getsockname()[1], flush=True)
while True:
    wait = max(0, later[0][0] - time.monotonic()) if later else None
    for key, _ in sel.select(wait):
        if key.fileobj is listener:
            conn, _ = listener.accept()
            inbox[conn] = bytearray()
            sel.register(conn, selectors.EVENT_READ)
            continue
        conn = key.fileobj
        try:
            data = conn.recv(65536)
        except OSError:
            data = b""
        if data:
            inbox[conn] += data
            packets(conn)
        else:
            sel.unregister(conn)
            for topic in [t for t, (sender, _) in held.items() if sender is conn]:
                swap_back(topic)  # nothing came behind it
            subscriber = None if conn is subscriber else subscriber
            conn.close()
    while later and later[0][0] <= time.monotonic():
        _, _, _, conn, data = heapq.heappop(later)
        subscribed |= data[0] == 0x90
        try:
            conn.sendall(data)
        except OSError:
            pass
