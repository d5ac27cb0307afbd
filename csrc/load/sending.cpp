// The loop's sending: requests that are due, on a kept connection at once or on a new one when it stands.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "load/loop.h"

namespace wayra::load {
namespace {
constexpr int kMaxBegun = 32;  // in one turn: answers are read in between
}

void Loop::begin_due() {
  for (int begun = 0; begun < kMaxBegun && !waiting_.empty(); ++begun) {
    const int64_t due_ns = waiting_.front().due_ns;
    if (due_ns == kNever ? busy_ >= rhythm_.width : due_ns > clock_->now_ns()) return;
    Request request = std::move(waiting_.front());
    waiting_.pop_front();
    begin(std::move(request));
  }
}

void Loop::begin(Request&& request) {
  const int64_t now_ns = clock_->now_ns();
  auto exchange = std::make_unique<Exchange>(std::move(request), now_ns, limits_.max_body_bytes);
  ++busy_;
  sweep_soon(now_ns);
  if (idle_.empty()) {
    exchange->is_fresh = true;
    connect(std::move(exchange));
    return;
  }
  Connection& connection = *idle_.back();
  idle_.pop_back();
  connection.exchange = std::move(exchange);
  use(connection);
}

void Loop::connect(std::unique_ptr<Exchange> exchange) {
  auto connection = std::make_unique<Connection>();
  connection->connect_ns = clock_->now_ns();
  connection->exchange = std::move(exchange);
  connect_to_next(std::move(connection), EADDRNOTAVAIL);
}

// To the address it names, or one after it. error: what is said when there is none.
void Loop::connect_to_next(std::unique_ptr<Connection> connection, int error) {
  for (; connection->address < addresses_.size(); ++connection->address) {
    error = begin_connecting(*connection, addresses_[connection->address]);
    if (error != 0) continue;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT;
    event.data.ptr = connection.get();
    if (epoll_ctl(epoll_.fd, EPOLL_CTL_ADD, connection->fd, &event) == 0) {
      connection->wants_to_write = true;
      const int fd = connection->fd;
      connections_[fd] = std::move(connection);
      return;
    }
    error = errno;
    connection->close();
  }
  finish(std::move(connection->exchange), End::connect, clock_->now_ns(), error);
}

void Loop::finish_connecting(Connection& connection) {
  const int error = connect_error(connection);
  if (error == 0) {
    connection.is_connecting = false;
    use(connection);
    return;
  }
  auto next = std::make_unique<Connection>();
  next->exchange = std::move(connection.exchange);
  next->address = connection.address + 1;
  next->connect_ns = connection.connect_ns;
  close(connection);
  connect_to_next(std::move(next), error);
}

void Loop::use(Connection& connection) {
  Exchange& exchange = *connection.exchange;
  exchange.begun_ns = exchange.last_byte_ns = clock_->now_ns();
  watch(connection, !write_some(connection));
}

void Loop::watch(Connection& connection, bool to_write) {
  if (connection.wants_to_write == to_write) return;
  connection.wants_to_write = to_write;
  epoll_event event{};
  event.events = EPOLLIN;
  if (to_write) event.events |= EPOLLOUT;
  event.data.ptr = &connection;
  epoll_ctl(epoll_.fd, EPOLL_CTL_MOD, connection.fd, &event);
}

}  // namespace wayra::load
