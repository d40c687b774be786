"""A CoAP server that misbehaves: the path of a request says how. UDP and TCP on one port, and ports that only stall.
Prints "port N", "silent N" (takes everything, says nothing), "rude N" (answers whatever comes with no CoAP and no TLS)."""
import os
import selectors
import socket
import struct

CON, NON, ACK, RST = range(4)
CONTENT, CHANGED, CONTINUE = 0x45, 0x44, 0x5F
OBSERVE, ETAG, FORMAT, BLOCK2, BLOCK1 = 6, 4, 12, 23, 27


def options(*pairs):
    """(number, bytes) … in rising order."""
    out, last = b"", 0
    for number, value in pairs:
        ext, nibbles = b"", []
        for v in (number - last, len(value)):
            if v < 13:
                nibbles.append(v)
            elif v < 269:
                nibbles.append(13)
                ext += bytes([v - 13])
            else:
                nibbles.append(14)
                ext += struct.pack("!H", v - 269)
        out += bytes([nibbles[0] << 4 | nibbles[1]]) + ext + value
        last = number
    return out


def datagram(kind, code, mid, token=b"", rest=b""):
    return struct.pack("!BBH", 0x40 | kind << 4 | len(token), code, mid & 0xFFFF) + token + rest


def message(code, token=b"", rest=b""):
    """Of a stream (RFC 8323, 3.2)."""
    n = len(rest)
    if n < 13:
        return bytes([n << 4 | len(token), code]) + token + rest
    if n < 269:
        return bytes([0xD0 | len(token), n - 13, code]) + token + rest
    return bytes([0xE0 | len(token)]) + struct.pack("!H", n - 269) + bytes([code]) + token + rest


def read_options(data):
    found, at, number = [], 0, 0
    while at < len(data) and data[at] != 0xFF:
        values = [data[at] >> 4, data[at] & 15]
        at += 1
        for i in range(2):
            if values[i] == 13:
                values[i] = data[at] + 13
                at += 1
            elif values[i] == 14:
                values[i] = struct.unpack_from("!H", data, at)[0] + 269
                at += 2
        number += values[0]
        found.append((number, data[at:at + values[1]]))
        at += values[1]
    return found


def text(s):
    return b"\xff" + s


def block(num, more, szx):
    return struct.pack("!I", num << 4 | more << 3 | szx)[1:].lstrip(b"\0")


class Request:
    def __init__(self, data, header, token_len):
        self.token = data[header:header + token_len]
        found = read_options(data[header + token_len:])
        self.path = "/".join(v.decode() for n, v in found if n == 11)
        self.num = next((int.from_bytes(v, "big") >> 4 for n, v in found if n == BLOCK2), 0)
        self.sent = next((int.from_bytes(v, "big") for n, v in found if n == BLOCK1), None)
        self.observe = next((int.from_bytes(v, "big") for n, v in found if n == OBSERVE), None)


