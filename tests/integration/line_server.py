"""The server of the line protocol (deploy/plugins/line/line.h), TCP and UDP on one free port.

Prints "port N", then what it hears, a line each: "hello CLIENT", "pub TOPIC PAYLOAD", "udp TOPIC PAYLOAD", "bye CLIENT".
--refuse N: the first N connections are answered NO. --cut N: each connection is cut off after N publishes, at most
--cuts times. --tls CERT KEY: the stream is TLS. "FLOOD N": N bytes as fast as they are taken, then prints "flooded N".
--mute: it answers nothing. --garbage: what it says to HELLO is no line of the protocol.
A publish to a topic that ends in /ask is answered with MSG, the same topic with /answer in its place.
"""
import argparse
import asyncio
import re
import socket
import ssl

options = argparse.ArgumentParser()
options.add_argument("--refuse", type=int, default=0)
options.add_argument("--cut", type=int, default=0)
options.add_argument("--cuts", type=int, default=1)
options.add_argument("--tls", nargs=2)
options.add_argument("--mute", action="store_true")
options.add_argument("--garbage", action="store_true")
args = options.parse_args()


def say(*words):
    print(*words, flush=True)


def answer(topic, payload):
    if topic.endswith("/ask"):
        return f"MSG {topic[:-4]}/answer {payload}\n".encode()
    return b""


async def serve(reader, writer):
    name, pubs = "?", 0
    try:
        while line := (await reader.readline()).decode().rstrip("\n"):
            word, _, rest = line.partition(" ")
            if args.mute:
                continue
            if word == "HELLO":
                name = rest
                if args.garbage:
                    writer.write(b"\x00\xff what\n")
                elif args.refuse > 0:
                    args.refuse -= 1
                    writer.write(b"NO not today\n")
                else:
                    say("hello", name)
                    writer.write(b"OK\n")
            elif match := re.fullmatch(r"PUB(\d*)", word):
                topic, _, payload = rest.partition(" ")
                say("pub", topic, payload)
                pubs += 1
                if args.cut and pubs == args.cut and args.cuts > 0:
                    args.cuts -= 1
                    writer.transport.abort()
                    return
                if match.group(1):
                    writer.write(f"ACK {match.group(1)}\n".encode())
                writer.write(answer(topic, payload))
            elif word == "FLOOD":
                for _ in range(int(rest) // 10000):
                    writer.write(b"y" * 9999 + b"\n")
                    await writer.drain()
                say("flooded", rest)
            elif word == "STILL":
                say("still", rest)
            await writer.drain()
    except (ConnectionError, ValueError):
        pass
    say("bye", name)
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        word, _, rest = data.decode().partition(" ")
        topic, _, payload = rest.partition(" ")
        if word == "PUB":
            say("udp", topic, payload)
            if text := answer(topic, payload):
                self.transport.sendto(text, addr)


async def main():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(100):  # a port that is free for both
        tcp = socket.socket()
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
            break
        except OSError:
            tcp.close()
    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*args.tls)
    server = await asyncio.start_server(serve, sock=tcp, ssl=context)
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, sock=udp)
    say("port", tcp.getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
