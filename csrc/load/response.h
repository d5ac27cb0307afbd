// One HTTP/1.1 response out of bytes that may be cut anywhere; the rules and limits of wayra/client/response.py.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "load/answer.h"

namespace wayra::load {

class ResponseReader {
 public:
  explicit ResponseReader(int64_t max_body_bytes) : left_of_limit_(max_body_bytes) {}

  // End::part when more is wanted, End::whole, or how it fails; then it must not be pushed again.
  End push(int64_t at_ns, std::string_view data);
  // What it means that the connection was closed now.
  End closed() const;

  bool has_begun() const { return has_begun_; }
  // Whether another request may be sent on the connection; of a whole answer.
  bool keep_alive() const { return keep_alive_ && !has_leftover_; }
  int32_t status() const { return status_; }
  int64_t head_ns() const { return head_ns_; }
  const std::string& seen() const { return seen_; }
  size_t num_body_bytes() const { return body_.size(); }
  // Moves the body and its marks out; what comes later is counted from zero.
  void take(Answer& to);

 private:
  enum class Stage { head, length, chunk_line, chunk, trailers, until_close };
  End step(int64_t at_ns, std::string_view& data);
  End take_head(int64_t at_ns, std::string_view& data);
  End read_head(std::string_view head);
  void read_header(std::string_view line);
  End choose_stage();
  End take_chunk_line(std::string_view& data);
  End take_trailer(std::string_view& data);
  bool take_line(std::string_view& data);
  End take_body(std::string_view& data);
  End fail(End how, std::string_view seen);

  Stage stage_ = Stage::head;
  std::string held_;  // the beginning of a head or line whose end has not come
  std::string line_;  // the last one that was whole
  std::string body_;
  std::vector<Mark> marks_;
  std::string seen_;
  int64_t left_of_limit_;
  int64_t wanted_ = 0;  // bytes left of the body or of the chunk
  int64_t head_ns_ = kNever;
  int32_t status_ = 0;
  std::string connection_, coding_, length_;  // headers, the last of several
  bool has_length_ = false;
  bool has_begun_ = false;
  bool keep_alive_ = false;
  bool has_leftover_ = false;
};

}  // namespace wayra::load