def udp(sock, data, peer, seen):
    kind, code, mid = data[0] >> 4 & 3, data[1], struct.unpack_from("!H", data, 2)[0]
    if code == 0 or code >= 32:
        if kind == RST:
            seen["resets"] = seen.get("resets", 0) + 1
        return
    r = Request(data, 4, data[0] & 15)

    def say(kind, code, mid, token, rest=b""):
        sock.sendto(datagram(kind, code, mid, token, rest), peer)

    def ack(rest=b"", code=CONTENT):
        say(ACK if kind == CON else NON, code, mid, r.token, rest)

    name, count = r.path, seen.get((peer, r.path), 0)
    seen[(peer, r.path)] = count + 1
    if name == "ok":
        ack(text(b"ok"), CONTENT if code == 1 else CHANGED)
    elif name == "resets":
        ack(text(str(seen.get("resets", 0)).encode()))
    elif name == "unknown-critical":
        ack(options((9999, b"x")) + text(b"no"))
    elif name == "unknown-critical-separate":
        say(ACK, 0, mid, b"")
        say(CON, CONTENT, 7, r.token, options((9999, b"x")) + text(b"no"))
    elif name == "repeated-critical":
        ack(options((BLOCK2, b"\x06"), (BLOCK2, b"\x16")) + text(b"no"))
    elif name == "overlong-critical":
        ack(options((BLOCK2, b"\0\0\0\x06")) + text(b"no"))
    elif name == "overlong-elective":
        ack(options((ETAG, b"123456789"), (FORMAT, b"\0\0\0")) + text(b"ok"))
    elif name == "repeated-elective":
        ack(options((FORMAT, b""), (FORMAT, b"\x32")) + text(b"ok"))
    elif name == "delta-15":
        ack(b"\xf1\0" + text(b"no"))
    elif name == "length-15":
        ack(b"\x1f\0" + text(b"no"))
    elif name == "no-payload":
        ack(b"\xff")
    elif name == "wrong-token":
        say(ACK, CONTENT, mid, b"\1\2\3\4", text(b"no"))
    elif name == "long-token":
        sock.sendto(bytes([0x69, CONTENT]) + data[2:4] + r.token + b"12345" + text(b"no"), peer)
    elif name == "wrong-id":
        say(ACK, CONTENT, mid + 1, r.token, text(b"no"))
        say(ACK, 0, mid, b"")
    elif name == "copies":
        for _ in range(5):
            ack(text(b"ok"))
    elif name == "before-its-ack":
        say(CON, CONTENT, 4711, r.token, text(b"ok"))
        say(ACK, 0, mid, b"")
        say(CON, CONTENT, 4711, r.token, text(b"ok"))
    elif name == "reset":
        say(RST, 0, mid, b"")
    elif name == "empty-ack":
        say(ACK, 0, mid, b"")
    elif name == "nothing":
        pass
    elif name == "truncated":
        for n in range(1, 8):
            sock.sendto(datagram(ACK, CONTENT, mid, r.token)[:n], peer)
    elif name == "version-2":
        sock.sendto(bytes([0x80 | ACK << 4 | len(r.token), CONTENT]) + data[2:4] + r.token, peer)
    elif name == "signalling":
        for c in (0xE1, 0xE2, 0xE4, 0xE5):
            say(CON, c, c, r.token)
        ack(text(b"ok"))
    elif name == "oversized":
        ack(text(b"x" * 30000))
    elif name == "noise":
        for _ in range(150):  # what a socket holds
            sock.sendto(os.urandom(1 + os.urandom(1)[0]), peer)
        ack(text(b"ok"))
    elif name == "block-skipped":
        ack(options((BLOCK2, block(r.num * 2, 1, 2))) + text(b"x" * 64))
    elif name == "block-larger":
        ack(options((BLOCK2, block(r.num, 1, 2 if r.num == 0 else 4))) + text(b"x" * (64 if r.num == 0 else 256)))
    elif name == "block-smaller":  # halved on the way, which is right
        if r.num == 0:
            ack(options((BLOCK2, block(0, 1, 3))) + text(b"x" * 128))
        else:
            at = r.num * 128 // 64
            ack(options((BLOCK2, block(at, 0, 2))) + text(b"y" * 64))
    elif name == "block-short":
        ack(options((BLOCK2, block(r.num, 1, 2))) + text(b"x" * 63))
    elif name == "block-long":
        ack(options((BLOCK2, block(r.num, 1, 2))) + text(b"x" * 65))
    elif name == "block-endless":
        ack(options((BLOCK2, block(r.num, 1, 6))) + text(b"x" * 1024))
    elif name == "block-first-for-ever":
        ack(options((BLOCK2, block(0, 1, 2))) + text(b"x" * 64))
    elif name == "block-etag":
        ack(options((ETAG, bytes([count & 255])), (BLOCK2, block(r.num, 1, 2))) + text(b"x" * 64))
    elif name == "block-7":
        ack(options((BLOCK2, block(0, 1, 7))) + text(b"x" * 64))
    elif name == "upload-other-block":
        ack(options((BLOCK1, block(9, 1, 6))), CONTINUE)
    elif name == "upload-larger":
        ack(options((BLOCK1, block((r.sent or 0) >> 4, 1, 6))), CONTINUE)
    elif name == "upload-for-ever":
        ack(b"", 0x88)  # 4.08, each time
    elif name == "watch":
        if r.observe != 0:
            ack(text(b"end"))
            for n in range(3):  # to one who has gone
                say(CON, CONTENT, 900 + n, r.token, options((OBSERVE, bytes([99 + n]))) + text(b"late"))
            return
        ack(options((OBSERVE, b"\x0a")) + text(b"10"))
        for number, value in ((12, 1), (11, 2), (12, 3), (5, 4), (13, 5)):
            say(NON, CONTENT, 500 + value, r.token, options((OBSERVE, bytes([number]))) + text(str(number).encode()))
    else:
        ack(b"", 0x84)


