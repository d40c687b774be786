// Californium as CoAP server, for californium_spec.lua: Server DIRECTORY, in which ca.pem and server.pem (key and chain) lie. Listens on free
// loopback ports, prints "SCHEME PORT" for each and then "ready".
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.security.cert.Certificate;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.eclipse.californium.core.CoapResource;
import org.eclipse.californium.core.CoapServer;
import org.eclipse.californium.core.coap.CoAP.ResponseCode;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.core.network.Exchange;
import org.eclipse.californium.core.server.resources.CoapExchange;
import org.eclipse.californium.elements.Connector;
import org.eclipse.californium.elements.config.CertificateAuthenticationMode;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.config.TcpConfig;
import org.eclipse.californium.elements.tcp.netty.TcpServerConnector;
import org.eclipse.californium.elements.util.SslContextUtil;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.CertificateType;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedMultiPskStore;
import org.eclipse.californium.scandium.dtls.x509.SingleCertificateProvider;
import org.eclipse.californium.scandium.dtls.x509.StaticNewAdvancedCertificateVerifier;

public final class Server {
  /** Answers with what it got: the payload, or the queries. */
  static final class Echo extends CoapResource {
    Echo() {
      super("echo");
    }

    @Override
    public void handleRequest(Exchange exchange) {
      var request = exchange.getRequest();
      var code = switch (request.getCode()) {
        case GET, FETCH -> ResponseCode.CONTENT;
        case DELETE -> ResponseCode.DELETED;
        default -> ResponseCode.CHANGED;
      };
      byte[] payload = request.getPayloadSize() > 0 ? request.getPayload() : String.join(",", request.getOptions().getUriQuery()).getBytes();
      new CoapExchange(exchange).respond(code, payload);
    }
  }

  /** What was PUT there; can be observed. */
  static final class State extends CoapResource {
    private volatile String value = "none";

    State(String name) {
      super(name);
      setObservable(true);
      getAttributes().setObservable();
    }

    @Override
    public void handleGET(CoapExchange exchange) {
      exchange.respond(ResponseCode.CONTENT, value);
    }

    @Override
    public void handlePUT(CoapExchange exchange) {
      value = exchange.getRequestText();
      exchange.respond(ResponseCode.CHANGED);
      changed();
    }
  }

  static final class Large extends CoapResource {
    Large() {
      super("large");
    }

    @Override
    public void handleGET(CoapExchange exchange) {
      byte[] body = new byte[100000];
      for (int i = 0; i < body.length; i++) body[i] = (byte) ('a' + i % 26);
      exchange.respond(ResponseCode.CONTENT, body);
    }
  }

  /** Acknowledges at once, answers later. */
  static final class Slow extends CoapResource {
    private final ScheduledExecutorService later;

    Slow(ScheduledExecutorService later) {
      super("slow");
      this.later = later;
    }

    @Override
    public void handleGET(CoapExchange exchange) {
      exchange.accept();
      later.schedule(() -> exchange.respond(ResponseCode.CONTENT, "slow"), 300, TimeUnit.MILLISECONDS);
    }
  }

  public static void main(String[] arguments) throws Exception {
    CoapConfig.register();
    DtlsConfig.register();
    TcpConfig.register();
    Configuration configuration = Configuration.createStandardWithoutFile().set(CoapConfig.MAX_RESOURCE_BODY_SIZE, 1 << 20)
        .set(DtlsConfig.DTLS_ROLE, DtlsConfig.DtlsRole.SERVER_ONLY).set(DtlsConfig.DTLS_CLIENT_AUTHENTICATION_MODE, CertificateAuthenticationMode.NEEDED);
    SslContextUtil.Credentials own = SslContextUtil.loadCredentials(arguments[0] + "/server.pem");
    Certificate[] trusted = SslContextUtil.loadTrustedCertificates(arguments[0] + "/ca.pem");
    InetSocketAddress any = new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0);

    var keys = new AdvancedMultiPskStore();
    keys.setKey("CoAP", "secret".getBytes());
    var dtls = DtlsConnectorConfig.builder(configuration).setAddress(any).setAdvancedPskStore(keys)
        .setCertificateIdentityProvider(new SingleCertificateProvider(own.getPrivateKey(), own.getCertificateChain(), CertificateType.X_509))
        .setAdvancedCertificateVerifier(StaticNewAdvancedCertificateVerifier.builder().setTrustedCertificates(trusted).build()).build();
    Connector[] others = { new DTLSConnector(dtls), new TcpServerConnector(any, configuration) };

    CoapServer server = new CoapServer(configuration);
    server.addEndpoint(CoapEndpoint.builder().setConfiguration(configuration).setInetSocketAddress(any).build());
    for (Connector connector : others) server.addEndpoint(CoapEndpoint.builder().setConfiguration(configuration).setConnector(connector).build());
    server.add(new Echo(), new Large(), new Slow(Executors.newSingleThreadScheduledExecutor()));
    for (String name : new String[] { "udp", "psk", "certificate" }) server.add(new State("state-" + name));
    server.start();
    for (var endpoint : server.getEndpoints()) System.out.println(endpoint.getUri().getScheme() + " " + endpoint.getAddress().getPort());
    System.out.println("ready");
    new CountDownLatch(1).await();
  }
}
