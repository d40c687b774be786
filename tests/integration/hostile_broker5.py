"""A broker of MQTT 5 that sends each connection another forbidden or malformed packet once its session is up.

Prints "port N". The first connections get one each of CASES, in order; those after them are served well. For every case a line
"NAME: DISCONNECT 0x82" (what the client answered) or "NAME: closed"; "served N" whenever a connection outlives the cases. Ends when
it is killed.
"""
import selectors
import socket

U = bytes
PROPERTY_TWICE = b"\x01\x00\x01\x00"


def publish(flags, topic, properties=b"", packet_id=b"", payload=b"x"):
    body = len(topic).to_bytes(2, "big") + topic + packet_id + U([len(properties)]) + properties + payload
    return U([0x30 | flags, len(body)]) + body


CASES = [  # name, bytes after CONNACK, reason the client must give
    ("type 0", U([0x00, 0]), 0x81),
    ("connect", U([0x10, 0]), 0x82),
    ("second connack", U([0x20, 3, 0, 0, 0]), 0x82),
    ("subscribe", U([0x82, 7, 0, 1, 0, 0, 1, 97, 0]), 0x82),
    ("unsubscribe", U([0xA2, 6, 0, 1, 0, 0, 1, 97]), 0x82),
    ("pingreq", U([0xC0, 0]), 0x82),
    ("pingresp with a body", U([0xD0, 1, 0]), 0x81),
    ("auth unasked", U([0xF0, 0]), 0x82),
    ("publish of QoS 3", publish(6, b"a", packet_id=b"\0\1"), 0x81),
    ("duplicate of QoS 0", publish(8, b"a"), 0x81),
    ("packet id 0", publish(2, b"a", packet_id=b"\0\0"), 0x82),
    ("wildcard in a topic", publish(0, b"a/#"), 0x81),
    ("NUL in a topic", publish(0, b"a\0b"), 0x81),
    ("surrogate in a topic", publish(0, b"\xed\xa0\x80"), 0x81),
    ("no topic, no alias", publish(0, b""), 0x82),
    ("alias 0", publish(0, b"a", b"\x23\0\0"), 0x94),
    ("alias over the maximum", publish(0, b"a", b"\x23\0\x09"), 0x94),
    ("alias never set", publish(0, b"", b"\x23\0\2"), 0x82),
    ("property twice", publish(0, b"a", PROPERTY_TWICE), 0x82),
    ("unknown property", publish(0, b"a", b"\x7f\0"), 0x81),
    ("property of another packet", publish(0, b"a", b"\x11\0\0\0\1"), 0x81),
    ("subscription id 0", publish(0, b"a", b"\x0b\0"), 0x82),
    ("payload format 2", publish(0, b"a", b"\x01\2"), 0x82),
    ("response topic with a wildcard", publish(0, b"a", b"\x08\0\1#"), 0x82),
    ("properties cut", U([0x30, 5, 0, 1, 97, 9, 1]), 0x81),
    ("length not the shortest", U([0x30, 0x84, 0x80, 0, 0, 1, 97, 0]), 0x81),
    ("length of five bytes", U([0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1]), 0x81),
    ("packet too large", U([0x30, 0xFF, 0xFF, 0xFF, 0x7F]), 0x95),
    ("flags of PUBREL", U([0x60, 2, 0, 1]), 0x81),
    ("flags of PUBACK", U([0x41, 2, 0, 1]), 0x81),
    ("PUBACK of id 0", U([0x40, 2, 0, 0]), 0x82),
    ("PUBACK with no such reason", U([0x40, 3, 0, 1, 1]), 0x82),
    ("SUBACK without codes", U([0x90, 3, 0, 1, 0]), 0x81),
    ("SUBACK with no such reason", U([0x90, 4, 0, 1, 0, 3]), 0x82),
    ("DISCONNECT with a session expiry", U([0xE0, 7, 0, 5, 0x11, 0, 0, 0, 1]), 0x82),
    ("DISCONNECT with no such reason", U([0xE0, 1, 1]), 0x82),
    ("over the receive maximum", b"".join(publish(4, b"a", packet_id=U([0, i])) for i in range(1, 5)), 0x93),
]

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(512)
print("port", listener.getsockname()[1], flush=True)
sel = selectors.DefaultSelector()
sel.register(listener, selectors.EVENT_READ)
handed_out = 0


class Client:
    def __init__(self, conn):
        self.conn, self.buf, self.case, self.said = conn, b"", None, None

    def packet(self, kind, body):
        global handed_out
        if kind == 1:
            self.conn.sendall(U([0x20, 3, 0, 0, 0]))
            if handed_out < len(CASES):
                self.case = CASES[handed_out]
                handed_out += 1
                self.conn.sendall(self.case[1])
            else:
                print("served", handed_out, flush=True)
        elif kind == 3:
            pass  # QoS 0
        elif kind == 12:
            self.conn.sendall(U([0xD0, 0]))
        elif kind == 14:
            self.said = body[0] if body else 0

    def feed(self, data):
        self.buf += data
        while len(self.buf) >= 2:
            length, shift, at = 0, 0, 1
            while True:
                if at >= len(self.buf):
                    return
                length |= (self.buf[at] & 127) << shift
                shift += 7
                at += 1
                if not self.buf[at - 1] & 128:
                    break
            if len(self.buf) < at + length:
                return
            kind, body = self.buf[0] >> 4, self.buf[at:at + length]
            self.buf = self.buf[at + length:]
            self.packet(kind, body)

    def gone(self):
        if self.case:
            name, _, expected = self.case
            said = "closed" if self.said is None else "DISCONNECT 0x%02x" % self.said
            print("%s: %s%s" % (name, said, "" if self.said == expected else " (expected 0x%02x)" % expected), flush=True)


while True:
    for key, _ in sel.select():
        if key.fileobj is listener:
            conn, _ = listener.accept()
            sel.register(conn, selectors.EVENT_READ, data=Client(conn))
            continue
        client = key.data
        try:
            data = key.fileobj.recv(65536)
            if data:
                client.feed(data)
        except OSError:
            data = b""
        if not data:
            client.gone()
            sel.unregister(key.fileobj)
            key.fileobj.close()