def tcp(conn, data):
    """One message of a client; the greeting went out before."""
    at = 0
    while at < len(data):
        n, header = data[at] >> 4, 2
        if n == 13:
            n, header = data[at + 1] + 13, 3
        elif n == 14:
            n, header = struct.unpack_from("!H", data, at + 1)[0] + 269, 4
        token_len, code = data[at] & 15, data[at + header - 1]
        one = data[at:at + header + token_len + n]
        at += len(one)
        if not 1 <= code < 32:
            continue
        r = Request(one, header, token_len)
        replies = {
            "ok": message(CONTENT if code == 1 else CHANGED, r.token, text(b"ok")),
            "unknown-critical": message(CONTENT, r.token, options((9999, b"x"))),
            "length-lie": b"\xf4\x7f\xff\xff\xff\x45" + r.token + text(b"x" * 1000),
            "token-lie": b"\x0f\x45" + b"x" * 15,
            "option-lie": b"\x54\x45" + r.token + b"\x4f\xff\xff\xff\xff",
            "release": message(0xE4, b"", options((4, b"\x05"))),
            "abort": message(0xE5, b"", text(b"go away")),
            "half": message(CONTENT, r.token, text(b"x" * 500))[:100],
            "garbage": b"\xff" + os.urandom(3000),
            "csm-1": message(0xE1, b"", options((2, b"\1"))) + message(CONTENT, r.token, text(b"ok")),
            "csm-huge": message(0xE1, b"", options((2, b"\xff\xff\xff\xff"))) + message(CONTENT, r.token, text(b"ok")),
            "csm-bad": message(0xE1, b"", options((3, b"x"))),
            "ping-flood": message(0xE2) * 1000 + message(CONTENT, r.token, text(b"ok")),
            "stray": message(CONTENT, b"none", text(b"no")) * 100 + message(CONTENT, r.token, text(b"ok")),
            "nothing": b"",
        }
        try:
            conn.sendall(replies.get(r.path, message(0x84, r.token)))
        except OSError:
            return False
        if r.path == "half":
            return False
    return True


def listen(kind):
    s = socket.socket(socket.AF_INET, kind)
    s.bind(("127.0.0.1", 0))
    return s


def pair():
    """A port that is free for datagrams and for streams."""
    while True:
        streams = listen(socket.SOCK_STREAM)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(streams.getsockname())
        except OSError:
            continue
        streams.listen(64)
        return datagrams, streams


def main():
    chosen = selectors.DefaultSelector()
    seen = {}

    def drop(conn):
        chosen.unregister(conn)
        conn.close()

    def accept(greeting, what):
        def ready(server):
            conn = server.accept()[0]
            conn.sendall(greeting)
            chosen.register(conn, selectors.EVENT_READ, what)
        return ready

    def talk(conn):
        try:
            data = conn.recv(1 << 16)
        except OSError:
            data = b""
        if not data or not tcp(conn, data):
            drop(conn)

    def swallow(conn):
        try:
            if conn.recv(1 << 16) or conn.type == socket.SOCK_DGRAM:
                return
        except OSError:
            pass
        drop(conn)

    def on_datagram(sock):
        data, peer = sock.recvfrom(1 << 16)
        udp(sock, data, peer, seen)

    def rude(sock):
        data, peer = sock.recvfrom(1 << 16)
        sock.sendto(b"\x16\xfe\xfd" + os.urandom(len(data)), peer)
        sock.sendto(os.urandom(200), peer)

    for name, greeting, streams_do, datagrams_do in (("port", message(0xE1), talk, on_datagram), ("silent", b"", swallow, swallow),
                                                     ("rude", b"HTTP/1.1 400 Bad Request\r\n\r\n", swallow, rude)):
        datagrams, streams = pair()
        chosen.register(datagrams, selectors.EVENT_READ, datagrams_do)
        chosen.register(streams, selectors.EVENT_READ, accept(greeting, streams_do))
        print(name, streams.getsockname()[1], flush=True)
    while True:
        for key, _ in chosen.select():
            key.data(key.fileobj)


main()
