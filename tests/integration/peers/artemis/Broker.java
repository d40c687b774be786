// Apache ActiveMQ Artemis for MQTT 3.1.1 and 5 on a loopback port, in memory: Broker PORT DIRECTORY.
import java.util.concurrent.CountDownLatch;
import org.apache.activemq.artemis.core.config.impl.ConfigurationImpl;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;

public final class Broker {
  public static void main(String[] arguments) throws Exception {
    String dir = arguments[1];
    var configuration = new ConfigurationImpl().setName("iotix").setPersistenceEnabled(false).setSecurityEnabled(false).setMaxDiskUsage(-1).setMqttSessionScanInterval(200)
        .setBindingsDirectory(dir + "/bindings").setJournalDirectory(dir + "/journal").setPagingDirectory(dir + "/paging")
        .addAcceptorConfiguration("mqtt", "tcp://127.0.0.1:" + arguments[0] + "?protocols=MQTT");
    new EmbeddedActiveMQ().setConfiguration(configuration).start();
    System.out.println("address 127.0.0.1:" + arguments[0]);
    new CountDownLatch(1).await();
  }
}
