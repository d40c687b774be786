// A broker for MQTT 3.1.1 and 5 in Go (mochi-mqtt), on free loopback ports, TCP and WebSocket.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	// Without this its PUBACK to a message with user properties repeats these, with reason code 0x01, which PUBACK does not have (MQTT-3.4.2-1).
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	server := mqtt.New(&mqtt.Options{Capabilities: capabilities})
	must(server.AddHook(new(auth.AllowHook), nil))
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	must(server.AddListener(tcp))
	must(server.Serve())
	fmt.Println("address", tcp.Address())
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
	must(server.Close())
}
