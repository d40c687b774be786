// A broker for MQTT 3.1.1 in JavaScript (aedes), on a free loopback port. Run with the installed modules beside it.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
const server = createServer(broker.handle)
server.listen(0, '127.0.0.1', () => console.log(`address 127.0.0.1:${server.address().port}`))
