// Californium as CoAP client, for californium_spec.lua: Client URL [IDENTITY KEY] asks a device what it serves and prints a line of JSON for
// each answer, as tests/integration/coap/client.py does. coaps needs the pre-shared key.
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.eclipse.californium.core.CoapClient;
import org.eclipse.californium.core.CoapHandler;
import org.eclipse.californium.core.CoapResponse;
import org.eclipse.californium.core.coap.CoAP.Code;
import org.eclipse.californium.core.coap.Request;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedSinglePskStore;

public final class Client {
  private static String base;
  private static CoapClient client;

  private static synchronized void show(String what, CoapResponse r) {
    if (r == null) throw new IllegalStateException(what + ": no answer");
    String text = new String(r.getPayload()).replace("\\", "\\\\").replace("\"", "\\\"").replace("\0", ".").replace("\n", "\\n");
    System.out.println("{\"what\":\"" + what + "\",\"code\":\"" + r.getCode() + "\",\"length\":" + r.getPayload().length + ",\"type\":\""
        + r.advanced().getType() + "\",\"payload\":\"" + text.substring(0, Math.min(200, text.length())) + "\"}");
  }

  private static void ask(String what, Code code, boolean confirmable, String path, String payload) throws Exception {
    Request request = new Request(code);
    request.setURI(base + path).setConfirmable(confirmable);
    if (payload != null) request.setPayload(payload);
    show(what, client.advanced(request));
  }

  public static void main(String[] arguments) throws Exception {
    base = arguments[0];
    CoapConfig.register();
    DtlsConfig.register();
    Configuration configuration = Configuration.createStandardWithoutFile().set(CoapConfig.MAX_RESOURCE_BODY_SIZE, 1 << 20)
        .set(DtlsConfig.DTLS_ROLE, DtlsConfig.DtlsRole.CLIENT_ONLY);
    CoapEndpoint.Builder builder = CoapEndpoint.builder().setConfiguration(configuration);
    if (base.startsWith("coaps:"))
      builder.setConnector(new DTLSConnector(DtlsConnectorConfig.builder(configuration)
          .setAdvancedPskStore(new AdvancedSinglePskStore(arguments[1], arguments[2].getBytes())).build()));
    client = new CoapClient();
    client.setEndpoint(builder.build()).setTimeout(10000L);

    ask("core", Code.GET, true, "/.well-known/core", null);
    ask("get", Code.GET, true, "/temp", null);
    ask("non", Code.GET, false, "/temp", null);
    ask("put", Code.PUT, true, "/temp", "25");
    ask("fetch", Code.FETCH, true, "/temp", "f");
    ask("ipatch", Code.IPATCH, true, "/temp", "p");
    ask("none", Code.GET, true, "/none", null);
    ask("upload", Code.POST, true, "/firmware", "x".repeat(50000));
    ask("download", Code.GET, true, "/firmware", null);
    CountDownLatch seen = new CountDownLatch(7);
    Request observe = Request.newGet();
    observe.setURI(base + "/count").setObserve();
    var relation = client.observe(observe, new CoapHandler() {
      @Override
      public void onLoad(CoapResponse response) {
        show("notification", response);
        seen.countDown();
      }

      @Override
      public void onError() {
        System.out.println("{\"what\":\"error\"}");
      }
    });
    boolean enough = seen.await(10, TimeUnit.SECONDS);
    relation.proactiveCancel();
    client.shutdown();
    Runtime.getRuntime().halt(enough ? 0 : 1);
  }
}
