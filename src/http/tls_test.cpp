// TLS, against OpenSSL's own client.

#include "http/tls.h"

#include <gmock/gmock.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>

#include "http/server_fixture.h"

namespace tetrad::http {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

template <auto Free>
struct OpenSslDeleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using PrivateKey = std::unique_ptr<EVP_PKEY, OpenSslDeleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, OpenSslDeleter<X509_free>>;
using ClientContext = std::unique_ptr<SSL_CTX, OpenSslDeleter<SSL_CTX_free>>;
using ClientSession = std::unique_ptr<SSL, OpenSslDeleter<SSL_free>>;

/// A certificate for 127.0.0.1 that signs itself.
Certificate self_signed(EVP_PKEY* key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const std::string common_name = "a test";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), name);
  X509_EXTENSION* address =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(certificate.get(), address, -1);
  X509_EXTENSION_free(address);
  X509_sign(certificate.get(), key, EVP_sha256());
  return certificate;
}

class HttpsServer : public HttpServer {
 protected:
  HttpsServer() {
    std::filesystem::create_directories(folder_);
    key_.reset(EVP_EC_gen("P-256"));
    certificate_ = self_signed(key_.get());
    write(files_.certificate_chain,
          [&](FILE* file) { return PEM_write_X509(file, certificate_.get()); });
    write_key(files_.private_key, key_.get(), "");
  }
  ~HttpsServer() override { std::filesystem::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }

  template <class Write>
  static void write(const std::string& path, Write write_pem) {
    FILE* file = std::fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr) << path;
    EXPECT_EQ(write_pem(file), 1);
    std::fclose(file);
  }
  static void write_key(const std::string& path, EVP_PKEY* key, std::string passphrase) {
    write(path, [&](FILE* file) {
      return PEM_write_PKCS8PrivateKey(file, key, passphrase.empty() ? nullptr : EVP_aes_256_cbc(),
                                       passphrase.data(), static_cast<int>(passphrase.size()),
                                       nullptr, nullptr);
    });
  }

  Error error_of(const TlsFiles& files) const {
    const auto context = make_tls_context(files);
    return context ? Error{.message = "no error"} : context.error();
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / fmt::format("tetrad_tls_{}", getpid());
  const TlsFiles files_{.certificate_chain = path("cert.pem"), .private_key = path("key.pem")};
  PrivateKey key_;
  Certificate certificate_;
};

