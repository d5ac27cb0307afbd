// The loop's receiving: each read is stamped and pushed into its answer; what ended is kept to be handed on.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "load/loop.h"

namespace wayra::load {
namespace {
constexpr size_t kMaxIdle = 1024;
constexpr size_t kPartBytes = 256 * 1024;  // of an answer held here at most
}  // namespace

void Loop::handle(Connection& connection, uint32_t events) {
  if (!connection.is_open()) return;
  if (connection.is_connecting) {
    finish_connecting(connection);
    return;
  }
  if (!connection.exchange) {  // the server closed it, or says what nobody asked
    close(connection);
    return;
  }
  if ((events & EPOLLOUT) != 0) watch(connection, !write_some(connection));
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) read(connection);
}

void Loop::read(Connection& connection) {
  int64_t arrived_day_ns = 0;
  const ssize_t size = read_some(connection, read_buffer_.data(), read_buffer_.size(), &arrived_day_ns);
  int64_t now_ns = clock_->now_ns();
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  ResponseReader& reader = connection.exchange->reader;
  if (size <= 0) {
    take_end(connection, reader.closed(), now_ns, true);
    return;
  }
  // The system knows when the bytes came, however late this thread was. A clock of the day that was just changed does
  // not count.
  const int64_t arrived_ns = arrived_day_ns > 0 ? clock_->from_day_ns(arrived_day_ns) : kNever;
  if (arrived_ns >= connection.exchange->last_byte_ns && arrived_ns < now_ns) now_ns = arrived_ns;
  connection.exchange->last_byte_ns = now_ns;
  const End end = reader.push(now_ns, {read_buffer_.data(), static_cast<size_t>(size)});
  if (end != End::part) {
    take_end(connection, end, now_ns, false);
  } else if (reader.num_body_bytes() >= kPartBytes) {
    hand_on_part(*connection.exchange);
  }
  received_bytes_.fetch_add(size, std::memory_order_acq_rel);
}

void Loop::take_end(Connection& connection, End end, int64_t now_ns, bool is_closed) {
  std::unique_ptr<Exchange> exchange = std::move(connection.exchange);
  // A kept connection may have been closed by the server just then: nothing was answered, so ask again.
  if (end == End::unanswered && !exchange->is_fresh) {
    exchange->is_fresh = true;
    close(connection);
    connect(std::move(exchange));
    return;
  }
  const bool is_written = connection.written == exchange->request.size();
  if (end == End::whole && exchange->reader.keep_alive() && is_written && !is_closed && idle_.size() < kMaxIdle) {
    connection.written = 0;
    idle_.push_back(&connection);
  } else {
    close(connection);
  }
  const int64_t ended_ns = end == End::whole ? exchange->last_byte_ns : now_ns;
  finish(std::move(exchange), end, ended_ns);
}

void Loop::finish(std::unique_ptr<Exchange> exchange, End end, int64_t ended_ns, int error) {
  --busy_;
  push(*exchange, end, ended_ns);
  ended_.back().error = error;
}

void Loop::fail(Connection& connection, End end) {
  std::unique_ptr<Exchange> exchange = std::move(connection.exchange);
  close(connection);
  finish(std::move(exchange), end, clock_->now_ns());
}

// What came of a long or a silent answer is read before its end, so that it is held nowhere and judged in time.
void Loop::hand_on_part(Exchange& exchange) {
  push(exchange, End::part, exchange.last_byte_ns);
  is_urgent_ = true;
}

void Loop::push(Exchange& exchange, End end, int64_t at_ns) {
  if (ended_.empty()) first_ended_ns_ = clock_->now_ns();
  Answer& answer = ended_.emplace_back();
  exchange.reader.take(answer);
  answer.id = exchange.id;
  answer.end = end;
  answer.sent_ns = exchange.sent_ns;
  answer.ended_ns = at_ns;
}

void Loop::close(Connection& connection) {
  const auto kept = std::find(idle_.begin(), idle_.end(), &connection);
  if (kept != idle_.end()) idle_.erase(kept);
  const auto found = connections_.find(connection.fd);
  connection.close();
  if (found == connections_.end()) return;
  closed_.push_back(std::move(found->second));
  connections_.erase(found);
}

}  // namespace wayra::load
