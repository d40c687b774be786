"""A CoAP server on aiocoap for coap_spec.lua: prints "port N" when it listens, runs until it is killed."""
import asyncio
import socket

import aiocoap
from aiocoap import resource


class Echo(resource.Resource):
    async def render(self, request):
        code = {1: aiocoap.CONTENT, 5: aiocoap.CONTENT, 4: aiocoap.DELETED}.get(int(request.code), aiocoap.CHANGED)
        return aiocoap.Message(code=code, payload=request.payload or b",".join(o.encode() for o in request.opt.uri_query))

    async def needs_blockwise_assembly(self, request):
        return True


class State(resource.ObservableResource):
    def __init__(self):
        super().__init__()
        self.value = b"none"

    async def render_get(self, request):
        return aiocoap.Message(payload=self.value)

    async def render_put(self, request):
        self.value = request.payload
        self.updated_state()
        return aiocoap.Message(code=aiocoap.CHANGED)

    render_post = render_put


class Large(resource.Resource):
    async def render_get(self, request):
        return aiocoap.Message(payload=bytes(97 + i % 26 for i in range(100000)))


class Slow(resource.Resource):
    async def render_get(self, request):
        await asyncio.sleep(0.3)
        return aiocoap.Message(payload=b"slow")


def free_port():
    """One that is free for datagrams and for streams."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as streams:
            datagrams.bind(("127.0.0.1", 0))
            try:
                streams.bind(datagrams.getsockname())
                return datagrams.getsockname()[1]
            except OSError:
                pass


async def main():
    port = free_port()
    site = resource.Site()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["echo"], Echo())
    site.add_resource(["state-udp"], State())
    site.add_resource(["state-tcp"], State())
    site.add_resource(["large"], Large())
    site.add_resource(["slow"], Slow())
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6", "tcpserver"])
    print("port", port, flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
