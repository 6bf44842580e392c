#pragma once

namespace tetrad::api {

/// Which of the OpenAI API's two forms a request has: their fields and answers differ.
enum class Dialect { chat, completion };

}  // namespace tetrad::api
