// Puts questions to a server that answers well, badly and not at all, through the load loop, for the sanitizers to
// watch: every question must come back once, good answers must be what was sent, and a stop in the middle must end all.
//
//   load_stress ROUNDS SEED    exit code 1 when an answer is lost, told twice, or other than what the server sent
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "load/loop.h"

namespace {
using namespace wayra::load;
using Random = std::mt19937_64;

constexpr int64_t kMs = 1'000'000;
constexpr int kServers = 8;  // threads that serve a connection each, so that more of them wait
constexpr int64_t kQuestions = 120;
constexpr size_t kMaxBody = 4'000'000;
const std::string kHead = "HTTP/1.1 200 OK\r\n";

size_t below(Random& random, size_t n) { return random() % n; }

// The body of a question's answer, the same for both sides.
std::string body_of(size_t number) {
  std::string body;
  const size_t size = number % 40 == 0 ? 700'000 : 20 + number * 37 % 3000;  // some come in parts
  for (size_t i = 0; i < size; ++i) body += static_cast<char>('a' + (i * 7 + number) % 26);
  return body;
}

std::string chunked(const std::string& body, Random& random) {
  std::string out = kHead + "Transfer-Encoding: chunked\r\n\r\n";
  for (size_t at = 0; at < body.size();) {
    const std::string piece = body.substr(at, 1 + below(random, 5000));
    char length[32];
    std::snprintf(length, sizeof(length), "%zx;x=y\r\n", piece.size());
    out += length + piece + "\r\n";
    at += piece.size();
  }
  return out + "0\r\nTrailer: yes\r\n\r\n";
}

void write_in_pieces(int fd, const std::string& text, Random& random) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::min(text.size() - at, 1 + below(random, below(random, 4) == 0 ? 3 : 20'000));
    if (send(fd, text.data() + at, size, MSG_NOSIGNAL) <= 0) return;
    at += size;
    if (below(random, 50) == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

// Whether the connection goes on.
bool answer(int fd, size_t number, Random& random) {
  const std::string body = body_of(number);
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  switch (number % 12) {
    case 0: write_in_pieces(fd, kHead + length + body, random); return true;
    case 1: write_in_pieces(fd, kHead + "\r\n" + body, random); return false;
    case 2: write_in_pieces(fd, "no HTTP at all\r\n\r\n" + body, random); return false;
    case 3: write_in_pieces(fd, kHead + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", random); return false;
    case 4: write_in_pieces(fd, kHead + length + body.substr(0, body.size() / 2), random); return false;
    case 5: return false;
    case 6: write_in_pieces(fd, kHead + length + body + "and more", random); return true;
    case 7:
      write_in_pieces(fd, "HTTP/1.1 503 no\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", random);
      return true;
    default: write_in_pieces(fd, chunked(body, random), random); return true;
  }
}

class Server {
 public:
  explicit Server(uint64_t seed) : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    // Several threads wait for the same connection: all but one go on waiting.
    fcntl(listener_, F_SETFL, O_NONBLOCK);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 || listen(listener_, 512) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      std::perror("listen");
      std::exit(1);
    }
    std::memcpy(&address_.bytes, &at, sizeof(at));
    address_.size = sizeof(at);
    for (uint64_t i = 0; i < kServers; ++i) threads_.emplace_back([this, seed, i] { serve(seed + i); });
  }
  ~Server() {
    is_over_ = true;
    for (std::thread& one : threads_) one.join();
    close(listener_);
  }
  const Address& address() const { return address_; }

 private:
  void serve(uint64_t seed) {
    Random random(seed);
    while (!is_over_) {
      if (!is_readable(listener_)) continue;
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) continue;
      // A kept connection is soon closed, as servers do: whoever asks on it just then has to ask again.
      for (bool goes_on = true, is_new = true; goes_on && !is_over_; is_new = false)
        goes_on = converse(fd, is_new, random);
      close(fd);
    }
  }
  static bool is_readable(int fd) {
    pollfd one{fd, POLLIN, 0};
    return poll(&one, 1, 20) > 0;
  }
  // One question: its path is its number.
  bool converse(int fd, bool is_new, Random& random) {
    std::string text;
    while (text.find("\r\n\r\n") == std::string::npos) {
      while (!is_readable(fd)) {
        if (is_over_ || !is_new) return false;
      }
      char buffer[4096];
      const ssize_t size = recv(fd, buffer, sizeof(buffer), 0);
      if (size <= 0) return false;
      text.append(buffer, static_cast<size_t>(size));
    }
    return answer(fd, std::strtoul(text.c_str() + 1, nullptr, 10), random);
  }

  int listener_;
  Address address_{};
  std::atomic<bool> is_over_{false};
  std::vector<std::thread> threads_;
};

struct Known {
  int told = 0;
  std::string body;
  End end = End::part;
};

void take(Loop& loop, std::map<int64_t, Known>& known) {
  for (const Answer& answer : loop.mailbox().take()) {
    Known& one = known[answer.id];
    one.body += answer.body;
    one.end = answer.end;
    if (answer.end != End::part) ++one.told;
  }
}

bool is_right(int64_t number, const Known& one, bool is_stopped) {
  if (one.told != 1) return false;
  if (one.end == End::cancelled) return is_stopped;
  const int64_t kind = number % 12;
  if (one.end != End::whole) return kind >= 2 && kind <= 5;
  return kind == 7 ? one.body == "no" : one.body == body_of(static_cast<size_t>(number));
}

size_t ended(const std::map<int64_t, Known>& known) {
  size_t count = 0;
  for (const auto& [number, one] : known) count += one.told > 0;
  return count;
}

// All questions, or as many as are over when it is stopped. The number of what went wrong.
int round(const Address& address, size_t width, bool is_stopped, Random& random) {
  Loop loop({address}, {5000 * kMs, 5000 * kMs, 60'000 * kMs, kMaxBody}, {width, 16, 8, 20 * kMs},
            std::make_shared<Clock>());
  std::map<int64_t, Known> known;
  const int64_t begun_ns = Clock().now_ns();
  for (int64_t number = 0; number < kQuestions;) {
    std::vector<Request> some;
    for (size_t i = 1 + below(random, 40); i > 0 && number < kQuestions; --i, ++number) {
      const int64_t due_ns = width > 0 ? kNever : begun_ns + number * kMs / 4;
      some.push_back({number, "/" + std::to_string(number) + "\r\n\r\n", due_ns});
    }
    loop.mailbox().submit(std::move(some), number == kQuestions);
    take(loop, known);
  }
  const size_t wanted = is_stopped ? kQuestions / 3 : kQuestions;
  while (ended(known) < wanted) {
    pollfd one{loop.mailbox().answers().fd(), POLLIN, 0};
    if (poll(&one, 1, 10'000) <= 0) break;
    take(loop, known);
    if (below(random, 20) == 0) loop.mailbox().cancel(-1);
  }
  loop.stop();
  take(loop, known);
  int wrong = ended(known) < wanted;
  for (const auto& [number, one] : known) {
    if (is_right(number, one, is_stopped)) continue;
    ++wrong;
    std::printf("question %lld: told %d times, ended %s, %zu bytes\n", static_cast<long long>(number), one.told,
                name_of(one.end), one.body.size());
  }
  return wrong;
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: load_stress ROUNDS SEED\n");
    return 2;
  }
  const uint64_t seed = std::strtoull(argv[2], nullptr, 10);
  Random random(seed);
  const Server server(seed);
  int wrong = 0;
  for (int i = 0; i < std::atoi(argv[1]); ++i) {
    const size_t width = below(random, 3) == 0 ? 0 : 1 + below(random, 12);
    wrong += round(server.address(), width, i % 3 == 2, random);
  }
  std::printf("%d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}
