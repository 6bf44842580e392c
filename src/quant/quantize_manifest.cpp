#include "quant/quantize_manifest.h"

#include <system_error>

#include "base/digest.h"
#include "base/mapped_file.h"

namespace tetrad {
namespace {

constexpr const char* kDigestKey = "blake2b_256";

Result<FinishedFile> read_file_entry(std::string_view name, const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* bytes = object == nullptr ? nullptr : object->if_contains("bytes");
  const json::value* digest = object == nullptr ? nullptr : object->if_contains(kDigestKey);
  if (bytes == nullptr || digest == nullptr || !bytes->is_int64() || !digest->is_string()) {
    return fail(ErrorCode::corrupt_data, "\"files.{}\" needs \"bytes\" and \"{}\"", name,
                kDigestKey);
  }
  return FinishedFile{static_cast<uint64_t>(bytes->get_int64()), std::string(digest->get_string())};
}

Result<QuantizeManifest> read_manifest(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* run = object == nullptr ? nullptr : object->if_contains("run");
  const json::value* files = object == nullptr ? nullptr : object->if_contains("files");
  if (run == nullptr || files == nullptr || !files->is_object()) {
    return fail(ErrorCode::corrupt_data, "\"run\" and \"files\" are needed");
  }
  QuantizeManifest manifest;
  manifest.run = *run;
  for (const auto& [name, entry] : files->get_object()) {
    TETRAD_ASSIGN(manifest.files[std::string(name)], read_file_entry(name, entry));
  }
  return manifest;
}

}  // namespace

json::object QuantizeManifest::to_json() const {
  json::object entries;
  for (const auto& [name, file] : files)
    entries[name] = {{"bytes", file.bytes}, {kDigestKey, file.digest}};
  return {{"run", run}, {"files", std::move(entries)}};
}

Result<QuantizeManifest> QuantizeManifest::read(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestFileName;
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto value = parse_json(text);
  if (!value) return tl::unexpected(std::move(value.error()).in(path.string()));
  auto manifest = read_manifest(*value);
  if (!manifest) return tl::unexpected(std::move(manifest.error()).in(path.string()));
  return manifest;
}

Result<void> QuantizeManifest::verify(const std::filesystem::path& folder) const {
  for (const auto& [name, file] : files) {
    const std::filesystem::path path = folder / name;
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    if (error) {
      return fail(ErrorCode::corrupt_data, "{} is missing or cannot be read: {}", path.string(),
                  error.message());
    }
    if (bytes != file.bytes) {
      return fail(ErrorCode::corrupt_data, "{} has {} bytes, not the {} that were written",
                  path.string(), bytes, file.bytes);
    }
    TETRAD_ASSIGN(const std::string digest, digest_of_file(path));
    if (digest != file.digest) {
      return fail(ErrorCode::corrupt_data, "{} is not what was written: its digest is {}, not {}",
                  path.string(), digest, file.digest);
    }
  }
  return {};
}

}  // namespace tetrad
