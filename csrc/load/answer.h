// What is asked and what is handed back: a request, and the answer (or a part of a long one) with the time of each
// read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace wayra::load {

constexpr int64_t kNever = -1;

struct Request {
  int64_t id;
  std::string bytes;
  int64_t due_ns;  // kNever: as soon as fewer requests than the width are under way
};

// How an answer ended. The names are what Python is told.
enum class End : int32_t {
  part,  // it has not: more is to come
  whole,
  cancelled,
  connect,  // error: errno
  connect_timeout,
  stall,
  timeout,
  unanswered,  // closed by the server before, in the head of, or in the middle of the answer
  cut_head,
  cut_body,
  head_too_large,
  not_http,
  not_http_1,
  bad_length,
  no_chunk_length,
  bad_chunk_length,
  no_end,
  body_too_large,
};
const char* name_of(End end);

// All bytes of the body before `end` had come at at_ns.
struct Mark {
  int64_t at_ns;
  int64_t end;
};

struct Answer {
  int64_t id = 0;
  End end = End::part;
  int32_t error = 0;
  int32_t status = 0;        // of HTTP; 0 before the head is whole
  int64_t sent_ns = 0;       // when it was its turn, before any connecting
  int64_t head_ns = kNever;  // when the head was whole
  int64_t ended_ns = 0;      // the last byte of a whole answer, else when it failed
  std::string body;          // since the part before
  std::vector<Mark> marks;   // of `body`, in order
  std::string seen;          // the beginning of what was not understood
};

}  // namespace wayra::load
