// The states of an HTTP/1.1 response.
#include "load/response.h"

#include <algorithm>
#include <cstring>

namespace wayra::load {
namespace {
constexpr size_t kMaxHeadBytes = 64 * 1024;
constexpr size_t kMaxLineBytes = 1024;
constexpr int64_t kMaxChunkBytes = 1LL << 31;
constexpr size_t kMaxSeenBytes = 40;
constexpr std::string_view kBlanks = " \t\n\r\v\f";

std::string_view stripped(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool are_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// -1: it is none.
int64_t chunk_length(std::string_view line) {
  const std::string_view digits = stripped(line.substr(0, line.find(';')));
  if (digits.empty() || digits.size() >= 12) return -1;
  int64_t size = 0;
  for (char c : digits) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    size = size * 16 + digit;
  }
  return size < kMaxChunkBytes ? size : -1;
}
}  // namespace

const char* name_of(End end) {
  switch (end) {
    case End::part: return "part";
    case End::whole: return "whole";
    case End::cancelled: return "cancelled";
    case End::connect: return "connect";
    case End::connect_timeout: return "connect_timeout";
    case End::stall: return "stall";
    case End::timeout: return "timeout";
    case End::unanswered: return "unanswered";
    case End::cut_head: return "cut_head";
    case End::cut_body: return "cut_body";
    case End::head_too_large: return "head_too_large";
    case End::not_http: return "not_http";
    case End::not_http_1: return "not_http_1";
    case End::bad_length: return "bad_length";
    case End::no_chunk_length: return "no_chunk_length";
    case End::bad_chunk_length: return "bad_chunk_length";
    case End::no_end: return "no_end";
    case End::body_too_large: return "body_too_large";
  }
  return "";
}

End ResponseReader::push(int64_t at_ns, std::string_view data) {
  has_begun_ = has_begun_ || !data.empty();
  const size_t before = body_.size();
  End end = End::part;
  while (end == End::part && !data.empty()) end = step(at_ns, data);
  has_leftover_ = !data.empty();
  if (body_.size() != before) marks_.push_back({at_ns, static_cast<int64_t>(body_.size())});
  return end;
}

End ResponseReader::step(int64_t at_ns, std::string_view& data) {
  switch (stage_) {
    case Stage::head: return take_head(at_ns, data);
    case Stage::chunk_line: return take_chunk_line(data);
    case Stage::trailers: return take_trailer(data);
    default: return take_body(data);
  }
}

End ResponseReader::closed() const {
  if (stage_ == Stage::until_close || stage_ == Stage::trailers) return End::whole;
  if (stage_ != Stage::head) return End::cut_body;
  return has_begun_ ? End::cut_head : End::unanswered;
}

void ResponseReader::take(Answer& to) {
  to.status = status_;
  to.head_ns = head_ns_;
  to.seen = seen_;
  to.body = std::move(body_);
  to.marks = std::move(marks_);
  body_.clear();
  marks_.clear();
}

End ResponseReader::take_head(int64_t at_ns, std::string_view& data) {
  const size_t old = held_.size();
  held_.append(data.substr(0, kMaxHeadBytes + 4));
  const size_t found = held_.find("\r\n\r\n", old < 3 ? 0 : old - 3);
  if (std::min(found, held_.size()) > kMaxHeadBytes) return fail(End::head_too_large, {});
  if (found == std::string::npos) {
    data = {};
    const size_t known = std::min<size_t>(held_.size(), 7);
    return std::memcmp(held_.data(), "HTTP/1.", known) == 0 ? End::part : fail(End::not_http, held_);
  }
  data.remove_prefix(found + 4 - old);
  head_ns_ = at_ns;
  const End end = read_head(std::string_view(held_).substr(0, found));
  held_ = {};
  return end;
}

End ResponseReader::read_head(std::string_view head) {
  const std::string_view first = head.substr(0, head.find("\r\n"));
  const size_t space = first.find(' ');
  const std::string_view version = first.substr(0, space);
  std::string_view code = space == std::string_view::npos ? "" : first.substr(space + 1);
  code = code.substr(0, code.find(' '));
  if ((version != "HTTP/1.1" && version != "HTTP/1.0") || code.size() != 3 || !are_digits(code)) {
    return fail(End::not_http_1, first);
  }
  status_ = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
  for (size_t at = first.size(); at < head.size();) {
    const size_t begin = at + 2, end = std::min(head.find("\r\n", begin), head.size());
    read_header(head.substr(begin, end - begin));
    at = end;
  }
  connection_ = lower(connection_);
  keep_alive_ = version == "HTTP/1.1" ? connection_ != "close" : connection_ == "keep-alive";
  return choose_stage();
}

void ResponseReader::read_header(std::string_view line) {
  const size_t colon = std::min(line.find(':'), line.size());
  const std::string name = lower(stripped(line.substr(0, colon)));
  const std::string_view value = stripped(line.substr(std::min(colon + 1, line.size())));
  if (name == "connection") connection_ = value;
  if (name == "transfer-encoding") coding_ = value;
  if (name == "content-length") {
    has_length_ = true;
    length_ = value;
  }
}

End ResponseReader::choose_stage() {
  if (lower(coding_).find("chunked") != std::string::npos) {
    stage_ = Stage::chunk_line;
  } else if (has_length_) {
    if (!are_digits(length_) || length_.size() >= 16) return fail(End::bad_length, length_);
    stage_ = Stage::length;
    for (char c : length_) wanted_ = wanted_ * 10 + (c - '0');
    if (wanted_ == 0) return End::whole;
  } else {
    stage_ = Stage::until_close;
    keep_alive_ = false;
  }
  return status_ == 204 || status_ == 304 ? End::whole : End::part;
}

End ResponseReader::take_chunk_line(std::string_view& data) {
  if (!take_line(data)) return held_.size() > kMaxLineBytes ? fail(End::no_chunk_length, {}) : End::part;
  if (line_.empty()) return End::part;  // the end of the chunk before
  wanted_ = chunk_length(line_);
  if (wanted_ < 0) return fail(End::bad_chunk_length, line_);
  stage_ = wanted_ == 0 ? Stage::trailers : Stage::chunk;
  return End::part;
}

End ResponseReader::take_trailer(std::string_view& data) {
  if (!take_line(data)) return held_.size() > kMaxLineBytes ? fail(End::no_end, {}) : End::part;
  return line_.empty() ? End::whole : End::part;
}

bool ResponseReader::take_line(std::string_view& data) {
  if (held_.empty()) {
    const size_t end = data.find("\r\n");
    if (end != std::string_view::npos) {
      line_ = data.substr(0, end);
      data.remove_prefix(end + 2);
      return true;
    }
    held_ = data;
    data = {};
    return false;
  }
  const size_t old = held_.size();
  held_.append(data.substr(0, kMaxLineBytes + 2));
  const size_t end = held_.find("\r\n", old - 1);
  if (end == std::string::npos) {
    data = {};
    return false;
  }
  line_ = held_.substr(0, end);
  data.remove_prefix(end + 2 - old);
  held_.clear();
  return true;
}

End ResponseReader::take_body(std::string_view& data) {
  const bool is_counted = stage_ != Stage::until_close;
  const size_t size = is_counted ? std::min(data.size(), static_cast<size_t>(wanted_)) : data.size();
  left_of_limit_ -= static_cast<int64_t>(size);
  if (left_of_limit_ < 0) return fail(End::body_too_large, {});
  body_.append(data.substr(0, size));
  data.remove_prefix(size);
  if (!is_counted) return End::part;
  wanted_ -= static_cast<int64_t>(size);
  if (wanted_ > 0) return End::part;
  if (stage_ == Stage::length) return End::whole;
  stage_ = Stage::chunk_line;
  return End::part;
}

End ResponseReader::fail(End how, std::string_view seen) {
  seen_ = seen.substr(0, kMaxSeenBytes);
  return how;
}

}  // namespace wayra::load
