"""A broker that misbehaves, one way per mode. Prints "port N", then serves until it is killed."""
import selectors
import socket
import sys
import time

MODES = ("refuse", "close", "cut", "garbage", "silent", "drip", "after", "oversize", "mute", "downgrade", "slow")
mode = sys.argv[1]
assert mode in MODES, MODES
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(512)
print("port", listener.getsockname()[1], flush=True)
sel = selectors.DefaultSelector()
sel.register(listener, selectors.EVENT_READ)
CONNACK = bytes([0x20, 2, 0, 0])
drips = []


def greet(conn):
    """Answers the first bytes of a client. True: keep the connection."""
    if mode == "refuse":
        conn.sendall(bytes([0x20, 2, 0, 5]))
        return False
    if mode == "close":
        return False
    if mode == "cut":
        conn.sendall(bytes([0x20, 2, 0]))
        return False
    if mode == "garbage":
        conn.sendall(bytes(range(256)) * 8)
        return True
    if mode == "drip":
        drips.append([conn, 0])
        return True
    if mode == "after":  # a malformed packet once the session is up
        conn.sendall(CONNACK + bytes([0x36, 4, 0, 1, 65, 66]))
        return True
    if mode == "oversize":
        conn.sendall(CONNACK + bytes([0x30, 0xFF, 0xFF, 0xFF, 0x7F]))
        return True
    if mode == "slow":  # 40 connects a second, one behind the other
        time.sleep(0.025)
    if mode in ("mute", "downgrade", "slow"):
        conn.sendall(CONNACK)
        return True
    return True  # silent


def downgrade(conn, data):
    """PUBACK to every PUBLISH of QoS 2, as brokers without QoS 2 do; the packets are small and come whole."""
    while len(data) > 1 and data[1] < 128:
        packet, data = data[: 2 + data[1]], data[2 + data[1] :]
        if packet[0] >> 4 == 3 and packet[0] >> 1 & 3 == 2:
            at = 4 + (packet[2] << 8 | packet[3])
            conn.sendall(bytes([0x40, 2]) + packet[at : at + 2])


while True:
    for key, _ in sel.select(timeout=1):
        if key.fileobj is listener:
            conn, _ = listener.accept()
            sel.register(conn, selectors.EVENT_READ, data=True)
            continue
        conn = key.fileobj
        keep = False
        try:
            got = conn.recv(65536)
            if got:
                keep = greet(conn) if key.data else True
                if mode == "downgrade":
                    downgrade(conn, got)
        except OSError:
            keep = False
        if keep:
            sel.modify(conn, selectors.EVENT_READ, data=False)
        else:
            sel.unregister(conn)
            conn.close()
    for drip in drips:
        try:
            if drip[1] < 3:
                drip[0].sendall(CONNACK[drip[1]:drip[1] + 1])
                drip[1] += 1
        except OSError:
            pass
    time.sleep(0)
