"""The far end of chaos_measure_spec.lua: what came through a bad network, seen from outside.

Datagrams are "RUN PHASE DEVICE SEQUENCE OF NOW ELAPSED", a stream begins with a line "RUN DEVICE"; RUN is the number of its devices. Prints "ports TCP UDP UDP ..." and, on
SIGTERM, one JSON object: what arrived, by run and phase. Several UDP ports, so that a moment without the processor does not overflow
one socket's buffer; `overflowed` says whether it did all the same.
"""
import functools
import json
import selectors
import signal
import socket
import sys
import time

UDP_PORTS = 16


def quantile(values, share):
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


class Receiver:
    def __init__(self):
        self.late = {}  # (run, phase) -> arrival less NOW, seconds
        self.seen = {}  # (run, phase) -> {device: bits of the sequence numbers}
        self.sent = {}  # (run, phase) -> ELAPSED of what arrived
        self.each = {}  # (run, phase) -> datagrams of a device
        self.streams = {}  # run -> [(first, bytes of the first, last, all bytes)]
        self.selector = selectors.DefaultSelector()
        self.over = False
        self.udp = [self.bind(socket.SOCK_DGRAM, self.datagrams) for _ in range(UDP_PORTS)]
        self.tcp = self.bind(socket.SOCK_STREAM, self.accept)
        self.tcp.listen(4096)

    def bind(self, kind, handler):
        s = socket.socket(socket.AF_INET, kind)
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        s.bind(("127.0.0.1", 0))
        self.selector.register(s, selectors.EVENT_READ, handler)
        return s

    def datagrams(self, s):
        for _ in range(256):
            try:
                text = s.recv(256)
            except BlockingIOError:
                return
            at = time.time()
            run, phase, device, sequence, of, now, elapsed = text.decode().split(" ")
            key = (run, phase)
            self.each[key] = int(of)
            self.late.setdefault(key, []).append(at - float(now))
            self.sent.setdefault(key, []).append(float(elapsed))
            seen = self.seen.setdefault(key, {})
            seen[device] = seen.get(device, 0) | 1 << int(sequence)

    def accept(self, listener):
        for _ in range(256):
            try:
                s, _ = listener.accept()
            except BlockingIOError:
                return
            s.setblocking(False)
            state = {"run": None, "text": b"", "first": None}
            self.selector.register(s, selectors.EVENT_READ, functools.partial(self.stream, state))

    def stream(self, state, s):
        try:
            data = s.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.selector.unregister(s)
            s.close()
            return
        at = time.monotonic()
        if state["run"] is None:
            state["text"] += data
            line, end, data = state["text"].partition(b"\n")
            if not end:
                return
            state["run"] = line.decode().split(" ")[0]
            if not data:
                return
        if state["first"] is None:
            state["first"] = (at, len(data))
            state["all"] = 0
            self.streams.setdefault(state["run"], []).append(state)
        state["all"] += len(data)
        state["last"] = at

    def overflowed(self):
        ports = {"%04X" % s.getsockname()[1] for s in self.udp}
        with open("/proc/net/udp") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        return sum(int(row[-1]) for row in rows if row[1].split(":")[1] in ports)

    def report(self):
        out = {"overflowed": self.overflowed(), "phases": {}, "streams": {}}
        for key, late in self.late.items():
            late.sort()
            sent = sorted(self.sent[key])
            gap = max(((b - a, a, b) for a, b in zip(sent, sent[1:])), default=None)
            lost = again = pairs = 0
            silent = int(key[0]) - len(self.seen[key])  # all that these devices sent was lost
            for bits in list(self.seen[key].values()) + [0] * silent:
                for i in range(1, self.each[key] + 1):
                    if bits >> i & 1:
                        continue
                    lost += 1
                    if i < self.each[key]:
                        pairs += 1
                        again += not bits >> (i + 1) & 1
            out["phases"][" ".join(key)] = {
                "arrived": sum(bin(bits).count("1") for bits in self.seen[key].values()),
                "median": quantile(late, 0.5),
                "low": quantile(late, 0.1587),
                "high": quantile(late, 0.8413),
                "gap": gap and gap[1:],
                "lost": lost,
                "pairs": pairs,
                "again": again,
            }
        for run, streams in self.streams.items():
            rates = sorted((s["all"] - s["first"][1]) * 8 / (s["last"] - s["first"][0])
                           for s in streams if s["last"] > s["first"][0])
            out["streams"][run] = {"n": len(streams), "low": quantile(rates, 0.05), "median": quantile(rates, 0.5),
                                   "high": quantile(rates, 0.95), "bytes": sum(s["all"] for s in streams)}
        return out

    def stop(self, *_):
        self.over = True

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        print("ports", self.tcp.getsockname()[1], *[s.getsockname()[1] for s in self.udp], flush=True)
        while not self.over:
            for key, _ in self.selector.select(0.1):
                key.data(key.fileobj)
        json.dump(self.report(), sys.stdout)
        print(flush=True)


Receiver().run()
