// A TLS client or echo server over Java's JSSE; peer.py says what the arguments are. The certificate
// and its key come as `p12=FILE`, with the password "changeit".

import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.util.*;
import javax.net.ssl.*;

public class Peer {
    static final char[] PASSWORD = "changeit".toCharArray();

    static SSLContext context(Map<String, String> options, String ca) throws Exception {
        KeyManager[] keys = null;
        if (options.containsKey("p12")) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(Path.of(options.get("p12")))) {
                store.load(in, PASSWORD);
            }
            KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
            factory.init(store, PASSWORD);
            keys = factory.getKeyManagers();
        }
        TrustManager[] trust = null;
        if (ca != null) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            store.load(null, null);
            try (InputStream in = Files.newInputStream(Path.of(ca))) {
                var certificate = CertificateFactory.getInstance("X.509").generateCertificate(in);
                store.setCertificateEntry("ca", certificate);
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
            factory.init(store);
            trust = factory.getTrustManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys, trust, null);
        return context;
    }

    static String[] versions(Map<String, String> options) {
        String one = options.get("version");
        return one == null ? new String[] {"TLSv1.2", "TLSv1.3"} : new String[] {"TLSv" + one};
    }

    static void client(Map<String, String> options) throws Exception {
        SSLContext context = context(options, options.get("ca"));
        byte[] payload = new byte[Integer.parseInt(options.getOrDefault("size", "1048576"))];
        new Random(7).nextBytes(payload);
        for (int n = Integer.parseInt(options.getOrDefault("times", "1")); n > 0; n--) {
            Socket raw = new Socket("127.0.0.1", Integer.parseInt(options.get("port")));
            raw.setSoTimeout(20000);
            int port = raw.getPort();
            SSLSocket tls =
                (SSLSocket) context.getSocketFactory().createSocket(raw, options.get("name"), port, true);
            SSLParameters parameters = tls.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            parameters.setProtocols(versions(options));
            tls.setSSLParameters(parameters);
            tls.startHandshake();
            for (int at = 0; at < payload.length; at += 65536) {
                int end = Math.min(at + 65536, payload.length);
                tls.getOutputStream().write(payload, at, end - at);
                byte[] back = tls.getInputStream().readNBytes(end - at);
                if (!Arrays.equals(back, Arrays.copyOfRange(payload, at, end))) {
                    throw new IOException("other bytes came back, or too few");
                }
            }
            System.out.println("echoed " + payload.length + " " + tls.getSession().getProtocol());
            tls.close();
        }
    }

    static void answer(SSLSocket tls) {
        try (tls) {
            tls.getInputStream().transferTo(tls.getOutputStream());
        } catch (IOException error) {
            System.err.println("server: " + error.getMessage());
        }
    }

    static void server(Map<String, String> options) throws Exception {
        SSLContext context = context(options, options.get("clientca"));
        SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory()
            .createServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        listener.setEnabledProtocols(versions(options));
        listener.setNeedClientAuth(options.containsKey("clientca"));
        System.out.println("listening on " + listener.getLocalPort());
        Thread end = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (IOException ignored) {
                // It has ended, too.
            }
            System.exit(0);
        });
        end.setDaemon(true);
        end.start();
        while (true) {
            SSLSocket tls = (SSLSocket) listener.accept();
            new Thread(() -> answer(tls)).start();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (String pair : Arrays.asList(arguments).subList(1, arguments.length)) {
            options.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
        }
        try {
            if (arguments[0].equals("client")) {
                client(options);
            } else {
                server(options);
            }
        } catch (IOException error) {
            System.err.println(arguments[0] + ": " + error.getMessage());
            System.exit(1);
        }
    }
}
