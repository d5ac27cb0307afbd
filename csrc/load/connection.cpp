// The system calls of a connection.
#include "load/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace wayra::load {

Connection::~Connection() { close(); }

void Connection::close() {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

int begin_connecting(Connection& connection, const Address& address) {
  connection.fd = socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection.fd < 0) return errno;
  const int on = 1;
  setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(connection.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
  const auto* to = reinterpret_cast<const sockaddr*>(&address.bytes);
  if (connect(connection.fd, to, address.size) == 0 || errno == EINPROGRESS) {
    connection.is_connecting = true;
    return 0;
  }
  const int error = errno;
  connection.close();
  return error;
}

int connect_error(const Connection& connection) {
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

ssize_t read_some(const Connection& connection, char* to, size_t size, int64_t* arrived_day_ns) {
  iovec data{to, size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(timespec))> control;
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = recvmsg(connection.fd, &message, 0);
  *arrived_day_ns = 0;
  if (count <= 0) return count;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec at{};
    std::memcpy(&at, CMSG_DATA(one), sizeof(at));
    *arrived_day_ns = at.tv_sec * 1'000'000'000LL + at.tv_nsec;
  }
  return count;
}

bool write_some(Connection& connection) {
  const std::string& request = connection.exchange->request;
  while (connection.written < request.size()) {
    const ssize_t sent =
        send(connection.fd, request.data() + connection.written, request.size() - connection.written, MSG_NOSIGNAL);
    if (sent > 0) {
      connection.written += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return false;
    } else if (errno != EINTR) {
      return true;
    }
  }
  return true;
}

}  // namespace wayra::load
