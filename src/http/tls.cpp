#include "http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <fstream>

namespace tetrad::http {
namespace {

constexpr std::string_view kCertificateFlag = "--ssl-certfile";
constexpr std::string_view kKeyFlag = "--ssl-keyfile";

/// OpenSSL's words for the last thing that went wrong; its queue is empty afterwards.
std::string last_tls_error() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown error" : reason;
}

Result<void> check_readable(std::string_view flag, const std::string& path) {
  if (path.empty()) {
    return fail_param(flag, "{} is needed too: TLS takes a certificate and its private key", flag);
  }
  if (!std::ifstream(path).good()) {
    return tl::unexpected<Error>(
        Error{ErrorCode::io, fmt::format("{}: cannot read {}", flag, path), std::string(flag)});
  }
  return {};
}

/// In the place of a question on the terminal, which is what OpenSSL does by default.
int refuse_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<void> load_certificate(SSL_CTX* context, const std::string& path) {
  TETRAD_TRY(check_readable(kCertificateFlag, path));
  if (SSL_CTX_use_certificate_chain_file(context, path.c_str()) == 1) return {};
  return fail_param(kCertificateFlag, "{}: {} is not a certificate in PEM form: {}",
                    kCertificateFlag, path, last_tls_error());
}

Result<void> load_private_key(SSL_CTX* context, const TlsFiles& files) {
  const std::string& path = files.private_key;
  TETRAD_TRY(check_readable(kKeyFlag, path));
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
  const bool loaded = SSL_CTX_use_PrivateKey_file(context, path.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  if (loaded && SSL_CTX_check_private_key(context) == 1) return {};
  const unsigned long error = ERR_peek_last_error();
  const std::string reason = last_tls_error();
  if (asked) {
    return fail_param(kKeyFlag,
                      "{}: {} wants a passphrase, and nobody is there to type it; decrypt it with "
                      "openssl pkey",
                      kKeyFlag, path);
  }
  if (ERR_GET_LIB(error) == ERR_LIB_X509) {
    return fail_param(kKeyFlag, "{}: the key in {} does not belong to the certificate in {}",
                      kKeyFlag, path, files.certificate_chain);
  }
  return fail_param(kKeyFlag, "{}: {} is not a private key in PEM form: {}", kKeyFlag, path,
                    reason);
}

}  // namespace

void TlsContextDeleter::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

Result<TlsContext> make_tls_context(const TlsFiles& files) {
  ERR_clear_error();
  TlsContext context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return fail(ErrorCode::internal, "OpenSSL: {}", last_tls_error());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE |
                                         // A client that closes without a word is no error of ours.
                                         SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Thousands of idle connections need not keep 34 KB of record buffers each.
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  TETRAD_TRY(load_certificate(context.get(), files.certificate_chain));
  TETRAD_TRY(load_private_key(context.get(), files));
  return context;
}

}  // namespace tetrad::http