/// Trusts one certificate and insists on it.
class TlsClient : public SocketClient {
 public:
  TlsClient(uint16_t port, const std::string& trusted, int max_version = TLS1_3_VERSION)
      : SocketClient(port), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_max_proto_version(context_.get(), max_version);
    SSL_CTX_load_verify_locations(context_.get(), trusted.c_str(), nullptr);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    session_.reset(SSL_new(context_.get()));
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session_.get()), "127.0.0.1");
    SSL_set_fd(session_.get(), socket_);
  }

  bool shake_hands() const { return SSL_connect(session_.get()) == 1; }
  void send(std::string_view bytes) const {
    SSL_write(session_.get(), bytes.data(), static_cast<int>(bytes.size()));
  }
  /// As SocketClient::read.
  std::string read(std::string_view end = "") const {
    std::string text;
    char byte = 0;
    while (SSL_read(session_.get(), &byte, 1) == 1) {
      text += byte;
      if (!end.empty() && text.ends_with(end)) break;
    }
    return text;
  }
  /// Whether the server has said that nothing follows.
  bool has_ended_in_order() const {
    return (SSL_get_shutdown(session_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

 private:
  ClientContext context_;
  ClientSession session_;
};

TEST_F(HttpsServer, ServesRequestAfterRequest) {
  start({.tls = files_});
  const TlsClient client(server_->port(), files_.certificate_chain);
  ASSERT_TRUE(client.shake_hands());
  for (int i = 0; i < 3; ++i) {
    client.send(post("/echo", R"("body")"));
    EXPECT_THAT(client.read(R"("body")"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  client.send(post("/stream", ""));
  EXPECT_THAT(client.read("0\r\n\r\n"), EndsWith("data: two\n\n\r\n0\r\n\r\n"));
}

TEST_F(HttpsServer, CarriesLargeBodiesBothWays) {
  start({.tls = files_});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const TlsClient client(server_->port(), files_.certificate_chain, version);
    ASSERT_TRUE(client.shake_hands());
    client.send(post("/echo", std::string(3'000'000, 'x') + "!"));
    const std::string answer = client.read("!");
    EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, 3'000'001u);
  }
}

TEST_F(HttpsServer, EndsInOrder) {
  start({.tls = files_});
  const TlsClient client(server_->port(), files_.certificate_chain);
  ASSERT_TRUE(client.shake_hands());
  client.send("POST /stream HTTP/1.0\r\n\r\n");  // whose end only the connection's end tells
  EXPECT_THAT(client.read(), EndsWith("data: two\n\n"));
  EXPECT_TRUE(client.has_ended_in_order());
}

TEST_F(HttpsServer, DoesNotEndABrokenStreamInOrder) {
  start({.tls = files_});
  const TlsClient client(server_->port(), files_.certificate_chain);
  ASSERT_TRUE(client.shake_hands());
  client.send("POST /break HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.read(), EndsWith("data: one\n\n"));
  EXPECT_FALSE(client.has_ended_in_order());
}

TEST_F(HttpsServer, TheClientOfARefusedBodyReadsWhy) {
  start({.tls = files_, .max_body_bytes = 1000});
  const TlsClient client(server_->port(), files_.certificate_chain);
  ASSERT_TRUE(client.shake_hands());
  client.send("POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n12345");
  EXPECT_THAT(client.read(), StartsWith("HTTP/1.1 401 "));
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpsServer, NoticesAClientThatLeaves) {
  start({.tls = files_});
  {
    const TlsClient client(server_->port(), files_.certificate_chain);
    ASSERT_TRUE(client.shake_hands());
    client.send(post("/hold", ""));
    wait_for(handler_.handled, 1);
  }
  wait_for(handler_.disconnects, 1);
}

TEST_F(HttpsServer, RefusesOldProtocolsAndPlainHttp) {
  start({.tls = files_});
  const TlsClient old(server_->port(), files_.certificate_chain, TLS1_1_VERSION);
  EXPECT_FALSE(old.shake_hands());
  const SocketClient plain = connect();
  plain.send(post("/echo", "plain"));
  EXPECT_THAT(plain.read(), testing::Not(HasSubstr("HTTP/1.1 200")));
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(HttpsServer, DropsAClientThatDoesNotShakeHands) {
  start({.tls = files_, .handshake_timeout = milliseconds(50)});
  const SocketClient silent = connect();
  EXPECT_EQ(silent.read(), "");
}

TEST_F(HttpsServer, DrainsWhileAnIdleClientIsThere) {
  start({.tls = files_});
  const TlsClient idle(server_->port(), files_.certificate_chain);
  ASSERT_TRUE(idle.shake_hands());
  idle.send(post("/echo", "[idle]"));
  idle.read("[idle]");
  EXPECT_EQ(stop(), Server::End::drained);
  EXPECT_EQ(idle.read(), "");
  EXPECT_TRUE(idle.has_ended_in_order());
}

TEST_F(HttpsServer, NamesTheFileThatIsWrong) {
  const std::string nonsense = path("nonsense.pem");
  std::ofstream(nonsense) << "neither a certificate nor a key\n";
  const std::string other_key = path("other.pem");
  write_key(other_key, PrivateKey(EVP_EC_gen("P-256")).get(), "");
  const std::string locked = path("locked.pem");
  write_key(locked, key_.get(), "secret");
  const std::string& certificate = files_.certificate_chain;
  const std::string& key = files_.private_key;

  struct Case {
    TlsFiles files;
    const char* flag;
    std::string message;
  };
  for (const Case& c :
       {Case{{certificate, ""}, "--ssl-keyfile", "--ssl-keyfile is needed too"},
        Case{{"", key}, "--ssl-certfile", "--ssl-certfile is needed too"},
        Case{{path("absent"), key}, "--ssl-certfile", "cannot read " + path("absent")},
        Case{{certificate, path("absent")}, "--ssl-keyfile", "cannot read " + path("absent")},
        Case{{nonsense, key}, "--ssl-certfile", nonsense + " is not a certificate in PEM form"},
        Case{{certificate, nonsense}, "--ssl-keyfile", nonsense + " is not a private key"},
        Case{{certificate, other_key}, "--ssl-keyfile", "does not belong to the certificate"},
        Case{{certificate, locked}, "--ssl-keyfile", "wants a passphrase"}}) {
    const Error error = error_of(c.files);
    EXPECT_EQ(error.param, c.flag) << error.message;
    EXPECT_THAT(error.message, HasSubstr(c.message));
  }
  EXPECT_EQ(error_of(files_).message, "no error");
  auto server = Server::listen({.port = 0, .tls = {certificate, nonsense}}, handler_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().param, "--ssl-keyfile");
}

}  // namespace
}  // namespace tetrad::http
