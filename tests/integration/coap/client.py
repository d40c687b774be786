"""A CoAP client on aiocoap for coap_spec.lua: asks a device what it serves, prints a line of JSON for each answer."""
import asyncio
import json
import sys

import aiocoap


def show(what, message):
    payload = message.payload
    print(json.dumps({"what": what, "code": str(message.code), "payload": payload.decode("utf-8", "replace")[:200],
                      "length": len(payload)}), flush=True)


async def ask(context, what, method, uri, payload=b""):
    message = aiocoap.Message(code=method, uri=uri, payload=payload)
    show(what, await asyncio.wait_for(context.request(message).response, 10))


async def main(base):
    context = await aiocoap.Context.create_client_context()
    await ask(context, "core", aiocoap.GET, base + "/.well-known/core")
    await ask(context, "get", aiocoap.GET, base + "/temp")
    await ask(context, "put", aiocoap.PUT, base + "/temp", b"25")
    await ask(context, "fetch", aiocoap.FETCH, base + "/temp", b"f")
    await ask(context, "ipatch", aiocoap.iPATCH, base + "/temp", b"p")
    await ask(context, "none", aiocoap.GET, base + "/none")
    await ask(context, "upload", aiocoap.POST, base + "/firmware", bytes(50000))
    await ask(context, "download", aiocoap.GET, base + "/firmware")
    observing = context.request(aiocoap.Message(code=aiocoap.GET, uri=base + "/count", observe=0))
    show("observe", await asyncio.wait_for(observing.response, 10))
    left = 7
    async for notification in observing.observation:
        show("notification", notification)
        left -= 1
        if not left:
            break
    observing.observation.cancel()
    await asyncio.sleep(0.1)
    await context.shutdown()


asyncio.run(main(sys.argv[1]))
