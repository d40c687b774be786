"""A plain HTTP/1.1 server on the port given: answers everything, long polls after their wait. Prints "ready", then methods."""
import asyncio
import sys


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            method, path = head.split()[:2]
            for line in head.split("\r\n"):
                if line.startswith("content-length:"):
                    await reader.readexactly(int(line[15:]))
            if path.startswith("/poll/"):
                await asyncio.sleep(1)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                if method == "post":
                    print("POST", flush=True)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
