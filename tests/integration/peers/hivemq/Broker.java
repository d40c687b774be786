// HiveMQ CE for MQTT 3.1.1 and 5 on a loopback port, in memory: Broker PORT DIRECTORY.
import com.hivemq.configuration.service.InternalConfigurations;
import com.hivemq.embedded.EmbeddedHiveMQ;
import java.nio.file.Files;
import java.nio.file.Path;

public final class Broker {
  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[1]);
    Path conf = Files.createDirectories(home.resolve("conf"));
    Files.writeString(conf.resolve("config.xml"),
        "<hivemq><listeners><tcp-listener><port>" + arguments[0] + "</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners>"
            + "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>"
            + "<persistence><mode>in-memory</mode></persistence></hivemq>");
    InternalConfigurations.AUTH_DENY_UNAUTHENTICATED_CONNECTIONS.set(false);
    EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder().withConfigurationFolder(conf)
        .withDataFolder(Files.createDirectories(home.resolve("data"))).withExtensionsFolder(Files.createDirectories(home.resolve("extensions"))).build();
    broker.start().get();
    System.out.println("address 127.0.0.1:" + arguments[0]);
    Thread.currentThread().join();
  }
}
