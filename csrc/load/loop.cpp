// The thread's turn: wait, handle, send what is due, look at deadlines, hand on.
#include "load/loop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

namespace wayra::load {
namespace {
constexpr int kMaxEvents = 256;
constexpr int64_t kNsPerS = 1'000'000'000;
constexpr int64_t kSweepNs = kNsPerS / 4;
constexpr int64_t kShortestNs = kNsPerS / 1000;  // a deadline so near is over
constexpr int64_t kQuietNs = kNsPerS / 2;        // after which the part of an answer that came is worth a look
constexpr int64_t kFired = -2;

[[noreturn]] void raise_errno(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

void add(int epoll_fd, int fd, void* context) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = context;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) raise_errno("epoll_ctl");
}

// Signals are for the thread that started it.
std::thread started_without_signals(auto run) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(run);
    pthread_setname_np(thread.native_handle(), "wayra-load");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}
}  // namespace

Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

Loop::Loop(std::vector<Address> addresses, Limits limits, Rhythm rhythm, std::shared_ptr<const Clock> clock)
    : addresses_(std::move(addresses)), limits_(limits), rhythm_(rhythm), clock_(std::move(clock)) {
  epoll_.fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_.fd < 0) raise_errno("epoll_create1");
  timer_.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer_.fd < 0) raise_errno("timerfd_create");
  add(epoll_.fd, timer_.fd, &timer_);
  add(epoll_.fd, mailbox_.orders().fd(), &mailbox_);
  thread_ = started_without_signals([this] { run(); });
}

Loop::~Loop() { stop(); }

void Loop::stop() {
  mailbox_.end();
  if (thread_.joinable()) thread_.join();
}

void Loop::run() {
  try {
    while (!is_over_) turn();
    cancel_all();
    mailbox_.deliver(std::exchange(ended_, {}));
  } catch (const std::exception& error) {
    mailbox_.fail(error.what());
  }
}

void Loop::turn() {
  std::array<epoll_event, kMaxEvents> events;
  const int count = epoll_wait(epoll_.fd, events.data(), kMaxEvents, -1);
  if (count < 0 && errno != EINTR) raise_errno("epoll_wait");
  for (int i = 0; i < count; ++i) {
    void* context = events[static_cast<size_t>(i)].data.ptr;
    if (context == &timer_) {
      armed_ns_ = kFired;
    } else if (context == &mailbox_) {
      receive_orders();
    } else {
      handle(*static_cast<Connection*>(context), events[static_cast<size_t>(i)].events);
    }
  }
  if (!is_over_) {
    begin_due();
    num_waiting_.store(waiting_.size(), std::memory_order_release);
    const int64_t now_ns = clock_->now_ns();
    if (next_sweep_ns_ != kNever && now_ns >= next_sweep_ns_) sweep(now_ns);
    hand_on(now_ns);
    arm(now_ns);
  }
  closed_.clear();
}

void Loop::receive_orders() {
  Orders orders = mailbox_.receive();
  if (!orders.requests.empty()) has_asked_ = false;
  for (Request& request : orders.requests) waiting_.push_back(std::move(request));
  for (int64_t id : orders.cancelled) cancel(id);
  is_all_ = is_all_ || orders.is_all;
  is_over_ = is_over_ || orders.is_over;
}

void Loop::cancel(int64_t id) {
  for (auto& [fd, connection] : connections_) {
    if (connection->exchange && connection->exchange->id == id) {
      fail(*connection, End::cancelled);
      return;
    }
  }
}

void Loop::cancel_all() {
  waiting_.clear();
  const int64_t now_ns = clock_->now_ns();
  for (auto& [fd, connection] : connections_) {
    if (connection->exchange) finish(std::move(connection->exchange), End::cancelled, now_ns);
  }
  connections_.clear();
}

void Loop::sweep(int64_t now_ns) {
  std::vector<Connection*> busy;
  for (auto& [fd, connection] : connections_) {
    if (connection->exchange) busy.push_back(connection.get());
  }
  if (busy.empty()) {
    next_sweep_ns_ = kNever;
    return;
  }
  int64_t left_ns = kSweepNs;
  for (Connection* connection : busy) left_ns = std::min(left_ns, sweep_one(*connection, now_ns));
  next_sweep_ns_ = now_ns + std::max(left_ns, kShortestNs);
}

// How long until its next deadline.
int64_t Loop::sweep_one(Connection& connection, int64_t now_ns) {
  Exchange& exchange = *connection.exchange;
  if (connection.is_connecting) {
    const int64_t left_ns = connection.connect_ns + limits_.connect_ns - now_ns;
    if (left_ns <= kShortestNs) fail(connection, End::connect_timeout);
    return left_ns;
  }
  if (exchange.reader.num_body_bytes() > 0 && now_ns - exchange.last_byte_ns >= kQuietNs) hand_on_part(exchange);
  const int64_t stall_ns = exchange.last_byte_ns + limits_.stall_ns - now_ns;
  const int64_t total_ns = exchange.begun_ns + limits_.total_ns - now_ns;
  if (stall_ns <= kShortestNs) {
    fail(connection, End::stall);
  } else if (total_ns <= kShortestNs) {
    fail(connection, End::timeout);
  }
  return std::min(stall_ns, total_ns);
}

void Loop::sweep_soon(int64_t now_ns) {
  if (next_sweep_ns_ != kNever) return;
  next_sweep_ns_ = now_ns + std::min({kSweepNs, limits_.connect_ns, limits_.stall_ns, limits_.total_ns});
}

void Loop::hand_on(int64_t now_ns) {
  const bool is_hungry = !is_all_ && !has_asked_ && waiting_.size() <= rhythm_.low;
  const bool is_idle = busy_ == 0 && waiting_.empty();
  const bool is_late = !ended_.empty() && now_ns - first_ended_ns_ >= rhythm_.linger_ns;
  if (ended_.empty() && !is_hungry) return;
  if (!is_hungry && !is_idle && !is_late && !is_urgent_ && ended_.size() < rhythm_.batch) return;
  has_asked_ = has_asked_ || is_hungry;
  is_urgent_ = false;
  mailbox_.deliver(std::exchange(ended_, {}));
}

// The timer goes off when something is to be done that no socket tells.
void Loop::arm(int64_t now_ns) {
  int64_t next_ns = next_sweep_ns_;
  const auto sooner = [&next_ns](int64_t at_ns) {
    if (next_ns == kNever || at_ns < next_ns) next_ns = at_ns;
  };
  if (!ended_.empty()) sooner(first_ended_ns_ + rhythm_.linger_ns);
  if (!waiting_.empty()) {
    const int64_t due_ns = waiting_.front().due_ns;
    if (due_ns != kNever)
      sooner(due_ns);
    else if (busy_ < rhythm_.width)
      sooner(now_ns);
  }
  if (next_ns == armed_ns_) return;
  armed_ns_ = next_ns;
  itimerspec wait{};
  if (next_ns != kNever) {
    const int64_t left_ns = std::max<int64_t>(1, next_ns - now_ns);
    wait.it_value = {left_ns / kNsPerS, left_ns % kNsPerS};
  }
  if (timerfd_settime(timer_.fd, 0, &wait, nullptr) != 0) raise_errno("timerfd_settime");
}

}  // namespace wayra::load
