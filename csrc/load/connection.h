// One non-blocking TCP connection to the server, and the exchange on it.
#pragma once
#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "load/answer.h"
#include "load/response.h"

namespace wayra::load {

struct Address {
  sockaddr_storage bytes;
  socklen_t size;
};

// A request under way.
struct Exchange {
  Exchange(Request&& request, int64_t now_ns, int64_t max_body_bytes)
      : id(request.id), request(std::move(request.bytes)), sent_ns(now_ns), reader(max_body_bytes) {}
  const int64_t id;
  const std::string request;
  const int64_t sent_ns;      // when it was its turn
  int64_t begun_ns = kNever;  // when it was written to a connection
  int64_t last_byte_ns = 0;
  bool is_fresh = false;  // its connection was made for it
  ResponseReader reader;
};

struct Connection {
  ~Connection();
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd = -1;
  bool is_connecting = false;
  bool wants_to_write = false;  // and is watched for it
  size_t address = 0;           // which of the server's is tried
  size_t written = 0;           // of the exchange's request
  int64_t connect_ns = 0;       // when connecting began
  std::unique_ptr<Exchange> exchange;

  void close();
  bool is_open() const { return fd >= 0; }
};

// Begins to connect; 0, or an errno, and the connection is closed.
int begin_connecting(Connection& connection, const Address& address);
// Of a connection that became writable while connecting: 0, or an errno.
int connect_error(const Connection& connection);
// Reads what is there: bytes, 0 at the end of the stream, -1 and errno. arrived_day_ns: when the last of them came, by
// the system's clock of the day; 0 where it does not say.
ssize_t read_some(const Connection& connection, char* to, size_t size, int64_t* arrived_day_ns);
// Writes as much as goes; false when more is left. What the connection's failing means, reading will tell.
bool write_some(Connection& connection);

}  // namespace wayra::load
