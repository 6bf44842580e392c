#pragma once

// What of TLS needs no socket: the certificate, its key and the protocol's settings. OpenSSL stays
// behind this header and client_stream.h.

#include <memory>
#include <string>

#include "base/error.h"

struct ssl_ctx_st;

namespace tetrad::http {

/// PEM files. Without both the server speaks plain HTTP.
struct TlsFiles {
  std::string certificate_chain;  // the server's own certificate first
  std::string private_key;        // not encrypted

  bool enabled() const { return !certificate_chain.empty() || !private_key.empty(); }
};

struct TlsContextDeleter {
  void operator()(ssl_ctx_st* context) const;
};
using TlsContext = std::unique_ptr<ssl_ctx_st, TlsContextDeleter>;

/// A server's settings: TLS 1.2 and up, OpenSSL's default ciphers, no renegotiation. Errors name
/// the flag and the file: one that cannot be read or is not PEM, a key that wants a passphrase or
/// belongs to another certificate.
Result<TlsContext> make_tls_context(const TlsFiles& files);

}  // namespace tetrad::http
